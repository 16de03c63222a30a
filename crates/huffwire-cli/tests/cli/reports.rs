//! What the program tells about its work.

use serde_json::Value;

use crate::common::{Folder, bf16, noise, safetensors};

fn folder() -> Folder {
    let folder = Folder::new();
    let (a, b) = (bf16(100_000, 1), noise(4000, 2));
    folder.write(
        "m.safetensors",
        &safetensors(&[
            ("layers.0.weight", "BF16", &[100, 1000], &a),
            ("layers.1.weight", "F32", &[1000], &b),
            ("empty", "F32", &[0], &[]),
            ("zeros", "BF16", &[600], &[0; 1200]),
        ]),
    );
    folder
}

#[test]
fn compress_reports_one_json_object() {
    let folder = folder();
    let report = folder.json(&["compress", "m.safetensors", "--json", "--stats"]);
    let number = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap();
    let (raw, coded) = (folder.read("m.safetensors").len(), folder.read("m.safetensors.hw").len());
    assert_eq!(number(&report, "raw_bytes"), raw as f64);
    assert_eq!(number(&report, "file_bytes"), coded as f64);
    let saving = 100.0 * (1.0 - coded as f64 / raw as f64);
    assert!((number(&report, "saving_percent") - saving).abs() < 1e-9);
    let tensors = report["tensors"].as_array().unwrap();
    let names: Vec<_> = tensors.iter().map(|tensor| tensor["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["layers.0.weight", "layers.1.weight", "empty", "zeros"]);
    for tensor in tensors {
        let raw = number(tensor, "raw_bytes");
        assert!(number(tensor, "coded_bytes") <= raw + 10.0);
        assert!(tensor["codebooks"].is_array() && tensor["original_dtype"].is_string());
        assert_eq!(tensor["original"], "m.safetensors");
        let [shannon, huffman, saved] = ["shannon", "huffman", ""].map(|kind| {
            let key =
                if kind.is_empty() { "saving_percent" } else { &format!("{kind}_saving_percent") };
            number(tensor, key)
        });
        assert!(shannon >= huffman - 1e-9, "{tensor}");
        assert!(huffman >= saved - 1e-9 || raw == 0.0, "{tensor}");
    }
    assert!(number(&tensors[0], "saving_percent") > 25.0);
    assert!(tensors[0]["codebooks"][0]["book"].is_u64(), "{}", tensors[0]);
    assert_eq!(tensors[3]["codebooks"][0]["kind"], "constant");
    let parts: f64 = tensors.iter().map(|tensor| number(tensor, "coded_bytes")).sum();
    let rest = number(&report, "other_coded_bytes") + number(&report, "container_bytes");
    assert_eq!(parts + rest, coded as f64);
}

#[test]
fn people_get_a_line_or_a_table() {
    let folder = folder();
    let text = String::from_utf8(folder.ok(&["compress", "m.safetensors"])).unwrap();
    assert!(text.contains("m.safetensors -> m.safetensors.hw"), "{text}");
    let args = ["compress", "m.safetensors", "--force", "--verbose"];
    let text = String::from_utf8(folder.ok(&args)).unwrap();
    assert!(text.contains("layers.0.weight") && text.contains("Shannon"), "{text}");
}

#[test]
fn inspect_lists_tensors_and_codebooks() {
    let folder = folder();
    folder.ok(&["compress", "m.safetensors"]);
    let text = String::from_utf8(folder.ok(&["inspect", "m.safetensors.hw"])).unwrap();
    for mention in ["layers.0.weight", "BF16", "[100, 1000]", "exponent", "built in", "#"] {
        assert!(text.contains(mention), "{mention}: {text}");
    }
    let report = folder.json(&["inspect", "m.safetensors.hw", "--json"]);
    let items = report["originals"][0]["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    assert_eq!(items[0]["name"], serde_json::Value::Null);
    assert_eq!(items[1]["shape"], serde_json::json!([100, 1000]));
    assert_eq!((&items[1]["dtype"], &items[1]["original_dtype"]), (&"bf16".into(), &"BF16".into()));
    assert_eq!((&items[1]["kind"], &items[1]["quantizer"]), (&"tensor".into(), &Value::Null));
    assert_eq!(report["codebook_sets"][0]["found"], "built in");
    assert_eq!(report["lossy_tensors"], 0);
    assert_eq!(report["originals"][0]["name"], "m.safetensors");
}

/// Names come from files, and files from anywhere: none may drive the terminal.
#[test]
fn names_cannot_control_the_terminal() {
    let folder = Folder::new();
    let name = r"evil\u001b[2J";
    folder.write("m.safetensors", &safetensors(&[(name, "U8", &[1], &[7])]));
    folder.ok(&["compress", "m.safetensors"]);
    let text = folder.ok(&["inspect", "m.safetensors.hw"]);
    assert!(!text.contains(&0x1b));
    let run = folder.run(&["decompress", "m.safetensors.hw", "--tensor", "evi"]);
    assert!(!run.stderr.contains('\x1b'), "{}", run.stderr);
}

#[test]
fn completions_for_shells() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = String::from_utf8(folder.ok(&["completions", shell])).unwrap();
        assert!(script.contains("huffwire") && script.contains("decompress"));
    }
}

#[test]
fn decompress_tells_what_it_wrote() {
    let folder = folder();
    folder.ok(&["compress", "m.safetensors"]);
    let hw = "m.safetensors.hw";
    let whole = folder.json(&["decompress", hw, "-o", "back", "--json"]);
    let raw = folder.read("back").len();
    assert_eq!(whole["raw_bytes"], raw);
    assert_eq!(whole["written_bytes"], raw);
    let mut args = vec!["decompress", hw, "--tensor", "zeros", "-o", "z", "--json"];
    let plain = folder.json(&args);
    assert_eq!((&plain["raw_bytes"], &plain["written_bytes"]), (&1200.into(), &1200.into()));
    assert_eq!((&whole["lossy_tensors"], &plain["lossy_tensors"]), (&0.into(), &0.into()));
    args.extend(["--as", "npy", "--force"]);
    let array = folder.json(&args);
    let written = folder.read("z").len();
    assert!(written > 1200);
    assert_eq!((&array["raw_bytes"], &array["written_bytes"]), (&1200.into(), &written.into()));
}

#[test]
fn quiet_is_quiet() {
    let folder = folder();
    folder.ok(&["compress", "m.safetensors", "-q"]);
    folder.ok(&["calibrate", "m.safetensors", "-o", "b", "-q"]);
    let hw = "m.safetensors.hw";
    for args in [
        &["inspect", hw, "-q"][..],
        &["inspect", "b", "-q"],
        &["verify", hw, "-q"],
        &["decompress", hw, "-o", "x", "-q"],
    ] {
        let run = folder.run(args);
        let said = (run.code, &run.stdout[..], &run.stderr[..]);
        assert_eq!(said, (Some(0), &b""[..], ""), "{args:?}");
    }
    assert!(folder.json(&["inspect", hw, "-q", "--json"]).is_object());
    folder.write("damaged", &folder.read(hw)[..100]);
    folder.fails(&["inspect", "damaged", "-q"], &["damaged"]);
}

#[test]
fn help_lists_the_exit_codes() {
    let help = String::from_utf8(Folder::new().ok(&["--help"])).unwrap();
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    for code in ["0  ", "1  ", "2  ", "130  ", "141  "] {
        let listed = codes.lines().any(|line| line.trim_start().starts_with(code));
        assert!(listed, "{code}: {help}");
    }
}
