//! Comparing files, and looking before compressing.

use crate::common::{Folder, bf16, noise, npy, safetensors};

fn folder() -> Folder {
    let folder = Folder::new();
    let (a, b) = (bf16(100_000, 1), noise(4000, 2));
    let mut changed = a.clone();
    changed[20] ^= 1;
    changed[21] ^= 1;
    changed[199_999] ^= 0x80;
    let first = [
        ("a", "BF16", &[100, 1000][..], &a[..]),
        ("b", "F32", &[1000], &b),
        ("gone", "U8", &[1], &[1]),
    ];
    let second = [
        ("new", "U8", &[1][..], &[1][..]),
        ("b", "F32", &[10, 100], &b),
        ("a", "BF16", &[100, 1000], &changed),
    ];
    folder.write("1.safetensors", &safetensors(&first));
    folder.write("2.safetensors", &safetensors(&second));
    for name in ["1", "2"] {
        folder.ok(&["compress", &format!("{name}.safetensors"), "-q"]);
    }
    folder
}

#[test]
fn tensors_are_compared_whatever_the_file() {
    let folder = folder();
    for a in ["1.safetensors", "1.safetensors.hw"] {
        let equal = folder.json(&["diff", a, "1.safetensors.hw", "--json"]);
        assert_eq!((&equal["equal"], &equal["equal_tensors"]), (&true.into(), &3.into()));
        for b in ["2.safetensors", "2.safetensors.hw"] {
            let run = folder.run(&["diff", a, b, "--json"]);
            assert_eq!(run.code, Some(1), "{}", run.stderr);
            let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
            let tensors = report["tensors"].as_array().unwrap();
            let status: Vec<_> = tensors
                .iter()
                .map(|t| (t["name"].as_str().unwrap(), t["status"].as_str().unwrap()))
                .collect();
            let expected = [
                ("a", "changed"),
                ("b", "reshaped"),
                ("gone", "only-first"),
                ("new", "only-second"),
            ];
            assert_eq!(status, expected);
            assert_eq!(
                (&tensors[0]["changed_elements"], &report["elements"]),
                (&2.into(), &100_000.into())
            );
            assert_eq!(report["changed_percent"], 0.002);
        }
    }
    let run = folder.run(&["diff", "1.safetensors", "2.safetensors.hw"]);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("only-first") && text.contains("2 of 100000 elements"), "{text}");
}

#[test]
fn errors_of_diff_have_a_code_of_their_own() {
    let folder = folder();
    let mut damaged = folder.read("1.safetensors.hw");
    damaged[5000] ^= 1;
    folder.write("damaged.hw", &damaged);
    folder.write("x.npy", &npy("<i4", "(1,)", &[1, 2, 3, 4]));
    for other in ["absent.npy", "damaged.hw"] {
        let run = folder.run(&["diff", "1.safetensors", other]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(other), "{}", run.stderr);
    }
    assert_eq!(folder.run(&["diff", "1.safetensors", "x.npy"]).code, Some(1));
}

#[test]
fn a_dry_run_tells_what_a_run_does_and_writes_nothing() {
    let folder = folder();
    let before = folder.snapshot();
    let dry = folder.json(&["compress", "--dry-run", "1.safetensors", "--json"]);
    let real = folder.read("1.safetensors.hw").len() as f64;
    let told = dry["file_bytes"].as_f64().unwrap();
    assert!((told / real - 1.0).abs() < 0.01, "{told} {real}");
    let types: Vec<_> = dry["dtypes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["original_dtype"].as_str())
        .collect();
    assert_eq!(types, [None, Some("BF16"), Some("F32"), Some("U8")]);
    let many = folder.json(&["compress", "--dry-run", "-r", ".", "--json"]);
    assert_eq!(many["input_files"], 2, "what is compressed already would be left alone");
    let text = String::from_utf8(folder.ok(&["compress", "--dry-run", "1.safetensors"])).unwrap();
    assert!(text.contains("BF16") && text.contains("would save about"), "{text}");
    folder.fails(&["compress", "--dry-run", "absent.npy"], &["absent.npy"]);
    assert!(folder.snapshot() == before);
}

/// A part of it tells about all of it, so the size does not matter.
#[test]
fn a_dry_run_of_a_large_file_encodes_a_part_of_it() {
    let folder = Folder::new();
    // With a hole of zeros in its second half, which takes no room on the disk.
    folder.write("big.bin", &bf16(500_000, 1));
    let file = std::fs::OpenOptions::new().write(true).open(folder.path("big.bin")).unwrap();
    file.set_len(64 << 30).unwrap();
    let dry = folder.json(&["compress", "--dry-run", "big.bin", "--dtype", "bf16", "--json"]);
    assert_eq!(dry["raw_bytes"].as_u64(), Some(64 << 30));
    assert!(dry["sampled_bytes"].as_u64().unwrap() < 32 << 30);
    assert!(dry["saving_percent"].as_f64().unwrap() > 99.0);
}

/// The same bytes are other values in another order, and as another type.
#[test]
fn equal_bytes_are_not_equal_arrays() {
    let folder = Folder::new();
    let data = noise(24, 1);
    let rows = npy("<f4", "(2, 3)", &data);
    let mut columns = rows.clone();
    let at = rows.windows(5).position(|part| part == b"False").unwrap();
    columns[at..at + 5].copy_from_slice(b"True ");
    for (name, content) in [
        ("rows", rows.clone()),
        ("columns", columns),
        ("floats", npy(">f4", "(2, 3)", &data)),
        ("integers", npy(">i4", "(2, 3)", &data)),
    ] {
        std::fs::create_dir(folder.path(name)).unwrap();
        folder.write(&format!("{name}/a.npy"), &content);
        folder.ok(&["compress", &format!("{name}/a.npy"), "-q"]);
    }
    for (a, b, code) in [
        ("rows", "rows", 0),
        ("columns", "columns", 0),
        ("integers", "integers", 0),
        ("rows", "columns", 1),
        ("floats", "integers", 1),
    ] {
        for (first, second) in [("", ""), ("", ".hw"), (".hw", "")] {
            let (first, second) = (format!("{a}/a.npy{first}"), format!("{b}/a.npy{second}"));
            let run = folder.run(&["diff", &first, &second, "--json"]);
            assert_eq!(run.code, Some(code), "{first} {second}: {}", run.stderr);
            let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
            let status = if code == 0 { "equal" } else { "reshaped" };
            assert_eq!(report["tensors"][0]["status"], status);
        }
    }
}
