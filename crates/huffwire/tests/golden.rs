//! Golden bytes: what format version 1 looks like, kept for ever in `golden/v1`.
//!
//! Every file there must decode to what it decoded to on the day it was made: that is the promise of
//! the format. Besides, encoding the same input must still make the same bytes. An encoder may learn
//! to choose better, but only knowingly: then write the files anew and look at what changed.
//!
//! ```text
//! HUFFWIRE_REGENERATE_GOLDEN=1 cargo test -p huffwire --test golden
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod forge;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use forge::{entries_of, small_set};
use huffwire::file::{self, Directory, Item, NewItem, TensorInfo, Writer};
use huffwire::message::Kind;
use huffwire::{
    CodebookSet, CodedBlock, Decoder, Dtype, EncodeOptions, Encoder, Error, Expected, Level,
    SymbolRule, Tensor, block,
};
use huffwire_testing::Random;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name)
}

/// A golden file. `today` are the bytes that the library makes of the same input now.
#[track_caller]
fn golden(name: &str, today: &[u8]) -> Vec<u8> {
    // Several tests use the same file, which only one of them may be writing.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let path = path(name);
    if std::env::var_os("HUFFWIRE_REGENERATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, today).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn same_as_today(name: &str, golden: &[u8], today: &[u8]) {
    assert!(
        golden == today,
        "the library no longer makes the bytes of {name} ({} then, {} now). Old data still decode \
         if the other assertions hold; if the change is meant, run\n  \
         HUFFWIRE_REGENERATE_GOLDEN=1 cargo test -p huffwire --test golden",
        golden.len(),
        today.len()
    );
}

/// What the values are like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    /// Exponents with a peak, random signs and mantissas.
    Dense,
    /// The same, half of them +0.
    Zeros,
    /// Dense, and now and then any bits at all.
    Escapes,
    /// Half of the exponents the same, the others all over the place: not what 8-bit codes are good at.
    Spread,
    Constant,
    Noise,
    /// Zeros and ones.
    Truth,
}

/// Bits of a value, and of its exponent and mantissa; the rest have none, and their upper bits
/// take the part.
fn bits_of(dtype: Dtype) -> (u32, u32, u32) {
    match dtype.coding() {
        _ if dtype == Dtype::F64 => (64, 11, 52),
        Dtype::Bf16 => (16, 8, 7),
        Dtype::F16 => (16, 5, 10),
        Dtype::F32 => (32, 8, 23),
        Dtype::E4m3 => (8, 4, 3),
        Dtype::E5m2 => (8, 5, 2),
        Dtype::E3m2 => (6, 3, 2),
        Dtype::E2m3 => (6, 2, 3),
        Dtype::E8m0 => (8, 8, 0),
        other => (8 * other.unit_bytes() as u32, 4, 8 * other.unit_bytes() as u32 - 5),
    }
}

fn tensor(dtype: Dtype, values: Values, units: usize) -> Vec<u8> {
    let (all, exponent_bits, mantissa_bits) = bits_of(dtype);
    let top = (1u64 << exponent_bits) - 1;
    let mut random = Random::new(u64::from(dtype.number()));
    let mut bytes = Vec::new();
    for _ in 0..units {
        let noise = random.bits();
        let below = u64::from(random.bits().trailing_zeros());
        let exponent = (top / 2 + 1).saturating_sub(below);
        let mantissa = noise & ((1 << mantissa_bits) - 1);
        // An e8m0 scale has no sign.
        let sign = if all > exponent_bits + mantissa_bits { noise >> 63 << (all - 1) } else { 0 };
        let dense = sign | exponent << mantissa_bits | mantissa;
        let rare = random.bits();
        let value = match values {
            Values::Zeros if rare & 1 == 0 => 0,
            Values::Escapes if rare.is_multiple_of(40) => noise & (u64::MAX >> (64 - all)),
            Values::Spread if rare & 1 == 0 => {
                sign | (top / 2 - 30 + rare % 61) << mantissa_bits | mantissa
            }
            Values::Spread => sign | (top / 2) << mantissa_bits | mantissa,
            Values::Dense | Values::Zeros | Values::Escapes => dense,
            Values::Truth => rare & 1,
            Values::Constant => 5 << (mantissa_bits / 2),
            Values::Noise => noise & (u64::MAX >> (64 - all)),
        };
        bytes.extend_from_slice(&value.to_le_bytes()[..dtype.unit_bytes()]);
    }
    bytes
}

struct Case {
    name: String,
    dtype: Dtype,
    tensor: Vec<u8>,
    options: EncodeOptions,
    context: Option<u64>,
    /// What must occur among the planes of its blocks, as `inspect_block` tells it.
    shows: &'static str,
}

fn cases() -> Vec<Case> {
    use Dtype::{Bf16, Bool, Complex64, E4m3, E4m3Fnuz, F32, F64, I32, U8, Word64};
    let small = EncodeOptions::default().block_log2(10);
    let max = EncodeOptions::default().level(Level::Max).block_log2(12);
    let bare = small.checksums(false);
    let by_bytes = max.rule(SymbolRule::Bytes);
    let by_planes = max.rule(SymbolRule::BytePlanes);
    let one_block = EncodeOptions::default().level(Level::Max);
    let case = |name: &str, dtype: Dtype, values, units, options, shows| Case {
        name: format!("{dtype}-{name}.message"),
        dtype,
        tensor: tensor(dtype, values, units),
        options,
        context: None,
        shows,
    };
    let mut cases = Vec::new();
    // Types that are coded as others are follow below, one of each family.
    for dtype in Dtype::all().filter(|dtype| dtype.coding() == *dtype) {
        let units = 1300 / dtype.unit_bytes();
        cases.push(case("dense", dtype, Values::Dense, units, small, ""));
        cases.push(case("zeros", dtype, Values::Zeros, units, max, ""));
    }
    cases.extend([
        case("escapes", Bf16, Values::Escapes, 1200, small, "Resident"),
        case("escapes", F32, Values::Escapes, 500, bare, "Resident"),
        case("escapes", E4m3, Values::Escapes, 900, small, "Resident"),
        case("constant", Bf16, Values::Constant, 700, small, "Constant"),
        case("constant", Word64, Values::Constant, 300, small, "Constant"),
        case("verbatim", Bf16, Values::Noise, 600, small, "layout: None"),
        case("verbatim", U8, Values::Noise, 600, bare, "layout: None"),
        case("unchecked", Bf16, Values::Zeros, 700, bare, "Resident"),
        case("embedded-bits8", U8, Values::Dense, 3000, max, "Embedded { limit: Bits8,"),
        case("embedded-bits12", U8, Values::Dense, 9000, one_block, "Embedded { limit: Bits12,"),
        case("embedded-bits8", Bf16, Values::Zeros, 3000, one_block, "Embedded { limit: Bits8,"),
        case(
            "embedded-bits12",
            Bf16,
            Values::Spread,
            20000,
            one_block,
            "Embedded { limit: Bits12,",
        ),
        case("by-bytes", Bf16, Values::Dense, 1500, by_bytes, "Bytes"),
        case("by-planes", F32, Values::Zeros, 1500, by_planes, "Positions"),
        case("empty", Bf16, Values::Dense, 0, small, ""),
        case("single", F32, Values::Dense, 1, small, ""),
        case("zeros", I32, Values::Zeros, 1500, max, "Positions"),
        case("dense", F64, Values::Dense, 700, one_block, "Positions"),
        case("truth", Bool, Values::Truth, 1300, small, "Bytes"),
        case("dense", Complex64, Values::Dense, 320, small, "Exponent"),
        case("dense", E4m3Fnuz, Values::Dense, 1300, small, "Magnitude"),
    ]);
    for (name, dtype, context) in
        [("context-7", Bf16, 7), ("context-0", Bf16, 0), ("context-max", F32, u64::MAX)]
    {
        let case = case(name, dtype, Values::Dense, 600, small, "Resident");
        cases.push(Case { context: Some(context), ..case });
    }
    cases
}

/// The built-in set of the day when the golden messages were made.
fn builtin() -> Arc<CodebookSet> {
    let bytes = golden("builtin.codebooks", &CodebookSet::builtin().to_bytes());
    Arc::new(CodebookSet::from_bytes(&bytes).unwrap())
}

/// How the blocks of a message are stored, for people.
fn described(case: &Case, message: &[u8], decoder: &Decoder) -> String {
    let size = block::block_bytes(case.dtype, case.options.block_log2);
    let set = decoder.sets().next().unwrap().id();
    let mut text = String::new();
    for (entry, raw) in entries_of(message).into_iter().zip(case.tensor.chunks(size)) {
        let (dtype, bytes) = (case.dtype, &message[entry]);
        let block = CodedBlock { dtype, set, checksum: None, bytes };
        text += &format!("{:?}\n", decoder.inspect_block(&block, raw.len()).unwrap());
    }
    text
}

fn encode(set: &Arc<CodebookSet>, case: &Case) -> Vec<u8> {
    let mut encoder = Encoder::new(Arc::clone(set), case.options).unwrap();
    let tensor = Tensor::new(case.dtype, &case.tensor);
    let tensor = case.context.map_or(tensor.clone(), |context| tensor.in_context(context));
    encoder.encode_tensor_to_vec(&tensor).unwrap()
}

#[test]
fn every_golden_message_decodes_to_its_tensor_and_is_still_made_the_same() {
    let set = builtin();
    let mut decoder = Decoder::new(Arc::clone(&set));
    let mut changed = Vec::new();
    for case in cases() {
        let today = encode(&set, &case);
        let message = golden(&case.name, &today);
        let anything = Expected::anything();
        let expected = case.context.map_or(anything, |context| anything.context(context));
        let (header, decoded) = decoder.decode_expected_to_vec(&message, &expected).unwrap();
        assert!(decoded == case.tensor, "{} decodes to something else", case.name);
        assert_eq!((header.kind, header.dtype), (Kind::Tensor, case.dtype));
        assert_eq!(header.checksums, case.options.checksums);
        assert_eq!(header.has_context, case.context.is_some());
        if let Some(context) = case.context {
            let other = anything.context(context.wrapping_add(1));
            let error = decoder.decode_expected_to_vec(&message, &other).unwrap_err();
            assert!(matches!(error, Error::Checksum { .. }), "{error}");
            let error = decoder.decode_to_vec(&message).unwrap_err();
            assert_eq!(error, Error::MissingContext);
        }
        let text = described(&case, &message, &decoder);
        assert!(text.contains(case.shows), "{} shows no {}: {text}", case.name, case.shows);
        if message != today {
            changed.push((case.name, message, today));
        }
    }
    // Old data come first: only when all of them decode does it matter what is made today.
    for (name, message, today) in changed {
        same_as_today(&name, &message, &today);
    }
}

#[test]
fn no_golden_message_is_left_out() {
    let known: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    builtin();
    for entry in std::fs::read_dir(path("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // Those of quantized values have a test of their own.
        let is_other = !name.ends_with(".message") || name.starts_with("values-");
        let is_case = is_other || known.contains(&name);
        assert!(is_case, "nothing tests {name}");
    }
}

/// The bytes at the start of each line, in hexadecimal; two spaces part them from what is said of them.
fn bytes_of(listing: &str) -> Vec<u8> {
    let byte = |word: &str| u8::from_str_radix(word, 16).ok();
    let start = |line: &str| line.trim_start().split("  ").next().unwrap().to_owned();
    let lines = listing.lines().map(start);
    lines.flat_map(|line| line.split(' ').map_while(byte).collect::<Vec<u8>>()).collect()
}

#[test]
fn the_worked_example_of_the_specification_is_what_the_library_makes() {
    let specification = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let Ok(text) = std::fs::read_to_string(&specification) else {
        // A packaged crate does not have it. Told past the test's own output, which nobody sees.
        let path = specification.display();
        writeln!(std::io::stderr(), "NOT CHECKED: the worked example, since {path} is missing")
            .unwrap();
        return;
    };
    let (_, section) = text.split_once("\n## 10. ").unwrap();
    let (section, _) = section.split_once("\n## 11. ").unwrap();
    let mut listings = section.split("```").skip(1).step_by(2);
    let set = bytes_of(listings.next().unwrap());
    let set = Arc::new(CodebookSet::from_bytes(&set).unwrap());
    assert!(section.contains(&set.id().to_string()));
    let message = bytes_of(listings.next().unwrap());

    let mut tensor = [0u16; 200];
    for row in section.lines().filter(|line| line.contains("| 0x")) {
        let mut fields = row.split('|').skip(2).map(str::trim);
        let number: usize = fields.next().unwrap().parse().unwrap();
        let bits = fields.next().unwrap().trim_start_matches("0x");
        tensor[number] = u16::from_str_radix(bits, 16).unwrap();
    }
    assert_eq!(tensor.iter().filter(|&&value| value != 0).count(), 9);
    let tensor: Vec<u8> = tensor.into_iter().flat_map(u16::to_le_bytes).collect();
    let (_, decoded) = Decoder::new(Arc::clone(&set)).decode_to_vec(&message).unwrap();
    assert_eq!(decoded, tensor);
    assert!(section.contains(&format!("{} bytes instead of {}", message.len(), tensor.len())));
    // The same tensor with a single stream.
    let small = bytes_of(listings.next().unwrap());
    let mut encoder = Encoder::new(set, EncodeOptions::default()).unwrap();
    assert_eq!(encoder.encode_to_vec(Dtype::Bf16, &tensor).unwrap(), small);
    assert!(section.contains(&format!("of {} bytes", small.len())));
}

#[test]
fn the_builtin_set_is_the_golden_one() {
    let today = CodebookSet::builtin();
    assert_eq!(builtin().id(), today.id());
    same_as_today("builtin.codebooks", &builtin().to_bytes(), &today.to_bytes());
}

#[test]
fn a_golden_codebook_set_is_read_and_still_written_the_same() {
    let today = small_set().to_bytes();
    let bytes = golden("small.codebooks", &today);
    let set = CodebookSet::from_bytes(&bytes).unwrap();
    assert_eq!(set, *small_set());
    assert_eq!(set.id().to_string(), "cebf2da1bb1c0ec0");
    same_as_today("small.codebooks", &bytes, &today);
}

#[cfg(feature = "json")]
#[test]
fn a_golden_set_in_json_is_read_and_still_written_the_same() {
    let today = small_set().to_json();
    let bytes = golden("small.codebooks.json", today.as_bytes());
    let json = std::str::from_utf8(&bytes).unwrap();
    assert_eq!(CodebookSet::from_json(json).unwrap(), *small_set());
    same_as_today("small.codebooks.json", &bytes, today.as_bytes());
}

/// Name (of those that are tensors), element type, whether the small set is used, bytes.
fn items() -> Vec<(Option<&'static str>, Dtype, bool, Vec<u8>)> {
    vec![
        (None, Dtype::U8, true, br#"{"a header of":"safetensors"}"#.to_vec()),
        (Some("dense"), Dtype::Bf16, true, tensor(Dtype::Bf16, Values::Dense, 1400)),
        (Some("empty"), Dtype::F32, false, Vec::new()),
        (Some("zeros"), Dtype::F32, true, tensor(Dtype::F32, Values::Zeros, 700)),
        (Some("builtin"), Dtype::Bf16, false, tensor(Dtype::Bf16, Values::Dense, 1400)),
        (Some("noise"), Dtype::Word64, false, tensor(Dtype::Word64, Values::Noise, 150)),
        (Some("whole"), Dtype::I64, true, tensor(Dtype::I64, Values::Dense, 150)),
    ]
}

/// The entries of an item of quantized values, as sections 14 and 15 of the format have them: a header (natural;
/// run lengths; no flags; one dimension, 100; one scale, 1.0), and a block (100 values: 60 times 1, 40 times 0).
const VALUES: [&[u8]; 2] = [&[3, 5, 0, 1, 100, 1, 0, 0, 0x80, 0x3f], &[100, 2, 59, 0, 39]];

/// A file of two originals that holds the items twice, coded with a set that it embeds and with one that it names,
/// and an item of another kind.
fn write_file() -> Vec<u8> {
    let options = EncodeOptions::default().block_log2(10);
    let mut writer = Writer::new(true, 10).unwrap();
    let mut encoders = [(small_set(), true), (builtin(), false)].map(|(set, embed)| {
        let place = writer.add_set(&set, embed);
        (place, Encoder::new(set, options).unwrap())
    });
    let mut bytes = writer.header().to_vec();
    for original in ["a.safetensors", "b.safetensors"] {
        writer.begin_original(original).unwrap();
        for (name, dtype, small, raw) in items() {
            let tensor = name.map(|name| TensorInfo {
                name: format!("{original}/{name}"),
                dtype: dtype.name().to_uppercase(),
                shape: vec![raw.len() as u64 / dtype.unit_bytes() as u64, 1],
            });
            let (set, encoder) = &mut encoders[usize::from(!small)];
            let (kind, set) = (Kind::Tensor, *set);
            writer.begin_item(NewItem { tensor, kind, dtype, set }).unwrap();
            for block in raw.chunks(block::block_bytes(dtype, 10)) {
                let coded = encoder.encode_block(&Tensor::new(dtype, block), &mut bytes).unwrap();
                writer.push_block(block.len(), coded.bytes, coded.checksum).unwrap();
            }
        }
    }
    writer.begin_original("c.values").unwrap();
    let (tensor, kind, dtype) = (None, Kind::Values, Dtype::F32);
    writer.begin_item(NewItem { tensor, kind, dtype, set: 0 }).unwrap();
    let [header, block] = VALUES;
    writer.push_kind_header(header.len(), Some(file::checksum(header))).unwrap();
    writer.push_block(400, block.len(), Some(file::checksum(block))).unwrap();
    bytes.extend_from_slice(&VALUES.concat());
    bytes.extend_from_slice(&writer.finish().unwrap());
    bytes
}

fn open(bytes: &[u8]) -> Directory {
    let trailer = &bytes[bytes.len() - file::TRAILER_BYTES..];
    let (range, check) = file::read_trailer(trailer, bytes.len() as u64).unwrap();
    let directory = &bytes[range.start as usize..range.end as usize];
    Directory::read(&bytes[..file::HEADER_BYTES], directory, range.start, check).unwrap()
}

/// The bytes of an item in a range, decoded from as few blocks as hold them.
fn read(bytes: &[u8], directory: &Directory, item: &Item, range: std::ops::Range<u64>) -> Vec<u8> {
    let embedded = directory.sets.iter().find_map(|set| set.embedded.clone()).unwrap();
    let mut decoder = Decoder::new(embedded).with_set(builtin()).unwrap();
    let set = directory.set_of(item).unwrap();
    let mut found = Vec::new();
    let mut first = None;
    for block in item.blocks_of(range.clone()) {
        let coded = &bytes[block.offset as usize..][..block.coded_bytes];
        let mut raw = vec![0; block.raw_bytes];
        let (dtype, checksum) = (item.dtype, block.checksum);
        assert!(checksum.is_some());
        let coded = CodedBlock { dtype, set, checksum, bytes: coded };
        decoder.decode_block(&coded, &mut raw).unwrap();
        found.extend_from_slice(&raw);
        first.get_or_insert(block.raw_offset);
    }
    let start = (range.start - first.unwrap_or(range.start)) as usize;
    found[start..][..(range.end - range.start) as usize].to_vec()
}

#[test]
fn a_golden_file_is_read_and_still_written_the_same() {
    let today = write_file();
    let bytes = golden("model.huffwire", &today);
    let directory = open(&bytes);
    let sets: Vec<_> = directory.sets.iter().map(|set| (set.id, set.embedded.is_some())).collect();
    assert_eq!(sets, [(small_set().id(), true), (builtin().id(), false)]);
    assert_eq!(directory.sets[0].embedded.as_deref(), Some(&*small_set()));
    assert_eq!((directory.checksums, directory.block_log2), (true, 10));
    let names: Vec<&str> = directory.originals.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a.safetensors", "b.safetensors", "c.values"]);
    for original in &directory.originals[..2] {
        assert_eq!(original.items.len(), items().len());
        for (item, (name, dtype, small, raw)) in original.items.iter().zip(items()) {
            let full = name.map(|name| format!("{}/{name}", original.name));
            assert_eq!(item.tensor.as_ref().map(|tensor| &tensor.name), full.as_ref());
            assert_eq!((item.kind, item.set), (Kind::Tensor, usize::from(!small)));
            assert_eq!((item.dtype, item.raw_bytes), (dtype, raw.len() as u64));
            assert!(read(&bytes, &directory, item, 0..raw.len() as u64) == raw, "{full:?}");
        }
    }
    let values = &directory.originals[2].items[0];
    assert_eq!((values.kind, values.dtype, values.raw_bytes), (Kind::Values, Dtype::F32, 400));
    for (entry, expected) in values.entries().zip(VALUES) {
        let found = &bytes[entry.offset as usize..][..entry.coded_bytes];
        assert_eq!(found, expected);
        assert_eq!(entry.checksum, Some(file::checksum(found)));
    }
    same_as_today("model.huffwire", &bytes, &today);
}

#[test]
fn any_range_of_a_tensor_in_the_golden_file_is_read_from_the_blocks_that_hold_it() {
    let bytes = golden("model.huffwire", &write_file());
    let directory = open(&bytes);
    let item = directory.tensor("b.safetensors/dense").unwrap();
    let raw = &items()[1].3;
    let size = raw.len() as u64;
    assert_eq!(item.blocks().count(), 3);
    for (range, blocks) in [
        (0..1, 1),
        (1023..1024, 1),
        (1023..1025, 2),
        (1024..2048, 1),
        (1000..2100, 3),
        (size - 1..size, 1),
        (0..size, 3),
        (size..size + 1, 0),
    ] {
        assert_eq!(item.blocks_of(range.clone()).count(), blocks, "{range:?}");
        if blocks > 0 {
            let expected = &raw[range.start as usize..range.end as usize];
            assert!(read(&bytes, &directory, item, range) == expected);
        }
    }
    assert!(directory.tensor("dense").is_none());
}

/// Messages and items of quantized gradients.
#[cfg(feature = "gradient")]
#[path = "golden/quantized.rs"]
mod quantized;

#[path = "golden/deltas.rs"]
mod deltas;

#[test]
fn golden_files_are_small() {
    builtin();
    let files = std::fs::read_dir(path("")).unwrap();
    let total: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(total < 300_000, "{total} bytes");
}
