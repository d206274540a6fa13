//! The committed code of our own protos is what the generator makes of them.
//!
//! After a change of a `.proto`: `ISTHMUS_REGENERATE=1 cargo test -p mesh-api --test generated`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

const COMMITTED: &str = "proto/isthmus.identity.v1.rs";

#[test]
fn committed_code_is_what_the_generator_makes() {
    // Of this run: a checkout elsewhere may have built the test.
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo test sets it");
    let root = Path::new(&root);
    let protos = root.join("proto");
    let files = protox::compile([protos.join("isthmus/identity/v1/trust.proto")], [&protos])
        .expect("the proto is valid");
    let out = tempfile::tempdir().expect("a directory");
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .emit_rerun_if_changed(false)
        .out_dir(out.path())
        .compile_fds(files)
        .expect("code is generated");
    let made =
        std::fs::read_to_string(out.path().join("isthmus.identity.v1.rs")).expect("the generated file");
    let committed = root.join(COMMITTED);
    if std::env::var_os("ISTHMUS_REGENERATE").is_some() {
        std::fs::write(&committed, &made).expect("the file is written");
    }
    let held = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(held == made, "{COMMITTED} is stale: run with ISTHMUS_REGENERATE=1 and commit it");
}
