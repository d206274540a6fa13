//! Authorities: what is understood is shown in a form that means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_types::Authority;

fuzz_target!(|text: &str| {
    let Ok(authority) = Authority::parse(text, 80) else { return };
    let again = Authority::parse(&authority.to_string(), 1).expect("what is shown is an authority");
    assert_eq!(again, authority, "{text:?}");
    let _ = authority.ip();
});
