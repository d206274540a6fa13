use super::*;
use clap::CommandFactory as _;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn durations_are_read_as_helm_values_write_them() {
    assert_eq!(duration("24h0m0s"), Ok(Duration::from_secs(24 * 3600)));
    assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
    for bad in ["", "20", "s", "1h30", "-1s"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn flags_of_the_charts_are_taken() {
    let line = [
        "isthmus-controller",
        "destination",
        "--addr=0.0.0.0:8086",
        "--enable-h2-upgrade=false",
        "--log-level=debug",
    ];
    let Command::Room(Room::Destination(args)) = Cli::try_parse_from(line).expect("parses").command else {
        panic!("destination")
    };
    assert!(!args.enable_h2_upgrade);
    assert_eq!(args.common.log_level, "debug");
}
