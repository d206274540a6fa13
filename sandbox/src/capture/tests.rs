use super::*;

#[test]
fn packets_that_stay_inside_are_not_kept() {
    let packet = |from: [u8; 4], to: [u8; 4]| {
        let mut packet = vec![0x45; 20];
        packet[12..16].copy_from_slice(&from);
        packet[16..20].copy_from_slice(&to);
        packet
    };
    assert!(crosses(&packet([10, 42, 0, 5], [10, 42, 0, 6])));
    assert!(!crosses(&packet([10, 42, 0, 5], [10, 42, 0, 5])));
    assert!(!crosses(&packet([127, 0, 0, 1], [127, 0, 0, 1])));
    assert!(!crosses(&[0, 1, 8, 0]), "not IP");
}

#[test]
fn the_file_header_is_that_of_raw_ip() {
    let header = header();
    assert_eq!(header.len(), 24);
    assert_eq!(header[20..], LINKTYPE_RAW.to_ne_bytes());
    assert_eq!(packet_header(60, UNIX_EPOCH).len(), 16);
}
