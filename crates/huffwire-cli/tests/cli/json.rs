//! The JSON of each command has the keys that `docs/json.md` documents, and no others.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::common::{Folder, bf16, noise, safetensors};

const DOCUMENT: &str = include_str!("../../../../docs/json.md");

/// A section of the document, and what was seen of it.
pub(crate) struct Section {
    name: &'static str,
    types: BTreeMap<&'static str, &'static str>,
    seen: BTreeMap<String, bool>,
}

impl Section {
    pub(crate) fn new(name: &'static str) -> Self {
        let (_, rest) = DOCUMENT.split_once(&format!("\n## {name}\n")).unwrap();
        let section = rest.split("\n## ").next().unwrap();
        let row = |line: &'static str| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            Some((cells.next()?.trim().trim_end_matches('`'), cells.next()?.trim()))
        };
        let types: BTreeMap<_, _> = section.lines().filter_map(row).collect();
        assert!(!types.is_empty(), "{name}");
        Self { name, types, seen: BTreeMap::new() }
    }

    /// Checks a report: all its keys are documented, and have the types that are documented.
    pub(crate) fn see(&mut self, report: &Value) {
        assert_eq!(report["schema_version"], 1, "{}", self.name);
        for (key, value) in report.as_object().unwrap() {
            if key != "schema_version" {
                self.walk(key, value);
            }
        }
    }

    fn walk(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(keys) => {
                keys.iter().for_each(|(key, value)| self.walk(&format!("{path}.{key}"), value));
            }
            Value::Array(values) => values.iter().for_each(|v| self.walk(&format!("{path}[]"), v)),
            // An array that is missing: its elements are what is documented.
            Value::Null if self.types.keys().any(|key| key.starts_with(&format!("{path}[]"))) => {}
            value => {
                let kind = self.types.get(path).copied().unwrap_or_default();
                assert!(!kind.is_empty(), "{}: {path} is not documented", self.name);
                let fits = match value {
                    Value::Null => kind.contains("or null"),
                    Value::Bool(_) => kind.starts_with("boolean"),
                    Value::String(_) => kind.starts_with("string"),
                    Value::Number(n) if n.is_f64() => kind.starts_with("number"),
                    _ => kind.starts_with("integer") || kind.starts_with("number"),
                };
                assert!(fits, "{}: {path} is {value}, not {kind}", self.name);
                *self.seen.entry(path.to_owned()).or_default() |= !value.is_null();
            }
        }
    }

    /// Checks that every documented key occurred, and was not always null.
    pub(crate) fn finish(self) {
        for path in self.types.keys() {
            assert_eq!(self.seen.get(*path), Some(&true), "{}: {path} never occurs", self.name);
        }
    }
}

fn check(name: &'static str, reports: &[Value]) {
    let mut section = Section::new(name);
    reports.iter().for_each(|report| section.see(report));
    section.finish();
}

/// What a run that fails prints.
fn failed(folder: &Folder, args: &[&str]) -> Value {
    let run = folder.run(args);
    assert_ne!(run.code, Some(0), "{args:?}");
    assert_eq!(run.stderr, "", "{args:?}");
    serde_json::from_slice(&run.stdout).unwrap()
}

const IN: &str = "m.safetensors";
const HW: &str = "m.safetensors.hw";

/// Another step of the model, with tensors that are new, gone and of another shape.
fn changed(folder: &Folder) {
    let old_w = bf16(50_000, 1);
    let mut w = old_w.clone();
    w[2000] ^= 1;
    let (v, x) = (noise(40, 2), noise(9, 3));
    let new =
        [("w", "BF16", &[100, 500][..], &w[..]), ("v", "U8", &[8, 5], &v), ("x", "U8", &[9], &x)];
    folder.write("changed.safetensors", &safetensors(&new));
    folder.write(
        "old.safetensors",
        &safetensors(&[
            ("w", "BF16", &[100, 500], &old_w),
            ("v", "U8", &[40], &v),
            ("gone", "U8", &[9], &x),
        ]),
    );
}

fn folder() -> Folder {
    let folder = Folder::new();
    let (w, v) = (bf16(50_000, 1), noise(40, 2));
    folder.write(IN, &safetensors(&[("w", "BF16", &[100, 500], &w), ("v", "U8", &[40], &v)]));
    folder
}

#[test]
fn compressing_and_restoring() {
    let folder = folder();
    let mut compress = Section::new("compress");
    changed(&folder);
    let delta = [
        "compress",
        "changed.safetensors",
        "--base",
        "old.safetensors",
        "-o",
        "delta.hw",
        "--json",
    ];
    compress.see(&folder.json(&delta));
    let plain = folder.json(&["compress", IN, "--json"]);
    assert!(plain["tensors"][0].get("shannon_saving_percent").is_none(), "costs time");
    compress.see(&plain);
    compress.see(&folder.json(&["compress", IN, "--json", "--stats", "--force"]));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(IN, folder.path("link.safetensors")).unwrap();
        let kept = failed(&folder, &["compress", "link.safetensors", "--rm", "--json"]);
        assert_eq!(kept["removed"], false);
        compress.see(&kept);
        compress.finish();
        std::os::unix::fs::symlink(HW, folder.path("link.hw")).unwrap();
        let kept = failed(&folder, &["decompress", "link.hw", "--rm", "--json"]);
        check("decompress", &[kept, folder.json(&["decompress", HW, "-o", "x", "--json"])]);
        std::fs::remove_file(folder.path("link.hw")).unwrap();
        let many = failed(&folder, &["compress", IN, "absent", "--force", "--json"]);
        folder.write("lfs.safetensors", b"version");
        let noted = folder.json(&["compress", "-r", IN, "lfs.safetensors", "-o", "new", "--json"]);
        check("Many files", &[many, noted]);
    }
    let dry = folder.json(&["compress", "--dry-run", IN, "--json"]);
    let broken = failed(&folder, &["compress", "--dry-run", IN, "absent.npy", "--json"]);
    assert_eq!(broken["failures"][0]["input"], "absent.npy");
    check("compress --dry-run", &[dry, broken]);
}

#[test]
fn analyzing_tensors() {
    let folder = folder();
    let w = bf16(50_000, 3);
    folder.write("layers.safetensors", &safetensors(&[("l.0.w", "BF16", &[100, 500], &w)]));
    let derived = ["--as", "e4m3", "--symbols", "auto,bytes", "--json"];
    let apart = [&["analyze", IN, "layers.safetensors"][..], &derived].concat();
    let calibrated = ["analyze", IN, "--calibrate-on", IN, "--json"];
    for (step, exponents) in [(10, [120, 121u16]), (500, [120, 121]), (900, [120, 126])] {
        // In the last step the exponents are far apart, as no built-in codebook expects.
        let elements = noise(50_000, step).into_iter().map(|random| {
            (exponents[usize::from(random & 1)] << 7 | u16::from(random >> 1)).to_le_bytes()
        });
        let w: Vec<u8> = elements.flatten().collect();
        folder.write(
            &format!("step-{step}.safetensors"),
            &safetensors(&[("l.0.w", "BF16", &[100, 500], &w), ("one", "U8", &[1], &[7])]),
        );
    }
    let steps = ["analyze", "step-10.safetensors", "step-500.safetensors", "step-900.safetensors"];
    let policy = ["--timeline", "--refresh-regret", "1", "--refresh-every", "50", "--json"];
    let policy = [&policy[..], &["--refresh-interval", "1KiB"]].concat();
    let timeline = folder.json(&[&steps[..], &policy].concat());
    // Too many shards and rules for each shard to be counted alone.
    let in_groups = ["--shards", "500", "--symbols", "auto,bytes,byte-planes", "--json"];
    let in_groups = folder.json(&[&["analyze", "layers.safetensors"][..], &in_groups].concat());
    check("analyze", &[folder.json(&apart), folder.json(&calibrated), timeline, in_groups]);
}

#[test]
fn looking_at_files() {
    let folder = folder();
    folder.ok(&["compress", IN]);
    folder.ok(&["quantize", IN, "-o", "q.hw", "-q"]);
    changed(&folder);
    folder.ok(&["compress", "changed.safetensors", "--base", IN, "-o", "delta.hw"]);
    let inspected = ["q.hw", HW, "delta.hw"].map(|file| folder.json(&["inspect", file, "--json"]));
    check("inspect", &inspected);
    let mut damaged = folder.read(HW);
    let places: Vec<u64> = inspected[1]["originals"][0]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["coded_bytes"].as_u64().unwrap())
        .collect();
    damaged[16 + places[0] as usize + 10] ^= 1;
    folder.write("damaged.hw", &damaged);
    let back = ["reverse", "old.safetensors", "delta-2.hw", "-o", "back.hw", "--json"];
    folder.ok(&[
        "compress",
        "changed.safetensors",
        "--base",
        "old.safetensors",
        "-o",
        "delta-2.hw",
    ]);
    check("fold and reverse", &[folder.json(&back)]);
    let verified = folder.json(&["verify", "q.hw", "--json"]);
    assert_eq!(verified["raw_bytes"], folder.read(IN).len(), "what it restores");
    check("verify", &[verified, failed(&folder, &["verify", "damaged.hw", "--json"])]);
    let other =
        safetensors(&[("w", "BF16", &[100, 500], &bf16(50_000, 2)), ("x", "U8", &[1], &[1])]);
    folder.write("other.safetensors", &other);
    check("diff", &[failed(&folder, &["diff", HW, "other.safetensors", "--json"])]);
}

#[test]
fn codebooks() {
    let folder = folder();
    check("calibrate", &[folder.json(&["calibrate", IN, "-o", "b", "--json"])]);
    let list = ["codebooks", "list", "--json"];
    check("codebooks list", &[folder.json(&list), folder.json(&["inspect", "b", "--json"])]);
    check("codebooks show", &[folder.json(&["codebooks", "show", "--json"])]);
}

#[test]
fn measuring() {
    let folder = folder();
    let mut quantize = Section::new("quantize");
    quantize.see(&folder.json(&["quantize", IN, "--json"]));
    // So many values are no alphabet for some encoders.
    let levels = ["--levels", "1000000000"];
    quantize.see(&folder.json(&[&["quantize", IN, "--json"][..], &levels].concat()));
    quantize.finish();
    let bench = ["bench", IN, "--rounds", "1", "--json"];
    let bench = [folder.json(&bench), folder.json(&[&bench[..], &["--message", "64KiB"]].concat())];
    let mut section = Section::new("bench");
    bench.iter().for_each(|report| section.see(report));
    // Not every processor has these.
    for key in ["clock_ghz", "memcpy.non_temporal_gbps"] {
        section.seen.insert(key.to_owned(), true);
    }
    section.finish();
    let plan = ["plan", "--link", "10mbit", "--size", "16MiB", "--json"];
    check("plan", &[folder.json(&plan)]);
}

#[test]
fn errors() {
    let folder = folder();
    let damaged = noise(100, 1);
    folder.write("damaged.hw", &damaged);
    for args in [
        &["compress", "absent.safetensors", "--json"][..],
        &["decompress", "damaged.hw", "--json"],
        &["inspect", "damaged.hw", "--json"],
        &["verify", "damaged.hw", "--json"],
        &["bench", "absent.npy", "--json"],
        &["compress", IN, "--block-size", "3K", "--json"],
        &["diff", IN, "absent.npy", "--json"],
    ] {
        let run = folder.run(args);
        let error: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(error["exit_code"].as_i64(), run.code.map(i64::from), "{args:?}");
        assert!(!error["error"].as_str().unwrap().contains('\n'), "{error}");
        check("Errors", &[error]);
    }
    // The data go to standard output, so the error does not.
    for (args, code) in [
        (&["compress", "absent.npy", "-o", "-", "--json"][..], 1),
        (&["compress", IN, "-o", "-", "--json", "--nonsense"], 2),
        (&["compress", IN, "-o-", "--json", "--nonsense"], 2),
        (&["decompress", HW, "--output=-", "--json", "--nonsense"], 2),
        (&["decompress", HW, "--tensor", "w", "--json", "--nonsense"], 2),
        (&["compress", "-", "--json", "--nonsense"], 2),
        (&["analyze", "absent.npy", "--report", "-", "--json"], 1),
        (&["analyze", IN, "--report", "-", "--json", "--nonsense"], 2),
        (&["analyze", IN, "--report=-", "--json", "--nonsense"], 2),
    ] {
        let run = folder.run(args);
        assert!(run.stdout.is_empty(), "{args:?}");
        assert_eq!(run.code, Some(code), "{args:?}");
        check("Errors", &[serde_json::from_str(&run.stderr).unwrap()]);
    }
    for args in [["compress", IN, "-o", "x.hw"], ["analyze", IN, "--report", "x.html"]] {
        let run = folder.run(&[&args[..], &["--json", "--nonsense"]].concat());
        check("Errors", &[serde_json::from_slice(&run.stdout).unwrap()]);
    }
}
