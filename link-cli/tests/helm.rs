//! The real Helm and `meshctl` make the same objects of the same values.

#![allow(clippy::unwrap_used, reason = "a test, also outside of its test functions")]

use mesh_tls::Authority;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Objects by kind, namespace and name.
type Objects = BTreeMap<[String; 3], Value>;

/// The Helm that `cargo xtask test` chose, or the one it built before.
fn helm() -> PathBuf {
    if let Some(path) = std::env::var_os("ISTHMUS_HELM") {
        return path.into();
    }
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let built = std::fs::read_dir(home.join(".cache/isthmus/helm"));
    let built = built.into_iter().flatten().filter_map(|version| Some(version.ok()?.path().join("helm")));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&on_path).map(|folder| folder.join("helm")).collect();
    let found = built.chain(on_path).find(|path| path.is_file());
    let remedy = "run the tests with `cargo xtask test`, which builds it where Go is installed";
    found.unwrap_or_else(|| panic!("no Helm: {remedy}"))
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts")
}

/// A folder with certificates and a values file, and words that lead to them.
struct Inputs(TempDir);

impl Inputs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Authority::new_root("root.linkerd.cluster.local", YEAR).unwrap();
        let issuer = root.issue_authority("identity.linkerd.cluster.local", YEAR).unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("ca.crt", root.cert_pem());
        write("issuer.crt", issuer.cert_pem());
        write("issuer.key", issuer.key_pem());
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn values(&self, text: &str) -> [String; 2] {
        std::fs::write(self.0.path().join("values.yaml"), text).unwrap();
        ["--values".to_owned(), self.path("values.yaml")]
    }

    /// The certificates as flags of `meshctl install`.
    fn flags(&self) -> Vec<String> {
        vec![
            format!("--identity-trust-anchors-file={}", self.path("ca.crt")),
            format!("--identity-issuer-certificate-file={}", self.path("issuer.crt")),
            format!("--identity-issuer-key-file={}", self.path("issuer.key")),
        ]
    }

    /// The same as values.
    fn set_files(&self) -> Vec<String> {
        vec![
            format!("--set-file=identityTrustAnchorsPEM={}", self.path("ca.crt")),
            format!("--set-file=identity.issuer.tls.crtPEM={}", self.path("issuer.crt")),
            format!("--set-file=identity.issuer.tls.keyPEM={}", self.path("issuer.key")),
        ]
    }
}

fn run(program: &Path, words: &[String]) -> Result<String, String> {
    let output = Command::new(program).args(words).env_remove("LINKERD_NAMESPACE").output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn by_meshctl(words: &[&str], more: &[String]) -> Result<Objects, String> {
    let text = run(Path::new(env!("CARGO_BIN_EXE_meshctl")), &[owned(words), more.to_vec()].concat())?;
    Ok(objects(&text))
}

fn by_helm(chart: &str, namespace: &str, more: &[String]) -> Result<Objects, String> {
    let folder = charts().join(chart).display().to_string();
    let text = run(
        &helm(),
        &[owned(&["template", chart, &folder, "-n", namespace, "--kube-version=1.34.0"]), more.to_vec()]
            .concat(),
    )?;
    Ok(objects(&text))
}

/// The objects, without what is meant to differ: who made them, and what only `meshctl` can make.
fn objects(text: &str) -> Objects {
    let mut out = Objects::new();
    for mut object in serde_saphyr::from_multiple::<Value>(text).unwrap().into_iter().filter(|o| !o.is_null())
    {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        // Helm cannot install into a namespace that is part of the release, and keeps its own record of values.
        if object["kind"] == "Namespace" || name == "linkerd-config-overrides" {
            continue;
        }
        made_by_nobody(&mut object);
        if name == "linkerd-config" {
            let values = object["data"]["values"].as_str().unwrap().to_owned();
            object["data"]["values"] = serde_saphyr::from_str(&values).unwrap();
        }
        let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = [part(&object["kind"]), part(&object["metadata"]["namespace"]), name];
        assert_eq!(out.insert(key.clone(), object), None, "{key:?} is there twice");
    }
    out
}

fn made_by_nobody(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(by) = map.get_mut("linkerd.io/created-by") {
                let text = by.as_str().unwrap().replace("isthmus/helm ", "").replace("isthmus/cli ", "");
                *by = json!(text);
            }
            map.values_mut().for_each(made_by_nobody);
        }
        Value::Array(list) => list.iter_mut().for_each(made_by_nobody),
        _ => {}
    }
}

fn same(what: &str, ours: Result<Objects, String>, theirs: Result<Objects, String>) -> Objects {
    let ours = ours.unwrap_or_else(|e| panic!("{what}: meshctl: {e}"));
    let theirs = theirs.unwrap_or_else(|e| panic!("{what}: helm: {e}"));
    let (here, there): (Vec<_>, Vec<_>) = (ours.keys().collect(), theirs.keys().collect());
    assert_eq!(here, there, "{what}: meshctl's objects, and Helm's");
    for (key, object) in &ours {
        assert_eq!(object, &theirs[key], "{what}: {key:?}: meshctl's, and Helm's");
    }
    ours
}

/// The control plane under values that both are given in the same words, with certificates.
fn control_plane(what: &str, inputs: &Inputs, words: &[String]) -> Objects {
    let all = [words.to_vec(), inputs.set_files()].concat();
    let ours = by_meshctl(&["install", "--ignore-cluster"], &all);
    same(what, ours, by_helm("isthmus-control-plane", "linkerd", &all))
}

const MANY: &str = r#"
clusterDomain: example.internal
identityTrustDomain: trust.example.org
clusterNetworks: "10.0.0.0/8,fd00::/8"
controllerLogLevel: debug
controllerLogFormat: json
controllerGID: 2103
imagePullPolicy: Always
imagePullSecrets: [{name: registry}]
nodeSelector: {kubernetes.io/os: linux, pool: mesh}
tolerations: [{key: mesh, operator: Exists}]
podAnnotations: {example.org/team: mesh}
podLabels: {example.org/tier: "0"}
priorityClassName: system-cluster-critical
runtimeClassName: gvisor
linkerdVersion: 9.8.7
policyController: {logLevel: trace, probeNetworks: [10.1.0.0/16], resources: {cpu: {request: 10m}}}
destinationResources: {memory: {request: 50Mi, limit: 250Mi}}
proxy:
  logFormat: json
  logHTTPHeaders: insecure
  accessLog: apache
  cores: 2
  gid: 2102
  resources: {cpu: {request: 100m, limit: "1.5"}, memory: {limit: 250Mi}, ephemeral-storage: {request: 1Mi}}
  runtime: {workers: {minimum: 2, maximumCPURatio: 0.5}}
  requireIdentityOnInboundPorts: "8080"
  shutdownGracePeriod: 30s
  waitBeforeExitSeconds: 5
  additionalEnv: [{name: A, value: "1"}, {name: B, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
proxyInit: {skipSubnets: 192.168.0.0/16, ignoreInboundPorts: "25,443"}
networkValidator: {connectAddr: "1.1.1.1:20001", timeout: 5s}
"#;

#[test]
fn the_control_plane_is_the_same_under_values_in_the_same_words() {
    let inputs = Inputs::new();
    let plain = control_plane("defaults", &inputs, &[]);
    assert!(plain.len() >= 25, "{:?}", plain.keys());
    control_plane("a values file that sets much", &inputs, &inputs.values(MANY));
    let classic = "disableIPv6: false\nproxy: {nativeSidecar: false, await: false}\nproxyInit: {closeWaitTimeoutSecs: 5}";
    control_plane("classic sidecars and IPv6", &inputs, &inputs.values(classic));
    control_plane("a CNI plugin", &inputs, &owned(&["--set=cniEnabled=true,disableIPv6=false"]));
    let words = owned(&[
        "--set=proxy.additionalEnv[0].name=X,proxy.additionalEnv[0].value=y,policyController.probeNetworks={10.0.0.0/8,::/0}",
        r"--set=nodeSelector.kubernetes\.io/os=null,podAnnotations.a\.b/c=d",
        r"--set-string=proxyInit.ignoreInboundPorts=25\,26,podLabels.number=7",
        "--set=controllerReplicas=2,enablePodAntiAffinity=true,enablePodDisruptionBudget=true",
    ]);
    control_plane("the syntax of --set", &inputs, &words);
    let webhook = "webhookFailurePolicy: Fail\nproxyInjector: {timeoutSeconds: 5, namespaceSelector: {matchLabels: \
                   {mesh: 'on'}, matchExpressions: [{key: a, operator: Exists}]}, objectSelector: {matchLabels: {app: other}}}";
    control_plane("another webhook", &inputs, &inputs.values(webhook));
    let everything = "proxyInjector: {namespaceSelector: null, objectSelector: null}";
    control_plane("a webhook for everything", &inputs, &inputs.values(everything));
    let linkerd = "disableHeartBeat: true\nenablePprof: false\nproxyInit: {iptablesMode: nft}\npolicyValidator: \
                   {externalSecret: true}\nidentity: {issuer: {issuanceLifetime: 24h0m0s}}";
    control_plane("values that do nothing", &inputs, &inputs.values(linkerd));
}

#[test]
fn flags_of_meshctl_are_the_values_that_helm_takes() {
    let inputs = Inputs::new();
    let compare = |what: &str, ours: &[&str], theirs: &[&str]| {
        let here = by_meshctl(&["install", "--ignore-cluster"], &[owned(ours), inputs.flags()].concat());
        let there =
            by_helm("isthmus-control-plane", "linkerd", &[owned(theirs), inputs.set_files()].concat());
        same(what, here, there)
    };
    compare("own issuer files", &[], &[]);
    let ha = charts().join("isthmus-control-plane/values-ha.yaml").display().to_string();
    let objects = compare("high availability", &["--ha"], &["--values", &ha]);
    assert_eq!(objects.keys().filter(|[kind, ..]| kind == "PodDisruptionBudget").count(), 3);
    compare(
        "flags",
        &[
            "--ha",
            "--controller-replicas=5",
            "--proxy-cpu-request=50m",
            "--skip-outbound-ports=25,26",
            "--default-inbound-policy=all-authenticated",
            "--registry=registry.example.org/mesh",
            "--cluster-domain=example.internal",
            "--identity-issuance-lifetime=1h",
            "--native-sidecar=false",
            "--disable-h2-upgrade",
        ],
        &[
            "--values",
            &ha,
            "--set=controllerReplicas=5,proxy.resources.cpu.request=50m,proxy.defaultInboundPolicy=all-authenticated",
            r"--set-string=proxyInit.ignoreOutboundPorts=25\,26",
            "--set=controllerImage=registry.example.org/mesh/controller,proxy.image.name=registry.example.org/mesh/proxy",
            "--set=proxyInit.image.name=registry.example.org/mesh/init,clusterDomain=example.internal",
            "--set=identity.issuer.issuanceLifetime=1h,proxy.nativeSidecar=false,enableH2Upgrade=false",
        ],
    );
}

#[test]
fn an_issuer_and_anchors_that_others_keep_are_the_same() {
    let inputs = Inputs::new();
    let anchors = format!("--identity-trust-anchors-file={}", inputs.path("ca.crt"));
    let set = format!("--set-file=identityTrustAnchorsPEM={}", inputs.path("ca.crt"));
    let objects = same(
        "an external issuer",
        by_meshctl(&["install", "--ignore-cluster", "--identity-external-issuer", &anchors], &[]),
        by_helm(
            "isthmus-control-plane",
            "linkerd",
            &owned(&["--set=identity.issuer.scheme=kubernetes.io/tls", &set]),
        ),
    );
    assert!(!objects.keys().any(|[kind, ..]| kind == "Secret"));
    let objects = same(
        "an external issuer below external anchors",
        by_meshctl(
            &["install", "--ignore-cluster", "--identity-external-issuer", "--identity-external-ca"],
            &[],
        ),
        by_helm(
            "isthmus-control-plane",
            "linkerd",
            &owned(&["--set=identity.issuer.scheme=kubernetes.io/tls,identity.externalCA=true"]),
        ),
    );
    assert!(!objects.keys().any(|[_, _, name]| name == "linkerd-identity-trust-roots"));
}

#[test]
fn another_namespace_is_the_same() {
    let inputs = Inputs::new();
    let ours = by_meshctl(&["install", "--ignore-cluster", "-L", "mesh"], &inputs.flags());
    let objects = same("namespace mesh", ours, by_helm("isthmus-control-plane", "mesh", &inputs.set_files()));
    assert!(objects.keys().all(|[_, namespace, _]| namespace.is_empty() || namespace == "mesh"));
}

#[test]
fn custom_resources_and_the_multicluster_extension_are_the_same() {
    let ours = by_meshctl(&["install", "--crds"], &[]);
    let objects = same("custom resources", ours, by_helm("isthmus-crds", "linkerd", &[]));
    assert!(objects.len() >= 10);
    let inputs = Inputs::new();
    let compare = |what: &str, ours: &[String], theirs: &[String]| {
        let here = by_meshctl(&["multicluster", "install", "--ignore-cluster"], ours);
        same(what, here, by_helm("isthmus-multicluster", "linkerd-multicluster", theirs))
    };
    compare("multicluster", &[], &[]);
    let ha = charts().join("isthmus-multicluster/values-ha.yaml").display().to_string();
    let objects = compare("multicluster, high availability", &owned(&["--ha"]), &owned(&["--values", &ha]));
    assert_eq!(objects.keys().filter(|[kind, ..]| kind == "PodDisruptionBudget").count(), 2);
    compare(
        "multicluster, flags",
        &owned(&[
            "--gateway-service-type=NodePort",
            "--gateway-port=5143",
            "--service-mirror-credentials=false",
        ]),
        &owned(&["--set=gateway.serviceType=NodePort,gateway.port=5143,remoteMirrorServiceAccount=false"]),
    );
    let nothing = owned(&["--gateway=false"]);
    compare("multicluster without a gateway", &nothing, &owned(&["--set=gateway.enabled=false"]));
    let many = inputs.values(
        "identityTrustDomain: trust.example.org\nenableNamespaceCreation: true\npriorityClassName: high\n\
         imagePullSecrets: [{name: registry}]\ntolerations: [{operator: Exists}]\nserviceMirror: {resources: \
         {requests: {cpu: 10m}}, logFormat: json}\ngateway: {loadBalancerIP: 192.0.2.1, loadBalancerSourceRanges: \
         [192.0.2.0/24], serviceAnnotations: {a: b}, deploymentAnnotations: {c: d}, pauseImage: pause:1, \
         serviceExternalTrafficPolicy: Local, resources: {limits: {memory: 10Mi}}}\n",
    );
    compare("multicluster, a values file", &many, &many);
}

#[test]
fn both_refuse_what_is_no_value() {
    let inputs = Inputs::new();
    for wrong in
        ["--set=proxy.logLevl=debug", "--set=controllerReplicas=two", "--set=webhookFailurePolicy=Maybe"]
    {
        let words = [owned(&[wrong]), inputs.set_files()].concat();
        let ours = by_meshctl(&["install", "--ignore-cluster"], &words).expect_err(wrong);
        let theirs = by_helm("isthmus-control-plane", "linkerd", &words).expect_err(wrong);
        let path = wrong.trim_start_matches("--set=").split('=').next().unwrap().rsplit('.').next().unwrap();
        assert!(ours.contains(path) && theirs.contains(path), "{ours}\n{theirs}");
    }
}
