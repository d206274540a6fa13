use super::*;
use proptest::prelude::*;
use std::process::{Command, Stdio};

fn ports(s: &str) -> PortSet {
    s.parse().unwrap()
}

fn injected() -> Redirect {
    Redirect {
        inbound_ports_to_ignore: ports("4190,4191,4567,4568"),
        outbound_ports_to_ignore: ports("4567-4568"),
        ..Redirect::default()
    }
}

#[test]
fn the_rules_of_an_injected_pod() {
    insta::assert_snapshot!(injected().ruleset());
}

#[test]
fn ipv4_only_writes_no_ipv6_table() {
    insta::assert_snapshot!(Redirect { ipv6: false, ..injected() }.ruleset());
}

#[test]
fn every_option_shows_in_the_rules() {
    let all = Redirect {
        incoming_proxy_port: 1143,
        outgoing_proxy_port: Some(1140),
        proxy_uid: 7,
        proxy_gid: Some(8),
        ports_to_redirect: ports("80,8000-8010"),
        inbound_ports_to_ignore: ports("22"),
        outbound_ports_to_ignore: ports("443,6443"),
        subnets_to_ignore: vec![
            "10.0.0.0/8".parse().unwrap(),
            "10.1.0.0/16".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ],
        ipv6: true,
    };
    insta::assert_snapshot!(all.ruleset());
}

#[test]
fn without_an_outgoing_port_outbound_traffic_is_left_alone() {
    let rules = Redirect { outgoing_proxy_port: None, ..Redirect::default() }.ruleset();
    assert!(!rules.contains("hook output"), "{rules}");
}

/// The kernel is the judge of syntax: rules are applied twice in a namespace of their own and listed.
#[test]
fn the_kernel_takes_the_rules_twice_and_keeps_one_copy() {
    let rules = injected().ruleset();
    let script = "cat >/tmp/rules.$$; nft -f /tmp/rules.$$ && nft -f /tmp/rules.$$ && nft list ruleset; r=$?; rm /tmp/rules.$$; exit $r";
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), rules.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "root and nft are needed\n{listed}");
    assert_eq!(listed.matches("redirect to :4143").count(), 2, "{listed}");
    assert_eq!(listed.matches("redirect to :4140").count(), 2, "{listed}");
}

proptest! {
    #[test]
    fn the_proxys_own_traffic_and_loopback_return_before_any_redirect(
        uid in 1u32..70_000, out in 1u16.., skip in proptest::collection::vec(1u16.., 0..40)
    ) {
        let redirect = Redirect {
            proxy_uid: uid,
            outgoing_proxy_port: Some(out),
            outbound_ports_to_ignore: PortSet::from_ranges(skip.iter().map(|p| (*p, *p))),
            ..Redirect::default()
        };
        let rules = redirect.outbound(out);
        let last = rules.len() - 1;
        prop_assert!(rules[last].contains("redirect"));
        prop_assert!(rules[..last].iter().all(|r| r.ends_with("return")));
        prop_assert_eq!(&rules[0], &format!("meta skuid {uid} return"));
        prop_assert!(rules[..last].iter().any(|r| r.contains("oifname \"lo\"")));
    }
}
