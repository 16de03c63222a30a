//! Everything comes back byte for byte, whatever it was and whichever way it went.

use crate::common::{Folder, bf16, noise, npy, safetensors};

/// A file with every type of safetensors that there is, with empty and scalar tensors.
fn zoo() -> Vec<u8> {
    let dtypes = [
        ("BOOL", 8),
        ("F4", 4),
        ("F6_E2M3", 6),
        ("F6_E3M2", 6),
        ("U8", 8),
        ("I8", 8),
        ("F8_E5M2", 8),
        ("F8_E4M3", 8),
        ("F8_E8M0", 8),
        ("F8_E4M3FNUZ", 8),
        ("F8_E5M2FNUZ", 8),
        ("I16", 16),
        ("U16", 16),
        ("F16", 16),
        ("BF16", 16),
        ("I32", 32),
        ("U32", 32),
        ("F32", 32),
        ("C64", 64),
        ("F64", 64),
        ("I64", 64),
        ("U64", 64),
    ];
    // 40 values of 6 bits are 30 bytes, ten units; 4 values are 3 bytes; sizes are odd on purpose.
    let shapes: [&[usize]; 4] = [&[40, 129], &[8, 0, 3], &[4], &[1, 4, 1, 1]];
    let mut tensors = Vec::new();
    for (index, (dtype, bits)) in dtypes.into_iter().enumerate() {
        for (other, shape) in shapes.into_iter().enumerate() {
            let bytes = shape.iter().product::<usize>() * bits / 8;
            let content = if index % 2 == 0 { bf16(bytes, 7) } else { noise(bytes, index as u64) };
            tensors.push((format!("{dtype}.{other}"), dtype, shape, content[..bytes].to_vec()));
        }
    }
    let tensors: Vec<_> = tensors.iter().map(|(n, d, s, b)| (n.as_str(), *d, *s, &b[..])).collect();
    safetensors(&tensors)
}

#[test]
fn safetensors_of_all_types_under_all_options() {
    let folder = Folder::new();
    let original = zoo();
    folder.write("m.safetensors", &original);
    let variants: [&[&str]; 9] = [
        &[],
        &["--level", "max"],
        &["--symbols", "bytes"],
        &["--symbols", "byte-planes", "--level", "max"],
        &["--choose", "sample"],
        &["--choose", "cheapest"],
        &["--choose", "named"],
        &["--block-size", "1K"],
        &["--block-size", "1M", "--no-checksums"],
    ];
    for variant in variants {
        let mut args = vec!["compress", "m.safetensors", "--force"];
        args.extend_from_slice(variant);
        folder.ok(&args);
        folder.ok(&["decompress", "m.safetensors.hw", "-o", "back", "--force"]);
        assert!(folder.read("back") == original, "{variant:?}");
        folder.ok(&["verify", "m.safetensors.hw"]);
        folder.ok(&["inspect", "m.safetensors.hw"]);
    }
    assert!(folder.read("m.safetensors") == original);
}

#[test]
fn safetensors_without_tensors() {
    let folder = Folder::new();
    for (name, original) in [
        ("a.safetensors", safetensors(&[])),
        ("b.safetensors", crate::common::safetensors_of("{}", &[])),
        ("c.safetensors", safetensors(&[("x", "F32", &[0], &[]), ("y", "BF16", &[3, 0], &[])])),
    ] {
        folder.write(name, &original);
        folder.ok(&["compress", name]);
        folder.ok(&["decompress", &format!("{name}.hw"), "-o", "back", "--force"]);
        assert!(folder.read("back") == original, "{name}");
        folder.ok(&["verify", &format!("{name}.hw")]);
    }
    assert_eq!(folder.ok(&["decompress", "c.safetensors.hw", "--tensor", "y"]), b"");
}

#[test]
fn default_names() {
    let folder = Folder::new();
    let original = safetensors(&[("w", "BF16", &[500], &bf16(500, 1))]);
    folder.write("m.safetensors", &original);
    folder.ok(&["compress", "m.safetensors"]);
    std::fs::remove_file(folder.path("m.safetensors")).unwrap();
    folder.ok(&["decompress", "m.safetensors.hw"]);
    assert!(folder.read("m.safetensors") == original);
    // A folder as output takes the name of the input, or of the original.
    std::fs::create_dir(folder.path("there")).unwrap();
    folder.ok(&["compress", "m.safetensors", "-o", "there"]);
    folder.ok(&["decompress", "there/m.safetensors.hw", "-o", "there"]);
    assert!(folder.read("there/m.safetensors") == original);
}

#[test]
fn sharded_models_are_one_file() {
    let folder = Folder::new();
    let index = br#"{"metadata": {"total_size": 4000}, "weight_map": {
        "a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors",
        "c": "model-1-of-2.safetensors"}}"#;
    let first = safetensors(&[("a", "BF16", &[700], &bf16(700, 1)), ("c", "I8", &[3], &[1, 2, 3])]);
    let second = safetensors(&[("b", "F32", &[10, 10], &noise(400, 2))]);
    folder.write("model.safetensors.index.json", index);
    folder.write("model-1-of-2.safetensors", &first);
    folder.write("model-2-of-2.safetensors", &second);
    folder.ok(&["compress", "model.safetensors.index.json", "-o", "m.hw"]);
    folder.ok(&["decompress", "m.hw", "-o", "restored"]);
    assert!(folder.read("restored/model.safetensors.index.json") == index);
    assert!(folder.read("restored/model-1-of-2.safetensors") == first);
    assert!(folder.read("restored/model-2-of-2.safetensors") == second);
    assert_eq!(folder.ok(&["decompress", "m.hw", "--tensor", "c"]), [1, 2, 3]);
    // Without -o they go beside the .hw file, where they are already.
    folder.fails(&["decompress", "m.hw"], &["already exists", "--force"]);
    folder.fails(&["decompress", "m.hw", "-o", "-"], &["3 files", "-o FOLDER"]);
}

#[test]
fn npy_files() {
    let folder = Folder::new();
    for (descr, shape, data) in [
        ("<f4", "(25, 4)", noise(400, 1)),
        ("<f2", "(7,)", noise(14, 2)),
        (">f4", "(2, 2)", noise(16, 3)),
        ("<f8", "()", noise(8, 4)),
        ("<u2", "(0, 5)", Vec::new()),
        ("|O", "(3,)", b"a pickle of unknown size".to_vec()),
    ] {
        let original = npy(descr, shape, &data);
        folder.write("x.npy", &original);
        folder.ok(&["compress", "x.npy", "--force"]);
        folder.ok(&["decompress", "x.npy.hw", "-o", "back.npy", "--force"]);
        assert!(folder.read("back.npy") == original, "{descr}");
        assert!(folder.ok(&["decompress", "x.npy.hw", "--tensor", "x.npy"]) == data, "{descr}");
    }
}

#[test]
fn raw_files() {
    let folder = Folder::new();
    for (dtype, shape, bytes) in [
        ("bf16", "--shape=100,5", 1000),
        ("f64", "--shape=125", 1000),
        ("u8", "--shape=1001", 1001),
        ("e2m1", "--shape=3,2", 3),
        ("e3m2-packed", "--shape=8", 6),
        ("bf16", "--shape=0,7", 0),
    ] {
        let original = noise(bytes, 5);
        folder.write("x.bin", &original);
        folder.ok(&["compress", "x.bin", "--dtype", dtype, shape, "--force"]);
        folder.ok(&["compress", "x.bin", "--dtype", dtype, "--force"]);
        assert!(folder.ok(&["decompress", "x.bin.hw", "-o", "-"]) == original, "{dtype}");
    }
}

#[test]
fn standard_input_and_output() {
    let folder = Folder::new();
    let original = zoo();
    let coded = folder.run_with(&["compress", "-"], &original);
    assert_eq!(coded.code, Some(0), "{}", coded.stderr);
    let back = folder.run_with(&["decompress", "-", "-o", "-"], &coded.stdout);
    assert!(back.stdout == original, "{}", back.stderr);
    assert_eq!(folder.run_with(&["verify", "-"], &coded.stdout).code, Some(0));
    let array = npy("<f4", "(3,)", &noise(12, 1));
    let coded = folder.run_with(&["compress", "-", "-o", "x.hw"], &array);
    assert_eq!(coded.code, Some(0), "{}", coded.stderr);
    assert!(folder.ok(&["decompress", "x.hw", "-o", "-"]) == array);
    let raw = noise(100, 1);
    let coded = folder.run_with(&["compress", "-", "--dtype", "f32"], &raw);
    assert!(folder.run_with(&["decompress", "-"], &coded.stdout).stdout == raw);
}

#[test]
fn one_tensor_or_a_part_of_it() {
    let folder = Folder::new();
    let (big, small) = (bf16(50_000, 3), noise(6, 4));
    let nibbles = noise(8, 5);
    folder.write(
        "m.safetensors",
        &safetensors(&[
            ("big", "BF16", &[500, 100], &big),
            ("six/bits", "F6_E2M3", &[8], &small),
            ("four", "F4", &[16], &nibbles),
        ]),
    );
    folder.ok(&["compress", "m.safetensors", "--block-size", "16K"]);
    let part = |tensor: &str, range: &str| {
        folder.ok(&["decompress", "m.safetensors.hw", "--tensor", tensor, "--range", range])
    };
    folder.ok(&["decompress", "m.safetensors.hw", "--tensor", "big", "-o", "big.bin"]);
    assert!(folder.read("big.bin") == big);
    // Within a block, across several, at both ends, nothing.
    for (start, end) in [(5, 9), (8190, 8193), (1, 49_999), (0, 50_000), (49_999, 50_000), (7, 7)] {
        assert!(part("big", &format!("{start}..{end}")) == big[2 * start..2 * end]);
    }
    assert!(part("big", "..3") == big[..6]);
    assert!(part("big", "49998..") == big[99_996..]);
    assert_eq!(part("six/bits", "4..8"), small[3..]);
    assert_eq!(part("four", "2..6"), nibbles[1..3]);
    let hw = "m.safetensors.hw";
    for (tensor, range, mention) in [
        ("big", "0..50001", "50000 elements"),
        ("big", "9..5", "ends before it begins"),
        ("four", "1..2", "between bytes"),
    ] {
        folder.fails(
            &["decompress", hw, "--tensor", tensor, "--range", range, "-o", "x"],
            &[hw, tensor, mention],
        );
    }
    folder.fails(&["decompress", hw, "--tensor", "bi", "-o", "x"], &[hw, "\"bi\"", "\"big\""]);
    folder.fails(&["decompress", hw, "--tensor", "nope", "-o", "x"], &[hw, "\"nope\""]);
    // An array in Fortran order keeps its header, unless only a part of it is decompressed.
    let mut fortran = npy("<i2", "(2, 3)", &noise(12, 6));
    let at = fortran.windows(5).position(|window| window == b"False").unwrap();
    fortran[at..at + 5].copy_from_slice(b"True ");
    folder.write("f.npy", &fortran);
    folder.ok(&["compress", "f.npy"]);
    let as_npy = ["decompress", "f.npy.hw", "--tensor", "f.npy", "--as", "npy"];
    assert!(folder.ok(&as_npy) == fortran);
    let part = folder.ok(&[&as_npy[..], &["--range", "1..3"]].concat());
    assert!(part.ends_with(&noise(12, 6)[2..6]) && part.windows(4).any(|w| w == b"(2, "));
    // As .npy, which compress understands again.
    folder.ok(&["decompress", hw, "--tensor", "big", "--as", "npy", "-o", "big.npy"]);
    folder.ok(&["compress", "big.npy"]);
    assert!(folder.ok(&["decompress", "big.npy.hw", "--tensor", "big.npy"]) == big);
}

#[test]
fn the_number_of_threads_does_not_show() {
    let folder = Folder::new();
    let (a, b) = (bf16(300_000, 1), noise(100_000, 2));
    let tensors = [("a", "BF16", &[300_000][..], &a[..]), ("b", "F32", &[25_000], &b)];
    folder.write("m.safetensors", &safetensors(&tensors));
    for threads in ["1", "2", "7"] {
        let out = format!("{threads}.hw");
        folder.ok(&["compress", "m.safetensors", "--threads", threads, "-o", &out]);
        assert!(folder.read(&out) == folder.read("1.hw"));
        let back = folder.ok(&["decompress", "1.hw", "--threads", threads, "-o", "-"]);
        assert!(back == folder.read("m.safetensors"));
    }
}

/// More dimensions than NumPy could use, in a header longer than its first version allows.
#[test]
fn a_header_of_npy_longer_than_64_kib() {
    let folder = Folder::new();
    let shape = vec![1; 30_000];
    folder.write("m.safetensors", &safetensors(&[("w", "F32", &shape, &[1, 2, 3, 4])]));
    folder.ok(&["compress", "m.safetensors"]);
    let hw = "m.safetensors.hw";
    folder.ok(&["decompress", hw, "--tensor", "w", "--as", "npy", "-o", "w.npy"]);
    assert!(folder.read("w.npy").starts_with(b"\x93NUMPY\x02\x00"));
    folder.ok(&["compress", "w.npy"]);
    assert_eq!(folder.ok(&["decompress", "w.npy.hw", "--tensor", "w.npy"]), [1, 2, 3, 4]);
}
