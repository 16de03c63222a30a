//! Messages that say what to do next.

use serde_json::Value;

use crate::common::{Folder, bf16, noise, safetensors, safetensors_of};

const IN: &str = "m.safetensors";
const HW: &str = "m.safetensors.hw";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write(IN, &safetensors(&[("w", "BF16", &[5000], &bf16(5000, 1))]));
    folder.ok(&["compress", IN, "-q"]);
    folder
}

#[test]
fn what_was_confused_is_told() {
    let folder = folder();
    folder.write("notabook", b"not a book");
    folder.write("x.json", br#"{"a": 1}"#);
    let tensor = ["decompress", HW, "--tensor", "w", "-o", "x"];
    folder.fails(&[&tensor[..], &["--range", "10..5"]].concat(), &["10..5 ends before it begins"]);
    folder.fails(&["compress", HW], &[HW, "is a .hw file already", "huffwire decompress"]);
    folder
        .fails(&["inspect", IN], &[IN, "no .hw file, but a safetensors file", "huffwire compress"]);
    folder.fails(&["verify", "notabook"], &["notabook: this is no .hw file"]);
    let books = ["compress", IN, "--codebooks", "notabook", "--force"];
    folder.fails(&books, &["notabook: this is no codebook file", "huffwire calibrate"]);
    folder.fails(&["codebooks", "import", "notabook", "-o", "x"], &["this is no codebook file"]);
    let run = folder.run(&["codebooks", "list", "x.json"]);
    assert_eq!(run.stderr.matches("x.json").count(), 1, "{}", run.stderr);
    for (output, missing) in [("nodir/x", "nodir"), ("nodir/", "nodir/")] {
        let run = folder.run(&["compress", IN, "-o", output]);
        let expected = format!("the folder {missing} does not exist; make it first");
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
        assert!(!run.stderr.contains("partial"), "{}", run.stderr);
    }
}

#[test]
fn wrong_values_are_told_with_right_ones() {
    let folder = folder();
    folder.write("x.bin", &noise(10, 1));
    let raw = ["compress", "x.bin", "--dtype", "bf16", "--shape"];
    let run = folder.run(&[&raw[..], &["5x1"]].concat());
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("5x1") && run.stderr.contains("4096,4096"), "{}", run.stderr);
    // Every name that is accepted is listed.
    let run = folder.run(&["compress", "x.bin", "--dtype", "foo"]);
    for name in ["bf16", "float16", "int64", "u32", "f8_e4m3", "complex64", "bool", "bytes"] {
        assert!(run.stderr.contains(name), "{name}: {}", run.stderr);
        folder.ok(&["compress", "/dev/null", "--dtype", name, "-o", "empty.hw", "--force"]);
    }
    let text = String::from_utf8(folder.ok(&["inspect", HW])).unwrap();
    assert!(text.contains("blocks of 128KiB"), "{text}");
}

#[test]
fn mistyped_words_are_mended() {
    let folder = folder();
    for (args, right) in [
        (&["compres", IN][..], "'compress'"),
        (&["decomprss", IN], "'decompress'"),
        (&["verfy", HW], "'verify'"),
        (&["compress", IN, "--levle", "max"], "'--level'"),
        (&["decompress", HW, "--tenso", "w"], "'--tensor'"),
        (&["codebooks", "lst"], "'list'"),
    ] {
        let run = folder.run(args);
        assert_eq!(run.code, Some(2));
        let tip = run.stderr.lines().find(|line| line.contains("tip:")).unwrap_or_default();
        assert!(tip.contains(right), "{args:?}: {}", run.stderr);
        assert_eq!(tip.matches('\'').count(), 2, "one suggestion: {tip}");
    }
}

#[test]
fn colours_are_as_asked_for() {
    let folder = folder();
    for args in [&["compress", "absent.npy"][..], &["compres"], &["verify", "--levle"]] {
        let run = |more: &[&str]| folder.run(&[args, more].concat()).stderr;
        assert!(!run(&[]).contains('\x1b'), "no terminal");
        assert!(!run(&["--color", "never"]).contains('\x1b'));
        assert!(run(&["--color=always"]).contains("\x1b["), "{args:?}");
        let quiet = folder.run_in(&[("NO_COLOR", "1")], args, &[]);
        assert!(!quiet.stderr.contains('\x1b'));
    }
    assert_eq!(folder.run(&["verify", HW, "--color", "pink"]).code, Some(2));
}

/// Standard error is no terminal here.
#[test]
fn progress_is_for_terminals() {
    let folder = folder();
    let many = ["compress", IN, HW, "-r", "-o", "new"];
    for args in [&["compress", IN, "--force"][..], &["verify", HW], &many] {
        let run = folder.run(args);
        assert_eq!((run.stderr.as_str(), run.stdout.contains(&b'\r')), ("", false), "{args:?}");
    }
}

/// What is said of a command in the list of all commands is not all that its own help says.
#[test]
fn help_explains_and_has_examples() {
    let folder = Folder::new();
    for (command, mention) in [
        ("compress", "A failure does not keep the others from being done"),
        ("decompress", "files that are no .hw files are copied"),
        ("diff", "Exits with 0 if all tensors are equal"),
        ("verify", "Exits with 0"),
        ("calibrate", "Every tensor is one shard"),
        ("bench", "GB/s are 10^9 bytes"),
    ] {
        let help = String::from_utf8(folder.ok(&[command, "--help"])).unwrap();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(mention), "{command}: {help}");
        assert!(command == "verify" || help.contains("Examples:"), "{command}");
    }
}

/// With a terminal there is progress, from the first second.
#[cfg(target_os = "linux")]
#[test]
fn progress_tells_bytes_speed_and_time_left() {
    let folder = Folder::new();
    folder.write("big.bin", &bf16(10_000_000, 1));
    let program = env!("CARGO_BIN_EXE_huffwire");
    let command = format!("{program} compress big.bin --dtype bf16 --level max --threads 1 -q");
    let script = |command: &str| {
        let mut script = std::process::Command::new("script");
        script.args(["-q", "-e", "-c", command, "/dev/null"]).current_dir(folder.path(""));
        String::from_utf8(script.output().unwrap().stdout).unwrap()
    };
    assert!(!script(&command).contains("left"), "-q shows none");
    let shown = script(&command.replace("-q", "-f"));
    for part in ["MB", "/s", "left"] {
        assert!(shown.contains(part), "{part}: {shown:?}");
    }
}

#[test]
fn manual_pages() {
    let folder = Folder::new();
    let page = String::from_utf8(folder.ok(&["man"])).unwrap();
    assert!(page.contains(".TH huffwire 1") && page.contains("Exit codes"), "{page}");
    folder.ok(&["man", "-o", "man1"]);
    for name in
        ["huffwire.1", "huffwire-compress.1", "huffwire-diff.1", "huffwire-codebooks-list.1"]
    {
        assert!(!folder.read(&format!("man1/{name}")).is_empty(), "{name}");
    }
    // `huffwire help compress` has no page beside that of `huffwire compress`.
    let pages = folder.tree("man1");
    assert!(pages.keys().all(|page| !page.display().to_string().contains("help")), "{pages:?}");
    assert!(!page.contains("help(1)"), "{page}");
}

/// What a file tells of itself is printed, and drives no terminal.
#[test]
fn no_file_speaks_to_the_terminal() {
    let folder = folder();
    let escape = "\\u001b]0;owned\\u0007";
    // What is seen of it: in tables, in the name of a kind, and quoted.
    let seen = Some("\u{fffd}]0;owned\u{fffd}");
    let kind = Some("w\u{fffd}]*;owned\u{fffd}");
    let quoted = Some(r#""w\u{1b}]0;owned\u{7}""#);
    let header = format!(r#"{{"a":{{"dtype":"{escape}","shape":[1],"data_offsets":[0,1]}}}}"#);
    folder.write("bad.safetensors", &safetensors_of(&header, &[1]));
    let name = format!("w{escape}");
    let tensor = |bytes: &[u8]| safetensors(&[(&name, "BF16", &[500], bytes)]);
    folder.write("x.safetensors", &tensor(&bf16(500, 1)));
    folder.write("y.safetensors", &tensor(&bf16(500, 2)));
    folder.ok(&["compress", "x.safetensors", "-q"]);
    let coded = folder.json(&["inspect", "x.safetensors.hw", "--json"]);
    let coded = &coded["originals"][0]["items"];
    assert_eq!(
        (&coded[0]["name"], coded[1]["name"].as_str()),
        (&Value::Null, Some("w\x1b]0;owned\x07"))
    );
    let mut damaged = folder.read("x.safetensors.hw");
    // In the tensor, behind 16 bytes and the header of x.safetensors.
    damaged[16 + coded[0]["coded_bytes"].as_u64().unwrap() as usize + 200] ^= 1;
    folder.write("damaged.hw", &damaged);
    for (args, code, name) in [
        (&["compress", "bad.safetensors"][..], 1, seen),
        (&["compress", "x.safetensors", "--force", "-v"], 0, seen),
        (&["inspect", "x.safetensors.hw"], 0, seen),
        (&["diff", "x.safetensors", "y.safetensors"], 1, seen),
        (&["verify", "damaged.hw"], 1, quoted),
        (&["decompress", "damaged.hw", "-o", "z"], 1, quoted),
        (&["decompress", "x.safetensors.hw", "--tensor", "absent"], 1, None),
        (&["calibrate", "x.safetensors", "-o", "books", "--force"], 0, kind),
        (&["codebooks", "list", "books"], 0, kind),
        (&["quantize", "x.safetensors"], 0, None),
        (&["analyze", "x.safetensors"], 0, kind),
        (&["bench", "x.safetensors", "--rounds", "1"], 0, None),
    ] {
        let run = folder.run(args);
        let told = [&run.stdout[..], run.stderr.as_bytes()].concat();
        let told = String::from_utf8(told).unwrap();
        assert_eq!(run.code, Some(code), "{args:?}: {told}");
        assert!(!told.is_empty() && !told.contains(['\x1b', '\x07']), "{args:?}: {told:?}");
        assert!(name.is_none_or(|name| told.contains(name)), "{args:?}: {told:?}");
    }
}
