//! Input that is not what it should be: each kind is refused with a message that says what and
//! where, and leaves nothing behind.

use crate::common::{Folder, noise, npy, safetensors, safetensors_of};

#[test]
fn no_safetensors() {
    let one = |offsets: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}}}"#)
    };
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"first":{{"dtype":"F32","shape":[2],"data_offsets":{a}}},
                "second":{{"dtype":"F32","shape":[2],"data_offsets":{b}}}}}"#
        )
    };
    let mut lying = safetensors_of("{}", &[]);
    lying[..8].copy_from_slice(&99_999_999u64.to_le_bytes());
    let mut huge = safetensors_of("{}", &[]);
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let overflow = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#;
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("empty", Vec::new(), "0 bytes"),
        ("short", vec![1, 2, 3], "3 bytes"),
        ("noise", noise(1000, 1), "header"),
        ("a header longer than the file", lying, "99999999 bytes"),
        ("a header longer than can be", huge, "18446744073709551615 bytes"),
        ("no JSON", safetensors_of("{nonsense", &[]), "header is not valid"),
        ("no UTF-8", safetensors_of("{}", &[]).into_iter().map(|b| b | 0x80).collect(), "header"),
        ("overlap", safetensors_of(&two("[0,8]", "[4,12]"), &[0; 12]), "`second`"),
        ("hole", safetensors_of(&two("[0,8]", "[12,20]"), &[0; 20]), "`second`"),
        ("size and shape differ", safetensors_of(&one("[0,12]"), &[0; 12]), "shape"),
        ("backwards", safetensors_of(&one("[8,0]"), &[0; 8]), "header is not valid"),
        ("cut", safetensors_of(&one("[0,8]"), &[0; 5]), "5 bytes follow"),
        ("too much", safetensors_of(&one("[0,8]"), &[0; 9]), "9 bytes follow"),
        ("overflow", safetensors_of(overflow, &[0; 8]), "overflow"),
    ];
    for (what, bytes, mention) in cases {
        let folder = Folder::new();
        folder.write("m.safetensors", &bytes);
        println!("{what}");
        folder.fails(&["compress", "m.safetensors"], &["m.safetensors", mention]);
        folder.fails(&["calibrate", "m.safetensors", "-o", "b"], &["m.safetensors", mention]);
    }
}

#[test]
fn no_index_of_a_sharded_model() {
    let name = "model.safetensors.index.json";
    for (index, mention) in [
        ("nonsense", "index"),
        ("{}", "weight_map"),
        (r#"{"weight_map": {"a": "../secret.safetensors"}}"#, "../secret.safetensors"),
        (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "/etc/passwd"),
        (r#"{"weight_map": {"a": "sub/x.safetensors"}}"#, "sub/x.safetensors"),
        (r#"{"weight_map": {"a": "..\\x.safetensors"}}"#, "x.safetensors"),
        (r#"{"weight_map": {"a": ".."}}"#, ".."),
        (r#"{"weight_map": {"a": ""}}"#, "no plain file name"),
        (r#"{"weight_map": {"a": "model.safetensors.index.json"}}"#, name),
        (r#"{"weight_map": {"a": "absent.safetensors"}}"#, "absent.safetensors"),
        (r#"{"weight_map": {"a": "broken.safetensors"}}"#, "broken.safetensors"),
    ] {
        let folder = Folder::new();
        folder.write(name, index.as_bytes());
        folder.write("broken.safetensors", b"broken");
        folder.fails(&["compress", name], &[name, mention]);
    }
}

#[test]
fn no_npy() {
    let folder = Folder::new();
    let good = npy("<f4", "(2, 2)", &noise(16, 1));
    for (bytes, mention) in [
        (noise(100, 1), "valid .npy file"),
        (Vec::new(), "valid .npy file"),
        (good[..20].to_vec(), "header"),
        (good[..good.len() - 1].to_vec(), "15 bytes follow"),
        ([&good[..], &[0]].concat(), "17 bytes follow"),
        (npy("<f4", "(-2, 2)", &[]), "header"),
        (npy("<f4", "(99999999999, 99999999999)", &[]), "announces"),
    ] {
        folder.write("x.npy", &bytes);
        folder.fails(&["compress", "x.npy"], &["x.npy", mention]);
    }
}

#[test]
fn raw_files_need_a_type_that_fits() {
    let folder = Folder::new();
    folder.write("x.bin", &noise(10, 1));
    folder.fails(&["compress", "x.bin"], &["x.bin", "--dtype"]);
    folder.fails(&["compress", "x.bin", "--dtype", "f32"], &["x.bin", "10 bytes", "multiple of 4"]);
    let shape = ["compress", "x.bin", "--dtype", "bf16", "--shape", "2,3"];
    folder.fails(&shape, &["x.bin", "5 values", "2,3"]);
    let shape = ["compress", "x.bin", "--dtype", "u8", "--shape", "4294967296,4294967296"];
    folder.fails(&shape, &["x.bin", "10 values"]);
    let unknown = folder.run(&["compress", "x.bin", "--dtype", "bf17"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("bf17") && unknown.stderr.contains("e4m3"));
    let stdin = folder.run_with(&["compress", "-", "-o", "x.hw"], b"what is this?");
    stdin.failed(&["compress", "-"], &["standard input", "--dtype"]);
    assert!(!folder.path("x.hw").exists());
}

#[test]
fn a_platform_that_this_machine_lacks_is_told() {
    let folder = Folder::new();
    folder.write("m.safetensors", &safetensors(&[]));
    let run =
        folder.run_in(&[("HUFFWIRE_PLATFORM", "abacus")], &["compress", "m.safetensors"], &[]);
    assert_eq!(run.code, Some(1));
    for mention in ["HUFFWIRE_PLATFORM", "abacus", "portable"] {
        assert!(run.stderr.contains(mention), "{}", run.stderr);
    }
    assert!(!folder.path("m.safetensors.hw").exists());
}

#[test]
fn usage_errors() {
    let folder = Folder::new();
    folder.write("m.safetensors", &safetensors(&[]));
    for args in [
        &["compress"][..],
        &["nonsense"],
        &["compress", "m.safetensors", "--block-size", "3K"],
        &["compress", "m.safetensors", "--threads", "0"],
        &["compress", "m.safetensors", "--threads", "1025"],
        &["compress", "m.safetensors", "--threads", "-1"],
        &["compress", "m.safetensors", "--reference-codebooks"],
        &["decompress", "m.hw", "--range", "1..2"],
        &["decompress", "m.hw", "--tensor", "x", "--range", "abc"],
        &["completions", "csh"],
    ] {
        assert_eq!(folder.run(args).code, Some(2), "{args:?}");
    }
    let threads = folder.run(&["compress", "m.safetensors", "--threads", "100000"]);
    assert_eq!(threads.code, Some(2));
    for mention in ["100000", "--threads", "1..=1024"] {
        assert!(threads.stderr.contains(mention), "{}", threads.stderr);
    }
    folder.fails(&["compress", "absent.safetensors"], &["absent.safetensors"]);
    folder.fails(&["compress", "."], &["folder"]);
    folder.fails(&["decompress", "absent.hw"], &["absent.hw"]);
    folder.fails(&["calibrate", "m.safetensors", "-o", "b"], &["no tensor"]);
}

/// Input from a pipe is kept in a temporary file, for which there must be a place.
#[cfg(unix)]
#[test]
fn no_room_for_piped_input() {
    let folder = Folder::new();
    let run = folder.run_in(&[("TMPDIR", "/nowhere/at/all")], &["verify", "-"], b"HUFFWIRE");
    run.failed(&["verify", "-"], &["standard input", "/nowhere/at/all", "TMPDIR"]);
    for command in ["compress", "decompress", "verify", "inspect"] {
        let help = String::from_utf8(folder.ok(&[command, "--help"])).unwrap();
        assert!(help.contains("TMPDIR"), "{help}");
    }
}
