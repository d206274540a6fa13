use super::*;

#[test]
fn cpu_limits_round_up_to_whole_workers() {
    let cases =
        [("", None), ("500m", Some(1)), ("1", Some(1)), ("1500m", Some(2)), ("2.5", Some(3)), ("0", None)];
    for (limit, workers) in cases {
        assert_eq!(whole_cpus(limit), workers, "{limit}");
    }
}
