//! A Docker daemon of the test's own. Owns its process, its folder and its namespaces, in which all its processes, networks, packet
//! rules and mounts are and end with it; nothing of this machine changes. Used by every test of this program.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

/// Longer than the daemon needs to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Seconds for a command. Longer than any of them takes; the drain of several nodes is the longest.
const COMMAND: &str = "120";

/// Runs as the first process of its namespaces. When it ends, the kernel ends all others in them. Its input is a pipe that the test
/// holds: it ends with the test, however that ends.
const SCRIPT: &str = r#"
ip link set lo up || exit
dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" --host "unix://$1/socket" \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$2" --bridge none \
    --default-address-pool base=10.213.0.0/16,size=24 --log-level warn $3 >"$1/log" 2>&1 </dev/null &
read -r end
kill "$!"
"#;

pub struct Engine {
    process: Child,
    folder: TempDir,
}

impl Engine {
    /// Starts a daemon with these arguments. The error says why none can run here.
    fn start(arguments: &str) -> Result<Self, String> {
        if std::env::var_os("CHATNODE_TEST_COMPOSE").is_none() {
            return Err("only tests/run --compose starts it, since these tests take minutes".into());
        }
        if !rustix::process::geteuid().is_root() {
            return Err("it needs root".into());
        }
        if !cfg!(target_arch = "x86_64") {
            return Err("PyPI has Docker Compose for x86-64 only".into());
        }
        let namespaces =
            Command::new("unshare").args(["--net", "--mount", "--pid", "--fork", "true"]).output();
        if !namespaces.is_ok_and(|output| output.status.success()) {
            return Err("it needs namespaces of its own".into());
        }
        for program in ["dockerd", "docker", "docker-compose", "iptables", "ip"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
            assert!(found.status.success(), "{program} is missing; tests/run installs it");
        }
        // In memory if possible: these tests should not wait for a busy disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        share_the_processor();
        let process = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(folder.path())
            .args([&cgroup(), arguments])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut engine = Self { process, folder };
        let plugins = engine.path("config/cli-plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        symlink(compose_v2(), plugins.join("docker-compose")).unwrap();
        let deadline = Instant::now() + START;
        while !engine.command("docker").arg("info").output().unwrap().status.success() {
            let log = engine.log();
            let ended = engine.process.try_wait().unwrap().is_some();
            if ended || log.contains("failed to start daemon") || Instant::now() > deadline {
                return Err(format!("its daemon does not start: {}", log.lines().last().unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(engine)
    }

    /// A file or folder of this engine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that talks to this daemon, and to no registry.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after", "5", COMMAND, program])
            .env("DOCKER_HOST", format!("unix://{}", self.path("socket").display()))
            .env("DOCKER_CONFIG", self.path("config"))
            // The builder of the daemon itself, since another is a program of its own.
            .env("DOCKER_BUILDKIT", "0")
            .stdin(Stdio::null());
        command
    }

    /// What `docker ARGUMENTS` prints. It has to succeed.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.command("docker").args(arguments).output().unwrap();
        printed(&format!("docker {}", arguments.join(" ")), &output)
    }

    /// The log of the daemon.
    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon\n{}", self.log());
        }
        drop(self.process.stdin.take());
        let _status = self.process.wait();
        // What ends at once leaves its control groups behind. There is a hierarchy of them, or one for each controller.
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
            remove_folders(&hierarchy.join(cgroup()));
        }
    }
}

/// Runs a story with an engine of its own, started with these arguments, on a thread in its network: there, the ports that it publishes are those of the loopback,
/// and no others are taken. Where Docker can't run, prints why.
pub fn with_engine<F: Future<Output = ()>>(
    arguments: &str,
    story: impl FnOnce(Engine) -> F + Send + 'static,
) {
    let engine = match Engine::start(arguments) {
        Ok(engine) => engine,
        Err(reason) => {
            // Not by `eprintln!`, whose output is not shown if a test passes.
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let line = format!("skipped {name}: Docker can't run here: {reason}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return;
        }
    };
    let thread = std::thread::spawn(move || {
        let network = File::open(format!("/proc/{}/ns/net", engine.process.id())).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        // Its threads and the programs that it starts are in the same network.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(story(engine));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What a command printed. It has to have succeeded.
pub fn printed(what: &str, output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}{error}", output.status);
    out
}

/// The name of the control group of this process's containers.
fn cgroup() -> String {
    format!("chatnode-tests-{}", std::process::id())
}

/// To the kernel, all containers together are one task among those of this machine, and get as much of a busy processor as one. Here
/// they get as much as several would.
fn share_the_processor() {
    let root = Path::new("/sys/fs/cgroup");
    let (hierarchy, file, value) = match root.join("cpu").exists() {
        true => ("cpu", "cpu.shares", "16384"),
        false => ("", "cpu.weight", "1600"),
    };
    let group = root.join(hierarchy).join(cgroup());
    // Without it, the tests only take longer.
    let _shared = std::fs::create_dir(&group).and_then(|()| std::fs::write(group.join(file), value));
}

fn remove_folders(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path());
        }
    }
    // An error means that there is none.
    let _gone = std::fs::remove_dir(folder);
}

/// Docker Compose v2, as `tests/run` installs it.
fn compose_v2() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compose/docker-compose");
    assert!(program.exists(), "{} is missing; tests/run installs it", program.display());
    program
}
