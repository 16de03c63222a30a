//! Codebooks from data, in files, in JSON, and the ways in which two ends can disagree about them.

use crate::common::{Folder, bf16, safetensors};

/// Tensors of two kinds, and codebooks made from them.
fn folder() -> Folder {
    let folder = Folder::new();
    let tensors: Vec<_> = (0..4).map(|seed| bf16(20_000, seed)).collect();
    let file = |a: &[u8], b: &[u8]| {
        safetensors(&[("layers.0.w", "BF16", &[20_000], a), ("layers.1.w", "BF16", &[20_000], b)])
    };
    folder.write("1.safetensors", &file(&tensors[0], &tensors[1]));
    folder.write("2.safetensors", &file(&tensors[2], &tensors[3]));
    folder.ok(&["calibrate", "1.safetensors", "-o", "books.hwb"]);
    folder
}

#[test]
fn calibrate_reports_what_it_found() {
    let folder = folder();
    let args = ["calibrate", "1.safetensors", "2.safetensors", "-o", "b.hwb", "--json"];
    let report = folder.json(&args);
    assert_eq!(report["shards"], 4);
    let kinds = report["kinds"].as_array().unwrap();
    assert_eq!(kinds.len(), 1);
    assert_eq!(kinds[0]["kind"], "layers.*.w");
    assert_eq!(kinds[0]["shards"], 4);
    let bits = |key: &str| kinds[0][key].as_f64().unwrap();
    assert!(bits("shannon_bits") <= bits("huffman_bits"));
    assert!(bits("huffman_bits") <= bits("book_bits") && bits("book_bits") < 4.0);
    let own =
        ["calibrate", "1.safetensors", "-o", "own", "--no-builtin", "--kinds", "one", "--json"];
    let report = folder.json(&own);
    assert_eq!(report["books"], 1);
    assert_eq!(report["kinds"][0]["kind"], "*");
    for flags in [
        &["--symbols", "bytes"][..],
        &["--symbols", "byte-planes", "--codes", "12"],
        &["--books-per-kind", "2", "--codes", "8", "--smoothing", "0.01", "--name", "mine"],
    ] {
        let args = [&["calibrate", "1.safetensors", "-o", "x", "--force"][..], flags].concat();
        folder.ok(&args);
        folder.ok(&["inspect", "x"]);
    }
    folder.fails(&["calibrate", "1.safetensors", "-o", "y", "--smoothing", "7"], &["smoothing"]);
}

#[test]
fn a_given_set_is_embedded_and_needs_nothing_to_decode() {
    let folder = folder();
    let args = ["compress", "2.safetensors", "--codebooks", "books.hwb", "--choose", "named"];
    let report = folder.json(&[&args[..], &["--json"]].concat());
    assert_eq!(report["codebook_set_embedded"], true);
    assert_eq!(report["tensors"][0]["codebooks"][0]["book"], 0);
    std::fs::rename(folder.path("books.hwb"), folder.path("elsewhere")).unwrap();
    let back = folder.ok(&["decompress", "2.safetensors.hw", "-o", "-"]);
    assert!(back == folder.read("2.safetensors"));
    // The embedded set can be used like a codebook file.
    folder.ok(&["codebooks", "list", "2.safetensors.hw"]);
    folder.ok(&["compress", "1.safetensors", "--codebooks", "2.safetensors.hw"]);
}

#[test]
fn a_set_by_reference_must_be_given_again() {
    let folder = folder();
    let hw = "2.safetensors.hw";
    let args = ["compress", "2.safetensors", "--codebooks", "books.hwb", "--reference-codebooks"];
    folder.ok(&args);
    folder.fails(&["decompress", hw, "-o", "x"], &[hw, "codebook set", "--codebooks FILE"]);
    folder.fails(&["verify", hw], &[hw, "codebook set", "--codebooks FILE"]);
    folder.ok(&["calibrate", "1.safetensors", "-o", "wrong.hwb", "--no-builtin"]);
    let args = ["decompress", hw, "-o", "x", "--codebooks", "wrong.hwb"];
    folder.fails(&args, &[hw, "wrong.hwb", "codebook set"]);
    let args = ["decompress", hw, "-o", "-", "--codebooks", "books.hwb"];
    assert!(folder.ok(&args) == folder.read("2.safetensors"));
    // Inspect tells what it can.
    let text = String::from_utf8(folder.ok(&["inspect", hw])).unwrap();
    assert!(text.contains("not at hand") && text.contains("layers.0.w"), "{text}");
}

#[test]
fn json_there_and_back() {
    let folder = folder();
    folder.ok(&["codebooks", "export", "books.hwb", "-o", "books.json"]);
    folder.ok(&["codebooks", "import", "books.json", "-o", "again.hwb"]);
    assert!(folder.read("again.hwb") == folder.read("books.hwb"));
    let built_in = folder.ok(&["codebooks", "export"]);
    let run = folder.run_with(&["codebooks", "import", "-", "-o", "builtin.hwb"], &built_in);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // JSON serves wherever a codebook file does.
    let listed = |file: &str| folder.json(&["codebooks", "list", file, "--json"]);
    assert_eq!(listed("books.json")["id"], listed("books.hwb")["id"]);
    folder.ok(&["compress", "1.safetensors", "--codebooks", "books.json"]);
    for (name, content) in [("x.json", "{}"), ("y.json", "{nonsense"), ("z.json", "")] {
        folder.write(name, content.as_bytes());
        folder.fails(&["codebooks", "import", name, "-o", "out"], &[name]);
        folder.fails(&["compress", "1.safetensors", "-o", "o", "--codebooks", name], &[name]);
    }
}

#[test]
fn list_and_show() {
    let folder = folder();
    let list = String::from_utf8(folder.ok(&["codebooks", "list"])).unwrap();
    assert!(list.contains("builtin") && list.contains("narrow") && list.contains("e4m3"));
    let show = String::from_utf8(folder.ok(&["codebooks", "show", "0"])).unwrap();
    assert!(show.contains("codebook #0") && show.contains("escape"), "{show}");
    folder.ok(&["codebooks", "show", "books.hwb", "0"]);
    folder.ok(&["codebooks", "show"]);
    let shown: serde_json::Value = folder.json(&["codebooks", "show", "books.hwb", "0", "--json"]);
    assert_eq!(shown["codebooks"].as_array().unwrap().len(), 1);
    let codes = shown["codebooks"][0]["codes"].as_array().unwrap();
    // A complete code: the Kraft sum is 1.
    let kraft: f64 = codes.iter().map(|c| 0.5f64.powi(c["bits"].as_i64().unwrap() as i32)).sum();
    assert_eq!(kraft, 1.0);
    assert!(codes.iter().all(|c| c["code"].as_str().unwrap().len() as i64 == c["bits"]));
    folder.fails(&["codebooks", "show", "books.hwb", "250"], &["#250"]);
    folder.fails(&["codebooks", "show", "books.hwb", "x"], &["x"]);
    folder.fails(&["codebooks", "list", "1.safetensors"], &["1.safetensors"]);
}

#[test]
fn damaged_codebooks_are_refused() {
    let folder = folder();
    let books = folder.read("books.hwb");
    for byte in (0..books.len()).step_by(31) {
        let mut damaged = books.clone();
        damaged[byte] ^= 0x10;
        folder.write("damaged", &damaged);
        folder.fails(&["codebooks", "list", "damaged"], &["damaged"]);
    }
    folder.write("damaged", &books[..books.len() / 2]);
    folder.fails(&["compress", "1.safetensors", "--codebooks", "damaged"], &["damaged"]);
}

#[test]
fn one_book_for_everything() {
    let folder = folder();
    let report = folder.json(&["compress", "1.safetensors", "--book", "3", "--json"]);
    let used = report["tensors"][0]["codebooks"].as_array().unwrap();
    assert!(used.len() == 1 && used[0]["book"] == 3, "{used:?}");
    assert!(
        folder.ok(&["decompress", "1.safetensors.hw", "-o", "-"]) == folder.read("1.safetensors")
    );
    folder.ok(&["calibrate", "1.safetensors", "-o", "own", "--no-builtin", "--kinds", "one"]);
    let own = ["compress", "2.safetensors", "--codebooks", "own", "--book"];
    folder.ok(&[&own[..], &["0"]].concat());
    for unknown in ["1", "255", "256", "4000000000"] {
        let args = [&own[..], &[unknown, "--force"]].concat();
        folder.fails(&args, &["--book", unknown, "the set holds 1,"]);
    }
    let both = folder.run(&["compress", "1.safetensors", "--book", "3", "--choose", "named"]);
    assert_eq!(both.code, Some(2), "{}", both.stderr);
}

#[test]
fn what_is_too_large_is_no_codebook_file() {
    let folder = Folder::new();
    folder.write("big", b"HUFFBOOK");
    let file = std::fs::OpenOptions::new().write(true).open(folder.path("big")).unwrap();
    file.set_len((1 << 26) + 1).unwrap();
    folder.write("m.safetensors", &safetensors(&[]));
    for args in [
        &["codebooks", "import", "big", "-o", "out"][..],
        &["codebooks", "list", "big"],
        &["compress", "m.safetensors", "--codebooks", "big"],
    ] {
        folder.fails(args, &["big", "67108865 bytes"]);
    }
}

#[test]
fn codebooks_are_exported_as_source_text() {
    let folder = Folder::new();
    let text = |format: &str| {
        String::from_utf8(folder.ok(&["codebooks", "export", "--format", format])).unwrap()
    };
    assert!(text("c").contains("huffwire_book_106 = {"));
    assert!(text("systemverilog").contains("module huffwire_book_106 ("));
    assert_eq!(text("json").as_bytes(), folder.ok(&["codebooks", "export"]));
    folder.ok(&["codebooks", "export", "--format", "c", "-o", "books.h"]);
    assert_eq!(folder.read("books.h"), text("c").as_bytes());
}
