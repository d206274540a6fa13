use super::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn root(cn: &str) -> Authority {
    Authority::new_root(cn, YEAR).expect("a root")
}

fn issuer_of(root: &Authority, cn: &str) -> PemPair {
    let issuer = root.issue_authority(cn, YEAR).expect("an issuer");
    PemPair { cert_pem: issuer.chain_pem(), key_pem: issuer.key_pem() }
}

fn bundle_of(root: &Authority) -> TrustBundle {
    TrustBundle::from_pem(&root.cert_pem()).expect("a bundle")
}

#[test]
fn issuer_and_anchors_may_arrive_in_either_order() {
    let root = root("root");
    let mut issuer = Issuer::default();
    assert_eq!(issuer.set_material(issuer_of(&root, "one")), Outcome::Unchanged);
    assert!(issuer.current().is_none());
    assert!(matches!(issuer.set_bundle(bundle_of(&root)), Outcome::Updated(text) if text.contains("one")));
    assert!(
        matches!(issuer.set_material(issuer_of(&root, "two")), Outcome::Updated(text) if text.contains("two"))
    );
}

#[test]
fn an_issuer_of_another_root_is_refused_and_the_old_one_keeps_signing() {
    let (mine, other) = (root("mine"), root("other"));
    let mut issuer = Issuer::default();
    issuer.set_bundle(bundle_of(&mine));
    issuer.set_material(issuer_of(&mine, "good"));
    let outcome = issuer.set_material(issuer_of(&other, "stranger"));
    assert!(matches!(&outcome, Outcome::Skipped(text) if text.contains("keeps signing")), "{outcome:?}");
    assert_eq!(issuer.current().expect("the old one").info().subject, "good");
}

#[test]
fn a_refused_issuer_is_taken_when_the_anchors_come_to_cover_it() {
    let (old, new) = (root("old"), root("new"));
    let mut issuer = Issuer::default();
    issuer.set_bundle(bundle_of(&old));
    issuer.set_material(issuer_of(&old, "first"));
    assert!(matches!(issuer.set_material(issuer_of(&new, "second")), Outcome::Skipped(_)));
    let both = TrustBundle::from_pem(&(old.cert_pem() + &new.cert_pem())).expect("both");
    assert!(matches!(issuer.set_bundle(both), Outcome::Updated(text) if text.contains("second")));
}

#[test]
fn anchors_that_drop_the_issuer_in_force_are_said_to_break_it() {
    let (old, new) = (root("old"), root("new"));
    let mut issuer = Issuer::default();
    issuer.set_bundle(bundle_of(&old));
    issuer.set_material(issuer_of(&old, "first"));
    assert!(matches!(issuer.set_bundle(bundle_of(&new)), Outcome::Broken(_)));
    assert!(matches!(issuer.validate(), Some(Err(_))));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let root = root("root");
    let mut issuer = Issuer::default();
    issuer.set_bundle(bundle_of(&root));
    let mixed = PemPair { key_pem: issuer_of(&root, "b").key_pem, ..issuer_of(&root, "a") };
    assert!(matches!(issuer.set_material(mixed), Outcome::Skipped(_)));
    assert!(issuer.current().is_none());
    assert!(issuer.refused().is_some());
}
