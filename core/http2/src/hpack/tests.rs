#![allow(clippy::unwrap_used)]

use super::encoder::{FACTOR, hash};
use super::{Decoder, Encoder, Field, Name, huffman};
use proptest::prelude::*;

type Text = Vec<(String, String)>;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn text(field: &Field) -> (String, String) {
    let value = match field {
        Field::Method(method) => method.to_string(),
        Field::Scheme(scheme) => scheme.to_string(),
        Field::Authority(authority) => authority.to_string(),
        Field::Path(path) => path.to_string(),
        Field::Protocol(protocol) => protocol.as_str().to_owned(),
        Field::Status(status) => status.as_str().to_owned(),
        Field::Header(_, value) => value.to_str().unwrap().to_owned(),
        Field::Malformed(_) => "malformed".to_owned(),
    };
    let name = match field.name() {
        Name::Method => ":method",
        Name::Scheme => ":scheme",
        Name::Authority => ":authority",
        Name::Path => ":path",
        Name::Protocol => ":protocol",
        Name::Status => ":status",
        Name::Header(name) => return (name.to_string(), value),
        Name::Malformed => "?",
    };
    (name.to_owned(), value)
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Text, super::DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, |_, field| fields.push(text(&field())))?;
    Ok(fields)
}

#[track_caller]
fn says(decoder: &mut Decoder, block: &str, fields: &[(&str, &str)]) {
    let expected: Text = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    assert_eq!(decode(decoder, &hex(block)).unwrap(), expected);
}

const FIRST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];

#[test]
fn requests_of_the_rfc_are_decoded() {
    let second = [&FIRST[..], &[("cache-control", "no-cache")]].concat();
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    // C.3
    let mut decoder = Decoder::default();
    says(&mut decoder, "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", &FIRST);
    says(&mut decoder, "8286 84be 5808 6e6f 2d63 6163 6865", &second);
    says(&mut decoder, "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", &third);
    // C.4
    let mut decoder = Decoder::default();
    says(&mut decoder, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", &FIRST);
    says(&mut decoder, "8286 84be 5886 a8eb 1064 9cbf", &second);
    says(&mut decoder, "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", &third);
}

#[test]
fn single_fields_of_the_rfc_are_decoded() {
    // C.2
    let mut decoder = Decoder::default();
    let first = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    says(&mut decoder, first, &[("custom-key", "custom-header")]);
    says(&mut decoder, "040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")]);
    let mut sensitive = false;
    let third = hex("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let take = |_: usize, field: &mut dyn FnMut() -> Field| {
        sensitive = matches!(field(), Field::Header(_, value) if value.is_sensitive() && value == "secret");
    };
    decoder.decode(&third, take).unwrap();
    assert!(sensitive);
    says(&mut decoder, "82", &[(":method", "GET")]);
}

#[test]
fn responses_of_the_rfc_are_decoded_with_a_small_table() {
    let first = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let mut second = first;
    second[0].1 = "307";
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ];
    // C.5
    let mut decoder = Decoder::new(256);
    says(
        &mut decoder,
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
         3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        &first,
    );
    says(&mut decoder, "4803 3330 37c1 c0bf", &second);
    says(
        &mut decoder,
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
         7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
         6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        &third,
    );
    // C.6
    let mut decoder = Decoder::new(256);
    says(
        &mut decoder,
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        &first,
    );
    says(&mut decoder, "4883 640e ffc1 c0bf", &second);
    says(
        &mut decoder,
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        &third,
    );
}

#[test]
fn bad_blocks_are_refused() {
    for block in [
        "80",                // no index
        "be",                // not in the table
        "ff ff ff ff ff 0f", // an integer without end
        "82 20",             // a size that does not come first
        "3f e2 1f",          // a size above ours: 4097
        "00 83 ff ff ff 00", // the end symbol
        "00 81 ff 00",       // eight bits of padding
        "00 81 00 00",       // padding that is not of ones
        "00 05 61",          // cut off
        "40",                // cut off
    ] {
        assert!(decode(&mut Decoder::default(), &hex(block)).is_err(), "{block}");
    }
}

#[test]
fn names_and_values_that_http2_does_not_allow_are_marked_and_keep_the_table_in_step() {
    let mut decoder = Decoder::default();
    // "Ab: c" is indexed, then a field with its name; then both again.
    says(&mut decoder, "40 02 4162 01 63", &[("?", "malformed")]);
    says(&mut decoder, "7e 01 64", &[("?", "malformed")]);
    says(&mut decoder, "40 01 61 02 2062", &[("a", "malformed")]);
    says(&mut decoder, "be bf c0", &[("a", "malformed"), ("?", "malformed"), ("?", "malformed")]);
    assert_eq!(decoder.table_size(), (2 + 1 + 32) * 2 + (1 + 2 + 32));
}

#[test]
fn what_repeats_becomes_one_byte() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut lens = Vec::new();
    for number in 0..4 {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.field(":method", b"GET", false, &mut block);
        encoder.field(":authority", b"www.example.com", false, &mut block);
        encoder.field("x-route", b"some/where", false, &mut block);
        encoder.field("authorization", b"Bearer of something long", false, &mut block);
        encoder.field("x-request-id", number.to_string().as_bytes(), false, &mut block);
        lens.push(block.len());
        assert_eq!(decode(&mut decoder, &block).unwrap().len(), 5);
    }
    assert!(lens[0] > lens[1] && lens[1] > lens[2] && lens[2] == lens[3], "{lens:?}");
    assert!(encoder.find_text("authorization").is_none() && encoder.find_text("x-request-id").is_none());
}

#[test]
fn a_long_string_of_all_bytes_is_coded_and_decoded() {
    let all: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let (mut coded, mut decoded) = (Vec::new(), Vec::new());
    huffman::encode(&all, &mut coded);
    assert_eq!(coded.len(), huffman::coded_len(&all));
    huffman::decode(&coded, &mut decoded).unwrap();
    assert_eq!(decoded, all);
}

#[test]
fn a_value_with_the_hash_of_another_is_not_taken_for_it() {
    let name = "accept-language";
    let seed = hash(0, name.as_bytes());
    // Newton's iteration: each doubles the bits that are right.
    let inverse = (0..6).fold(FACTOR, |x, _| x.wrapping_mul(2u64.wrapping_sub(FACTOR.wrapping_mul(x))));
    // Two words whose mixture is what the hash begins with for the empty value.
    let colliding = |first: u64| {
        let mixed = ((seed ^ 16).rotate_left(5) ^ first).wrapping_mul(FACTOR);
        let second = mixed.rotate_left(5) ^ seed.wrapping_mul(inverse);
        [first.to_le_bytes(), second.to_le_bytes()].concat()
    };
    let allowed =
        |value: &Vec<u8>| http::HeaderValue::from_bytes(value).is_ok() && str::from_utf8(value).is_err();
    let found = (0..).map(|number| colliding(u64::from_le_bytes(*b"language") + number)).find(allowed);
    let value = found.unwrap();
    assert_eq!(hash(seed, &value), hash(seed, b""));
    let mut block = Vec::new();
    Encoder::default().field(name, &value, false, &mut block);
    let mut came = Vec::new();
    let take = |_: usize, field: &mut dyn FnMut() -> Field| came.push(field());
    Decoder::default().decode(&block, take).unwrap();
    let expected = http::HeaderValue::from_bytes(&value).unwrap();
    assert_eq!(came, [Field::Header(http::header::ACCEPT_LANGUAGE, expected)]);
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        "[a-z]{1,3}",
        Just("cookie".to_owned()),
        Just("user-agent".to_owned()),
        Just("content-type".to_owned()),
        Just("set-cookie".to_owned()),
        Just("date".to_owned()),
    ];
    let long = "[!-~]{1,4}".prop_map(|value| value.repeat(700));
    let value = prop_oneof![4 => "[a-c]{0,2}", 4 => "[!-~]{0,20}", 1 => long];
    proptest::collection::vec((name, value), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_is_decoded(blocks in proptest::collection::vec((fields(), 0..5000usize), 1..30)) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (fields, size) in blocks {
            if size % 4 == 0 {
                encoder.resize(size / 2);
                encoder.resize(size);
            }
            let mut block = Vec::new();
            encoder.begin(&mut block);
            for (name, value) in &fields {
                encoder.field(name, value.as_bytes(), false, &mut block);
            }
            prop_assert_eq!(decode(&mut decoder, &block).unwrap(), fields);
            prop_assert!(decoder.table_size() <= size.max(4096));
        }
    }

    #[test]
    fn nothing_makes_the_decoder_panic(blocks in proptest::collection::vec(any::<Vec<u8>>(), 1..8)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            let _ = decoder.decode(&block, |_, field| drop(field()));
        }
    }

    #[test]
    fn strings_are_coded_and_decoded(bytes in any::<Vec<u8>>()) {
        let (mut coded, mut decoded) = (Vec::new(), Vec::new());
        huffman::encode(&bytes, &mut coded);
        prop_assert_eq!(coded.len(), huffman::coded_len(&bytes));
        huffman::decode(&coded, &mut decoded).unwrap();
        prop_assert_eq!(decoded, bytes);
    }
}
