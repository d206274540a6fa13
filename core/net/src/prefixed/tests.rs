use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn the_prefix_is_read_before_the_stream() {
    let (near, mut far) = tokio::io::duplex(64);
    far.write_all(b"world").await.unwrap();
    drop(far);
    let mut io = PrefixedIo::new("hello ", near);
    let mut small = [0; 3];
    io.read_exact(&mut small).await.unwrap();
    assert_eq!(&small, b"hel");
    let mut rest = String::new();
    io.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "lo world");
}
