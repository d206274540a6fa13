use super::*;

fn reading(arm: &str, round: u32, cpu: f64) -> Reading {
    Reading {
        workload: "http1-16".to_owned(),
        arm: arm.to_owned(),
        round,
        cpu_us: Some(cpu),
        cpu_client_us: Some(cpu / 2.0),
        cpu_server_us: Some(cpu / 2.0),
        ..Reading::default()
    }
}

fn outcome(ours: [f64; 3]) -> Outcome {
    let theirs = [20.0, 40.0, 10.0];
    let mut readings = Vec::new();
    for round in 0..3 {
        readings.push(reading(OURS, round as u32, ours[round]));
        readings.push(reading(HAPROXY_HTTP, round as u32, theirs[round]));
    }
    let machine = Machine { commit: "c".to_owned(), kernel: "k".to_owned(), cpu: "p".to_owned(), cores: 2 };
    let binary = |arm: &str| Binary { arm: arm.to_owned(), version: "1".to_owned(), bytes: 1 };
    let workloads = crate::workload::all();
    let chosen: Vec<&Workload> = workloads.iter().filter(|w| w.name == "http1-16").collect();
    Outcome::new(machine, vec![binary(OURS), binary(HAPROXY_HTTP)], &chosen, readings)
}

#[test]
fn a_ratio_is_the_median_of_the_rounds_own() {
    // Twice, half and equal: the machine's drift between rounds does not count.
    let outcome = outcome([40.0, 20.0, 10.0]);
    assert_eq!(outcome.rows[0].cpu_of_haproxy_http, Some(1.0));
    assert_eq!(outcome.rows[0].median.cpu_us, Some(20.0));
}

#[test]
fn goals_are_judged_against_the_arm_they_name() {
    assert!(outcome([10.0, 20.0, 5.0]).goals[0].met);
    let missed = outcome([30.0, 60.0, 15.0]);
    assert!(!missed.goals[0].met && (missed.goals[0].ratio - 1.5).abs() < 1e-9);
    assert!(missed.markdown().contains("| http1-16 | CPU ≤ 1 × haproxy-http | 1.50 | missed |"));
}
