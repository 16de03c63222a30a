//! Output is all or nothing, never in the place of something else, and never over its own input.

use std::fs;

use crate::common::{Folder, bf16, noise, safetensors};
#[cfg(unix)]
use crate::common::{patient, signal};

const IN: &str = "m.safetensors";
const HW: &str = "m.safetensors.hw";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write(IN, &safetensors(&[("w", "BF16", &[200_000], &bf16(200_000, 1))]));
    folder
}

#[test]
fn existing_output_needs_force() {
    let folder = folder();
    folder.write(HW, b"precious");
    folder.fails(&["compress", IN], &[HW, "already exists", "--force"]);
    folder.ok(&["compress", IN, "--force"]);
    folder.fails(&["decompress", HW], &[IN, "already exists", "--force"]);
    folder.ok(&["decompress", HW, "--force"]);
    folder.write("b", b"precious");
    folder.fails(&["calibrate", IN, "-o", "b"], &["b: already exists"]);
    folder.fails(&["codebooks", "export", "-o", "b"], &["b: already exists"]);
}

#[test]
fn input_is_never_output() {
    let folder = folder();
    folder.fails(&["compress", IN, "-o", IN, "--force"], &[IN, "same file"]);
    folder.fails(&["compress", IN, "-o", "./m.safetensors", "--force"], &["same file"]);
    folder.fails(&["calibrate", IN, "-o", IN, "--force"], &["same file"]);
    folder.ok(&["compress", IN]);
    folder.fails(&["decompress", HW, "-o", HW, "--force"], &["same file"]);
    #[cfg(unix)]
    {
        fs::hard_link(folder.path(IN), folder.path("hard")).unwrap();
        std::os::unix::fs::symlink(IN, folder.path("soft")).unwrap();
        folder.fails(&["compress", IN, "-o", "hard", "--force"], &["hard", "same file"]);
        folder.fails(&["compress", IN, "-o", "soft", "--force"], &["soft", "same file"]);
    }
}

/// Codebooks go in as well as tensors do.
#[test]
fn codebook_files_are_inputs_too() {
    let folder = folder();
    let same = ["b", "same file"];
    folder.ok(&["calibrate", IN, "-o", "b"]);
    folder.fails(&["codebooks", "export", "b", "-o", "b", "--force"], &same);
    folder.fails(&["codebooks", "import", "b", "-o", "./b", "--force"], &same);
    folder.fails(&["compress", IN, "--codebooks", "b", "-o", "b", "--force"], &same);
    let mut decompress = vec!["decompress", HW, "--codebooks", "b", "-o", "b", "--force"];
    for reference in [false, true] {
        // Embedded codebooks make those in the file superfluous; they are lost all the same.
        let mut compress = vec!["compress", IN, "--codebooks", "b", "--force"];
        compress.extend(reference.then_some("--reference-codebooks"));
        folder.ok(&compress);
        folder.fails(&decompress, &same);
        folder.fails(&[&decompress[..], &["--tensor", "w"]].concat(), &same);
    }
    folder.ok(&["codebooks", "export", "b", "-o", "b.json"]);
    folder.fails(&["codebooks", "import", "b.json", "-o", "b.json", "--force"], &["same file"]);
    // Those embedded in a .hw file.
    folder.ok(&["compress", IN, "--codebooks", "b", "--force"]);
    folder.fails(&["compress", IN, "--codebooks", HW, "--force"], &[HW, "same file"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("b", folder.path("soft")).unwrap();
        decompress[5] = "soft";
        folder.fails(&decompress, &["soft", "same file"]);
    }
}

/// All shards of a model are inputs of calibrate and compress.
#[test]
fn shards_are_inputs_too() {
    let folder = Folder::new();
    let index = br#"{"weight_map": {"a": "1.safetensors"}}"#;
    folder.write("m.safetensors.index.json", index);
    folder.write("1.safetensors", &safetensors(&[("a", "BF16", &[500], &bf16(500, 1))]));
    for output in ["1.safetensors", "m.safetensors.index.json"] {
        for command in ["calibrate", "compress"] {
            let args = [command, "m.safetensors.index.json", "-o", output, "--force"];
            folder.fails(&args, &[output, "same file"]);
        }
    }
}

#[test]
fn a_place_where_nothing_can_be_made() {
    let folder = folder();
    folder.write("file", b"");
    folder.fails(&["compress", IN, "-o", "file/x.hw"], &["file/x.hw"]);
    folder.fails(&["compress", IN, "-o", "absent/x.hw"], &["absent"]);
    folder.ok(&["compress", IN]);
    folder.fails(&["decompress", HW, "-o", "absent/x"], &["absent"]);
}

#[cfg(unix)]
#[test]
fn a_read_only_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let locked = folder.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    // Permissions do not bind root.
    if fs::write(folder.path("locked/probe"), b"").is_err() {
        folder.fails(&["compress", IN, "-o", "locked/x.hw"], &["locked"]);
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let folder = folder();
    folder.fails(&["compress", IN, "-o", "/dev/full"], &["/dev/full", "No space left"]);
    folder.ok(&["compress", IN]);
    folder.fails(&["decompress", HW, "-o", "/dev/full"], &["/dev/full", "No space left"]);
    folder.fails(&["codebooks", "export", "-o", "/dev/full"], &["/dev/full", "No space left"]);
    let run = shell(&folder, r#"exec "$0" inspect m.safetensors.hw > /dev/full"#);
    run.failed(&["inspect"], &["standard output: ", "No space left"]);
    let before = folder.snapshot();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_huffwire"))
        .args(["decompress", HW, "-o", "-"])
        .current_dir(folder.path(""))
        .stdout(full)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(folder.snapshot() == before);
}

/// A limit on the size of files stands in for a disk that fills up while a file is written.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_leaves_no_partial_file() {
    let folder = folder();
    let before = folder.snapshot();
    for trap in ["trap '' XFSZ; ", ""] {
        let script = format!(r#"{trap}ulimit -f 64; exec "$0" compress m.safetensors -o x.hw"#);
        let run = shell(&folder, &script);
        run.failed(&[&script], &["x.hw", "cannot be written"]);
        assert!(folder.snapshot() == before);
    }
}

/// A shell script, to which the program is `$0`.
#[cfg(unix)]
fn shell(folder: &Folder, script: &str) -> crate::common::Run {
    let output = std::process::Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_huffwire")])
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    output.into()
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[test]
fn a_closed_standard_output_is_an_error() {
    let folder = folder();
    folder.ok(&["compress", IN]);
    let before = folder.snapshot();
    for command in [
        "compress m.safetensors -o -",
        "decompress m.safetensors.hw -o -",
        "decompress m.safetensors.hw --tensor w",
        "inspect m.safetensors.hw",
        "verify m.safetensors.hw --json",
        "codebooks export -o -",
        "completions bash",
    ] {
        let run = shell(&folder, &format!(r#"exec "$0" {command} >&-"#));
        run.failed(&[command], &["standard output is closed"]);
        assert!(folder.snapshot() == before, "{command}");
    }
    // What says nothing there needs none; nor is it closed where it leads nowhere.
    for redirected in
        ["verify m.safetensors.hw --quiet >&-", "inspect m.safetensors.hw 1<>/dev/null"]
    {
        let run = shell(&folder, &format!(r#"exec "$0" {redirected}"#));
        assert_eq!(run.code, Some(0), "{redirected}: {}", run.stderr);
    }
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    for mode in [0o600, 0o640, 0o444, 0o777] {
        folder.write("x.hw", b"");
        let set = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.path("x.hw"), set).unwrap();
        folder.ok(&["compress", IN, "-o", "x.hw", "--force"]);
        assert!(!folder.read("x.hw").is_empty());
        let found = fs::metadata(folder.path("x.hw")).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode, "{found:o}");
        fs::remove_file(folder.path("x.hw")).unwrap();
    }
}

/// On the command line `-` is a stream; a file of that name, stored in another one, is a file.
#[test]
fn a_file_called_dash_is_restored_as_a_file() {
    let folder = Folder::new();
    let shard = safetensors(&[("a", "U8", &[100], &noise(100, 1))]);
    folder.write("-", &shard);
    folder.ok(&["compress", "./-", "--dtype", "u8"]);
    folder.write("m.safetensors.index.json", br#"{"weight_map": {"a": "-"}}"#);
    folder.ok(&["compress", "m.safetensors.index.json", "-o", "m.hw"]);
    fs::create_dir(folder.path("new")).unwrap();
    for args in [
        &["decompress", "./-.hw"][..],
        &["decompress", "-.hw"],
        &["decompress", "./-.hw", "-o", "new"],
        &["decompress", "m.hw", "--force"],
        &["decompress", "m.hw", "-o", "new", "--force"],
    ] {
        let to_new = args.contains(&"new");
        let _ = fs::remove_file(folder.path("-"));
        let args = if args[1] == "-.hw" { &["decompress", "--", "-.hw"] } else { args };
        let report = String::from_utf8(folder.ok(args)).unwrap();
        assert!(report.contains(if to_new { "new/-" } else { "./-" }), "{args:?}: {report}");
        assert!(folder.read(if to_new { "new/-" } else { "-" }) == shard, "{args:?}");
    }
}

/// What is read while somebody writes to it is a part of it, or of two states of it.
#[cfg(unix)]
#[test]
fn input_that_grows_while_it_is_read_is_an_error() {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};
    let folder = Folder::new();
    let bytes = noise(4_000_000, 1);
    folder.write("log.bin", &bytes);
    folder.ok(&["compress", "log.bin", "--dtype", "u8"]);
    for args in [
        &["compress", "log.bin", "--dtype", "u8", "-o", "-"][..],
        &["decompress", "log.bin.hw", "-o", "-"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_huffwire"))
            .args(args)
            .current_dir(folder.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It has begun, and cannot end before its output is read.
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 100]).unwrap();
        let input = fs::OpenOptions::new().append(true).open(folder.path(args[1]));
        input.unwrap().write_all(b"one more line").unwrap();
        stdout.read_to_end(&mut Vec::new()).unwrap();
        let output = child.wait_with_output().unwrap();
        crate::common::Run::from(output)
            .failed(args, &[args[1], "bytes, and", "after it was read"]);
    }
}

/// Files that the system makes up as they are read are said to have no bytes.
#[cfg(target_os = "linux")]
#[test]
fn files_without_a_size_are_compressed_whole() {
    let folder = Folder::new();
    let args = ["compress", "/proc/version", "--dtype", "u8", "-o", "x.hw"];
    folder.ok(&args);
    folder.ok(&["decompress", "x.hw", "-o", "x"]);
    let expected = fs::read("/proc/version").unwrap();
    assert!(!expected.is_empty() && folder.read("x") == expected);
}

#[test]
fn none_of_several_files_appears_before_all_are_complete() {
    let folder = Folder::new();
    let index = br#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    folder.write("m.safetensors.index.json", index);
    folder.write("1.safetensors", &safetensors(&[("a", "U8", &[100], &noise(100, 1))]));
    folder.write("2.safetensors", &safetensors(&[("b", "U8", &[100], &noise(100, 2))]));
    folder.ok(&["compress", "m.safetensors.index.json", "-o", "m.hw"]);
    // Damage in the last block, which belongs to the second shard.
    let inspected = folder.json(&["inspect", "m.hw", "--json"]);
    let originals = inspected["originals"].as_array().unwrap();
    let coded: u64 = originals.iter().map(|one| one["coded_bytes"].as_u64().unwrap()).sum();
    let mut damaged = folder.read("m.hw");
    damaged[16 + coded as usize - 1] ^= 1;
    folder.write("m.hw", &damaged);
    folder.fails(&["decompress", "m.hw", "-o", "new"], &["m.hw", "\"b\"", "block 0"]);
}

#[cfg(unix)]
#[test]
fn modes_and_links_are_those_of_any_program() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    folder.write("ordinary", b"");
    folder.ok(&["compress", IN]);
    let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode();
    assert_eq!(mode(HW), mode("ordinary"));
    // Through a symbolic link its target is replaced.
    std::os::unix::fs::symlink("ordinary", folder.path("link")).unwrap();
    folder.ok(&["compress", IN, "-o", "link", "--force"]);
    assert!(folder.path("link").is_symlink());
    assert!(folder.read("ordinary") == folder.read(HW));
}

/// The user named the folder, and not the links in it: one may lead to another output.
#[cfg(unix)]
#[test]
fn links_in_a_folder_are_replaced_for_a_single_file() {
    let folder = folder();
    fs::create_dir(folder.path("o")).unwrap();
    folder.write("o/b.hw", b"another output");
    for recursive in [&[][..], &["-r"]] {
        std::os::unix::fs::symlink("b.hw", folder.path("o/m.safetensors.hw")).unwrap();
        let args = [&["compress", IN, "-o", "o"][..], recursive].concat();
        folder.fails(&args, &["o/m.safetensors.hw: already exists"]);
        folder.ok(&[&args[..], &["--force"]].concat());
        assert_eq!(folder.read("o/b.hw"), b"another output");
        assert!(!folder.path("o/m.safetensors.hw").is_symlink());
        folder.ok(&["verify", "o/m.safetensors.hw"]);
        fs::remove_file(folder.path("o/m.safetensors.hw")).unwrap();
    }
}

/// Such links lead to what can be opened, but not found by name.
#[cfg(target_os = "linux")]
#[test]
fn links_to_streams_are_written_into() {
    let folder = folder();
    folder.ok(&["compress", IN]);
    std::os::unix::fs::symlink("/dev/stdout", folder.path("link")).unwrap();
    for command in [
        r#""$0" compress m.safetensors -o /dev/stdout | cat > x"#,
        r#""$0" compress m.safetensors -o link --force | cat > x"#,
        r#""$0" compress m.safetensors -o >(cat > x); wait $!"#,
        r#""$0" compress m.safetensors -o /dev/fd/3 3>&1 >&2 | cat > x"#,
    ] {
        let run = shell(&folder, command);
        assert_eq!(run.code, Some(0), "{command}: {}", run.stderr);
        assert!(folder.read("x") == folder.read(HW), "{command}");
        assert!(folder.path("link").is_symlink());
        fs::remove_file(folder.path("x")).unwrap();
    }
    let rm = shell(&folder, r#""$0" decompress m.safetensors.hw --rm -o >(cat > x); exit $?"#);
    rm.failed(&["--rm"], &["--rm"]);
    assert!(folder.path(HW).exists());
    // A file that has lost its name is one that would be replaced.
    let run = shell(&folder, r#"exec 3> gone; rm gone; "$0" compress m.safetensors -o /dev/fd/3"#);
    run.failed(&["/dev/fd/3"], &["already exists"]);
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_drama() {
    let folder = folder();
    let script =
        r#""$0" compress m.safetensors -o - | head -c 100 > /dev/null; exit ${PIPESTATUS[0]}"#;
    let output = std::process::Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_huffwire")])
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[cfg(unix)]
#[test]
fn an_interruption_leaves_no_partial_file() {
    let folder = Folder::new();
    folder.write("big.bin", &bf16(20_000_000, 1));
    let before = folder.snapshot();
    let mut child = patient()
        .args(["compress", "big.bin", "--dtype", "bf16", "--level", "max", "--threads", "1"])
        .current_dir(folder.path(""))
        .spawn()
        .unwrap();
    let files = || fs::read_dir(folder.path("")).unwrap().count();
    while files() == before.len() {
        assert!(child.try_wait().unwrap().is_none(), "it was too quick for this test");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(folder.snapshot() == before);
}

#[cfg(unix)]
#[test]
fn an_interruption_leaves_no_folder() {
    let folder = Folder::new();
    folder.write("m.safetensors.index.json", br#"{"weight_map": {"a": "1.safetensors"}}"#);
    let shard = bf16(20_000_000, 1);
    folder.write("1.safetensors", &safetensors(&[("a", "BF16", &[20_000_000], &shard)]));
    folder.ok(&["compress", "m.safetensors.index.json", "-o", "m.hw"]);
    let before = folder.snapshot();
    let mut child = patient()
        .args(["decompress", "m.hw", "-o", "new", "--threads", "1"])
        .current_dir(folder.path(""))
        .spawn()
        .unwrap();
    let files = || fs::read_dir(folder.path("new")).map_or(0, Iterator::count);
    while files() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "it was too quick for this test");
    }
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(folder.snapshot() == before);
}

/// With data on standard output, a report must go elsewhere.
#[test]
fn reports_do_not_mix_with_data() {
    let folder = folder();
    let run = folder.run(&["compress", IN, "-o", "-", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(report["file_bytes"].as_u64(), Some(run.stdout.len() as u64));
    folder.ok(&["compress", IN]);
    assert!(folder.read(HW) == run.stdout);
    assert_eq!(folder.ok(&["compress", IN, "--force", "--quiet"]), b"");
}
