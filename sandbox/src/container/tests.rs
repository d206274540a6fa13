use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::spec::{Bind, Launch, Place, Rights, Root};
use super::*;
use crate::network::NetNs;

/// Docker's default set.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

/// The shim that cargo built beside this test.
pub(crate) fn shim() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(Path::parent).unwrap().join("isthmus-sandbox-init")
}

struct Node {
    runtime: Runtime,
    netns: NetNs,
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Runtime::start(shim(), directory.path()).unwrap();
        Self { runtime, netns: NetNs::create().unwrap(), directory }
    }

    fn launch(&self, script: &str) -> Launch {
        let root = Root {
            scratch: self.runtime.scratch().to_owned(),
            hostname: "pod-1".into(),
            files: [(PathBuf::from("/etc/hosts"), "127.0.0.1 localhost\n".to_owned())].into(),
            ..Root::default()
        };
        Launch {
            place: Place::New(root),
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![("PATH".into(), "/isthmus:/usr/bin:/bin".into()), ("WHO".into(), "me".into())],
            working_dir: "/work".into(),
            rights: Rights { capabilities: DEFAULT_CAPABILITIES, ..Rights::default() },
            terminal: false,
        }
    }

    /// Starts a process whose output is collected in the log of `name`.
    async fn start(&self, name: &str, launch: Launch) -> Result<Process, StartError> {
        let log = LogFile::create(self.directory.path(), name, 0).unwrap();
        let (output, _) = log.stream("stdout").unwrap();
        let (error, _) = log.stream("stderr").unwrap();
        let netns = matches!(launch.place, Place::New(_)).then(|| self.netns.clone());
        Process::start(&self.runtime, launch, netns, Streams { input: None, output, error }).await
    }

    async fn log(&self, name: &str, until: &str) -> String {
        let path = LogFile::path(self.directory.path(), name, 0);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
            let text = lines.join("\n");
            if text.contains(until) {
                return text;
            }
            assert!(Instant::now() < deadline, "the log of {name} never said {until:?}: {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn run(&self, name: &str, launch: Launch) -> (i32, String) {
        let process = self.start(name, launch).await.unwrap();
        let code = process.wait().await.code;
        (code, self.log(name, "end").await)
    }
}

#[tokio::test]
async fn a_container_has_processes_mounts_network_and_names_of_its_own() {
    let node = Node::new();
    let script = "echo pid $$; echo $WHO at $(hostname) in $(pwd); cat /etc/hosts; ls /proc | grep -c '^[0-9]'; \
                  ls -d /work /usr/bin /tmp /dev/null; ls /sys/class/net; touch /tmp/x /usr/x; echo end";
    let (code, out) = node.run("c", node.launch(script)).await;
    assert_eq!(code, 0);
    assert!(out.starts_with("pid 1\nme at pod-1 in /work\n127.0.0.1 localhost\n"), "{out}");
    assert!(out.contains("/dev/null\n/tmp\n/usr/bin\n/work\nlo\n"), "{out}");
    assert!(out.contains("touch: cannot touch '/usr/x': Read-only file system"), "{out}");
}

#[tokio::test]
async fn exit_codes_signals_and_start_failures_are_told_apart() {
    let node = Node::new();
    let (code, _) = node.run("code", node.launch("echo end; exit 3")).await;
    assert_eq!(code, 3);

    let trap =
        node.launch("trap 'echo got it; echo end; exit 7' TERM; echo up; while :; do sleep 0.01; done");
    let process = node.start("trap", trap).await.unwrap();
    node.log("trap", "up").await;
    process.signal(15);
    assert_eq!(process.wait().await.code, 7);

    let process = node.start("kill", node.launch("echo up; sleep 100")).await.unwrap();
    node.log("kill", "up").await;
    process.signal(9);
    assert_eq!(process.wait().await.code, 137);

    let launch = Launch { argv: vec!["no-such-program".into()], ..node.launch("") };
    let error = node.start("missing", launch).await.unwrap_err();
    assert_eq!(error.code, 127);
    assert_eq!(error.message, "exec \"no-such-program\": executable file not found in $PATH");

    let mut launch = node.launch("");
    let Place::New(root) = &mut launch.place else { unreachable!() };
    root.binds.push(Bind { source: "/nonexistent".into(), target: "/x".into(), read_only: false });
    let error = node.start("mount", launch).await.unwrap_err();
    assert_eq!(error.code, 128);
    assert!(error.message.starts_with("mount /nonexistent at /x: "), "{error}");
}

#[tokio::test]
async fn users_have_the_groups_and_capabilities_they_are_given() {
    let node = Node::new();
    let script = "id -u; id -g; id -G; grep -E 'Cap(Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status; echo end";
    let mut launch = node.launch(script);
    launch.rights = Rights {
        uid: 2102,
        gid: 2102,
        groups: vec![2102, 3000],
        capabilities: 1 << 12,
        ambient: 1 << 12,
        no_new_privileges: true,
    };
    let (_, out) = node.run("user", launch).await;
    let set = "0000000000001000";
    let expected =
        format!("2102\n2102\n2102 3000\nCapEff:\t{set}\nCapBnd:\t{set}\nCapAmb:\t{set}\nNoNewPrivs:\t1\nend");
    assert_eq!(out, expected);
    let (_, out) = node.run("root", node.launch(script)).await;
    assert!(out.contains("CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n"), "{out}");
}

#[tokio::test]
async fn volumes_are_shared_by_containers_and_a_read_only_root_is_not_written_to() {
    let node = Node::new();
    let volume = node.runtime.here(Path::new("uid/volumes/data"));
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("from-node"), "hello\n").unwrap();
    let mut launch =
        node.launch("cat /data/from-node; echo back > /data/reply; touch /x; touch /ro/x; echo end");
    let Place::New(root) = &mut launch.place else { unreachable!() };
    let source = node.runtime.there(Path::new("uid/volumes/data"));
    root.read_only = true;
    root.binds.push(Bind { source: source.clone(), target: "/data".into(), read_only: false });
    root.binds.push(Bind { source, target: "/ro".into(), read_only: true });
    let (_, out) = node.run("volumes", launch).await;
    assert!(out.starts_with("hello\n"), "{out}");
    assert!(out.contains("'/x': Read-only file system"), "{out}");
    assert!(out.contains("'/ro/x': Read-only file system"), "{out}");
    assert_eq!(std::fs::read_to_string(volume.join("reply")).unwrap(), "back\n");
}

#[tokio::test]
async fn another_process_can_join_a_container() {
    let node = Node::new();
    let process = node.start("host", node.launch("echo here > /tmp/mark; echo up; sleep 100")).await.unwrap();
    node.log("host", "up").await;
    let mut launch = node.launch("cat /tmp/mark; hostname; cat /proc/1/comm; echo end; exit 4");
    launch.place = Place::Inside(process.pid());
    let (code, out) = node.run("guest", launch).await;
    assert_eq!((code, out.as_str()), (4, "here\npod-1\nsh\nend"));
}

#[tokio::test]
async fn dropping_the_runtime_ends_every_process() {
    let node = Node::new();
    let process = node.start("c", node.launch("echo up; sleep 100")).await.unwrap();
    node.log("c", "up").await;
    drop(node);
    assert_eq!(process.wait().await.code, 137);
}

/// Not a test of its own: the process that the next test kills. Prints the host's ids of all its descendants.
#[tokio::test]
#[ignore = "run by killing_the_supervisor_leaves_nothing"]
async fn supervisor_to_be_killed() {
    let node = Node::new();
    // One that changes its user and one that leaves its session: both usual ways to outlive a parent.
    let mut user = node.launch("setsid sleep 1000 & echo up; sleep 1000");
    user.rights.uid = 65534;
    let _first = node.start("first", user).await.unwrap();
    let _second = node.start("second", node.launch("(sleep 1000 &); echo up; sleep 1000")).await.unwrap();
    node.log("first", "up").await;
    node.log("second", "up").await;
    println!("directory {}", node.directory.path().display());
    std::future::pending::<()>().await;
}

#[test]
fn killing_the_supervisor_leaves_nothing() {
    use std::io::{BufRead, BufReader};
    let mut supervisor = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "container::tests::supervisor_to_be_killed", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(supervisor.stdout.take().unwrap()).lines();
    let directory = lines
        .map(Result::unwrap)
        .find_map(|line| line.split_once("directory ").map(|(_, path)| path.to_owned()))
        .unwrap();
    let descendants = descendants(supervisor.id());
    assert!(descendants.len() >= 7, "shims, programs and their children: {descendants:?}");
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(15);
    while descendants.iter().any(|pid| is_alive(*pid)) {
        assert!(Instant::now() < deadline, "processes outlived the supervisor");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&directory), "a mount outlived the supervisor");
    std::fs::remove_dir_all(directory).unwrap();
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn descendants(of: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap();
    let all: Vec<u32> = pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect();
    let mut found = vec![of];
    let mut index = 0;
    while index < found.len() {
        let parent = found[index];
        found.extend(all.iter().filter(|pid| stat(**pid).is_some_and(|(_, of)| of == parent)));
        index += 1;
    }
    found.remove(0);
    found
}
