//! The benchmark: what it promises to report, and what it refuses. Speeds themselves are no matter for tests.

use serde_json::Value;

use crate::common::{Folder, bf16, noise, safetensors};

const IN: &str = "m.safetensors";
/// As little as can be measured.
const QUICK: [&str; 4] = ["--rounds", "1", "--working-set", "64KiB"];

/// A folder with a file of two bf16 tensors of 50 000 and 30 000 bytes, and 20 000 bytes of integers.
fn folder() -> Folder {
    let folder = Folder::new();
    let (first, second, bytes) = (bf16(25_000, 1), bf16(15_000, 2), noise(20_000, 3));
    folder.write(
        IN,
        &safetensors(&[
            ("a", "BF16", &[25_000], &first),
            ("b", "BF16", &[100, 150], &second),
            ("c", "U8", &[20_000], &bytes),
        ]),
    );
    folder
}

fn bench(folder: &Folder, more: &[&str]) -> Value {
    folder.json(&[&["bench", IN, "--json"], &QUICK[..2], more].concat())
}

fn rows(report: &Value) -> &[Value] {
    report["results"].as_array().unwrap()
}

/// Values of a field, in the order of the rows of huffwire itself.
fn variants<'a>(report: &'a Value, field: &str) -> Vec<&'a Value> {
    let own = rows(report).iter().filter(|row| row["codec"] == "huffwire");
    own.map(|row| &row[field]).collect()
}

#[test]
fn the_report_holds_what_it_promises() {
    let folder = folder();
    let report = folder.json(&[&["bench", IN, "--json"], &QUICK[..]].concat());
    assert!(!report["cpu"].as_str().unwrap().is_empty());
    if cfg!(target_arch = "x86_64") {
        assert!(report["clock_ghz"].as_f64().unwrap() > 0.01);
        assert!(report["memcpy"]["non_temporal_gbps"].as_f64().unwrap() > 0.0);
    }
    let copy = report["memcpy"]["copy_gbps"].as_f64().unwrap();
    assert!(copy > 0.0 && report["memcpy_gbps"].as_f64().unwrap() >= copy);
    assert_eq!(report["working_set_bytes"], 65_536);
    assert_eq!(report["message_bytes"], Value::Null);
    assert_eq!(report["rounds"], 1);
    for row in rows(&report) {
        for direction in ["encode", "decode"] {
            let speed = row[format!("{direction}_gbps")].as_f64().unwrap();
            let spread = row[format!("{direction}_spread")].as_array().unwrap();
            assert!(speed > 0.0 && speed < 1e6, "{row}");
            assert!(spread.len() == 2 && spread.iter().all(|end| end.as_f64() == Some(speed)));
        }
        assert_eq!(row["checksums"], false, "{row}");
        let coded = row["coded_bytes"].as_f64().unwrap();
        let saving = row["saving_percent"].as_f64().unwrap();
        assert!((saving - 100.0 * (1.0 - coded / 65_536.0)).abs() < 1e-6, "{row}");
    }
    assert!(variants(&report, "saving_percent").iter().all(|saving| saving.as_f64() > Some(15.0)));
    assert!(variants(&report, "level").iter().any(|&level| level == "max"));
    let of = |codec: &str| rows(&report).iter().filter(|row| row["codec"] == codec).count();
    assert_eq!((of("memcpy"), of("zstd"), of("zstd-huffman"), of("lz4")), (1, 2, 1, 1));
    let huffman = rows(&report).iter().find(|row| row["codec"] == "zstd-huffman").unwrap();
    assert!(huffman["saving_percent"].as_f64().unwrap() > 5.0, "{huffman}");
    assert_eq!(huffman["platform"], Value::Null);
    assert_eq!(folder.snapshot().len(), 1, "it leaves nothing behind");
}

#[test]
fn every_variant_that_is_asked_for_is_measured_once() {
    let folder = folder();
    let lists = [
        "--symbols",
        "auto,bytes,byte-planes",
        "--level",
        "max,fast,max",
        "--platform",
        "portable",
        "--threads",
        "1,3",
        "--no-peers",
    ];
    let report = bench(&folder, &lists);
    assert_eq!(variants(&report, "codec").len(), 12);
    assert_eq!(variants(&report, "threads")[..2], [1, 3]);
    assert_eq!(variants(&report, "level")[..4], ["max", "max", "fast", "fast"]);
    assert!(variants(&report, "platform").iter().all(|&platform| platform == "portable"));
    assert!(rows(&report).iter().all(|row| row["codec"] != "zstd" && row["codec"] != "lz4"));
    let mut coded: Vec<_> =
        variants(&report, "coded_bytes").into_iter().filter_map(Value::as_u64).collect();
    coded.dedup();
    assert!(coded.len() > 2, "threads make no difference to sizes, symbols do: {coded:?}");
    let all = bench(&folder, &["--platform", "all,portable", "--threads", "1", "--level", "fast"]);
    assert_eq!(variants(&all, "platform")[0], "portable");
}

#[test]
fn sizes_are_honoured() {
    let folder = folder();
    let fast = ["--no-peers", "--level", "fast", "--threads", "1"];
    let with = |more: &[&str]| bench(&folder, &[&fast[..], more].concat());
    let whole = with(&[]);
    assert_eq!((&whole["working_set_bytes"], &whole["messages"]), (&100_000.into(), &3.into()));
    // 160 000 bytes of bf16 are each tensor twice, and so are 40 000 of integers.
    let larger = with(&["--working-set", "200000"]);
    assert_eq!((&larger["working_set_bytes"], &larger["messages"]), (&200_000.into(), &6.into()));
    let smaller = with(&["--working-set", "10000"]);
    assert_eq!((&smaller["working_set_bytes"], &smaller["messages"]), (&10_000.into(), &2.into()));
    let cut = with(&["--message", "30KiB"]);
    assert_eq!(cut["message_bytes"], 30 << 10);
    assert_eq!((&cut["working_set_bytes"], &cut["messages"]), (&100_000.into(), &4.into()));
    // Half an element is no element.
    let odd = with(&["--message", "1001", "--working-set", "10001"]);
    assert_eq!((&odd["working_set_bytes"], &odd["messages"]), (&10_001.into(), &10.into()));
    // A checksum for each block of each message.
    let coded = |report: &Value| variants(report, "coded_bytes")[0].as_u64().unwrap();
    let checked = with(&["--checksums"]);
    assert_eq!(variants(&checked, "checksums")[0], true);
    assert_eq!(coded(&checked), coded(&whole) + 3 * 4);
}

#[test]
fn people_get_a_row_for_each_candidate() {
    let folder = folder();
    let run = folder.run(&[&["bench", IN, "--threads", "1"], &QUICK[..]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let text = String::from_utf8(run.stdout).unwrap();
    let rows = |start: &str| {
        text.lines().filter(|line| line.split_whitespace().next() == Some(start)).count()
    };
    assert_eq!((rows("memcpy"), rows("zstd"), rows("zstd-huffman"), rows("lz4")), (1, 2, 1, 1));
    assert_eq!(rows("huffwire"), 2, "fast and max");
    assert!(text.contains("memcpy") && text.contains("65.5 kB"), "{text}");
}

#[test]
fn other_inputs_and_codebooks() {
    let folder = folder();
    folder.write("x.bin", &bf16(10_000, 4));
    folder.ok(&["calibrate", IN, "-o", "books"]);
    let arguments = ["bench", "x.bin", "--dtype", "bf16", "--codebooks", "books", "--json"];
    let report = folder.json(&[&arguments[..], &QUICK[..2], &["--no-peers"]].concat());
    assert_eq!(report["working_set_bytes"], 20_000);
    let both = folder.json(&[&["bench", IN, IN, "--json", "--no-peers"], &QUICK[..2]].concat());
    assert_eq!(both["working_set_bytes"], 200_000);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = folder();
    folder.write("empty.safetensors", &safetensors(&[]));
    folder.fails(&["bench", "absent.safetensors"], &["absent.safetensors"]);
    folder.fails(&["bench", "empty.safetensors"], &["no tensor"]);
    folder.write("x.bin", &bf16(100, 4));
    folder.fails(&["bench", "x.bin", "--dtype", "bf16", "--working-set", "1"], &["--working-set"]);
    folder.fails(&["bench", IN, "--message", "1"], &["--message 1", "bf16", "2 bytes"]);
    folder.fails(&["bench", IN, "--working-set", "17000000000G"], &["memory"]);
    for (option, value, mention) in [
        ("--working-set", "0", "above 0"),
        ("--working-set", "much", "256KiB"),
        ("--message", "0", "above 0"),
        ("--platform", "abacus", "portable"),
        ("--level", "lazy", "fast"),
        ("--symbols", "runes", "byte-planes"),
        ("--threads", "0", "1..=1024"),
        ("--threads", "1,", "--threads"),
        ("--rounds", "0", "1..=1000"),
    ] {
        let run = folder.run(&["bench", IN, option, value]);
        assert_eq!(run.code, Some(2), "{option} {value}: {}", run.stderr);
        for mention in [option, mention] {
            assert!(run.stderr.contains(mention), "{option} {value}: {}", run.stderr);
        }
    }
    assert_eq!(folder.run(&["bench"]).code, Some(2));
}
