//! Deltas: a message of each kind of block, with the base that it is for.

use huffwire::file::{NewItem, TensorInfo, Writer, checksum};
use huffwire::{
    CodebookSet, CodedBlock, Decoder, Dtype, EncodeOptions, Encoder, Expected, Kind, Tensor, delta,
};
use huffwire_testing::Random;

use super::{golden, open, path, same_as_today};

/// Values around a scale, and the same after a step that moves all of them by about as much.
fn step(dtype: Dtype, words: usize, size: f64, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(seed);
    let (mut base, mut new) = (Vec::new(), Vec::new());
    for word in 0..words {
        let value = if word % 50 == 7 { 0.0 } else { 0.02 * random.normal() };
        let moved = value + size * random.normal();
        for (value, bytes) in [(value, &mut base), (moved, &mut new)] {
            match dtype {
                Dtype::Bf16 => {
                    bytes.extend_from_slice(&((value as f32).to_bits() >> 16).to_le_bytes()[..2]);
                }
                Dtype::F32 => bytes.extend_from_slice(&(value as f32).to_le_bytes()),
                // Integers.
                _ => bytes.push((value * 5000.0) as i8 as u8),
            }
        }
    }
    (base, new)
}

#[test]
fn every_golden_delta_is_applied_and_still_made_the_same() {
    let mut kinds = Vec::new();
    for (name, dtype, words, size) in [
        ("unchanged", Dtype::Bf16, 300, 0.0),
        ("step", Dtype::Bf16, 9000, 1e-6),
        ("dense", Dtype::Bf16, 700, 1e-4),
        ("dense-f32", Dtype::F32, 300, 1e-7),
        ("plain", Dtype::Bf16, 300, 1.0),
        ("densities", Dtype::I8, 3000, 1e-5),
    ] {
        let (base, new) = step(dtype, words, size, words as u64);
        let options = EncodeOptions::default().checksums(name != "plain").block_log2(12);
        let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
        let tensor = Tensor::new(dtype, &new);
        let context = (name == "densities").then_some(77);
        let tensor = context.map_or(tensor.clone(), |context| tensor.in_context(context));
        let today = encoder.encode_tensor_delta_to_vec(&base, &tensor).unwrap();
        let name = format!("{name}.delta");
        let message = golden(&name, &today);
        let base = golden(&format!("{name}-base"), &base);
        let mut expected = Expected::anything();
        expected.context = context;
        let mut weights = base.clone();
        Decoder::builtin().apply_expected_delta(&message, &expected, &mut weights).unwrap();
        assert!(weights == golden(&format!("{name}-result"), &new), "{name}");
        same_as_today(&name, &message, &today);
        kinds.push(delta::Info::read(&message, context).unwrap().blocks[0].kind);
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 5, "{kinds:?}");
}

/// Names and types of the items of a file, which are those of messages above, and the kinds of their blocks.
const ITEMS: [(&str, Dtype, delta::BlockKind); 3] = [
    ("unchanged", Dtype::Bf16, delta::BlockKind::Unchanged),
    ("step", Dtype::Bf16, delta::BlockKind::Step),
    ("dense-f32", Dtype::F32, delta::BlockKind::Dense),
];

/// The base and the result of an item.
fn pair(name: &str) -> (Vec<u8>, Vec<u8>) {
    let part = |part| std::fs::read(path(&format!("{name}.delta-{part}"))).unwrap();
    (part("base"), part("result"))
}

fn write_file() -> Vec<u8> {
    let options = EncodeOptions::default().block_log2(12);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
    let mut writer = Writer::new(true, 12).unwrap();
    let set = writer.add_set(&CodebookSet::builtin(), false);
    let mut bytes = writer.header().to_vec();
    writer.begin_original("new.safetensors").unwrap();
    for (name, dtype, _) in ITEMS {
        let (base, new) = pair(name);
        let shape = vec![(new.len() / dtype.unit_bytes()) as u64];
        let tensor = Some(TensorInfo { name: name.into(), dtype: dtype.to_string(), shape });
        writer.begin_item(NewItem { tensor, kind: Kind::Delta, dtype, set }).unwrap();
        writer.push_kind_header(1, Some(checksum(&delta::KIND_HEADER))).unwrap();
        bytes.extend_from_slice(&delta::KIND_HEADER);
        let coded =
            encoder.encode_delta_block(&base, &Tensor::new(dtype, &new), &mut bytes).unwrap();
        writer.push_block(new.len(), coded.bytes, coded.checksum).unwrap();
    }
    bytes.extend_from_slice(&writer.finish().unwrap());
    bytes
}

#[test]
fn a_golden_file_of_deltas_is_read_and_still_written_the_same() {
    // The bases and results are written by the test of messages.
    if std::env::var_os("HUFFWIRE_REGENERATE_GOLDEN").is_some() {
        every_golden_delta_is_applied_and_still_made_the_same();
    }
    let today = write_file();
    let bytes = golden("deltas.huffwire", &today);
    let directory = open(&bytes);
    assert_eq!(directory.originals[0].items.len(), ITEMS.len());
    for (item, (name, dtype, kind)) in directory.items().zip(ITEMS) {
        let (base, new) = pair(name);
        assert_eq!((item.kind, item.dtype, item.raw_bytes), (Kind::Delta, dtype, new.len() as u64));
        assert_eq!(item.tensor.as_ref().unwrap().name, name);
        let part =
            |entry: huffwire::file::EntryRef| &bytes[entry.offset as usize..][..entry.coded_bytes];
        let header = item.kind_header().unwrap();
        assert_eq!(part(header), delta::KIND_HEADER);
        assert_eq!(header.checksum, Some(checksum(&delta::KIND_HEADER)));
        let block = item.blocks().next().unwrap();
        let set = directory.set_of(item).unwrap();
        let coded = CodedBlock { dtype, set, checksum: block.checksum, bytes: part(block) };
        let mut out = vec![0; new.len()];
        let header = Decoder::builtin().decode_delta_block(&coded, &base, &mut out).unwrap();
        assert!(out == new, "{name}");
        assert_eq!(header.kind, kind);
        assert_eq!(delta::BlockHeader::read(part(block), new.len()), Ok(header));
    }
    same_as_today("deltas.huffwire", &bytes, &today);
}
