//! What the tests of the program share: a folder to work in, inputs, and the program itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use huffwire_testing::{Random, float};
use tempfile::TempDir;

pub(crate) use huffwire_testing::files::{npy, safetensors, safetensors_of};
pub(crate) use huffwire_testing::noise;

/// A folder that is gone after the test.
pub(crate) struct Folder(TempDir);

/// What a run of the program left behind.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Every file below the folder, with its content.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.0.path(), &mut files);
        files
    }

    /// Every file below a folder in this one, with its content. Paths begin below that folder.
    pub(crate) fn tree(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let (root, mut files) = (self.path(name), BTreeMap::new());
        collect(&root, &mut files);
        let relative = |path: PathBuf| path.strip_prefix(&root).unwrap().to_owned();
        files.into_iter().map(|(path, content)| (relative(path), content)).collect()
    }

    /// Runs the program in the folder.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &[])
    }

    /// Runs the program in the folder with something on standard input.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &[u8]) -> Run {
        self.run_in(&[], args, stdin)
    }

    /// The same with environment variables.
    pub(crate) fn run_in(&self, variables: &[(&str, &str)], args: &[&str], stdin: &[u8]) -> Run {
        use std::io::Write;
        let mut child = Command::new(env!("CARGO_BIN_EXE_huffwire"))
            .args(args)
            .envs(variables.iter().copied())
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        // The program may end without having read everything.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output.into()
    }

    /// Runs the program, which must succeed; returns its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> Vec<u8> {
        let run = self.run(args);
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.stderr);
        run.stdout
    }

    /// Runs the program, which must print one JSON object on standard output.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&self.ok(args)).unwrap()
    }

    /// Runs the program, which must fail with exit code 1 and a message that mentions all of
    /// `mentions`, and leave every file as it was, none more and none less.
    pub(crate) fn fails(&self, args: &[&str], mentions: &[&str]) {
        let before = self.snapshot();
        let run = self.run(args);
        run.failed(args, mentions);
        assert!(self.snapshot() == before, "{args:?} changed files: {:?}", self.snapshot().keys());
    }
}

impl Run {
    pub(crate) fn failed(&self, args: &[&str], mentions: &[&str]) {
        let stderr = &self.stderr;
        assert_eq!(self.code, Some(1), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
        for mention in mentions {
            assert!(stderr.contains(mention), "{args:?} does not mention {mention:?}: {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        assert!(stderr.lines().count() <= 3, "{args:?}: {stderr}");
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }
}

/// Links are not followed: a snapshot has where they lead. Of pipes and sockets it has the names.
fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            files.insert(path.clone(), Vec::new());
            collect(&path, files);
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            files.insert(path, target.into_os_string().into_encoded_bytes());
        } else {
            let content = if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            files.insert(path, content);
        }
    }
}

/// The program, which gives way to all others: so a test can catch it at work also on a busy machine.
#[cfg(unix)]
pub(crate) fn patient() -> Command {
    let nice = ["nice", "-n", "19", env!("CARGO_BIN_EXE_huffwire")];
    let mut command = Command::new("env");
    // The tests themselves may run where SIGINT is turned off: in the background.
    #[cfg(target_os = "linux")]
    command.arg("--default-signal=HUP,INT");
    command.args(nice);
    command
}

/// Sends a signal at once; a program that does so would come too late on a busy machine.
#[cfg(unix)]
pub(crate) fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Bytes like those of trained weights, as bf16.
pub(crate) fn bf16(values: usize, seed: u64) -> Vec<u8> {
    float::to_bf16_bytes(&Random::new(seed).tensor(values, 0.0, 0.0))
}
