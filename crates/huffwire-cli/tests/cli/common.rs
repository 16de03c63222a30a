//! What the tests of the program share: a folder to work in, inputs, and the program itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

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

    /// Runs the program in the folder.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &[])
    }

    /// Runs the program in the folder with something on standard input.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &[u8]) -> Run {
        use std::io::Write;
        let mut child = Command::new(env!("CARGO_BIN_EXE_huffwire"))
            .args(args)
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

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

/// Bytes like those of trained weights: the sum of a few uniform values, as bf16.
pub(crate) fn bf16(values: usize, seed: u64) -> Vec<u8> {
    let mut random = random(seed);
    let value = |sum: f32| ((sum.to_bits() >> 16) as u16).to_le_bytes();
    (0..values)
        .flat_map(|_| value((0..4).map(|_| random() as f32 / 2f32.powi(63) - 1.0).sum()))
        .collect()
}

/// Bytes without any pattern.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = random(seed);
    (0..bytes).map(|_| (random() >> 32) as u8).collect()
}

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// A tensor of a safetensors file: name, type, shape, bytes.
pub(crate) type Tensor<'a> = (&'a str, &'a str, &'a [usize], &'a [u8]);

/// A safetensors file, written by hand so that the order of everything is as given.
pub(crate) fn safetensors(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let mut header = r#"{"__metadata__":{"format":"pt","note":"ünïcode"}"#.to_owned();
    let (mut at, mut data) = (0, Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let end = at + bytes.len();
        header.push_str(&format!(
            r#", "{name}" : {{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{at},{end}]}}"#
        ));
        at = end;
        data.extend_from_slice(bytes);
    }
    header.push_str("}   ");
    with_header(&header, &data)
}

/// A safetensors file with any header.
pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

/// A `.npy` file with this type string and shape.
pub(crate) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend_from_slice(&(header.len() as u16).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}
