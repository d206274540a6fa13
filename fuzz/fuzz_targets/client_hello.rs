//! The first bytes of a TLS connection: what is decided from a part of them stays so when more come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_net::{Parse, client_hello};

fuzz_target!(|bytes: &[u8]| {
    let whole = client_hello(bytes);
    for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = client_hello(&bytes[..cut]);
        assert!(part == Parse::More || part == whole, "{part:?} of {cut} bytes, then {whole:?}");
    }
});
