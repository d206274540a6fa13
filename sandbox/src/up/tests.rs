use super::*;

#[test]
fn flat_clusters_have_subnets_of_their_own() {
    let flat = UpOptions { flat: true, ..UpOptions::default() };
    let text = |subnets: (Ipv4Net, Ipv4Net)| format!("{} {}", subnets.0, subnets.1);
    assert_eq!(text(flat.subnets(1)), "10.42.0.0/16 10.43.0.0/16");
    assert_eq!(text(flat.subnets(3)), "10.46.0.0/16 10.47.0.0/16");
    assert_eq!(text(UpOptions::default().subnets(3)), "10.42.0.0/16 10.43.0.0/16");
}

#[test]
fn bad_cluster_names_are_all_reported() {
    let options = UpOptions {
        clusters: vec!["East".to_owned(), "a".to_owned(), "a".to_owned()],
        ..UpOptions::default()
    };
    let message = options.check().unwrap_err().to_string();
    assert!(message.contains("\"East\"") && message.contains("\"a\" is given twice"), "{message}");
}
