//! `meshctl inject` and `uninject`: workloads in, workloads out.

mod kinds;

use crate::charts::Chart;
use crate::globals::Globals;
use crate::installed;
use crate::manifest::{self, Format, Manifest};
use crate::proxy_flags::ProxyFlags;
use crate::render::to_yaml;
use crate::report::Problem;
use crate::values::{ValueArgs, read};
use anyhow::Context;
use kinds::Shape;
use mesh_injector::{Annotations, Injection, Owner, Values, Workload, annotations_of};
use mesh_types::annotations::{INJECT, OPAQUE_PORTS};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `meshctl inject`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kubectl get deploy -o yaml | meshctl inject - | kubectl apply -f -")]
pub(crate) struct Args {
    /// A file or folder with YAML, or - for standard input.
    path: PathBuf,
    /// Write the sidecar into the workloads, instead of the annotation that asks the injector to.
    #[arg(long)]
    manual: bool,
    /// With --manual: take the values from flags alone, not from the cluster.
    #[arg(long)]
    ignore_cluster: bool,
    /// Ask for ingress mode.
    #[arg(long)]
    ingress: bool,
    /// How long the kernel keeps connections that only the other side has closed; makes the init container privileged.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    close_wait_timeout: Option<String>,
    /// There is no debug container here; says what to use instead.
    #[arg(long, hide = true)]
    enable_debug_sidecar: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    values: ValueArgs,
}

/// Arguments of `meshctl uninject`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kubectl get deploy -o yaml | meshctl uninject - | kubectl apply -f -")]
pub(crate) struct UninjectArgs {
    /// A file or folder with YAML, or - for standard input.
    path: PathBuf,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// How workloads are injected.
struct How {
    /// Values for sidecars written here; without them the injector is asked by annotation.
    values: Option<Values>,
    /// Settings from the command line.
    annotations: Annotations,
    ingress: bool,
    control_plane_namespace: String,
}

/// What became of one object: a remark (empty where there is none), or why it failed.
type Outcome = Result<String, String>;

/// Runs `inject`.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    if args.enable_debug_sidecar {
        let fix =
            "look into a pod with:  kubectl debug -it POD --image=nicolaka/netshoot --target=linkerd-proxy";
        return Err(Problem::usage("--enable-debug-sidecar", "there is no debug container here", fix).into());
    }
    let documents = documents(&args.path)?;
    let mut annotations = args.proxy.annotations();
    if let Some(timeout) = &args.close_wait_timeout {
        annotations.insert(mesh_injector::annotations::CLOSE_WAIT_TIMEOUT.to_owned(), timeout.clone());
    }
    let how = How {
        values: if args.manual { Some(values(&args, globals).await?) } else { None },
        annotations,
        ingress: args.ingress,
        control_plane_namespace: globals.linkerd_namespace.clone(),
    };
    let mut failed = false;
    let mut out = Vec::new();
    for mut document in documents {
        for (name, outcome) in put_in(&mut document, &how) {
            match outcome {
                Ok(note) => eprintln!("{} {name}{note}", if note.is_empty() { "√" } else { "‼" }),
                Err(reason) => {
                    failed = true;
                    eprintln!("× {name}: {reason}");
                }
            }
        }
        out.push(Manifest { text: to_yaml(&document), object: document });
    }
    manifest::print(&out, args.output)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs `uninject`.
pub(crate) fn uninject(args: &UninjectArgs) -> anyhow::Result<ExitCode> {
    let mut out = Vec::new();
    for mut document in documents(&args.path)? {
        for name in take_out(&mut document) {
            eprintln!("√ {name}");
        }
        out.push(Manifest { text: to_yaml(&document), object: document });
    }
    manifest::print(&out, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Injects everything in a document that can be, and names it.
fn put_in(document: &mut Value, how: &How) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::new();
    kinds::each(document, &mut |object, shape| {
        let before = shape.part(object).cloned();
        let outcome = match (&how.values, shape) {
            (Some(values), Shape::Workload(template)) => manually(object, template, values, how),
            _ => Ok(annotate(object, shape, &how.annotations, how.ingress)),
        };
        let service = object["kind"] == "Service";
        if let (Some(before), Some(after)) = (before, shape.part_mut(object)) {
            kinds::remember(&before, after, service);
        }
        outcomes.push((kinds::name_of(object), outcome));
    });
    outcomes
}

/// Takes the injection out of everything in a document, and names it.
fn take_out(document: &mut Value) -> Vec<String> {
    let mut names = Vec::new();
    kinds::each(document, &mut |object, shape| {
        let service = object["kind"] == "Service";
        if let Some(part) = shape.part_mut(object) {
            kinds::strip(part, service);
        }
        names.push(kinds::name_of(object));
    });
    names
}

fn duration(text: &str) -> Result<String, String> {
    mesh_types::parse_duration(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

/// Writes the annotations that the injector obeys. Answers a remark, if there is one.
fn annotate(object: &mut Value, shape: Shape, annotations: &Annotations, ingress: bool) -> String {
    let service = object["kind"] == "Service";
    let Some(target) = shape.part_mut(object) else { return " has no pod template".to_owned() };
    if service {
        // Of all settings, a Service carries only this one.
        if let Some(ports) = annotations.get(OPAQUE_PORTS) {
            target["metadata"]["annotations"][OPAQUE_PORTS] = json!(ports);
        }
        return String::new();
    }
    if target.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return " uses the node's network and stays unmeshed".to_owned();
    }
    let map = &mut target["metadata"]["annotations"];
    if map[INJECT] == "disabled" {
        return format!(" has {INJECT}: disabled and stays unmeshed");
    }
    map[INJECT] = json!(if ingress { "ingress" } else { "enabled" });
    for (key, value) in annotations {
        map[key] = json!(value);
    }
    udp_ports(target)
}

/// A remark where containers listen on UDP, which no proxy sees.
fn udp_ports(pod: &Value) -> String {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let mut ports = containers.filter_map(|c| c["ports"].as_array()).flatten();
    match ports.any(|p| p["protocol"] == "UDP") {
        true => " has UDP ports, whose traffic does not pass the proxy".to_owned(),
        false => String::new(),
    }
}

fn manually(object: &mut Value, template: &str, values: &Values, how: &How) -> Outcome {
    let owner = Owner {
        kind: object["kind"].as_str().unwrap_or_default().to_owned(),
        name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
    };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    let pod = object.pointer_mut(template).ok_or("has no pod template")?;
    // What the workload asks for. Of one that was injected here by hand, only what it asked for before that: the rest
    // was written down by the injection.
    let by_hand = kinds::is_by_hand(pod);
    let all = annotations_of(pod);
    kinds::strip(pod, false);
    let mut asked = if by_hand { annotations_of(pod) } else { all };
    if asked.get(INJECT).is_none_or(|v| v != "disabled") {
        asked.insert(INJECT.to_owned(), if how.ingress { "ingress" } else { "enabled" }.to_owned());
    }
    asked.extend(how.annotations.clone());
    pod["metadata"]["annotations"] = json!(asked);
    let workload = Workload {
        namespace: &namespace,
        namespace_annotations: &Annotations::new(),
        owner: (owner.kind != "Pod").then_some(&owner),
        control_plane_namespace: &how.control_plane_namespace,
        created_by: &format!("{} {}", kinds::CREATOR, crate::own_version()),
    };
    match mesh_injector::inject(pod, &workload, values) {
        Injection::Injected(injected, warnings) => {
            *pod = *injected;
            let notes = warnings.iter().map(|w| format!(": {w}"));
            Ok(notes.chain([udp_ports(pod)]).collect::<Vec<_>>().concat())
        }
        Injection::Skipped(reason) => Ok(format!(" stays unmeshed: {}", reason.explain())),
    }
}

/// Values for `--manual`: those of the cluster (or the defaults), then flags.
async fn values(args: &Args, globals: &Globals) -> anyhow::Result<Values> {
    let mut values = if args.ignore_cluster {
        Chart::ControlPlane.default_values()?
    } else {
        installed::values(globals).await?
    };
    args.proxy.apply(&mut values);
    args.values.apply(&mut values)?;
    let mut values: Values =
        serde_json::from_value(values).context("the values of the control plane cannot be read")?;
    if !args.ignore_cluster {
        let info = globals.client().await?.apiserver_version().await.ok();
        values.kubernetes = info.and_then(|i| mesh_injector::KubernetesVersion::parse(&i.major, &i.minor));
    }
    Ok(values)
}

/// Every document of a file, of a folder's YAML files, or of standard input.
fn documents(path: &Path) -> anyhow::Result<Vec<Value>> {
    let mut texts = Vec::new();
    if let Some(url) = path.to_str().filter(|p| p.starts_with("http://") || p.starts_with("https://")) {
        let fix = format!("fetch it and pipe it in:  curl -sL {url} | meshctl inject - | kubectl apply -f -");
        return Err(Problem::usage("manifests are not fetched", format!("{url} is a URL"), fix).into());
    }
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        texts.push(("standard input".to_owned(), text));
    } else if path.is_dir() {
        let listed = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut files: Vec<PathBuf> = listed.filter_map(|e| Some(e.ok()?.path())).collect();
        files.retain(|f| f.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|k| e == *k)));
        files.sort();
        for file in files {
            texts.push((file.display().to_string(), read(&file)?));
        }
    } else {
        texts.push((path.display().to_string(), read(path)?));
    }
    let mut documents = Vec::new();
    for (name, text) in texts {
        let parsed: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|e| not_kubernetes(&name, &e.to_string()))?;
        for document in parsed.into_iter().filter(|d| !d.is_null()) {
            if !document["kind"].is_string() {
                return Err(not_kubernetes(&name, "a document in it has no kind").into());
            }
            documents.push(document);
        }
    }
    Ok(documents)
}

fn not_kubernetes(name: &str, why: &str) -> Problem {
    let fix = "give Kubernetes objects as YAML, such as:  kubectl get deploy -o yaml | meshctl inject -";
    Problem::new(format!("{name} holds no Kubernetes objects"), crate::report::one_line(why), fix)
}

#[cfg(test)]
mod tests;
