//! Quantized tensors: reports, files, and back; and what is refused.

use huffwire::file::EntryRef;
#[cfg(target_os = "linux")]
use huffwire::{
    CodebookSet, Dtype, EncodeOptions, Encoder, Kind,
    file::{self, NewItem, TensorInfo},
    gradient::Values,
    gradient::encode::{Bitmap, ValueEncoder},
};
use huffwire_io::Reader;
use serde_json::Value;

use crate::common::{Folder, bf16, noise, npy, safetensors, safetensors_of};

const IN: &str = "g.safetensors";
/// Quantized values in a block.
#[cfg(target_os = "linux")]
const BLOCK: usize = 1 << 20;

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
    assert!(number(&report, "file_bytes") > number(&report, "coded_bytes"));
    let names: Vec<&str> = encoders(&report).iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    let tensors = report["tensors"].as_array().unwrap();
    let names: Vec<&str> = tensors.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&"a.weight") && names.contains(&"a.bias") && names.contains(&"empty"));
    let kept = &report["kept"][0];
    assert_eq!((&kept["name"], &kept["dtype"]), (&"steps".into(), &"i64".into()));
    let dtype = |index: usize| (&tensors[index]["dtype"], &tensors[index]["original_dtype"]);
    assert_eq!(dtype(1), (&"bf16".into(), &"BF16".into()));
    for field in [
        "elements",
        "scales",
        "shannon_bytes",
        "shannon_pairs_bytes",
        "shannon_runs_bytes",
        "shannon_bitmap_bytes",
        "coded_bytes",
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
fn tensors_of_several_blocks_are_measured_as_files_have_them() {
    let folder = Folder::new();
    let floats: Vec<f32> = gradient((1 << 20) + 5).iter().map(|float| float.powi(5)).collect();
    let bytes = le_bytes(&floats);
    folder.write(IN, &safetensors(&[("w", "F32", &[(1 << 20) + 5], &bytes)]));
    let flags = ["quantize", IN, "--quantizer", "natural", "--encoder", "bitmap", "--json"];
    let report = folder.json(&flags);
    let bitmap = encoders(&report).iter().find(|encoder| encoder["name"] == "bitmap").unwrap();
    // The file has a kind header besides.
    let more = number(&report, "coded_bytes") - number(bitmap, "coded_bytes");
    assert!(more > 0.0 && more < 50.0, "{more}");
    assert_eq!(encoders(&report).len(), NAMES.len());
}

#[test]
fn what_is_written_comes_back_and_equal_seeds_make_equal_bytes() {
    let folder = folder();
    for quantizer in ["qsgd", "terngrad", "natural", "sign", "topk", "randomk", "int8"] {
        let flags = ["quantize", IN, "--quantizer", quantizer, "--seed", "7", "-q", "-f"];
        folder.ok(&[&flags[..], &["-o", "g.hw"]].concat());
        folder.ok(&[&flags[..], &["-o", "again.hw"]].concat());
        assert!(folder.read("g.hw") == folder.read("again.hw"), "{quantizer}");
        let verified = folder.json(&["verify", "g.hw", "--json"]);
        assert_eq!((&verified["ok"], &verified["lossy_tensors"]), (&true.into(), &3.into()));
        assert_eq!(
            verified["raw_bytes"],
            folder.read(IN).len(),
            "the bytes of the floats restored"
        );
        folder.ok(&["decompress", "g.hw", "-o", "r.safetensors", "-f"]);
    }
    // The last one was int8: floats are near. Everything else is as it was: header, order, other types.
    let (original, restored) = (folder.read(IN), folder.read("r.safetensors"));
    assert_eq!(original.len(), restored.len());
    let ((before, old), (after, new)) = (parts(&original), parts(&restored));
    assert!(original.starts_with(&restored[..original.len() - old.len()]));
    let range = |name: &str| {
        let at = |index: usize| before[name]["data_offsets"][index].as_u64().unwrap() as usize;
        at(0)..at(1)
    };
    assert_eq!((&before, &old[range("steps")]), (&after, &new[range("steps")]), "without loss");
    let restored = floats(&new[range("a.weight")]);
    assert_eq!(restored.len(), 12_000);
    for (float, near) in gradient(12_000).iter().zip(&restored) {
        assert!((float - near).abs() <= 0.5 / 127.0 + 1e-6, "{float} and {near}");
    }
    // A tensor alone, or a part of it, is the same.
    let tensor = folder.ok(&["decompress", "g.hw", "--tensor", "a.weight"]);
    assert!(tensor == new[range("a.weight")]);
    let bias = folder.ok(&["decompress", "g.hw", "--tensor", "a.bias", "--range", "100..300"]);
    assert!(bias == new[range("a.bias")][200..600]);
    let array = folder.ok(&["decompress", "g.hw", "--tensor", "a.weight", "--as", "npy"]);
    assert!(array.ends_with(&tensor) && array.windows(9).any(|text| text == b"(100, 120"));
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|float| f32::from_le_bytes(*float)).collect()
}

#[test]
fn loss_is_told_and_the_input_is_not_overwritten() {
    let folder = folder();
    folder.ok(&["quantize", IN, "-o", "g.safetensors.hw"]);
    let hw = "g.safetensors.hw";
    folder.fails(&["decompress", hw], &[IN, "already exists", "--force"]);
    let report = folder.json(&["decompress", hw, "-o", "r.safetensors", "--json"]);
    assert_eq!(report["lossy_tensors"], 3);
    assert_eq!(report["written_bytes"], folder.read("r.safetensors").len());
    let text = folder.ok(&["decompress", hw, "-o", "r.safetensors", "-f"]);
    assert!(String::from_utf8(text).unwrap().contains("3 tensors were quantized"));
    let text = folder.ok(&["decompress", hw, "--tensor", "a.weight", "-o", "w"]);
    assert!(String::from_utf8(text).unwrap().contains("1 tensor was quantized"));
    let text = folder.ok(&["decompress", hw, "--tensor", "steps", "-o", "s"]);
    assert!(!String::from_utf8(text).unwrap().contains("quantized"));
    let text = String::from_utf8(folder.ok(&["verify", hw])).unwrap();
    assert!(text.contains("4 tensors (3 of them quantized)"), "{text}");
    // What was restored can be quantized again, and be compressed.
    folder.ok(&["quantize", "r.safetensors", "-o", "r.hw"]);
    folder.ok(&["compress", "r.safetensors"]);
}

#[test]
fn files_are_inspected() {
    let folder = folder();
    folder.ok(&["quantize", IN, "--encoder", "rlh", "--levels", "4", "-o", "g.hw"]);
    let report = folder.json(&["inspect", "g.hw", "--json"]);
    assert_eq!(report["lossy_tensors"], 3);
    let items = report["originals"][0]["items"].as_array().unwrap();
    let of = |name: &str| items.iter().find(|item| item["name"] == name).unwrap();
    let weight = of("a.weight");
    assert_eq!((&weight["quantizer"], &weight["encoder"]), (&"qsgd".into(), &"rlh".into()));
    assert_eq!((&weight["kind"], &weight["scales"]), (&"quantized values".into(), &24.into()));
    let (raw, coded) = (number(weight, "raw_bytes"), number(weight, "coded_bytes"));
    assert_eq!((raw, &weight["layouts"]), (48_000.0, &Value::Null));
    assert!((number(weight, "saving_percent") - 100.0 * (1.0 - coded / raw)).abs() < 1e-9);
    let steps = of("steps");
    assert_eq!((&steps["kind"], &steps["quantizer"]), (&"tensor".into(), &Value::Null));
    assert!(steps["layouts"].is_array());
    let text = String::from_utf8(folder.ok(&["inspect", "g.hw"])).unwrap();
    for mention in [
        "3 tensors are quantized",
        "qsgd levels=4 norm=l2 bucket=512, 24 scales",
        "qsgd levels=4 norm=l2 bucket=512, 1 scale ",
        "encoder rlh",
    ] {
        assert!(text.contains(mention), "{mention}: {text}");
    }
}

#[test]
fn other_files_and_pipes_are_read_too() {
    let folder = folder();
    let values = le_bytes(&gradient(600));
    let array = npy("<f4", "(20, 30)", &values);
    folder.write("g.npy", &array);
    folder.write("g.bin", &values);
    folder.ok(&["quantize", "g.npy", "-o", "npy.hw"]);
    let restored = folder.ok(&["decompress", "npy.hw", "-o", "-"]);
    let header = array.len() - values.len();
    assert!(restored.len() == array.len() && restored[..header] == array[..header]);
    // An array in Fortran order keeps its header, too.
    let mut fortran = npy("<f4", "(2, 3)", &values[..24]);
    let at = fortran.windows(5).position(|window| window == b"False").unwrap();
    fortran[at..at + 5].copy_from_slice(b"True ");
    folder.write("f.npy", &fortran);
    folder.ok(&["quantize", "f.npy", "-o", "f.hw"]);
    let restored = folder.ok(&["decompress", "f.hw", "-o", "-"]);
    assert!(restored[..restored.len() - 24] == fortran[..fortran.len() - 24]);
    folder.ok(&["quantize", "g.bin", "--dtype", "f32", "-o", "bin.hw"]);
    assert_eq!(folder.ok(&["decompress", "bin.hw", "-o", "-"]).len(), values.len());
    let run = folder.run_with(&["quantize", "-", "-o", "-", "--json"], &folder.read(IN));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str::<Value>(&run.stderr).unwrap();
    let piped = folder.run_with(&["decompress", "-"], &run.stdout);
    assert_eq!(piped.code, Some(0), "{}", piped.stderr);
    folder.ok(&["quantize", IN, "-o", "g.hw"]);
    assert!(piped.stdout == folder.ok(&["decompress", "g.hw", "-o", "-"]));
}

#[test]
fn models_in_several_files_keep_their_files() {
    let folder = folder();
    let index = br#"{"weight_map": {"a.weight": "g.safetensors", "b": "h.safetensors"}}"#;
    folder.write("m.safetensors.index.json", index);
    let other = safetensors(&[("b", "F32", &[300], &le_bytes(&gradient(300)))]);
    folder.write("h.safetensors", &other);
    let report = folder.json(&["quantize", "m.safetensors.index.json", "-o", "m.hw", "--json"]);
    assert_eq!(report["tensors"].as_array().unwrap().len(), 4);
    let report = folder.json(&["decompress", "m.hw", "-o", "new", "--json"]);
    assert_eq!(
        (&report["lossy_tensors"], folder.read("new/h.safetensors").len()),
        (&4.into(), other.len())
    );
    assert!(folder.read("new/m.safetensors.index.json") == index);
    let verified = folder.json(&["verify", "m.hw", "--json"]);
    assert_eq!(verified["raw_bytes"], index.len() + folder.read(IN).len() + other.len());
}

#[test]
fn gradients_that_cannot_be_quantized_are_refused() {
    let folder = Folder::new();
    for (value, says) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut values = gradient(100);
        values[42] = value;
        folder.write(IN, &safetensors(&[("w", "F32", &[100], &le_bytes(&values))]));
        folder.fails(&["quantize", IN, "-o", "g.hw"], &[IN, "\"w\"", "element 42", says]);
        folder.fails(&["quantize", IN], &[IN, "\"w\"", "element 42", says]);
    }
    let huge = le_bytes(&[f32::MAX, f32::MAX]);
    folder.write(IN, &safetensors(&[("w", "F32", &[2], &huge)]));
    folder.fails(&["quantize", IN], &["\"w\"", "norm"]);
    folder.fails(&["quantize", IN, "--quantizer", "natural"], &["\"w\"", "2^127"]);
}

/// Random-k multiplies what it keeps, here beyond the range of f16: it would come back as infinity.
#[test]
fn floats_that_their_type_cannot_hold_are_refused() {
    let folder = Folder::new();
    let halves = [0x7bffu16.to_le_bytes(); 100].concat();
    folder.write(IN, &safetensors(&[("w", "F16", &[100], &halves)]));
    for keep in ["0.5", "1"] {
        let args = ["quantize", IN, "--quantizer", "randomk", "--keep", keep, "-o", "g.hw"];
        if keep == "1" {
            folder.ok(&args);
            assert!(folder.ok(&["decompress", "g.hw", "--tensor", "w"]) == halves);
        } else {
            folder.fails(&args, &[IN, "\"w\"", "element ", "131008", "f16", "infinity"]);
        }
    }
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
    folder.write("there.hw", b"old");
    folder.fails(&["quantize", IN, "-o", "there.hw"], &["there.hw", "--force"]);
    folder.fails(&["quantize", IN, "-o", IN, "-f"], &["same file"]);
    folder.ok(&["quantize", IN, "-o", "there.hw", "--force"]);
    folder.fails(&["decompress", "there.hw", "-o", "there.hw", "-f"], &["same file"]);
    folder.write("other.name", &folder.read("there.hw"));
    folder.fails(&["decompress", "other.name"], &["-o"]);
    folder.write("i.safetensors", &safetensors(&[("n", "I64", &[5], &noise(40, 1))]));
    folder.fails(&["quantize", "i.safetensors"], &["f32, bf16 or f16"]);
}

/// Who quantizes is likely to look for it.
#[test]
fn there_is_no_command_dequantize() {
    let folder = folder();
    folder.ok(&["quantize", IN, "-o", "g.hw"]);
    let before = folder.snapshot();
    for args in [&["dequantize"][..], &["dequantize", "g.hw", "-o", "x", "--as", "f32"]] {
        let run = folder.run(args);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("huffwire decompress"), "{}", run.stderr);
    }
    assert!(folder.snapshot() == before);
    let help = String::from_utf8(folder.ok(&["--help"])).unwrap();
    assert!(!help.contains("dequantize") && help.contains("quantize"), "{help}");
}

#[test]
fn damage_is_found() {
    let folder = folder();
    folder.ok(&["quantize", IN, "-o", "g.hw", "-q"]);
    let file = folder.read("g.hw");
    let step = (file.len() / 40).max(1);
    for cut in (0..file.len()).step_by(step).chain([file.len() - 1]) {
        folder.write("cut.hw", &file[..cut]);
        folder.fails(&["decompress", "cut.hw", "-o", "x"], &["cut.hw"]);
    }
    // Every entry, those of the empty tensor included, and a byte here and there.
    let reader = Reader::open(&folder.path("g.hw")).unwrap();
    let entries: Vec<EntryRef> =
        reader.directory().items().flat_map(|item| item.entries()).collect();
    let in_entries = entries.iter().map(|entry| entry.offset as usize + entry.coded_bytes / 2);
    for at in (0..file.len()).step_by(step).chain(in_entries) {
        let mut flipped = file.clone();
        flipped[at] ^= 0x10;
        folder.write("flipped.hw", &flipped);
        folder.fails(&["decompress", "flipped.hw", "-o", "x"], &["flipped.hw"]);
        let run = folder.run(&["verify", "flipped.hw", "--json"]);
        assert_eq!(run.code, Some(1));
        let report: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(report["ok"], false);
    }
    // A block of quantized values, and the header before it.
    let weight = reader.tensor("a.weight").unwrap();
    let places = [weight.blocks().next().unwrap(), weight.kind_header().unwrap()];
    for (place, block) in places.iter().zip([Value::from(0), Value::Null]) {
        let mut flipped = file.clone();
        flipped[place.offset as usize] ^= 1;
        folder.write("flipped.hw", &flipped);
        let run = folder.run(&["verify", "flipped.hw", "--json"]);
        let report: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(
            (&report["damaged_blocks"], &report["blocks"]),
            (&1.into(), &entries.len().into())
        );
        let damage = &report["damaged"][0];
        assert_eq!((&damage["tensor"], &damage["block"]), (&"a.weight".into(), &block));
        assert_eq!(damage["offset"], place.offset);
        assert!(damage["error"].as_str().unwrap().contains("checksum"), "{report}");
        // Other tensors can still be had.
        folder.ok(&["decompress", "flipped.hw", "--tensor", "a.bias"]);
        folder.fails(
            &["decompress", "flipped.hw", "--tensor", "a.weight", "-o", "x"],
            &["\"a.weight\""],
        );
    }
}

#[test]
fn a_header_without_a_tensor_is_no_gradient() {
    let folder = Folder::new();
    folder.write(IN, &safetensors_of("{}", &[]));
    folder.fails(&["quantize", IN], &["no tensor"]);
}

/// A .hw file of one tensor of so many blocks of quantized values, all alike, and of any kind header.
#[cfg(target_os = "linux")]
fn forged(blocks: usize, kind_header: &[u8], block: &[u8]) -> Vec<u8> {
    let mut writer = file::Writer::new(true, 17).unwrap();
    let mut bytes = writer.header().to_vec();
    let set = writer.add_set(&CodebookSet::builtin(), false);
    writer.begin_original("large.bin").unwrap();
    let shape = vec![(blocks * BLOCK) as u64];
    let tensor = Some(TensorInfo { name: "t".into(), dtype: "F32".into(), shape });
    let (kind, dtype) = (Kind::Values, Dtype::F32);
    writer.begin_item(NewItem { tensor, kind, dtype, set }).unwrap();
    let check = |entry: &[u8]| Some(file::checksum(entry));
    writer.push_kind_header(kind_header.len(), check(kind_header)).unwrap();
    bytes.extend_from_slice(kind_header);
    for _ in 0..blocks {
        writer.push_block(4 * BLOCK, block.len(), check(block)).unwrap();
        bytes.extend_from_slice(block);
    }
    bytes.extend(writer.finish().unwrap());
    bytes
}

#[cfg(target_os = "linux")]
fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A block of values that are all 1, by the encoder with the number 11.
#[cfg(target_os = "linux")]
fn block_of_ones() -> Vec<u8> {
    let mut block = Vec::new();
    Bitmap::default().encode(Values::I8(&[1; BLOCK]), &mut block).unwrap();
    block
}

/// The program where there are so many kilobytes of memory.
#[cfg(target_os = "linux")]
fn run_within(folder: &Folder, kilobytes: u32, args: &[&str]) -> crate::common::Run {
    let script = format!(r#"ulimit -v {kilobytes}; exec "$0" "$@""#);
    let output = std::process::Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_huffwire")])
        .args(args)
        .args(["--threads", "1"])
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    output.into()
}

/// A few kilobytes can stand for gigabytes: what is decoded block by block needs no memory for them.
#[cfg(target_os = "linux")]
#[test]
fn tensors_larger_than_memory_are_decoded_block_by_block() {
    const BLOCKS: usize = 160;
    let folder = Folder::new();
    // Natural compression, the bitmap, no flags, one dimension; one scale.
    let mut kind_header = vec![3, 11, 0, 1];
    put_varint(&mut kind_header, BLOCKS * BLOCK);
    kind_header.extend_from_slice(&[1, 0, 0, 0, 0x3f]);
    let file = forged(BLOCKS, &kind_header, &block_of_ones());
    assert!(file.len() < 5000, "{}", file.len());
    folder.write("large.hw", &file);
    let before = folder.snapshot();
    // 640 MiB of floats.
    let decompress = ["decompress", "large.hw", "-o", "/dev/null"];
    for args in [&["verify", "large.hw"][..], &decompress, &["inspect", "large.hw"]] {
        let run = run_within(&folder, 500_000, args);
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.stderr);
    }
    let end = ["decompress", "large.hw", "--tensor", "t", "--range", "167772159.."];
    assert_eq!(run_within(&folder, 500_000, &end).stdout, 0.5f32.to_le_bytes());
    assert!(folder.snapshot() == before);
}

/// Scales belong to the whole tensor, so there must be memory for them.
#[cfg(target_os = "linux")]
#[test]
fn scales_that_there_is_no_memory_for_are_an_error() {
    const BLOCKS: usize = 128;
    let folder = Folder::new();
    let scales = vec![0; 4 * BLOCKS * BLOCK];
    let options = EncodeOptions::default().checksums(false);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
    let scales = encoder.encode_to_vec(Dtype::F32, &scales).unwrap();
    // int8 with buckets of one element, the bitmap, scales that are coded, one dimension.
    let mut kind_header = vec![7, 1, 11, 2, 1];
    put_varint(&mut kind_header, BLOCKS * BLOCK);
    put_varint(&mut kind_header, BLOCKS * BLOCK);
    kind_header.extend_from_slice(&scales);
    let file = forged(BLOCKS, &kind_header, &block_of_ones());
    assert!(file.len() < 100_000, "{}", file.len());
    folder.write("large.hw", &file);
    let before = folder.snapshot();
    run_within(&folder, 500_000, &["inspect", "large.hw"]);
    for args in [&["verify", "large.hw"][..], &["decompress", "large.hw", "-o", "x"]] {
        run_within(&folder, 500_000, args).failed(args, &["large.hw", "no memory"]);
        assert!(folder.snapshot() == before);
    }
}
