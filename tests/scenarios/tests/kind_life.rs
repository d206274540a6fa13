//! An operator's life by the commands of Linkerd's tutorials, word for word but for the program's name, from preflight
//! to uninstall, after which nothing is left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Cluster, Fleet, Objects, SHOP, eventually};
use std::sync::{LazyLock, Mutex, PoisonError};

static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::bare);

/// Both scenarios begin with clusters that have no mesh.
static TURN: Mutex<()> = Mutex::new(());

const GOOD: &str = "Status check results are √";

/// Runs a line that must succeed and say something.
#[track_caller]
fn says(line: &str, expected: &str) -> String {
    let said = FLEET.shell(line).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(said.contains(expected), "$ {line}\n{said}\n{expected:?} is missing");
    said
}

#[track_caller]
fn succeeds(line: &str) -> String {
    says(line, "")
}

/// The shop without any annotation of the mesh, as somebody has it before.
fn unmeshed_shop(cluster: &Cluster, namespace: &str) {
    let manifests = SHOP
        .replace("namespace: shop", &format!("namespace: {namespace}"))
        .replace("name: shop", &format!("name: {namespace}"))
        .replace("  annotations:\n    linkerd.io/inject: enabled\n", "");
    assert!(!manifests.contains("linkerd.io/inject"));
    cluster.apply(&manifests).unwrap();
    rolled_out(cluster, namespace);
}

fn rolled_out(cluster: &Cluster, namespace: &str) {
    for app in ["pricing", "ledger", "catalog", "web"] {
        cluster.rolled_out(namespace, app).unwrap();
    }
}

/// Waits until each pod of the shop has a proxy, or none has; and the shop works.
fn all_pods_have_proxies(cluster: &Cluster, namespace: &str, wanted: bool) {
    rolled_out(cluster, namespace);
    eventually(&format!("every pod of {namespace} has a proxy: {wanted}"), || {
        let pods = cluster.get(&["-n", namespace, "pods"])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let proxies = pods.iter().filter(|pod| pod["spec"].to_string().contains("\"linkerd-proxy\"")).count();
        let expected = if wanted { pods.len() } else { 0 };
        anyhow::ensure!(pods.len() == 4 && proxies == expected, "{proxies} of {}", pods.len());
        Ok(())
    });
    assert_eq!(cluster.call_ok(namespace, "web", &["catalog:80/items"]).status(), Some(200));
}

#[test]
#[ignore = "needs a real cluster: cargo xtask kind test"]
fn getting_started_by_the_tutorial_and_leaving_nothing_behind() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (east, ns) = (&FLEET.east, "tutorial");
    let before = Objects::of(east).unwrap();
    says("meshctl check --pre", GOOD);
    says("meshctl install --crds | kubectl apply -f -", "created");
    says("meshctl install | kubectl apply -f -", "created");
    says("meshctl check", GOOD);

    unmeshed_shop(east, ns);
    succeeds("kubectl get -n tutorial deploy -o yaml | meshctl inject - | kubectl apply -f -");
    all_pods_have_proxies(east, ns, true);
    says("meshctl -n tutorial check --proxy", GOOD);
    says("meshctl check --proxy --namespace tutorial", GOOD);

    succeeds("kubectl get -n tutorial deploy -o yaml | meshctl uninject - | kubectl apply -f -");
    all_pods_have_proxies(east, ns, false);

    succeeds("kubectl get -n tutorial deploy -o yaml | meshctl inject --manual - | kubectl apply -f -");
    all_pods_have_proxies(east, ns, true);
    says("meshctl -n tutorial check --proxy", GOOD);
    succeeds("kubectl get -n tutorial deploy -o yaml | meshctl uninject - | kubectl apply -f -");
    all_pods_have_proxies(east, ns, false);

    succeeds("kubectl annotate namespace tutorial linkerd.io/inject=enabled");
    succeeds("kubectl rollout restart -n tutorial deploy");
    all_pods_have_proxies(east, ns, true);

    let refused = format!("{:#}", FLEET.shell("meshctl uninstall | kubectl delete -f -").unwrap_err());
    assert!(refused.contains("pods still have a proxy") && refused.contains(ns), "{refused}");
    succeeds("kubectl delete namespace tutorial");
    succeeds("meshctl uninstall | kubectl delete -f -");
    nothing_is_left(east, &before);
}

#[test]
#[ignore = "needs real clusters: cargo xtask kind test"]
fn two_clusters_by_the_multicluster_tutorial_and_leaving_nothing_behind() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = FLEET.both().map(|cluster| Objects::of(cluster).unwrap());
    succeeds("meshctl trust init --out trust --issuer east --issuer west");
    says("for ctx in west east; do meshctl --context=${ctx} check --pre || exit 1; done", GOOD);
    succeeds(
        "meshctl --context=west install --crds | tee >(kubectl --context=west apply -f - >/dev/null) \
         | kubectl --context=east apply -f - ; sleep 1",
    );
    for ctx in ["west", "east"] {
        for cluster in FLEET.both() {
            cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).unwrap();
        }
        says(
            &format!(
                "meshctl --context={ctx} install --identity-trust-anchors-file trust/ca.crt \
                 --identity-issuer-certificate-file trust/{ctx}-issuer.crt \
                 --identity-issuer-key-file trust/{ctx}-issuer.key | kubectl --context={ctx} apply -f -"
            ),
            "created",
        );
    }
    says("for ctx in west east; do meshctl --context=${ctx} check || exit 1; done", GOOD);
    succeeds(
        "for ctx in west east; do meshctl --context=${ctx} multicluster install | \
         kubectl --context=${ctx} apply -f - || exit 1; done",
    );
    succeeds(
        "for ctx in west east; do kubectl --context=${ctx} -n linkerd-multicluster \
         rollout status deploy/linkerd-gateway || exit 1; done",
    );
    says("for ctx in west east; do meshctl --context=${ctx} multicluster check || exit 1; done", GOOD);
    a_kubeconfig_that_points_at_loopback_is_caught_before_anything_is_written();
    succeeds(
        "meshctl --context=east multicluster link --cluster-name east | kubectl --context=west apply -f -",
    );
    // The gateway's address and its first answer come a moment after the link.
    eventually("the link is in order", || FLEET.shell("meshctl --context=west multicluster check"));
    eventually("the gateway of east is alive in west", || {
        let table = FLEET.shell("meshctl --context=west multicluster gateways")?;
        let alive = table.lines().any(|line| line.starts_with("east") && line.contains('√'));
        anyhow::ensure!(alive, "{table}");
        Ok(())
    });

    let ns = "test";
    for cluster in FLEET.both() {
        cluster.kubectl(&["create", "namespace", ns]).unwrap();
        cluster.kubectl(&["annotate", "namespace", ns, "linkerd.io/inject=enabled"]).unwrap();
        unmeshed_shop(cluster, ns);
    }
    succeeds("kubectl --context=east label svc -n test catalog mirror.linkerd.io/exported=true");
    eventually("the mirror is there", || FLEET.shell("kubectl --context=west -n test get svc catalog-east"));
    let called = FLEET.west.call_ok(ns, "web", &["catalog-east:80/items"]);
    assert_eq!(called.status(), Some(200));

    succeeds("for ctx in west east; do kubectl --context=${ctx} delete namespace test || exit 1; done");
    let linked = "meshctl --context=west multicluster uninstall | kubectl --context=west delete -f -";
    let refused = format!("{:#}", FLEET.shell(linked).unwrap_err());
    assert!(refused.contains("unlink"), "{refused}");
    succeeds(
        "meshctl --context=west multicluster unlink --cluster-name east | kubectl --context=west delete -f -",
    );
    succeeds(
        "for ctx in west east; do meshctl --context=${ctx} multicluster uninstall | \
         kubectl --context=${ctx} delete -f - || exit 1; done",
    );
    succeeds(
        "for ctx in west east; do meshctl --context=${ctx} uninstall | kubectl --context=${ctx} delete -f - \
         || exit 1; done",
    );
    for (cluster, before) in FLEET.both().into_iter().zip(&before) {
        nothing_is_left(cluster, before);
    }
}

/// Waits until a cluster holds what it held before.
fn nothing_is_left(cluster: &Cluster, before: &Objects) {
    eventually(&format!("nothing is left in {}", cluster.name), || {
        let changes = Objects::of(cluster).map_err(|e| vec![format!("{e:#}")])?.changes_since(before);
        if changes.is_empty() { Ok(()) } else { Err(changes) }
    });
}

/// As kind writes kubeconfigs: good for people on this machine, of no use to a pod. Another address is found where there
/// is one; an address that people insist on is refused when it does not answer from inside.
fn a_kubeconfig_that_points_at_loopback_is_caught_before_anything_is_written() {
    let kubeconfig = FLEET.kind().loopback_kubeconfig().display().to_string();
    let link =
        format!("meshctl --kubeconfig={kubeconfig} --context=east multicluster link --to-context=west");
    let plan = FLEET.shell(&format!("{link} --dry-run")).unwrap();
    assert!(plan.contains("the kubeconfig says https://127.0.0.1"), "{plan}");
    let insisted = format!("{link} --wait=0s --api-server-address=https://127.0.0.1:6443");
    let refused = format!("{:#}", FLEET.shell(&insisted).unwrap_err());
    assert!(refused.contains("× https://127.0.0.1:6443"), "{refused}");
    assert!(refused.contains("this one answers:  --api-server-address https://"), "{refused}");
    let links = FLEET.west.get(&["--all-namespaces", "links.multicluster.linkerd.io"]).unwrap();
    assert_eq!(links["items"].as_array().map(Vec::len), Some(0), "{links}");
}
