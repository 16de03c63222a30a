//! Many files in one call, and something is wrong with some of them.

use std::fs;
#[cfg(unix)]
use std::process::{Child, Command, Stdio};

#[cfg(unix)]
use rustix::process::Signal;

use crate::common::{Folder, Run, bf16, noise, npy, safetensors};
#[cfg(unix)]
use crate::common::{patient, signal};
use crate::many::model;

const TIMES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Files `in/0` to `in/9`, the last one of so many values.
pub(crate) fn ten(folder: &Folder, last: usize) {
    fs::create_dir(folder.path("in")).unwrap();
    for (seed, name) in (0..).zip(TIMES) {
        let values = if name == "9" { last } else { 500 };
        let content = safetensors(&[("w", "BF16", &[values], &bf16(values, seed))]);
        folder.write(&format!("in/{name}.safetensors"), &content);
    }
}

#[cfg(unix)]
fn bash(folder: &Folder, script: &str) -> Run {
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_huffwire")]).current_dir(folder.path(""));
    command.output().unwrap().into()
}

#[cfg(unix)]
fn start(folder: &Folder, args: &[&str]) -> Child {
    patient()
        .args(args)
        .current_dir(folder.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The names in a folder, those of files that are not complete as `partial`.
pub(crate) fn names(folder: &Folder, name: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.path(name)) else { return Vec::new() };
    let name = |name: String| if name.ends_with(".partial") { "partial".to_owned() } else { name };
    let mut names: Vec<_> =
        entries.map(|entry| name(entry.unwrap().file_name().into_string().unwrap())).collect();
    names.sort();
    names
}

/// A limit on the size of files stands in for a disk that fills up.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_in_the_middle_of_the_tenth_file() {
    let folder = Folder::new();
    ten(&folder, 200_000);
    for jobs in ["1", "3"] {
        let script = format!(r#"ulimit -f 64; exec "$0" compress -r in -o out{jobs} -j {jobs}"#);
        let run = bash(&folder, &script);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains("9.safetensors.hw: cannot be written"), "{}", run.stderr);
        let text = String::from_utf8(run.stdout).unwrap();
        assert!(text.contains("9 files") && text.contains("1 failure"), "{text}");
        let expected: Vec<_> = TIMES[..9].iter().map(|n| format!("{n}.safetensors.hw")).collect();
        assert_eq!(names(&folder, &format!("out{jobs}")), expected);
    }
    folder.ok(&["decompress", "-r", "out1", "-o", "back"]);
    assert!(TIMES[..9].iter().all(|name| {
        let name = format!("{name}.safetensors");
        folder.read(&format!("back/{name}")) == folder.read(&format!("in/{name}"))
    }));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_named_and_the_rest_is_done() {
    let folder = Folder::new();
    ten(&folder, 500);
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("in/socket")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.path("in/pipe")).status().unwrap().success());
    let run = folder.run(&["compress", "-r", "in", "-o", "out"]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
    for mention in ["in/pipe: this is a named pipe", "in/socket: this is a socket"] {
        assert!(run.stderr.contains(mention), "{}", run.stderr);
    }
    assert_eq!(names(&folder, "out").len(), 10);
    let report = folder.run(&["compress", "-r", "in", "-o", "json", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["failures"][1]["input"]),
        (&false.into(), &"in/socket".into())
    );
}

/// Also for root, without the privilege that lets it read everything.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_done() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    ten(&folder, 500);
    fs::create_dir(folder.path("in/locked")).unwrap();
    let lock = |name: &str, mode| {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    lock("in/3.safetensors", 0o000);
    lock("in/locked", 0o000);
    let as_root = fs::read(folder.path("in/3.safetensors")).is_ok();
    let drop = "setpriv --bounding-set=-dac_override,-dac_read_search";
    let script = format!(r#"exec {} "$0" compress -r in -o out"#, if as_root { drop } else { "" });
    let run = bash(&folder, &script);
    lock("in/locked", 0o755);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
    for mention in ["in/3.safetensors: cannot be opened", "in/locked: this folder cannot be read"] {
        assert!(run.stderr.contains(mention), "{}", run.stderr);
    }
    let done = names(&folder, "out");
    assert_eq!(done.len(), 10, "nine files and a folder: {done:?}");
}

#[test]
fn damaged_files_are_named_and_the_rest_is_restored() {
    let folder = Folder::new();
    ten(&folder, 500);
    folder.ok(&["compress", "-r", "in", "-o", "out"]);
    let mut damaged = folder.read("out/4.safetensors.hw");
    damaged[200] ^= 1;
    folder.write("out/4.safetensors.hw", &damaged);
    folder.write("out/5.safetensors.hw", b"HUFFWIRE, but cut");
    folder.write("out/text.hw", b"not ours");
    let run = folder.run(&["decompress", "-r", "out", "-o", "back", "--rm"]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stderr.lines().count(), 3, "{}", run.stderr);
    for name in ["4.safetensors.hw", "5.safetensors.hw", "text.hw"] {
        assert!(run.stderr.contains(&format!("out/{name}: ")), "{}", run.stderr);
    }
    assert_eq!(names(&folder, "back").len(), 8);
    assert_eq!(names(&folder, "out").len(), 3, "what was not restored was not removed");
}

#[test]
fn what_would_be_lost_is_refused_before_anything_is_written() {
    let folder = Folder::new();
    model(&folder, "a");
    model(&folder, "b");
    for (args, mentions) in [
        (
            &["compress", "a/config.json", "b/config.json", "-r", "-o", "out"][..],
            &["out/config.json.hw", "a/config.json", "b/config.json"][..],
        ),
        (&["compress", "-r", "a", "-o", "a"], &["a", "lies in the folder"]),
        (&["compress", "-r", "a", "-o", "a/original/../new"], &["lies in the folder a"]),
        (&["compress", "-r", "a", "b", "-o", "b/x"], &["lies in the folder b"]),
        (&["compress", "-r", "a", "a/../a", "-o", "x"], &["two inputs"]),
        (&["compress", "-r", "a", "b", "-o", "."], &["./a", "lies in the folder a"]),
        (&["compress", "-r", "a", "b/config.json", "-o", ".", "--rm"], &["lies in the folder a"]),
        (
            &["compress", "-r", "a/inner.safetensors.hw", "a/inner.safetensors", "--force"],
            &["inner"],
        ),
        (&["compress", "a", "-o", "x"], &["a: this is a folder", "-r"]),
        (&["compress", "-r", "a", "-o", "-"], &["must be a folder"]),
        (&["compress", "-r", "a", "-o", "b/config.json"], &["must be a folder"]),
        (&["compress", "-", "a/config.json", "-o", "x"], &["standard input"]),
        (&["compress", "-r", "a", "--dtype", "u8"], &["--dtype"]),
        (&["compress", "-r", "a", "--dtype", "u8", "--dry-run"], &["--dtype"]),
        (&["compress", "a", "absent", "-o", "not/to/be"], &["a: this is a folder", "absent"]),
    ] {
        if args.contains(&"a/inner.safetensors") {
            folder.write("a/inner.safetensors", b"its output would be the other input");
        }
        folder.fails(args, mentions);
    }
    folder.ok(&["compress", "-r", "a", "-o", "packed"]);
    folder.write("packed/config.json", b"another one");
    folder
        .fails(&["decompress", "-r", "packed", "-o", "back"], &["back/config.json", "two inputs"]);
}

/// An input of which nothing can be made is one that somebody wants to keep.
#[test]
fn an_input_that_failed_is_not_replaced() {
    let folder = Folder::new();
    folder.write("x.hw", b"what is in it once more, and no .hw file");
    folder.ok(&["compress", "x.hw", "--dtype", "u8", "-q"]);
    folder.write("x.hw", b"changed since");
    let args = ["decompress", "x.hw.hw", "x.hw", "--force"];
    folder.fails(&args, &["x.hw", "same file"]);
}

/// Whoever made a link in the output folder did not mean that something is written where it leads.
#[cfg(unix)]
#[test]
fn nothing_is_written_through_links() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    model(&folder, "model");
    for name in ["out", "elsewhere"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    symlink("../elsewhere", folder.path("out/original")).unwrap();
    let run = folder.run(&["compress", "-r", "model", "-o", "out"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("out/original: this exists and is no folder"), "{}", run.stderr);
    assert!(names(&folder, "elsewhere").is_empty());
    assert!(folder.path("out/config.json.hw").exists());
}

/// A link in the output folder may have come with a folder that was restored before.
#[cfg(unix)]
#[test]
fn links_are_replaced_and_not_written_through() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    for name in ["i", "o", "home", "v1", "v2"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    let (a, b) = (noise(300, 1), noise(400, 2));
    folder.write("i/a", &a);
    folder.write("i/b", &b);
    symlink("b.hw", folder.path("o/a.hw")).unwrap();
    let run = folder.run(&["compress", "-r", "i", "-o", "o"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("o/a.hw: already exists"), "{}", run.stderr);
    folder.ok(&["compress", "-r", "i", "-o", "o", "--force", "--rm", "-j", "1"]);
    folder.ok(&["decompress", "-r", "o", "-o", "i"]);
    assert!(folder.read("i/a") == a && folder.read("i/b") == b);

    folder.write("home/bashrc", b"mine");
    symlink(folder.path("home/bashrc"), folder.path("v1/a")).unwrap();
    folder.write("v2/a", b"theirs");
    for version in ["1", "2"] {
        let (from, packed) = (format!("v{version}"), format!("p{version}"));
        folder.ok(&["compress", "-r", &from, "-o", &packed]);
        folder.ok(&["decompress", "-r", &packed, "-o", "back", "--force"]);
    }
    assert_eq!(folder.read("home/bashrc"), b"mine");
    assert!(folder.read("back/a") == b"theirs" && !folder.path("back/a").is_symlink());
    // A copy of what is no .hw file, and a name that a .hw file tells.
    fs::create_dir(folder.path("p3")).unwrap();
    folder.write("p3/a", b"a copy");
    for args in [&["decompress", "-r", "p3"][..], &["decompress", "p2/a.hw"]] {
        fs::remove_file(folder.path("back/a")).unwrap();
        symlink("../home/bashrc", folder.path("back/a")).unwrap();
        folder.ok(&[args, &["-o", "back", "--force"]].concat());
        assert_eq!(folder.read("home/bashrc"), b"mine");
        assert!(!folder.path("back/a").is_symlink());
    }
}

/// In the output it leads where it leads in the input: to a file of the input.
#[cfg(unix)]
#[test]
fn an_absolute_link_into_the_folder_is_made_twice() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    folder.write("in/a", b"content");
    std::os::unix::fs::symlink(folder.path("in/a"), folder.path("in/link")).unwrap();
    for force in [&[][..], &["--force"]] {
        let args = [&["compress", "-r", "in", "-o", "out", "--json"], force].concat();
        let report = folder.json(&args);
        assert_eq!((&report["links"], &report["links_leading_out"]), (&1.into(), &0.into()));
    }
    // An input that is a link is not replaced either.
    std::os::unix::fs::symlink("in/a", folder.path("a.hw")).unwrap();
    folder.write("a", b"its output would be the other input");
    folder.fails(&["compress", "-r", "a", "a.hw", "--force"], &["a.hw", "same file"]);
}

/// The outputs of a folder would be the folder itself, and its links their own copies.
#[cfg(unix)]
#[test]
fn links_are_not_removed_for_copies_that_are_themselves() {
    let folder = Folder::new();
    for name in ["a", "b"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    std::os::unix::fs::symlink("/nonexistent", folder.path("a/l")).unwrap();
    for command in ["compress", "decompress"] {
        folder.fails(&[command, "-r", "a", "b", "-o", ".", "--rm"], &["lies in the folder a"]);
    }
    assert!(folder.path("a/l").is_symlink());
}

/// It stands in both states, or in one that was read and one that was not.
#[cfg(unix)]
#[test]
fn an_input_that_was_changed_meanwhile_is_kept() {
    use std::os::unix::fs::FileExt;
    for (in_folder, output) in [(false, "big.safetensors.hw"), (true, "out/big.safetensors.hw")] {
        let folder = Folder::new();
        fs::create_dir(folder.path("in")).unwrap();
        let values = 4_000_000;
        let content = safetensors(&[("w", "BF16", &[values], &bf16(values, 1))]);
        folder.write("in/big.safetensors", &content);
        folder.write("in/small.npy", &npy("<i4", "(1,)", &[1, 2, 3, 4]));
        let input = folder.path("in/big.safetensors");
        let args: &[&str] = match in_folder {
            true => {
                &["compress", "-r", "in", "-o", "out", "--rm", "--level", "max", "--threads", "1"]
            }
            false => &[
                "compress",
                "in/big.safetensors",
                "-o",
                output,
                "--rm",
                "--level",
                "max",
                "--threads",
                "1",
            ],
        };
        let child = start(&folder, args);
        let place = if in_folder { "out" } else { "" };
        while !names(&folder, place).contains(&"partial".to_owned()) {
            std::thread::yield_now();
        }
        // As long as before.
        let file = fs::OpenOptions::new().write(true).open(&input).unwrap();
        file.write_all_at(b"\xff", content.len() as u64 / 2).unwrap();
        drop(file);
        let run = Run::from(child.wait_with_output().unwrap());
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("in/big.safetensors: kept"), "{}", run.stderr);
        assert!(input.exists() && folder.path(output).exists());
        assert_eq!(folder.path("in/small.npy").exists(), !in_folder, "the others are removed");
    }
}

#[cfg(unix)]
#[test]
fn links_are_not_removed_with_what_they_lead_to() {
    let folder = Folder::new();
    folder.write("there.npy", &npy("<i4", "(1,)", &[1, 2, 3, 4]));
    std::os::unix::fs::symlink("there.npy", folder.path("link.npy")).unwrap();
    let run = folder.run(&["compress", "link.npy", "--rm"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("link.npy: kept") && run.stderr.contains("symbolic link"),
        "{}",
        run.stderr
    );
    assert!(folder.path("there.npy").exists() && folder.path("link.npy").is_symlink());
}

#[cfg(unix)]
#[test]
fn what_is_done_stays_after_an_interruption() {
    for sent in [Signal::TERM, Signal::INT] {
        let folder = Folder::new();
        ten(&folder, 20_000_000);
        let args = [
            "compress",
            "-r",
            "in",
            "-o",
            "out",
            "-j",
            "1",
            "--rm",
            "--level",
            "max",
            "--threads",
            "1",
        ];
        let mut child = start(&folder, &args);
        while names(&folder, "out").iter().filter(|name| name.ends_with(".hw")).count() < 9
            || !names(&folder, "out").contains(&"partial".to_owned())
        {
            assert!(child.try_wait().unwrap().is_none(), "it was too quick for this test");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        signal(&child, sent);
        let run = Run::from(child.wait_with_output().unwrap());
        assert_eq!(run.code, Some(130), "{}", run.stderr);
        assert!(run.stderr.contains("interrupted: 9 of 10 files are done"), "{}", run.stderr);
        assert_eq!(names(&folder, "out").len(), 9);
        assert_eq!(names(&folder, "in"), ["9.safetensors"], "of the others there is a .hw file");
        for name in names(&folder, "out") {
            folder.ok(&["verify", &format!("out/{name}")]);
        }
    }
}

#[test]
fn an_unknown_kind_needs_a_type_or_a_folder() {
    let folder = Folder::new();
    folder.write("a.bin", &noise(100, 1));
    folder.write("b.npy", &npy("<i4", "(1,)", &[1, 2, 3, 4]));
    let run = folder.run(&["compress", "a.bin", "b.npy"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("a.bin: this kind of file is unknown"), "{}", run.stderr);
    assert!(folder.path("b.npy.hw").exists());
    folder.ok(&["compress", "a.bin", "b.npy", "-r", "--force"]);
    assert!(folder.ok(&["decompress", "a.bin.hw", "-o", "-"]) == noise(100, 1));
}

/// There may be more files than a program can have open.
#[cfg(target_os = "linux")]
#[test]
fn more_files_than_may_be_open() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    let mut names = Vec::new();
    let mut map = serde_json::Map::new();
    for number in 0..400 {
        let name = format!("{number}.safetensors");
        let content = safetensors(&[("w", "BF16", &[50], &bf16(50, number))]);
        folder.write(&format!("in/{name}"), &content);
        map.insert(format!("w{number}"), name.clone().into());
        names.push(format!("in/{name}"));
    }
    let index = serde_json::json!({ "weight_map": map });
    folder.write("in/m.safetensors.index.json", index.to_string().as_bytes());
    for command in [
        "compress --dry-run -r in",
        "calibrate in/*.safetensors -o books",
        "analyze in/*.safetensors",
        "compress in/m.safetensors.index.json -o m.hw",
        "compress -r in -o out",
    ] {
        let run = bash(&folder, &format!(r#"ulimit -n 256; exec "$0" {command}"#));
        assert_eq!(run.code, Some(0), "{command}: {}", run.stderr);
    }
    folder.ok(&["decompress", "m.hw", "-o", "back"]);
    assert!(
        names
            .iter()
            .all(|name| { folder.read(name) == folder.read(&name.replacen("in", "back", 1)) })
    );
}

/// What is tried and fails as a whole leaves no empty folder behind.
#[test]
fn a_folder_for_nothing_is_taken_away_again() {
    let folder = Folder::new();
    folder.write("a.npy", b"no array");
    folder.write("b.npy", b"no array either");
    let args = ["compress", "a.npy", "b.npy", "-o", "new/folder"];
    folder.fails(&args, &["a.npy", "b.npy"]);
    // Beside it something was done.
    folder.write("c.npy", &npy("<i4", "(1,)", &[1, 2, 3, 4]));
    assert_eq!(folder.run(&[&args[..], &["c.npy"]].concat()).code, Some(1));
    assert_eq!(names(&folder, "new/folder"), ["c.npy.hw"]);
    // Nor is one that was there before.
    fs::create_dir(folder.path("empty")).unwrap();
    folder.fails(&["compress", "a.npy", "b.npy", "-o", "empty"], &["a.npy"]);
}

#[test]
fn alone_a_file_is_what_it_is_among_others() {
    let folder = Folder::new();
    folder.write("config.json", br#"{"hidden_size": 64}"#);
    folder.write("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\n");
    folder.ok(&["compress", "-r", "config.json", "--dry-run"]);
    folder.ok(&["compress", "-r", "config.json", "-o", "x.hw"]);
    assert!(folder.ok(&["decompress", "x.hw", "-o", "-"]) == folder.read("config.json"));
    let report = folder.json(&["compress", "-r", "lfs.safetensors", "--json"]);
    assert!(report["note"].as_str().unwrap().contains("as bytes"), "{report}");
    let text = folder.ok(&["compress", "-r", "lfs.safetensors", "--force"]);
    assert!(String::from_utf8(text).unwrap().contains("compressed as bytes"));
}
