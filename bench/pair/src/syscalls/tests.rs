use super::*;

#[test]
fn the_table_is_read_without_its_total() {
    let table = "syscall        calls\n------------- --------\nwritev             30\nrecvfrom           60\n\
                 ------------- --------\ntotal              90\n";
    let (all, most) = read(table, 30.0);
    assert!((all - 3.0).abs() < 1e-9);
    assert_eq!(most, [("recvfrom".to_owned(), 2.0), ("writev".to_owned(), 1.0)]);
}
