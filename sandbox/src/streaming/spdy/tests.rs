use super::*;

/// Two header blocks of one stream as zlib writes them (best compression, SPDY/3 dictionary, sync flush); the second has
/// a value of 400 pseudo-random letters, so that it uses codes of its own.
const BLOCKS: [&str; 2] = [
    "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff",
    "8c94c971c5300c4327a5920051c32f2325e74139e612cfd892686ce441fdf387dc7b68fec5fdfaf07eebbc9bf10cdf496c73e3b38c7352d8e7969aec95a331a539e0cb33674877274ac739b35dd9289e85a245dd3deb289f419f8560ea090432ff006e5c084bbcb5ed167c2137cfb27944886445ecc50b1d544952a3609fc2495b2bb591b26e1a04de2004ba81f038626d5bad1df5df9c0d9fbdce6354df8abff699c99254afb4483ecd7bd381c3e4e0d21f813ad8d72ac352910c87d8c8a5a228115f8b26c7e24bfa010000ffff",
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn open(stream: u32, block: &str) -> Vec<u8> {
    let mut content = stream.to_be_bytes().to_vec();
    content.extend([0; 6]);
    content.extend(bytes(block));
    control(1, 0, &content)
}

#[test]
fn streams_open_with_their_headers_however_the_bytes_arrive() {
    let mut parser = Parser::new();
    let mut frames = Vec::new();
    for byte in open(1, BLOCKS[0]).into_iter().chain(open(3, BLOCKS[1])) {
        parser.feed(&[byte]);
        frames.extend(parser.next().unwrap());
    }
    let [Frame::Open { stream: 1, headers, .. }, Frame::Open { stream: 3, headers: second, .. }] =
        &frames[..]
    else {
        panic!("{frames:?}");
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(*headers, [pair("streamtype", "error"), pair("port", "8080"), pair("requestid", "0")]);
    assert_eq!(second[0], pair("streamtype", "data"));
    let mut state = 1_u64;
    let long: String = std::iter::repeat_with(|| {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        char::from(b'a' + ((state >> 16) % 6) as u8)
    })
    .take(400)
    .collect();
    assert_eq!(second[3].1, long);
}

#[test]
fn data_pings_and_ends_are_told_apart() {
    let mut parser = Parser::new();
    parser.feed(&Writer::data(3, b"hello", true));
    parser.feed(&Writer::pong(7));
    parser.feed(&Writer::reset(3, Refused::Stream));
    parser.feed(&control(9, 0, &[0; 8]));
    parser.feed(&Writer::go_away(3, false));
    assert_eq!(parser.next(), Ok(Some(Frame::Data { stream: 3, data: b"hello".to_vec(), is_last: true })));
    assert_eq!(parser.next(), Ok(Some(Frame::Ping { id: 7 })));
    assert_eq!(parser.next(), Ok(Some(Frame::Reset { stream: 3 })));
    assert_eq!(parser.next(), Ok(Some(Frame::Other)));
    assert_eq!(parser.next(), Ok(Some(Frame::GoAway)));
    assert_eq!(parser.next(), Ok(None));
}

#[test]
fn nonsense_is_refused() {
    let mut parser = Parser::new();
    parser.feed(&control(1, 0, &[0xff; 40]));
    assert_eq!(parser.next(), Err(Malformed));
    let mut parser = Parser::new();
    parser.feed(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]);
    assert_eq!(parser.next(), Err(Malformed));
    let mut parser = Parser::new();
    parser.feed(&[0x80, 0x02, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
    assert_eq!(parser.next(), Err(Malformed), "SPDY/2");
}

#[test]
fn our_own_replies_read_back_as_empty_headers() {
    let mut writer = Writer::new();
    let mut inflater = Inflater::new(DICTIONARY);
    for stream in [1, 3] {
        let reply = writer.accept(stream);
        assert_eq!(inflater.piece(&reply[12..]).unwrap(), [0, 0, 0, 0]);
    }
}
