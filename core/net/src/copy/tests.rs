use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

#[tokio::test]
async fn one_side_may_finish_while_the_other_goes_on() {
    let (mut client, mut near) = duplex(16);
    let (mut far, mut server) = duplex(16);
    let copying = tokio::spawn(async move {
        let mut counts = [0; 2];
        copy_bidirectional(&mut near, &mut far, |d, n| counts[d as usize] += n).await.map(|()| counts)
    });
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = String::new();
    server.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "question");
    server.write_all(b"a long answer").await.unwrap();
    drop(server);
    let mut answered = String::new();
    client.read_to_string(&mut answered).await.unwrap();
    assert_eq!(answered, "a long answer");
    assert_eq!(copying.await.unwrap().unwrap(), [8, 13]);
}

#[tokio::test]
async fn bulk_data_arrives_whole_while_buffers_grow() {
    let (mut client, mut near) = duplex(1 << 20);
    let (mut far, mut server) = duplex(1 << 20);
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let expected = data.clone();
    tokio::spawn(async move { copy_bidirectional(&mut near, &mut far, |_, _| ()).await });
    tokio::spawn(async move {
        client.write_all(&data).await.unwrap();
        client.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert!(received == expected);
}

#[tokio::test]
async fn a_failure_names_its_side() {
    let (mut client, mut near) = duplex(16);
    let (mut far, server) = duplex(16);
    drop(server);
    client.write_all(b"x").await.unwrap();
    let error = copy_bidirectional(&mut near, &mut far, |_, _| ()).await.unwrap_err();
    assert_eq!(error.end, End::Second);
}
