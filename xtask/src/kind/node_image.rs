//! The node image: a small Debian with systemd and containerd, the programs of Kubernetes, and the images of the control
//! plane already in containerd's store, so that a node pulls nothing. Its name carries a digest of everything it is made
//! from: an engine that has the image has the right one.

use super::archive::Archive;
use super::binaries::{self, KUBERNETES};
use super::engine::Engine;
use super::places;
use super::rootfs;
use super::step::{output, piped, step, wait_until};
use anyhow::{Context as _, Result, anyhow};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An image in every node with a shell and clients, for pods that look around.
pub(crate) const TOOLS_IMAGE: &str = "isthmus.dev/tools:1";

/// Programs that lie in a node's own file system.
const NODE_PROGRAMS: &[&str] = &["kubelet", "kubeadm", "kubectl", "crictl"];

/// Images of a single program, named as kubeadm names them: the program, the name after the registry, and the place.
const SINGLE: &[(&str, &str, &str)] = &[
    ("kube-apiserver", "kube-apiserver:v1.34.4", "usr/local/bin/kube-apiserver"),
    ("kube-controller-manager", "kube-controller-manager:v1.34.4", "usr/local/bin/kube-controller-manager"),
    ("kube-scheduler", "kube-scheduler:v1.34.4", "usr/local/bin/kube-scheduler"),
    ("etcd", "etcd:3.6.5-0", "usr/local/bin/etcd"),
    ("coredns", "coredns/coredns:v1.12.1", "coredns"),
    ("pause", "pause:3.10.1", "pause"),
];

/// The registry in the names of Kubernetes' images. Nothing is pulled from it.
const REGISTRY: &str = "registry.k8s.io";

/// The name of node images, before their tag.
const REPOSITORY: &str = "isthmus.dev/node";

/// Changes when the way an image is put together does.
const RECIPE: &str = "1";

/// Builds the image unless the engine has it; answers with its name.
pub(crate) fn ensure(engine: &Engine) -> Result<String> {
    super::packages::require()?;
    let (bin, debian) = std::thread::scope(|scope| {
        // Installing packages waits for the network and the disk, compiling for the processor.
        let debian = scope.spawn(rootfs::debian);
        let bin = binaries::build_all();
        (bin, debian.join().unwrap_or_else(|_| Err(anyhow!("its thread panicked"))))
    });
    let (bin, debian) = (bin?, debian?);
    let pause = build_pause()?;
    let name = name(&debian)?;
    if engine.has_image(&name) {
        return Ok(name);
    }
    let work = places::cache("work")?;
    places::remove(&work)?;
    let overlay = work.join("overlay");
    step("gathering the node's files", || gather(&bin, &overlay))?;
    step("writing the images of the control plane into the node", || {
        preload(&bin, &pause, &debian, &work, &overlay)
    })?;
    step(&format!("making the node image {name}"), || import(engine, &debian, &overlay, &name))?;
    places::remove(&work)?;
    remove_older(engine, &name)?;
    Ok(name)
}

/// Removes the images of this kind that were made before, of a gigabyte each, as far as no node uses them.
fn remove_older(engine: &Engine, name: &str) -> Result<()> {
    let format = "{{.Repository}}:{{.Tag}}";
    let listed = output(engine.docker().args(["image", "ls", "--format", format, REPOSITORY]))?;
    for older in listed.lines().filter(|image| *image != name) {
        // Refused while a node is made from it, which is as it should be.
        let _ = output(engine.docker().args(["image", "rm", older]));
    }
    Ok(())
}

/// The image's name.
fn name(debian: &Path) -> Result<String> {
    let debian = debian.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let key = places::key_of(&places::node_sources(), &format!("{RECIPE} {debian}"))?;
    Ok(format!("{REPOSITORY}:{KUBERNETES}-{key}"))
}

/// The program of a pod's first container, linked to nothing.
fn build_pause() -> Result<PathBuf> {
    let source = places::node_sources().join("pause.c");
    let key = super::step::digest_of(&source)?;
    let program = places::cache("go")?.join(format!("pause-{}", &key[..12]));
    if !program.is_file() {
        let partial = program.with_extension("partial");
        output(
            Command::new("gcc")
                .args(["-Os", "-static", "-s", "-Wall", "-Werror", "-o"])
                .arg(&partial)
                .arg(&source),
        )?;
        std::fs::rename(&partial, &program)?;
    }
    Ok(program)
}

fn gather(bin: &Path, overlay: &Path) -> Result<()> {
    std::fs::create_dir_all(overlay.join("usr/bin"))?;
    rootfs::add_own_files(overlay)?;
    for program in NODE_PROGRAMS {
        let target = overlay.join("usr/bin").join(program);
        std::fs::copy(bin.join(program), &target).with_context(|| format!("cannot copy {program}"))?;
    }
    std::fs::write(overlay.join("kind/version"), format!("{KUBERNETES}\n"))?;
    Ok(())
}

/// Writes images and has a containerd of this machine import them into the node's store.
fn preload(bin: &Path, pause: &Path, debian: &Path, work: &Path, overlay: &Path) -> Result<()> {
    let dir = work.join("images");
    std::fs::create_dir_all(&dir)?;
    let mut archive = Archive::new(&dir);
    for (program, name, at) in SINGLE {
        let file = if *program == "pause" { pause.to_owned() } else { bin.join(program) };
        let layer = archive.program(&file, at)?;
        let entrypoint = format!("/{at}");
        archive.image(&format!("{REGISTRY}/{name}"), &[&layer], &[&entrypoint])?;
    }
    let tree = work.join("tools");
    std::fs::create_dir_all(&tree)?;
    rootfs::copy_tools(debian, &tree)?;
    let tools = archive.layer(&tree)?;
    let proxy = archive.program(&bin.join("kube-proxy"), "usr/local/bin/kube-proxy")?;
    let proxy_name = format!("{REGISTRY}/kube-proxy:{KUBERNETES}");
    archive.image(&proxy_name, &[&tools, &proxy], &["/usr/local/bin/kube-proxy"])?;
    archive.image(TOOLS_IMAGE, &[&tools], &["/bin/bash"])?;
    import_into_store(archive.finish()?, work, &overlay.join("var/lib/containerd"))
}

fn import_into_store(mut archive: Command, work: &Path, root: &Path) -> Result<()> {
    // A socket's path may have no more than some 100 bytes.
    let runtime = places::state("import");
    std::fs::create_dir_all(&runtime).with_context(|| format!("cannot make {}", runtime.display()))?;
    let socket = runtime.join("sock");
    let config = work.join("containerd.toml");
    let text = format!(
        "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \
         \"io.containerd.internal.v1.opt\"]\n[grpc]\n  address = {socket:?}\n",
        state = runtime.join("state"),
    );
    std::fs::write(&config, text)?;
    let log = std::fs::File::create(work.join("containerd.log"))?;
    let mut containerd = Command::new("containerd");
    containerd.arg("--config").arg(&config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = Ended(containerd.spawn().context("cannot start containerd")?);
    let ctr = || {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(&socket).args(["--namespace", "k8s.io"]);
        ctr
    };
    wait_until("containerd", Duration::from_secs(30), || output(ctr().arg("version")).is_ok())?;
    piped(&mut archive, ctr().args(["images", "import", "--no-unpack", "-"]))?;
    child.end()?;
    places::remove(&runtime)
}

/// A process that ends with this value.
struct Ended(Child);

impl Ended {
    /// Asks it to end and waits for it, so that what it holds is on disk.
    fn end(mut self) -> Result<()> {
        output(Command::new("kill").args(["-TERM", &self.0.id().to_string()]))?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Ended already, unless something failed in between.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lays the node's files over the Debian system and has the engine make an image of it.
fn import(engine: &Engine, debian: &Path, overlay: &Path, name: &str) -> Result<()> {
    let root = overlay.with_file_name("root");
    places::remove(&root)?;
    // As links: nothing is copied, and what lies in the way is replaced, not written into.
    output(Command::new("cp").args(["-al"]).arg(debian).arg(&root))?;
    output(Command::new("cp").args(["-al", "--remove-destination"]).arg(overlay.join(".")).arg(&root))?;
    let mut tar = Command::new("tar");
    tar.args([
        "--numeric-owner",
        "-cf",
        "-",
        "--exclude=./dev/*",
        "--exclude=./proc/*",
        "--exclude=./sys/*",
        "-C",
    ]);
    tar.arg(&root).arg(".");
    let mut docker = engine.docker();
    docker.args(["import", "-c", "ENTRYPOINT [\"/usr/local/bin/entrypoint\", \"/sbin/init\"]"]);
    docker.args(["-c", "ENV container=docker", "-", name]);
    piped(&mut tar, &mut docker)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::SINGLE;
    use crate::kind::{binaries::KUBERNETES, places};

    fn tag(program: &str) -> &str {
        let (_, name, _) = SINGLE.iter().find(|(p, _, _)| *p == program).unwrap();
        name.split(':').nth(1).unwrap()
    }

    #[test]
    fn tags_are_the_versions_of_what_is_in_the_images() {
        let pinned = |module: &str| {
            std::fs::read_to_string(places::node_sources().join("go").join(module).join("go.mod")).unwrap()
        };
        for program in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            assert_eq!(tag(program), KUBERNETES);
        }
        let etcd = tag("etcd").split('-').next().unwrap();
        assert!(pinned("etcd").contains(&format!("go.etcd.io/etcd/server/v3 v{etcd} ")));
        assert!(pinned("coredns").contains(&format!("github.com/coredns/coredns {} ", tag("coredns"))));
    }
}
