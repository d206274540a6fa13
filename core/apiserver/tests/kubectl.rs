//! A stock `kubectl` cannot tell this server from the real one, for what people do every day.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use mesh_testkit::Cluster;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// What is wrong when kubectl cannot be run.
const REMEDY: &str = "kubectl 1.28 or later must be on PATH: https://kubernetes.io/docs/tasks/tools/";

/// Runs kubectl; returns its standard output, panics with its standard error.
async fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    kubectl_with(cluster, arguments, "")
        .await
        .unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
}

async fn kubectl_with(cluster: &Cluster, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig_path())
        .arg("--cache-dir")
        .arg(cluster.directory().join("cache"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect(REMEDY);
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).await.expect("kubectl reads its input");
    drop(stdin);
    let output = child.wait_with_output().await.expect("kubectl ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_listed() {
    let cluster = Cluster::start().await.expect("a cluster");
    let table = kubectl(&cluster, &["get", "ns"]).await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(table.contains(name), "{table}");
    }
}

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {colour: green}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "isthmus/demo:0.1.0", ports: [{containerPort: 8080}]}]
"#;

async fn start() -> Cluster {
    Cluster::start().await.expect("a cluster")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_are_applied_changed_and_applied_again() {
    let cluster = start().await;
    let apply = |text: String| {
        let cluster = &cluster;
        async move { kubectl_with(cluster, &["apply", "-f", "-"], &text).await.expect("applied") }
    };
    let first = apply(SHOP.to_owned()).await;
    assert!(first.contains("deployment.apps/web created"), "{first}");
    let second = apply(SHOP.to_owned()).await;
    assert_eq!(second.matches("unchanged").count(), 4, "{second}");
    let changed = SHOP.replace("colour: green", "colour: red");
    let dry = ["apply", "--dry-run=server", "-f", "-"];
    let dry = kubectl_with(&cluster, &dry, &changed).await.expect("checked");
    assert!(dry.contains("configmap/settings configured (server dry run)"), "{dry}");
    // `diff` exits with 1 when there is a difference, which it prints.
    let different = kubectl_with(&cluster, &["diff", "-f", "-"], &changed).await;
    assert!(different.is_err());
    let third = apply(changed).await;
    assert!(third.contains("configmap/settings configured"), "{third}");
    let colour =
        kubectl(&cluster, &["get", "cm", "settings", "-n", "shop", "-o", "jsonpath={.data.colour}"]).await;
    assert_eq!(colour, "red");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_are_applied_on_the_server_side_and_conflicts_are_told() {
    let cluster = start().await;
    let args = ["apply", "--server-side", "-f", "-"];
    kubectl_with(&cluster, &args, SHOP).await.expect("applied");
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let changed = SHOP.replace("replicas: 2", "replicas: 3");
    let refused = kubectl_with(&cluster, &other, &changed).await.expect_err("a conflict");
    assert!(refused.contains(".spec.replicas"), "{refused}");
    let forced = ["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-"];
    kubectl_with(&cluster, &forced, &changed).await.expect("applied");
    let replicas =
        kubectl(&cluster, &["get", "deploy", "web", "-n", "shop", "-o", "jsonpath={.spec.replicas}"]).await;
    assert_eq!(replicas, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistyped_field_is_refused_before_anything_is_stored() {
    let cluster = start().await;
    let wrong = SHOP.replace("replicas: 2", "replicaz: 2");
    let refused = kubectl_with(&cluster, &["apply", "-f", "-"], &wrong).await.expect_err("refused");
    assert!(refused.contains("unknown field \"spec.replicaz\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_got_described_edited_and_deleted() {
    let cluster = start().await;
    kubectl_with(&cluster, &["apply", "-f", "-"], SHOP).await.expect("applied");
    let all = kubectl(&cluster, &["get", "all", "-n", "shop"]).await;
    assert!(all.contains("service/web") && all.contains("deployment.apps/web"), "{all}");
    let wide = kubectl(&cluster, &["get", "svc", "-A", "-o", "wide"]).await;
    assert!(wide.contains("CLUSTER-IP") && wide.contains("app=web"), "{wide}");
    let described = kubectl(&cluster, &["describe", "deploy/web", "svc/web", "-n", "shop"]).await;
    assert!(described.contains("Replicas:") && described.contains("TargetPort:"), "{described}");
    kubectl(&cluster, &["label", "cm/settings", "-n", "shop", "tier=front"]).await;
    kubectl(&cluster, &["annotate", "deploy/web", "-n", "shop", "note=x"]).await;
    kubectl(&cluster, &["scale", "deploy/web", "-n", "shop", "--replicas=5"]).await;
    kubectl(&cluster, &["set", "image", "deploy/web", "-n", "shop", "web=isthmus/demo:0.2.0"]).await;
    let patch =
        ["patch", "deploy/web", "-n", "shop", "--type=strategic", "-p", r#"{"spec":{"paused":true}}"#];
    kubectl(&cluster, &patch).await;
    let path = "jsonpath={.spec.replicas} {.spec.paused} {.spec.template.spec.containers[0].image}";
    let state = kubectl(&cluster, &["get", "deploy", "web", "-n", "shop", "-o", path]).await;
    assert_eq!(state, "5 true isthmus/demo:0.2.0");
    let selected = kubectl(&cluster, &["get", "cm", "-n", "shop", "-l", "tier=front", "-o", "name"]).await;
    assert_eq!(selected.trim(), "configmap/settings");
    kubectl(&cluster, &["delete", "cm/settings", "svc/web", "-n", "shop"]).await;
    kubectl(&cluster, &["delete", "ns", "shop", "--timeout=20s"]).await;
    let gone = kubectl_with(&cluster, &["get", "ns", "shop"], "").await.expect_err("gone");
    assert!(gone.contains("NotFound"), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_kinds_have_columns_explanations_and_waits() {
    let cluster = start().await;
    let definition = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the widget should be.
            properties: {size: {type: integer, description: How big it is.}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
"#;
    kubectl_with(&cluster, &["apply", "-f", "-"], definition).await.expect("applied");
    kubectl(&cluster, &["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s"])
        .await;
    let widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 7}\n";
    kubectl_with(&cluster, &["apply", "-f", "-"], widget).await.expect("applied");
    let table = kubectl(&cluster, &["get", "wd"]).await;
    assert!(table.contains("SIZE") && table.contains('7'), "{table}");
    let explained = kubectl(&cluster, &["explain", "widget.spec.size"]).await;
    assert!(explained.contains("How big it is."), "{explained}");
    let explained = kubectl(&cluster, &["explain", "deployment.spec.replicas"]).await;
    assert!(explained.contains("<integer>"), "{explained}");
    let resources = kubectl(&cluster, &["api-resources"]).await;
    assert!(resources.contains("widgets") && resources.contains("deployments"), "{resources}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_tokens_and_permissions_are_managed() {
    let cluster = start().await;
    kubectl(&cluster, &["create", "ns", "shop"]).await;
    kubectl(&cluster, &["create", "sa", "web", "-n", "shop"]).await;
    let token =
        kubectl(&cluster, &["create", "token", "web", "-n", "shop", "--audience=identity.l5d.io"]).await;
    assert_eq!(token.matches('.').count(), 2, "{token}");
    let account = "--as=system:serviceaccount:shop:web";
    let no = kubectl_with(&cluster, &["auth", "can-i", "get", "pods", "-n", "shop", account], "").await;
    assert!(no.is_err(), "{no:?}");
    kubectl(&cluster, &["create", "role", "reader", "-n", "shop", "--verb=get", "--resource=pods"]).await;
    let binding =
        ["create", "rolebinding", "reader", "-n", "shop", "--role=reader", "--serviceaccount=shop:web"];
    kubectl(&cluster, &binding).await;
    let yes = kubectl(&cluster, &["auth", "can-i", "get", "pods", "-n", "shop", account]).await;
    assert_eq!(yes.trim(), "yes");
    let me = kubectl(&cluster, &["auth", "whoami"]).await;
    assert!(me.contains("kubernetes-admin"), "{me}");
    kubectl(&cluster, &["create", "secret", "generic", "s", "-n", "shop", "--from-literal=a=b"]).await;
    let secret = kubectl(&cluster, &["get", "secret", "s", "-n", "shop", "-o", "jsonpath={.data.a}"]).await;
    assert_eq!(secret, "Yg==");
    let version = kubectl(&cluster, &["version"]).await;
    assert!(version.contains("Server Version: v1.34"), "{version}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_create_sends_arrives_whole() {
    let cluster = start().await;
    let commands = [
        "namespace n",
        "serviceaccount a",
        "configmap c --from-literal=a=b --from-literal=c=d",
        "secret generic s --from-literal=a=b",
        "secret docker-registry r --docker-username=u --docker-password=p --docker-server=s",
        "role r --verb=get,list --resource=pods,deployments.apps --resource-name=x",
        "clusterrole r --verb=get --non-resource-url=/metrics",
        "rolebinding b --clusterrole=view --user=u --serviceaccount=default:a",
        "clusterrolebinding b --clusterrole=view --group=g",
        "service clusterip s1 --tcp=80:8080 --tcp=443:https",
        "service nodeport s2 --tcp=80 --node-port=30080",
        "service loadbalancer s3 --tcp=80:8080",
        "service externalname s4 --external-name=example.com",
        "deployment d --image=isthmus/demo:0.1.0 --replicas=0 --port=80 -- run it",
        "job j --image=isthmus/demo:0.1.0 -- run it",
        "cronjob j --image=isthmus/demo:0.1.0 --schedule=*/5_*_*_*_* -- run it",
        "ingress i --rule=example.com/path*=s1:80,tls=cert --class=c",
        "poddisruptionbudget p --selector=app=d --min-available=50%",
        "priorityclass p --value=-7 --description=low",
        "quota q --hard=pods=3,memory=1Gi",
    ];
    for command in commands {
        let arguments: Vec<String> = command.split(' ').map(|a| a.replace('_', " ")).collect();
        let mut dry: Vec<&str> = vec!["create"];
        let split = arguments.iter().position(|a| a == "--").unwrap_or(arguments.len());
        dry.extend(arguments[..split].iter().map(String::as_str));
        let mut wet = dry.clone();
        dry.extend(["--dry-run=client", "-o", "json"]);
        wet.extend(["-o", "json"]);
        for list in [&mut dry, &mut wet] {
            list.extend(arguments[split..].iter().map(String::as_str));
        }
        let said: serde_json::Value = serde_json::from_str(&kubectl(&cluster, &dry).await).expect("JSON");
        let made: serde_json::Value = serde_json::from_str(&kubectl(&cluster, &wet).await).expect("JSON");
        let missing = missing("", &said, &made);
        assert!(missing.is_empty(), "kubectl create {command}: {missing:?} of {said} are not in {made}");
    }
}

/// Paths at which `made` lacks what was said, apart from what the server decides.
fn missing(at: &str, said: &serde_json::Value, made: &serde_json::Value) -> Vec<String> {
    use serde_json::Value;
    match (said, made) {
        (Value::Object(said), _) => said
            .iter()
            .filter(|(key, _)| at != "/metadata" || *key != "creationTimestamp")
            .filter(|(key, value)| {
                key.as_str() != "status" && !value.is_null() && **value != serde_json::json!({})
            })
            .flat_map(|(key, value)| missing(&format!("{at}/{key}"), value, &made[key]))
            .collect(),
        (Value::Array(said), Value::Array(made)) if said.len() == made.len() => {
            let each = said.iter().zip(made).enumerate();
            each.flat_map(|(index, (said, made))| missing(&format!("{at}/{index}"), said, made)).collect()
        }
        (said, made) if said == made => Vec::new(),
        _ => vec![at.to_owned()],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_seen_as_they_happen() {
    let cluster = start().await;
    kubectl_with(&cluster, &["apply", "-f", "-"], SHOP).await.expect("applied");
    let mut watcher = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig_path())
        .args(["get", "cm", "settings", "-n", "shop", "-w", "-o", "jsonpath={.data.colour}{\"\\n\"}"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect(REMEDY);
    let mut lines = BufReader::new(watcher.stdout.take().expect("stdout is piped")).lines();
    let mut next = async || {
        let line = tokio::time::timeout(mesh_testkit::PATIENCE, lines.next_line()).await;
        line.expect("in time").expect("readable").expect("a line")
    };
    assert_eq!(next().await, "green");
    kubectl(&cluster, &["patch", "cm", "settings", "-n", "shop", "-p", r#"{"data":{"colour":"blue"}}"#])
        .await;
    assert_eq!(next().await, "blue");
    let wait = ["wait", "--for=jsonpath={.data.colour}=blue", "cm/settings", "-n", "shop", "--timeout=20s"];
    kubectl(&cluster, &wait).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_got_can_be_replaced_and_edits_are_checked() {
    let cluster = start().await;
    kubectl_with(&cluster, &["apply", "-f", "-"], SHOP).await.expect("applied");
    for format in ["yaml", "json"] {
        let got = kubectl(&cluster, &["get", "deploy,svc,cm", "-n", "shop", "-o", format]).await;
        kubectl_with(&cluster, &["replace", "-f", "-"], &got).await.expect("replaced");
    }
    let names = kubectl(&cluster, &["get", "deploy,svc", "-n", "shop", "-o", "name"]).await;
    assert_eq!(names, "deployment.apps/web\nservice/web\n");
    let got = kubectl(&cluster, &["get", "svc", "web", "-n", "shop", "-o", "yaml"]).await;
    let moved = got.replace("clusterIP: 10.43", "clusterIP: 10.99");
    let refused = kubectl_with(&cluster, &["replace", "-f", "-"], &moved).await.expect_err("immutable");
    assert!(refused.contains("spec.clusterIP"), "{refused}");
    let stale = got.replace("resourceVersion: \"", "resourceVersion: \"1");
    let refused = kubectl_with(&cluster, &["replace", "-f", "-"], &stale).await.expect_err("a conflict");
    assert!(refused.contains("Conflict") || refused.contains("modified"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_runs_and_differences_store_nothing() {
    let cluster = start().await;
    kubectl_with(&cluster, &["apply", "--dry-run=client", "-f", "-"], SHOP).await.expect("dry");
    kubectl(&cluster, &["create", "ns", "shop"]).await;
    kubectl_with(&cluster, &["apply", "--dry-run=server", "-f", "-"], SHOP).await.expect("dry");
    let nothing = kubectl(&cluster, &["get", "deploy,svc", "-n", "shop", "-o", "name"]).await;
    assert_eq!(nothing, "");
    kubectl_with(&cluster, &["apply", "-f", "-"], SHOP).await.expect("applied");
    kubectl_with(&cluster, &["diff", "-f", "-"], SHOP).await.expect("no difference");
    let changed = SHOP.replace("replicas: 2", "replicas: 3");
    let differs = kubectl_with(&cluster, &["diff", "-f", "-"], &changed).await;
    assert!(differs.is_err(), "a difference is an exit code");
    let path = "jsonpath={.spec.replicas}";
    assert_eq!(kubectl(&cluster, &["get", "deploy", "web", "-n", "shop", "-o", path]).await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_selected_sorted_and_shown_in_pages() {
    let cluster = start().await;
    kubectl(&cluster, &["create", "ns", "shop"]).await;
    for (name, node) in [("b", "one"), ("a", "two"), ("c", "one")] {
        let overrides = format!(r#"{{"spec":{{"nodeName":"{node}"}}}}"#);
        let run = ["run", name, "-n", "shop", "--image=isthmus/demo:0.1.0", "--overrides", &overrides];
        kubectl(&cluster, &run).await;
    }
    let selected = ["get", "po", "-n", "shop", "--field-selector=spec.nodeName=one", "-o", "name"];
    assert_eq!(kubectl(&cluster, &selected).await, "pod/b\npod/c\n");
    let sorted = ["get", "po", "-n", "shop", "--sort-by=.spec.nodeName", "--no-headers"];
    let rows = kubectl(&cluster, &sorted).await;
    assert!(rows.lines().last().is_some_and(|last| last.starts_with('a')), "{rows}");
    let paged = kubectl(&cluster, &["get", "po", "-A", "--chunk-size=1", "-o", "wide"]).await;
    assert_eq!(paged.matches("Pending").count(), 3, "{paged}");
    let refused = ["get", "po", "-A", "--field-selector=spec.dnsPolicy=x"];
    let refused = kubectl_with(&cluster, &refused, "").await.expect_err("not a selectable field");
    assert!(refused.contains("field label not supported"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strategic_patches_end_where_kubectls_own_do() {
    let cluster = start().await;
    let template = r#"{"apiVersion":"v1","kind":"PodTemplate","metadata":{"name":"t","finalizers":["x.y/a","x.y/b"]},
        "template":{"metadata":{"labels":{"m":"1"}},"spec":{"nodeSelector":{"s":"1"},
        "volumes":[{"name":"v1","emptyDir":{}},{"name":"v2","hostPath":{"path":"/x"}}],
        "containers":[{"name":"a","image":"x:1","env":[{"name":"A","value":"1"},{"name":"B","value":"2"}]},
            {"name":"b","image":"y:1","ports":[{"containerPort":80},{"containerPort":81}]}]}}}"#;
    let patches = [
        r#"{"template":{"spec":{"containers":[{"name":"b","image":"y:2"},{"name":"c","image":"z:1"}]}}}"#,
        r#"{"template":{"spec":{"containers":[{"name":"a","$patch":"delete"}],"nodeSelector":{"s":null,"t":"2"}}}}"#,
        r#"{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"b"},{"name":"a"}],
            "containers":[{"name":"c","image":"z:1"},{"name":"a","$setElementOrder/env":[{"name":"B"},{"name":"A"}],
            "env":[{"name":"B","value":"3"}]}]}}}"#,
        r#"{"template":{"spec":{"volumes":[{"name":"v2","$retainKeys":["name","emptyDir"],"emptyDir":{}}]}}}"#,
        r#"{"template":{"spec":{"containers":[{"name":"b","ports":[{"containerPort":82},{"$patch":"replace"}]}]}}}"#,
        r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["x.y/a"],"finalizers":["x.y/c"]}}"#,
        r#"{"metadata":{"$setElementOrder/finalizers":["x.y/b","x.y/a"],"finalizers":["x.y/b"]}}"#,
    ];
    kubectl_with(&cluster, &["create", "-f", "-"], template).await.expect("created");
    let before = kubectl(&cluster, &["get", "podtemplate", "t", "-o", "json"]).await;
    for patch in patches {
        let local = ["patch", "--local", "-f", "-", "-p", patch, "-o", "json"];
        let expected = kubectl_with(&cluster, &local, &before).await.expect("patched locally");
        let dry = ["patch", "podtemplate", "t", "--dry-run=server", "-p", patch, "-o", "json"];
        let made = kubectl(&cluster, &dry).await;
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        let (expected, made) = (parse(&expected), parse(&made));
        for part in ["/template", "/metadata/finalizers"] {
            let lacking = |a: &serde_json::Value, b: &serde_json::Value| {
                missing(part, a.pointer(part).expect("there"), b.pointer(part).expect("there"))
            };
            assert!(lacking(&expected, &made).is_empty(), "{patch}: {expected} became {made}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applying_again_stores_nothing() {
    let cluster = start().await;
    // The name's field is one value to server-side apply, and defaulted within.
    let env = r#"env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}], image:"#;
    let manifest = SHOP.replace("image:", env);
    let args = ["apply", "--server-side", "-f", "-"];
    let path = ["get", "deploy", "web", "-n", "shop", "-o", "jsonpath={.metadata.resourceVersion}"];
    kubectl_with(&cluster, &args, &manifest).await.expect("applied");
    let before = kubectl(&cluster, &path).await;
    // Times are kept in whole seconds: the second request must fall into another one.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    kubectl_with(&cluster, &args, &manifest).await.expect("applied");
    assert_eq!(kubectl(&cluster, &path).await, before);
}
