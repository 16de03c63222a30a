//! Many files in one call: everything comes back, and inputs are removed only when that is safe.

use std::fs;

use crate::common::{Folder, bf16, noise, npy, safetensors};

/// A model as it is downloaded: shards, index, tokenizer, and what else lies beside them.
pub(crate) fn model(folder: &Folder, name: &str) {
    let at = |file: &str| format!("{name}/{file}");
    for sub in ["", "original", "empty", "ends-in.hw", "a/b/c"] {
        fs::create_dir_all(folder.path(&at(sub))).unwrap();
    }
    let shard = |seed| safetensors(&[("w", "BF16", &[5000], &bf16(5000, seed))]);
    folder.write(&at("model-1-of-2.safetensors"), &shard(1));
    folder.write(&at("model-2-of-2.safetensors"), &shard(2));
    let index = br#"{"weight_map": {"w": "model-1-of-2.safetensors"}}"#;
    folder.write(&at("model.safetensors.index.json"), index);
    folder.write(&at("config.json"), br#"{"hidden_size": 64}"#);
    folder.write(&at("tokenizer.model"), &noise(3000, 3));
    folder.write(&at("original/ids.npy"), &npy("<i4", "(10,)", &noise(40, 4)));
    // Not what its name says, as in a clone that fetched no large files.
    folder.write(&at("original/lfs.safetensors"), b"version https://git-lfs.github.com/spec/v1\n");
    folder.write(&at("empty-file"), b"");
    folder.write(&at("a/b/c/.hw"), b"a name that is an ending");
    folder.write(&at("ends-in.hw/README"), b"a folder that looks like a .hw file");
    folder.ok(&[
        "compress",
        &at("model-1-of-2.safetensors"),
        "-o",
        &at("inner.safetensors.hw"),
        "-q",
    ]);
}

#[test]
fn a_folder_comes_back() {
    let folder = Folder::new();
    model(&folder, "model");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("config.json", folder.path("model/link")).unwrap();
        symlink("nowhere", folder.path("model/broken.hw")).unwrap();
        symlink("..", folder.path("model/a/up")).unwrap();
        symlink("../../../elsewhere", folder.path("model/a/b/out")).unwrap();
        symlink(".", folder.path("model/circle")).unwrap();
    }
    let before = folder.tree("model");
    let report = folder.json(&["compress", "-r", "model", "-o", "packed", "--json"]);
    assert_eq!((&report["ok"], &report["failures"]), (&true.into(), &serde_json::json!([])));
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), 11);
    let noted: Vec<_> = files.iter().filter(|file| !file["note"].is_null()).collect();
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(noted[0]["note"].as_str().unwrap().contains("as bytes"), "{noted:?}");
    #[cfg(unix)]
    assert_eq!((&report["links"], &report["links_leading_out"]), (&5.into(), &1.into()));
    // Tensors are coded as such.
    let inspected = folder.json(&["inspect", "packed/model-2-of-2.safetensors.hw", "--json"]);
    assert_eq!(inspected["originals"][0]["items"][1]["dtype"], "bf16");
    let report = folder.json(&["decompress", "-r", "packed", "-o", "back", "--json"]);
    assert_eq!(report["files"].as_array().unwrap().len(), 11);
    assert!(folder.tree("back") == before, "{:?}", folder.tree("back").keys());
    assert!(folder.tree("model") == before);
    // Once more, with everything there already: links and folders are no failures.
    folder.ok(&["decompress", "-r", "packed", "-o", "back", "--force", "-j", "5"]);
    assert!(folder.tree("back") == before);
}

/// On Unix a name is any bytes.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_come_back() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    for name in [&b"\xff\xfe.safetensors"[..], b"new\nline", b"a:b\\c", b"\x1b[2J"] {
        fs::write(folder.path("in").join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::create_dir(folder.path("in").join(OsStr::from_bytes(b"\x80"))).unwrap();
    let run = folder.run(&["compress", "-r", "in", "-o", "out", "-v"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!run.stdout.contains(&0x1b), "names drive no terminal");
    folder.ok(&["decompress", "-r", "out", "-o", "back"]);
    assert!(folder.tree("back") == folder.tree("in"));
}

#[test]
fn several_files_become_several_files() {
    let folder = Folder::new();
    let names = ["a.safetensors", "b.safetensors", "c.safetensors"];
    let content = |seed| safetensors(&[("w", "BF16", &[900], &bf16(900, seed))]);
    for (seed, name) in (1..).zip(names) {
        folder.write(name, &content(seed));
    }
    let text = folder.ok(&[&["compress", "-o", "new"][..], &names].concat());
    assert!(String::from_utf8(text).unwrap().starts_with("3 files: "));
    folder.ok(&[&["compress", "--threads", "1", "-j", "3"][..], &names].concat());
    for (seed, name) in (1..).zip(names) {
        let beside = folder.read(&format!("{name}.hw"));
        assert!(beside == folder.read(&format!("new/{name}.hw")));
        fs::remove_file(folder.path(name)).unwrap();
        folder.ok(&["decompress", &format!("{name}.hw")]);
        assert!(folder.read(name) == content(seed));
    }
    let packed = names.map(|name| format!("new/{name}.hw"));
    let packed = packed.each_ref().map(String::as_str);
    folder.ok(&[&["decompress", "-o", "back"][..], &packed].concat());
    assert!(names.iter().all(|name| folder.read(name) == folder.read(&format!("back/{name}"))));
    // Folders keep their names beside other inputs.
    folder.ok(&["compress", "-r", "new", "back", "a.safetensors", "-o", "all"]);
    folder.ok(&["decompress", "-r", "all", "-o", "again"]);
    assert!(folder.tree("again/new") == folder.tree("new"));
    assert!(folder.tree("again/back") == folder.tree("back"));
    assert!(folder.read("again/a.safetensors") == content(1));
}

#[test]
fn beside_its_input_a_hw_file_is_left_alone() {
    let folder = Folder::new();
    model(&folder, "model");
    let before = folder.tree("model");
    let report = folder.json(&["compress", "-r", "model", "--rm", "--json"]);
    assert_eq!(report["skipped_files"], 1);
    assert!(
        !folder.path("model/config.json").exists() && folder.path("model/config.json.hw").exists()
    );
    folder.ok(&["decompress", "-r", "model", "--rm"]);
    let mut expected = before;
    let inner = expected.remove(std::path::Path::new("inner.safetensors.hw"));
    assert!(inner.is_some());
    let shard = expected[std::path::Path::new("model-1-of-2.safetensors")].clone();
    expected.insert("inner.safetensors".into(), shard);
    assert!(folder.tree("model") == expected, "{:?}", folder.tree("model").keys());
}

/// What is no .hw file is a part of the folder, too.
#[test]
fn other_files_are_copied() {
    let folder = Folder::new();
    model(&folder, "model");
    folder.ok(&["compress", "-r", "model", "-o", "packed"]);
    folder.write("packed/NOTES", b"written later");
    folder.ok(&["decompress", "-r", "packed", "-o", "back", "--rm"]);
    assert_eq!(folder.read("back/NOTES"), b"written later");
    assert!(folder.tree("packed").keys().all(|path| folder.path("packed").join(path).is_dir()));
}

#[test]
fn one_input_is_removed_when_its_output_holds_the_same() {
    let folder = Folder::new();
    let content = safetensors(&[("w", "BF16", &[70_000], &bf16(70_000, 1))]);
    folder.write("m.safetensors", &content);
    let report = folder.json(&["compress", "m.safetensors", "--rm", "--json"]);
    assert_eq!(report["removed"], true);
    assert!(!folder.path("m.safetensors").exists());
    let report = folder.json(&["decompress", "m.safetensors.hw", "--rm", "--json"]);
    assert_eq!(report["removed"], true);
    assert!(folder.read("m.safetensors") == content && !folder.path("m.safetensors.hw").exists());
    // The last one counts.
    folder.ok(&["compress", "m.safetensors", "--rm", "--keep"]);
    assert!(folder.path("m.safetensors").exists());
    // With codebooks that the file only names.
    folder.ok(&["calibrate", "m.safetensors", "-o", "b"]);
    let books = ["--codebooks", "b", "--force", "--rm"];
    folder.ok(&[&["compress", "m.safetensors", "--reference-codebooks"][..], &books].concat());
    folder.ok(&[&["decompress", "m.safetensors.hw"][..], &books].concat());
    assert!(folder.read("m.safetensors") == content);
    folder.fails(&["compress", "m.safetensors", "--rm", "-o", "-"], &["--rm"]);
}

/// A pipe cannot be read again, so nothing tells that the output holds the same.
#[cfg(target_os = "linux")]
#[test]
fn only_files_are_removed() {
    let folder = Folder::new();
    folder.write("x.npy", &npy("<i4", "(1,)", &[1, 2, 3, 4]));
    folder.ok(&["compress", "x.npy"]);
    let made = std::process::Command::new("mkfifo").arg(folder.path("pipe")).status();
    assert!(made.unwrap().success());
    let before = folder.snapshot();
    for script in [
        r#"exec timeout 60 "$0" compress pipe --rm -o y.hw"#,
        r#"exec "$0" compress /dev/fd/3 --rm -o y.hw 3< <(cat x.npy)"#,
        r#"exec "$0" decompress /dev/fd/3 --rm -o y 3< <(cat x.npy.hw)"#,
    ] {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script, env!("CARGO_BIN_EXE_huffwire")]).current_dir(folder.path(""));
        crate::common::Run::from(command.output().unwrap()).failed(&[script], &["--rm"]);
        assert!(folder.snapshot() == before, "{script}");
    }
    // Neither does anybody remove what the system makes up.
    let args = ["compress", "/proc/version", "--dtype", "u8", "-o", "y.hw", "--rm", "--json"];
    let run = folder.run(&args);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((run.code, &report["removed"]), (Some(1), &false.into()));
    assert!(report["note"].as_str().unwrap().contains("only files are removed"), "{report}");
}

#[test]
fn all_files_of_a_sharded_model_are_removed() {
    let folder = Folder::new();
    model(&folder, "model");
    fs::remove_file(folder.path("model/inner.safetensors.hw")).unwrap();
    let index = "model/model.safetensors.index.json";
    let before = folder.tree("model");
    folder.ok(&["compress", index, "--rm", "-o", "m.hw"]);
    let left = folder.tree("model");
    let gone = ["model.safetensors.index.json", "model-1-of-2.safetensors"];
    assert_eq!(left.len(), before.len() - 2);
    assert!(gone.iter().all(|name| !left.contains_key(std::path::Path::new(name))));
    // Among several files its originals lie beside each other.
    folder.write("x.npy", &npy("<i4", "(1,)", &[1, 2, 3, 4]));
    folder.ok(&["compress", "x.npy"]);
    folder.ok(&["decompress", "m.hw", "x.npy.hw", "-o", "back"]);
    for name in gone {
        assert!(folder.read(&format!("back/{name}")) == before[std::path::Path::new(name)]);
    }
    assert!(folder.read("back/x.npy") == folder.read("x.npy"));
}

/// A shard that is a link is kept, and then all others are.
#[cfg(unix)]
#[test]
fn no_shard_is_removed_unless_all_are() {
    let folder = Folder::new();
    let index = br#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    folder.write("m.safetensors.index.json", index);
    let shard = |seed| safetensors(&[("w", "BF16", &[500], &bf16(500, seed))]);
    folder.write("1.safetensors", &shard(1));
    folder.write("elsewhere", &shard(2));
    std::os::unix::fs::symlink("elsewhere", folder.path("2.safetensors")).unwrap();
    let before = folder.snapshot();
    let run = folder.run(&["compress", "m.safetensors.index.json", "-o", "m.hw", "--rm"]);
    let kept =
        "m.safetensors.index.json: kept, and its output too: 2.safetensors: it is a symbolic link";
    run.failed(&["--rm"], &[kept]);
    fs::remove_file(folder.path("m.hw")).unwrap();
    assert!(folder.snapshot() == before);
}
