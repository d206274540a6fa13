//! The transport header: what is understood can be said again and means the same, and no byte behind it is taken.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use mesh_net::TransportHeader;

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let Ok(header) = block_on(TransportHeader::read(&mut input)) else { return };
    let again = [&header.encode()[..], input].concat();
    let mut rest = &again[..];
    let read = block_on(TransportHeader::read(&mut rest)).expect("what was encoded is a header");
    assert_eq!((read, rest), (header, input));
});
