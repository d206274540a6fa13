//! The first bytes of a connection that may be HTTP: what is decided from a part of them stays so when more come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_net::{Parse, http};

fuzz_target!(|bytes: &[u8]| {
    let whole = http(bytes);
    for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = http(&bytes[..cut]);
        assert!(part == Parse::More || part == whole, "{part:?} of {cut} bytes, then {whole:?}");
    }
});
