//! Damaged .hw files: all damage is found, the message says where, and nothing is written.

use huffwire::file::{self, Directory};
use huffwire::{CodedBlock, Decoder};

use crate::common::{Folder, bf16, noise, safetensors};

const HW: &str = "m.safetensors.hw";

/// A folder with a small .hw file of several blocks: coded, constant, verbatim, empty.
fn small() -> Folder {
    let folder = Folder::new();
    let (a, b) = (bf16(1500, 1), noise(40, 2));
    folder.write(
        "m.safetensors",
        &safetensors(&[
            ("alpha", "BF16", &[1500], &a),
            ("beta", "U8", &[40], &b),
            ("gamma", "F32", &[8], &[0; 32]),
            ("delta", "F32", &[0], &[]),
        ]),
    );
    folder.ok(&["compress", "m.safetensors", "--block-size", "1K"]);
    std::fs::remove_file(folder.path("m.safetensors")).unwrap();
    folder
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = small();
    let whole = folder.read(HW);
    for cut in (0..whole.len()).step_by(37).chain([1, 7, 8, 15, 16, 17, whole.len() - 1]) {
        folder.write(HW, &whole[..cut]);
        folder.fails(&["decompress", HW], &[HW]);
        assert_eq!(folder.run(&["verify", HW]).code, Some(1), "cut at {cut}");
    }
    folder.write(HW, &[&whole[..], b"x"].concat());
    folder.fails(&["decompress", HW], &[HW]);
}

/// What the program does to read a file, without a process for it.
fn decodes(bytes: &[u8]) -> huffwire::Result<()> {
    let trailer = &bytes[bytes.len() - file::TRAILER_BYTES..];
    let (range, check) = file::read_trailer(trailer, bytes.len() as u64)?;
    let directory = &bytes[range.start as usize..range.end as usize];
    let directory = Directory::read(&bytes[..file::HEADER_BYTES], directory, range.start, check)?;
    let mut decoder = Decoder::builtin();
    for item in directory.items() {
        let Some(set) = directory.set_of(item) else {
            return Err(huffwire::Error::InvalidOption("no set".into()));
        };
        for block in item.blocks() {
            let coded = &bytes[block.offset as usize..][..block.coded_bytes];
            let coded =
                CodedBlock { dtype: item.dtype, set, checksum: block.checksum, bytes: coded };
            decoder.decode_block(&coded, &mut vec![0; block.raw_bytes])?;
        }
    }
    Ok(())
}

#[test]
fn any_flipped_bit_is_found() {
    let folder = small();
    let whole = folder.read(HW);
    decodes(&whole).unwrap();
    for bit in 0..8 * whole.len() {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decodes(&damaged).is_err(), "bit {bit}");
    }
}

/// A process for every bit would take minutes: every seventh byte, each time another bit of it.
#[test]
fn the_program_says_so_and_writes_nothing() {
    let folder = small();
    let whole = folder.read(HW);
    for byte in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1 << (byte % 8);
        folder.write(HW, &damaged);
        let run = folder.run(&["decompress", HW, "--threads", "1"]);
        run.failed(&["byte", &byte.to_string()], &[HW]);
        assert!(!folder.path("m.safetensors").exists(), "byte {byte}");
    }
    assert_eq!(folder.snapshot().len(), 1, "no litter");
    folder.write(HW, &whole);
    folder.ok(&["decompress", HW]);
}

#[test]
fn verify_names_every_damaged_block() {
    let folder = small();
    let mut damaged = folder.read(HW);
    let inspected = folder.json(&["inspect", HW, "--json"]);
    let items = inspected["originals"][0]["items"].as_array().unwrap();
    let coded = |item: &serde_json::Value| item["coded_bytes"].as_u64().unwrap() as usize;
    let (header, alpha) = (coded(&items[0]), coded(&items[1]));
    // The last bytes of the last block of alpha, and the first of beta.
    damaged[16 + header + alpha - 1] ^= 1;
    damaged[16 + header + alpha] ^= 1;
    folder.write(HW, &damaged);
    let run = folder.run(&["verify", HW]);
    assert_eq!(run.code, Some(1));
    for mention in ["\"alpha\": block 2", "\"beta\": block 0", "2 of "] {
        assert!(run.stderr.contains(mention), "{mention}: {}", run.stderr);
    }
    let run = folder.run(&["verify", HW, "--json"]);
    assert_eq!(run.code, Some(1));
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["damaged_blocks"], 2);
    assert_eq!(report["damaged"][0]["tensor"], "alpha");
    assert_eq!(report["damaged"][0]["block"], 2);
    // What is not damaged can still be had.
    assert_eq!(folder.ok(&["decompress", HW, "--tensor", "gamma"]), [0; 32]);
    let alpha = ["decompress", HW, "--tensor", "alpha"];
    folder.fails(&[&alpha[..], &["-o", "alpha.bin"]].concat(), &["\"alpha\"", "block 2", "offset"]);
    assert_eq!(folder.ok(&[&alpha[..], &["--range", "0..1024"]].concat()), bf16(1500, 1)[..2048]);
}

#[test]
fn other_versions_and_other_files_are_refused() {
    let folder = small();
    let mut newer = folder.read(HW);
    newer[8] = 9;
    folder.write(HW, &newer);
    folder.fails(&["decompress", HW], &[HW, "version 9", "newer huffwire"]);
    for content in [&b""[..], b"HUFFWIRE", b"\x89PNG\r\n", &noise(500, 1)] {
        folder.write(HW, content);
        for command in ["decompress", "verify", "inspect"] {
            folder.fails(&[command, HW], &[HW]);
        }
    }
}

#[test]
fn without_checksums_damage_is_never_a_panic() {
    let folder = Folder::new();
    folder.write("m.safetensors", &safetensors(&[("a", "BF16", &[600], &bf16(600, 1))]));
    folder.ok(&["compress", "m.safetensors", "--no-checksums", "--block-size", "1K"]);
    let whole = folder.read(HW);
    for byte in (16..whole.len()).step_by(5) {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x41;
        folder.write(HW, &damaged);
        let run = folder.run(&["verify", HW, "--threads", "1"]);
        assert!(matches!(run.code, Some(0 | 1)), "byte {byte}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "byte {byte}: {}", run.stderr);
    }
}

#[test]
fn verify_prints_json_whatever_is_wrong() {
    let folder = small();
    let whole = folder.read(HW);
    folder.ok(&["decompress", HW]);
    folder.ok(&["calibrate", "m.safetensors", "-o", "b", "--no-builtin"]);
    let mut compress = vec!["compress", "m.safetensors", "--codebooks", "b"];
    compress.extend(["--reference-codebooks", "-o", "reference.hw"]);
    folder.ok(&compress);
    let flipped = |at: usize| {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        damaged
    };
    let end = whole.len();
    for (bytes, mention) in [
        (flipped(9), "version"),
        (flipped(12), "header"),
        (flipped(end - 2), "trailer"),
        (flipped(end - 30), "directory"),
        (whole[..end / 2].to_vec(), "cut"),
        (Vec::new(), "header"),
        (folder.read("reference.hw"), "--codebooks FILE"),
    ] {
        folder.write(HW, &bytes);
        let run = folder.run(&["verify", HW, "--json"]);
        assert_eq!(run.code, Some(1), "{mention}");
        assert_eq!(run.stderr, "", "{mention}");
        let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(report["ok"], false, "{mention}");
        let error = report["error"].as_str().unwrap();
        assert!(error.contains(HW) && error.contains(mention), "{mention}: {error}");
    }
    let run = folder.run(&["verify", "absent.hw", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((run.code, &report["ok"]), (Some(1), &false.into()));
}

/// A file can be made to look as large as one likes, by a hole in it; memory cannot. What does not pass its checksum takes
/// none.
#[cfg(target_os = "linux")]
#[test]
fn a_huge_directory_is_an_error() {
    use std::os::unix::fs::FileExt;
    const LENGTH: u64 = 1 << 31;
    let folder = small();
    let header = folder.read(HW)[..file::HEADER_BYTES].to_vec();
    let mut check = file::DirectoryCheck::new(0);
    let zeros = vec![0; 1 << 20];
    (0..LENGTH >> 20).for_each(|_| check.add(&zeros));
    let Err(huffwire::Error::Checksum { computed, .. }) = check.finish() else { panic!() };
    for (check, mentions) in
        [(0, &["checksum"][..]), (computed, &["directory", "2147483648 bytes"])]
    {
        let place = [16u64, LENGTH].map(u64::to_le_bytes).concat();
        let trailer = [&place[..], &check.to_le_bytes(), b"HWDE"].concat();
        folder.write(HW, &header);
        let huge = std::fs::OpenOptions::new().write(true).open(folder.path(HW)).unwrap();
        huge.write_all_at(&trailer, 16 + LENGTH).unwrap();
        let script = r#"ulimit -v 1000000; exec "$0" verify m.safetensors.hw --threads 1"#;
        let output = std::process::Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_huffwire")])
            .current_dir(folder.path(""))
            .output()
            .unwrap();
        let run = crate::common::Run::from(output);
        run.failed(&["ulimit"], &[&[HW][..], mentions].concat());
    }
}

/// Nothing is made from such a file that could stand for it.
#[test]
fn a_file_without_originals_is_not_removed() {
    let folder = Folder::new();
    let writer = file::Writer::new(true, 17).unwrap();
    let mut empty = writer.header().to_vec();
    empty.extend(writer.finish().unwrap());
    folder.write("empty.hw", &empty);
    folder.fails(&["decompress", "empty.hw", "--rm"], &["empty.hw: kept: it holds no files"]);
    folder.write("other.hw", &empty);
    folder.fails(&["decompress", "empty.hw", "other.hw", "--rm"], &["empty.hw: kept"]);
}
