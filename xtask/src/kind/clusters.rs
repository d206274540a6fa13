//! Clusters up, images into them, clusters away.

use super::config::{self, Wanted};
use super::engine::{self, Engine};
use super::fleet::{self, Fleet, NETWORK};
use super::keeper;
use super::places::{self, state};
use super::step::{logged, output, step};
use super::{Up, binaries, node_image};
use anyhow::{Context as _, Result, anyhow, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Brings clusters up, as far as they are not, and answers when pods can run in all of them and names resolve.
pub(crate) fn up(options: &Up) -> Result<()> {
    let wanted = config::wanted(&options.clusters, options.config.as_deref())?;
    let _lock = lock()?;
    let engine = Engine::find_or_start()?;
    let image = match (&options.image, engine.is_ours()) {
        (Some(image), _) => Image::Named(image.clone()),
        (None, true) => Image::Own(node_image::ensure(&engine)?),
        (None, false) => Image::Stock,
    };
    if !engine.is_ours() {
        eprintln!("• using the container engine of this machine");
    }
    binaries::build(&binaries::KUBECTL)?;
    let kind = binaries::build(&binaries::KIND)?.join("kind");
    std::fs::create_dir_all(places::STATE)?;
    let made = wanted.iter().map(|w| w.name.as_str()).collect::<Vec<_>>().join(", ");
    step(&format!("clusters {made}"), || create_all(&engine, &kind, &wanted, &image))?;
    let mut clusters = Fleet::read()?.map(|fleet| fleet.clusters).unwrap_or_default();
    clusters.extend(wanted.iter().map(|w| w.name.clone()));
    clusters.sort();
    clusters.dedup();
    let names: Vec<&str> = clusters.iter().map(String::as_str).collect();
    write_kubeconfig(&engine, &kind, &names)?;
    if options.flat {
        require_distinct_subnets(&names)?;
    }
    Fleet { clusters: clusters.clone(), flat: options.flat }.write(&engine)?;
    keeper::stop()?;
    keeper::start()?;
    step("nodes and cluster DNS", || in_parallel(&names, is_ready))?;
    print_contract(&engine)
}

/// Imports archives into every node of every cluster that is up.
pub(crate) fn load(archives: &[PathBuf]) -> Result<()> {
    for archive in archives {
        if !archive.is_file() {
            bail!("there is no archive {}\n  `cargo xtask images` writes them", archive.display());
        }
    }
    let (engine, fleet) = running()?;
    let kind = places::cache("bin")?.join("kind");
    let names: Vec<&str> = fleet.clusters.iter().map(String::as_str).collect();
    let shown: Vec<_> = archives.iter().filter_map(|a| a.file_name()).map(|n| n.to_string_lossy()).collect();
    step(&format!("loading {} into {}", shown.join(", "), names.join(", ")), || {
        in_parallel(&names, |name| {
            let mut load = engine.command(&kind);
            load.args(["load", "image-archive", "--name", name]).args(archives);
            output(&mut load).map(drop)
        })
    })
}

/// Takes clusters away with everything they left; does nothing when none is up.
pub(crate) fn down() -> Result<()> {
    if !Path::new(places::STATE).exists() {
        eprintln!("no clusters are up");
        return Ok(());
    }
    let lock = lock()?;
    keeper::stop()?;
    let ours_was_started = state("before.json").exists();
    let engine = if ours_was_started { Some(Engine::find_or_start()?) } else { Engine::find() };
    if let Some(engine) = engine {
        let fleet = Fleet::read().ok().flatten();
        step("removing clusters", || remove_clusters(&engine, fleet.as_ref()))?;
        engine.stop()?;
    }
    drop(lock);
    places::remove(Path::new(places::STATE))
}

/// Says what is up.
pub(crate) fn status() -> Result<()> {
    let Ok((engine, fleet)) = running() else {
        println!("no clusters are up");
        return Ok(());
    };
    println!("engine      {}", engine.host.as_deref().unwrap_or("this machine's own"));
    println!("kubeconfig  {}", places::KUBECONFIG);
    println!(
        "keeper      {}",
        if keeper::runs() { "runs" } else { "does not run: `cargo xtask kind up` starts it" }
    );
    for cluster in &fleet.clusters {
        println!("cluster {cluster}");
        for node in fleet::nodes(&engine, cluster)? {
            let runs = if node.runs { "runs" } else { "does not run" };
            println!("  {:<24} {:<14} {:<14} {runs}", node.name, node.role, node.address);
        }
        match output(fleet::kubectl(cluster)?.args(["get", "--raw", "/readyz", "--request-timeout=5s"])) {
            Ok(_) => println!("  API server ready"),
            Err(error) => println!("  API server: {error:#}"),
        }
    }
    Ok(())
}

/// The engine and the clusters that are up.
pub(crate) fn running() -> Result<(Engine, Fleet)> {
    let fleet = Fleet::read()?.context("no clusters are up\n  `cargo xtask kind up` brings them up")?;
    let engine =
        Engine::find().context("the container engine does not answer\n  `cargo xtask kind down`, then up")?;
    Ok((engine, fleet))
}

/// Which image nodes are made from.
enum Image {
    Own(String),
    Named(String),
    /// kind's own, pulled from its registry.
    Stock,
}

fn create_all(engine: &Engine, kind: &Path, wanted: &[Wanted], image: &Image) -> Result<()> {
    std::thread::scope(|scope| {
        let creations: Vec<_> =
            wanted.iter().map(|w| (w, scope.spawn(|| create(engine, kind, w, image)))).collect();
        let mut failed = Vec::new();
        for (wanted, creation) in creations {
            let made = creation.join().unwrap_or_else(|_| Err(anyhow!("its thread panicked")));
            if let Err(error) = made {
                failed.push(format!("cluster {}: {error:#}", wanted.name));
            }
        }
        if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
    })
}

/// Creates a cluster, unless it was created whole before.
fn create(engine: &Engine, kind: &Path, wanted: &Wanted, image: &Image) -> Result<()> {
    let name = &wanted.name;
    let whole = state(&format!("{name}.whole"));
    let containers = fleet::containers(engine, Some(name))?;
    if !containers.is_empty() {
        match std::fs::read_to_string(&whole) {
            Ok(config) if config == wanted.config => return Ok(()),
            Ok(config) => bail!(
                "it is up, made from {config}.yaml, not from {}.yaml\n  `cargo xtask kind down` first",
                wanted.config
            ),
            Err(_) if !engine.is_ours() => {
                bail!("a kind cluster of that name is there that this did not make\n  choose another name")
            }
            // Begun and not finished.
            Err(_) => {
                output(engine.docker().args(["rm", "--force", "--volumes"]).args(&containers))?;
            }
        }
    }
    let file = state(&format!("{name}.yaml"));
    std::fs::write(&file, wanted.rendered(matches!(image, Image::Own(_)))?)?;
    let mut create = engine.command(kind);
    create.args(["create", "cluster", "--wait", "180s", "--name", name, "--config"]).arg(&file);
    create.arg("--kubeconfig").arg(state(&format!("{name}.kubeconfig")));
    if let Image::Own(image) | Image::Named(image) = image {
        create.args(["--image", image]);
    }
    logged(&mut create, &state(&format!("{name}.log")))?;
    std::fs::write(&whole, &wanted.config).with_context(|| format!("cannot write {}", whole.display()))
}

/// One kubeconfig of all clusters, each under its own name (kind says `kind-NAME`).
fn write_kubeconfig(engine: &Engine, kind: &Path, names: &[&str]) -> Result<()> {
    let mut files = Vec::new();
    for name in names {
        let config = output(engine.command(kind).args(["get", "kubeconfig", "--name", name]))?;
        let file = state(&format!("{name}.kubeconfig"));
        std::fs::write(&file, config.replace(&format!("kind-{name}"), name))?;
        files.push(file);
    }
    let mut merge = Command::new(fleet::kubectl_path()?);
    merge.args(["config", "view", "--raw", "--flatten"]).env("KUBECONFIG", std::env::join_paths(&files)?);
    let merged = output(&mut merge)?;
    std::fs::write(places::KUBECONFIG, merged)
        .with_context(|| format!("cannot write {}", places::KUBECONFIG))?;
    output(fleet::kubectl(names[0])?.args(["config", "use-context", names[0]])).map(drop)
}

fn require_distinct_subnets(names: &[&str]) -> Result<()> {
    let mut seen: Vec<(String, &str)> = Vec::new();
    for &name in names {
        for (_, subnet) in keeper::pod_subnets(name)? {
            if let Some((_, other)) = seen.iter().find(|(s, _)| *s == subnet) {
                bail!(
                    "--flat: pods of {other} and of {name} have the same subnet {subnet}; use clusters with distinct ones"
                );
            }
            seen.push((subnet, name));
        }
    }
    Ok(())
}

fn is_ready(name: &str) -> Result<()> {
    let mut nodes = fleet::kubectl(name)?;
    output(nodes.args(["wait", "nodes", "--all", "--for=condition=Ready", "--timeout=180s"]))?;
    let mut wait = fleet::kubectl(name)?;
    wait.args(["--namespace", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=180s"]);
    output(&mut wait).map(drop)
}

fn in_parallel(names: &[&str], work: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = names.iter().map(|&name| (name, scope.spawn(move || work(name)))).collect();
        for (name, thread) in running {
            let done = thread.join().unwrap_or_else(|_| Err(anyhow!("its thread panicked")));
            done.with_context(|| format!("cluster {name}"))?;
        }
        Ok(())
    })
}

fn remove_clusters(engine: &Engine, fleet: Option<&Fleet>) -> Result<()> {
    let mut containers = Vec::new();
    if engine.is_ours() {
        containers = output(engine.docker().args(["ps", "--all", "--quiet"]))?
            .split_whitespace()
            .map(str::to_owned)
            .collect();
    } else {
        for name in fleet.into_iter().flat_map(|f| &f.clusters) {
            containers.extend(fleet::containers(engine, Some(name))?);
        }
    }
    let remove = || output(engine.docker().args(["rm", "--force", "--volumes"]).args(&containers));
    if !containers.is_empty()
        && let Err(error) = remove()
    {
        engine::thaw()?;
        remove().with_context(|| format!("again, after {error:#}"))?;
    }
    if engine.is_ours() {
        output(engine.docker().args(["network", "prune", "--force"]))?;
        output(engine.docker().args(["volume", "prune", "--force"]))?;
    }
    Ok(())
}

fn print_contract(engine: &Engine) -> Result<()> {
    let fleet = std::fs::read_to_string(places::FLEET)?;
    println!("export KUBECONFIG={}", places::KUBECONFIG);
    if let Some(host) = &engine.host {
        println!("export DOCKER_HOST={host}");
    }
    println!("export ISTHMUS_KIND={}", places::FLEET);
    eprintln!("\nclusters, nodes and addresses ({}), network {NETWORK}:\n{fleet}", places::FLEET);
    Ok(())
}

/// Held while clusters are changed, so that two commands take turns. It is on a folder that is kept: nothing is left.
fn lock() -> Result<File> {
    let folder = places::cache("bin")?;
    let file = File::open(&folder).with_context(|| format!("cannot open {}", folder.display()))?;
    if file.try_lock().is_err() {
        eprintln!("• waiting for another `cargo xtask kind` to finish …");
        file.lock().with_context(|| format!("cannot lock {}", folder.display()))?;
    }
    Ok(file)
}
