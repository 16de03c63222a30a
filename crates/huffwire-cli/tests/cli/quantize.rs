//! Quantized tensors: reports, files, and back; and what is refused.

use serde_json::Value;

use crate::common::{Folder, bf16, noise, npy, safetensors, safetensors_of};

const IN: &str = "g.safetensors";

/// Values of both signs, most of them small.
fn gradient(elements: usize) -> Vec<f32> {
    let bytes = noise(4 * elements, 5);
    let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let value = |word: u32| (f64::from(word) / f64::from(u32::MAX) * 2.0 - 1.0).powi(7) as f32;
    words.map(value).collect()
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A folder with 12 000 values of f32, 500 of bf16, and 40 bytes of integers.
fn folder() -> Folder {
    let folder = Folder::new();
    let (first, second, integers) = (le_bytes(&gradient(12_000)), bf16(500, 2), noise(40, 3));
    let file = safetensors(&[
        ("a.weight", "F32", &[100, 120], &first),
        ("a.bias", "BF16", &[500], &second),
        ("steps", "I64", &[5], &integers),
        ("empty", "F32", &[0, 3], &[]),
    ]);
    folder.write(IN, &file);
    folder
}

fn number(report: &Value, field: &str) -> f64 {
    assert!(report[field].is_number(), "{field} in {report}");
    report[field].as_f64().unwrap()
}

fn encoders(report: &Value) -> &[Value] {
    report["encoders"].as_array().unwrap()
}

const NAMES: [&str; 12] = [
    "huffman",
    "rlh",
    "sh",
    "shs",
    "run-lengths",
    "elias-gamma",
    "elias-delta",
    "elias-omega",
    "qsgd-elias",
    "qsgd-elias-dense",
    "bitmap",
    "auto",
];

/// The header and the tensors' bytes of a safetensors file.
fn parts(file: &[u8]) -> (Value, &[u8]) {
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    (serde_json::from_slice(&file[8..8 + length]).unwrap(), &file[8 + length..])
}

#[test]
fn the_report_holds_what_it_promises_and_nothing_is_written() {
    let folder = folder();
    let flags = ["quantize", IN, "--quantizer", "qsgd", "--levels", "4", "--bucket", "512"];
    let report = folder.json(&[&flags[..], &["--json"]].concat());
    assert_eq!(folder.snapshot().len(), 1, "only a report");
    assert_eq!((&report["quantizer"], &report["encoder"]), (&"qsgd".into(), &"auto".into()));
    assert_eq!(number(&report, "elements"), 12_500.0);
    assert_eq!(number(&report, "raw_bytes"), 49_000.0);
    let zeros = number(&report, "zeros_percent");
    assert!(zeros > 50.0 && zeros < 100.0);
    assert!(number(&report, "relative_error") > 0.0 && number(&report, "max_abs_error") > 0.0);
    assert!(number(&report, "file_bytes") > number(&report, "message_bytes"));
    let names: Vec<&str> = encoders(&report).iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    let tensors = report["tensors"].as_array().unwrap();
    let names: Vec<&str> = tensors.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&"a.weight") && names.contains(&"a.bias") && names.contains(&"empty"));
    assert_eq!(report["kept"][0]["name"], "steps");
    for field in [
        "elements",
        "scales",
        "shannon_bytes",
        "shannon_pairs_bytes",
        "shannon_runs_bytes",
        "shannon_bitmap_bytes",
        "message_bytes",
    ] {
        let sum: f64 = tensors.iter().map(|tensor| number(tensor, field)).sum();
        assert!((number(&report, field) - sum).abs() < 1e-6, "{field}");
    }
    for (index, encoder) in encoders(&report).iter().enumerate() {
        for field in ["coded_bytes", "codebook_bytes"] {
            let sum: f64 = tensors.iter().map(|t| number(&encoders(t)[index], field)).sum();
            assert_eq!(number(encoder, field), sum, "{encoder}");
        }
        assert!(number(encoder, "encode_gelem_s") > 0.0, "{encoder}");
        assert!(number(encoder, "decode_gelem_s") > 0.0, "{encoder}");
        // Shannon's bound for its symbols.
        let bound = match encoder["name"].as_str().unwrap() {
            "huffman" | "sh" => "shannon_bytes",
            "rlh" | "elias-omega" | "elias-gamma" | "elias-delta" => "shannon_pairs_bytes",
            "shs" => "shannon_runs_bytes",
            _ => continue,
        };
        assert!(number(encoder, "coded_bytes") > number(&report, bound), "{encoder}");
    }
}

#[test]
fn what_is_written_comes_back_and_equal_seeds_make_equal_bytes() {
    let folder = folder();
    for quantizer in ["qsgd", "terngrad", "natural", "sign", "topk", "randomk", "int8"] {
        let flags = ["quantize", IN, "--quantizer", quantizer, "--seed", "7", "-q", "-f"];
        folder.ok(&[&flags[..], &["-o", "g.hwq"]].concat());
        folder.ok(&[&flags[..], &["-o", "again.hwq"]].concat());
        assert!(folder.read("g.hwq") == folder.read("again.hwq"), "{quantizer}");
        assert_eq!(folder.json(&["verify", "g.hwq", "--json"])["ok"], true);
        folder.ok(&["dequantize", "g.hwq", "-o", "same.safetensors", "-f"]);
        folder.ok(&["dequantize", "g.hwq", "--as", "f32", "-o", "wide.safetensors", "-f"]);
    }
    // The last one was int8: values are near.
    let original = folder.read("g.safetensors");
    let restored = folder.read("wide.safetensors");
    let ((before, old), (after, new)) = (parts(&original), parts(&restored));
    assert_eq!(before["__metadata__"], after["__metadata__"]);
    assert_eq!(after["a.weight"]["shape"], before["a.weight"]["shape"]);
    assert_eq!(
        (&after["a.bias"]["dtype"], &after["steps"]["dtype"]),
        (&"F32".into(), &"I64".into())
    );
    let range = |header: &Value, name: &str| {
        let at = |index: usize| header[name]["data_offsets"][index].as_u64().unwrap() as usize;
        at(0)..at(1)
    };
    assert_eq!(old[range(&before, "steps")], new[range(&after, "steps")], "kept without loss");
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
    };
    let values = floats(&new[range(&after, "a.weight")]);
    assert_eq!(values.len(), 12_000);
    for (value, near) in gradient(12_000).iter().zip(&values) {
        assert!((value - near).abs() <= 0.5 / 127.0 + 1e-6, "{value} and {near}");
    }
}

#[test]
fn types_come_back_and_the_input_is_not_overwritten() {
    let folder = folder();
    folder.ok(&["quantize", IN, "-o", "g.hwq"]);
    folder.fails(&["dequantize", "g.hwq"], &["g.safetensors", "already exists", "--force"]);
    let report = folder.json(&["dequantize", "g.hwq", "-o", "r.safetensors", "--json"]);
    assert_eq!((&report["tensors"], &report["kept"]), (&4.into(), &1.into()));
    let restored = folder.read("r.safetensors");
    assert_eq!(report["written_bytes"], restored.len());
    let (header, _) = parts(&restored);
    assert_eq!(header["a.bias"]["dtype"], "BF16");
    // What was restored can be quantized again, and be compressed.
    folder.ok(&["quantize", "r.safetensors", "-o", "r.hwq"]);
    folder.ok(&["compress", "r.safetensors"]);
}

#[test]
fn files_are_inspected() {
    let folder = folder();
    folder.ok(&["quantize", IN, "--encoder", "rlh", "--levels", "4", "-o", "g.hwq"]);
    let report = folder.json(&["inspect", "g.hwq", "--json"]);
    let tensors = report["tensors"].as_array().unwrap();
    let of = |name: &str| tensors.iter().find(|tensor| tensor["name"] == name).unwrap();
    assert_eq!(
        (&of("a.weight")["quantizer"], &of("a.weight")["encoder"]),
        (&"qsgd".into(), &"rlh".into())
    );
    assert_eq!(of("steps")["quantizer"], Value::Null);
    let text = String::from_utf8(folder.ok(&["inspect", "g.hwq"])).unwrap();
    assert!(
        text.contains("qsgd levels=4 norm=l2 bucket=512") && text.contains("without loss"),
        "{text}"
    );
}

#[test]
fn other_files_and_pipes_are_read_too() {
    let folder = folder();
    let values = le_bytes(&gradient(600));
    folder.write("g.npy", &npy("<f4", "(20, 30)", &values));
    folder.write("g.bin", &values);
    folder.ok(&["quantize", "g.npy", "-o", "npy.hwq"]);
    folder.ok(&["dequantize", "npy.hwq"]);
    let restored = folder.read("npy.safetensors");
    let (header, _) = parts(&restored);
    assert_eq!(header["g.npy"]["shape"], serde_json::json!([20, 30]));
    folder.ok(&["quantize", "g.bin", "--dtype", "f32", "-o", "bin.hwq"]);
    let run = folder.run_with(&["quantize", "-", "-o", "-", "--json"], &folder.read(IN));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str::<Value>(&run.stderr).unwrap();
    let piped = folder.run_with(&["dequantize", "-"], &run.stdout);
    assert_eq!(piped.code, Some(0), "{}", piped.stderr);
    folder.ok(&["quantize", IN, "-o", "g.hwq"]);
    assert!(run.stdout == folder.read("g.hwq"));
}

#[test]
fn gradients_that_cannot_be_quantized_are_refused() {
    let folder = Folder::new();
    for (value, says) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut values = gradient(100);
        values[42] = value;
        folder.write(IN, &safetensors(&[("w", "F32", &[100], &le_bytes(&values))]));
        folder.fails(&["quantize", IN, "-o", "g.hwq"], &[IN, "\"w\"", "element 42", says]);
        folder.fails(&["quantize", IN], &[IN, "\"w\"", "element 42", says]);
    }
    let huge = le_bytes(&[f32::MAX, f32::MAX]);
    folder.write(IN, &safetensors(&[("w", "F32", &[2], &huge)]));
    folder.fails(&["quantize", IN], &["\"w\"", "norm"]);
    folder.fails(&["quantize", IN, "--quantizer", "natural"], &["\"w\"", "2^127"]);
    // Random-k multiplies what it keeps, here beyond the range of f16.
    let halves = [0x7bffu16.to_le_bytes(); 100].concat();
    folder.write(IN, &safetensors(&[("w", "F16", &[100], &halves)]));
    folder.ok(&["quantize", IN, "--quantizer", "randomk", "-o", "g.hwq"]);
    folder.fails(&["dequantize", "g.hwq", "-o", "r.safetensors"], &["f16", "--as f32"]);
    folder.ok(&["dequantize", "g.hwq", "-o", "r.safetensors", "--as", "f32"]);
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let folder = folder();
    folder.fails(&["quantize", IN, "--levels", "0"], &["levels"]);
    folder.fails(&["quantize", IN, "--bucket", "0"], &["bucket"]);
    folder.fails(&["quantize", IN, "--quantizer", "sign", "--levels", "4"], &["--levels", "qsgd"]);
    folder.fails(&["quantize", IN, "--quantizer", "topk", "--keep", "0"], &["share"]);
    folder.fails(&["quantize", IN, "--levels", "100000", "--encoder", "sh"], &["32768"]);
    let run = folder.run(&["quantize", IN, "--encoder", "abacus"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("bitmap") && run.stderr.contains("abacus"), "{}", run.stderr);
    // Levels beyond what sampling encoders take: the others serve.
    let report = folder.json(&["quantize", IN, "--levels", "100000", "--json"]);
    assert_eq!(encoders(&report).len(), NAMES.len() - 2);
    assert_eq!(report["left_out"][0]["name"], "sh");
}

#[test]
fn output_and_input_are_guarded() {
    let folder = folder();
    folder.write("there.hwq", b"old");
    folder.fails(&["quantize", IN, "-o", "there.hwq"], &["there.hwq", "--force"]);
    folder.fails(&["quantize", IN, "-o", IN, "-f"], &["same file"]);
    folder.ok(&["quantize", IN, "-o", "there.hwq", "--force"]);
    folder.fails(&["dequantize", "there.hwq", "-o", "there.hwq", "-f"], &["same file"]);
    folder.write("other.name", &folder.read("there.hwq"));
    folder.fails(&["dequantize", "other.name"], &["-o"]);
    folder.write("i.safetensors", &safetensors(&[("n", "I64", &[5], &noise(40, 1))]));
    folder.fails(&["quantize", "i.safetensors"], &["f32, bf16 or f16"]);
    let text = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n";
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend_from_slice(&(text.len() as u16).to_le_bytes());
    folder.write("f.npy", &[&array, text.as_bytes(), &[0; 24]].concat());
    folder.fails(&["quantize", "f.npy"], &["Fortran", "ascontiguousarray"]);
}

#[test]
fn files_of_another_kind_are_told_apart() {
    let folder = folder();
    folder.ok(&["quantize", IN, "-o", "g.hwq"]);
    folder.ok(&["compress", IN, "-o", "g.hw"]);
    folder.fails(&["decompress", "g.hwq", "-o", "x"], &["huffwire dequantize"]);
    folder.fails(&["dequantize", "g.hw", "-o", "x"], &["huffwire decompress"]);
    folder.fails(&["dequantize", IN, "-o", "x"], &["no file of quantized tensors"]);
    folder.write("empty.hwq", b"");
    folder.fails(&["dequantize", "empty.hwq"], &["empty.hwq"]);
}

#[test]
fn damage_is_found() {
    let folder = folder();
    folder.ok(&["quantize", IN, "-o", "g.hwq", "-q"]);
    let file = folder.read("g.hwq");
    let step = (file.len() / 40).max(1);
    for cut in (0..file.len()).step_by(step).chain([file.len() - 1]) {
        folder.write("cut.hwq", &file[..cut]);
        folder.fails(&["dequantize", "cut.hwq", "-o", "x"], &["cut.hwq"]);
    }
    for at in (0..file.len()).step_by(step) {
        let mut flipped = file.clone();
        flipped[at] ^= 0x10;
        folder.write("flipped.hwq", &flipped);
        folder.fails(&["dequantize", "flipped.hwq", "-o", "x"], &["flipped.hwq"]);
        let run = folder.run(&["verify", "flipped.hwq", "--json"]);
        assert_eq!(run.code, Some(1));
        let report: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(report["ok"], false);
    }
    // Inside the first message.
    let mut flipped = file.clone();
    flipped[60] ^= 1;
    folder.write("flipped.hwq", &flipped);
    let run = folder.run(&["verify", "flipped.hwq", "--json"]);
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&report["damaged_blocks"], &report["blocks"]), (&1.into(), &4.into()));
    assert!(report["damaged"][0]["error"].as_str().unwrap().contains("checksum"), "{report}");
}

#[test]
fn a_header_without_a_tensor_is_no_gradient() {
    let folder = Folder::new();
    folder.write(IN, &safetensors_of("{}", &[]));
    folder.fails(&["quantize", IN], &["no tensor"]);
}

/// A message of many parts that are all alike, made of one of a single part.
fn forged_parts(parts: u64) -> (u64, Vec<u8>) {
    use huffwire::gradient::ValueBuf;
    use huffwire::gradient::encode::EncoderKind;
    use huffwire::gradient::message::{self, Origin, PART};
    use huffwire::gradient::quantize::{Natural, Quantized, Quantizer};
    let quantizer = Quantizer::Natural(Natural);
    let values = ValueBuf::I8(vec![1; PART]);
    let quantized = Quantized { quantizer, values, scales: vec![0.5] };
    let mut one = Vec::new();
    let origin = Origin { dtype: huffwire::Dtype::F32, shape: &[PART as u64] };
    message::encode(&quantized, origin, EncoderKind::Bitmap, &mut one).unwrap();
    // Magic, version, checksum, quantizer, encoder, element type, flags, one dimension; 2^20; one scale.
    let (front, at) = (one[..14].to_vec(), 14);
    assert_eq!(one[at..at + 4], [0x80, 0x80, 0x40, 1]);
    let mut message = front;
    let elements = parts * PART as u64;
    let mut rest = elements;
    while rest >= 0x80 {
        message.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    message.push(rest as u8);
    message.extend_from_slice(&one[at + 3..at + 8]);
    (0..parts).for_each(|_| message.extend_from_slice(&one[at + 8..]));
    let check = crc32c(&message[9..]).to_le_bytes();
    message[5..9].copy_from_slice(&check);
    (elements, message)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    };
    !bytes.iter().fold(!0, byte)
}

/// A .hwq file of one tensor.
fn hwq(
    dtype: &str,
    shape: &[u64],
    coding: huffwire::gradient::file::Coding,
    message: &[u8],
) -> Vec<u8> {
    let mut writer = huffwire::gradient::file::Writer::new(Vec::new()).unwrap();
    let mut file = writer.header().to_vec();
    writer.push("t", dtype, shape, coding, message.len()).unwrap();
    file.extend_from_slice(message);
    file.extend_from_slice(&writer.finish());
    file
}

/// The program where there are so many kilobytes of memory.
#[cfg(target_os = "linux")]
fn run_within(folder: &Folder, kilobytes: u32, args: &[&str]) -> crate::common::Run {
    let script = format!(r#"ulimit -v {kilobytes}; exec "$0" "$@""#);
    let output = std::process::Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_huffwire")])
        .args(args)
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    output.into()
}

/// A kilobyte can stand for gigabytes: what is decoded part by part needs no memory for them.
#[cfg(target_os = "linux")]
#[test]
fn tensors_larger_than_memory_are_decoded_part_by_part() {
    use huffwire::gradient::file::Coding;
    let folder = Folder::new();
    let (elements, message) = forged_parts(160);
    let file = hwq("F32", &[elements], Coding::Quantized, &message);
    assert!(file.len() < 4000);
    folder.write("large.hwq", &file);
    let before = folder.snapshot();
    // 640 MiB of values.
    for args in [&["verify", "large.hwq"][..], &["dequantize", "large.hwq", "-o", "/dev/null"]] {
        let run = run_within(&folder, 500_000, args);
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.stderr);
    }
    assert!(folder.snapshot() == before);
}

#[cfg(target_os = "linux")]
#[test]
fn tensors_that_there_is_no_memory_for_are_an_error() {
    use huffwire::gradient::file::Coding;
    let folder = Folder::new();
    let bytes = vec![0; 512 << 20];
    let message = huffwire::Encoder::builtin().encode_to_vec(huffwire::Dtype::U8, &bytes);
    let file = hwq("U8", &[bytes.len() as u64], Coding::Kept, &message.unwrap());
    drop(bytes);
    assert!(file.len() < 50_000);
    folder.write("large.hwq", &file);
    let before = folder.snapshot();
    for args in [&["verify", "large.hwq"][..], &["dequantize", "large.hwq"]] {
        run_within(&folder, 500_000, args).failed(args, &["large.hwq", "no memory"]);
        assert!(folder.snapshot() == before);
    }
}
