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

/// Runs `inject`.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let documents = documents(&args.path)?;
    let annotations = args.proxy.annotations();
    let values = if args.manual { Some(values(&args, globals).await?) } else { None };
    let mut failed = false;
    let mut out = Vec::new();
    for mut document in documents {
        kinds::each(&mut document, &mut |object, shape| {
            let outcome = match (&values, shape) {
                (Some(values), Shape::Workload(template)) => {
                    manually(object, template, values, &annotations, globals, args.ingress)
                }
                _ => Ok(annotate(object, shape, &annotations, args.ingress)),
            };
            let name = kinds::name_of(object);
            match outcome {
                Ok(note) => eprintln!("{} {name}{note}", if note.is_empty() { "√" } else { "‼" }),
                Err(reason) => {
                    failed = true;
                    eprintln!("× {name}: {reason}");
                }
            }
        });
        out.push(Manifest { text: to_yaml(&document), object: document });
    }
    manifest::print(&out, args.output)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs `uninject`.
pub(crate) fn uninject(args: &UninjectArgs) -> anyhow::Result<ExitCode> {
    let mut out = Vec::new();
    for mut document in documents(&args.path)? {
        kinds::each(&mut document, &mut |object, shape| {
            match shape {
                Shape::Workload(template) => {
                    if let Some(template) = object.pointer_mut(template) {
                        kinds::strip(template);
                    }
                }
                Shape::Annotated => kinds::strip_annotations(object),
            }
            eprintln!("√ {}", kinds::name_of(object));
        });
        out.push(Manifest { text: to_yaml(&document), object: document });
    }
    manifest::print(&out, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the annotations that the injector obeys. Answers a remark, if there is one.
fn annotate(object: &mut Value, shape: Shape, annotations: &Annotations, ingress: bool) -> String {
    let service = object["kind"] == "Service";
    let target = match shape {
        Shape::Workload(template) => object.pointer_mut(template),
        Shape::Annotated => Some(object),
    };
    let Some(target) = target else { return " has no pod template".to_owned() };
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
    String::new()
}

fn manually(
    object: &mut Value,
    template: &str,
    values: &Values,
    annotations: &Annotations,
    globals: &Globals,
    ingress: bool,
) -> Result<String, String> {
    let owner = Owner {
        kind: object["kind"].as_str().unwrap_or_default().to_owned(),
        name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
    };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    let pod = object.pointer_mut(template).ok_or("has no pod template")?;
    // What the workload asks for, before the traces of an earlier injection are taken away together with it.
    let mut asked = annotations_of(pod);
    kinds::strip(pod);
    if asked.get(INJECT).is_none_or(|v| v != "disabled") {
        asked.insert(INJECT.to_owned(), if ingress { "ingress" } else { "enabled" }.to_owned());
    }
    asked.extend(annotations.clone());
    pod["metadata"]["annotations"] = json!(asked);
    let workload = Workload {
        namespace: &namespace,
        namespace_annotations: &Annotations::new(),
        owner: (owner.kind != "Pod").then_some(&owner),
        control_plane_namespace: &globals.linkerd_namespace,
        created_by: concat!("isthmus/cli ", env!("CARGO_PKG_VERSION")),
    };
    match mesh_injector::inject(pod, &workload, values) {
        Injection::Injected(injected, warnings) => {
            *pod = *injected;
            let notes: Vec<String> = warnings.iter().map(|w| format!(": {w}")).collect();
            Ok(notes.concat())
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
    serde_json::from_value(values).context("the values of the control plane cannot be read")
}

/// Every document of a file, of a folder's YAML files, or of standard input.
fn documents(path: &Path) -> anyhow::Result<Vec<Value>> {
    let mut texts = Vec::new();
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
