//! Protocols as other people's programs speak them, through a pair of proxies: `h2spec`, the gRPC interoperability
//! client and server, `curl`, `nghttp`, and WebSocket. `cargo xtask test -p mesh-protocols` builds or installs the
//! programs. This crate holds nothing but its tests.
