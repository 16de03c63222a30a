//! The fuzz bodies on every `cargo test`: over the committed seeds, over damaged seeds, and over a
//! few thousand generated inputs. `cargo xtask fuzz` runs the same bodies for as long as one likes.
//!
//! The seeds in `fuzz/seeds` are small valid inputs, made by [`made_here`]. To write them anew:
//!
//! ```text
//! HUFFWIRE_REGENERATE_SEEDS=1 cargo test -p huffwire --test fuzz seeds_are_small
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod fuzz_bodies;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuzz_bodies::forge::{crc32c, small_set, whole};
use huffwire::file::{self, NewItem, TensorInfo, Writer};
use huffwire::message::Kind;
use huffwire::{CodebookSet, Dtype, EncodeOptions, Encoder, Level, Tensor};
use huffwire_testing::Random;

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 5 + 2 * cfg!(feature = "gradient") as usize] = [
    ("codebook", fuzz_bodies::codebook),
    ("deltas", fuzz_bodies::deltas),
    #[cfg(feature = "gradient")]
    ("exchange", fuzz_bodies::exchange),
    ("file", fuzz_bodies::file),
    ("message", fuzz_bodies::message),
    #[cfg(feature = "gradient")]
    ("quantized", fuzz_bodies::quantized),
    ("round_trip", fuzz_bodies::round_trip),
];

/// Values whose exponents have a peak, as those of tensors have; `zeros` of 256 are 0.
fn tensor(dtype: Dtype, units: usize, zeros: u64) -> Vec<u8> {
    let mut random = Random::new(units as u64);
    let mut bytes = Vec::new();
    for _ in 0..whole(dtype, units) {
        let bits = random.bits();
        let zero = random.bits() % 256 < zeros;
        let exponent = 124 - u64::from(random.bits().trailing_zeros());
        let value = match dtype.coding() {
            _ if zero => 0,
            Dtype::Bf16 => bits & 0x807f | exponent << 7,
            Dtype::F16 => bits & 0x83ff | (exponent - 110) << 10,
            Dtype::F32 => bits & 0x807f_ffff | exponent << 23,
            Dtype::E3m2 | Dtype::E2m3 => bits & 0x27 | (exponent & 3) << 3,
            _ => bits >> (bits & 31),
        };
        bytes.extend_from_slice(&value.to_le_bytes()[..dtype.unit_bytes()]);
    }
    bytes
}

/// Small valid inputs of a target.
fn made_here(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "codebook" => codebook_seeds(),
        "deltas" => delta_seeds(),
        #[cfg(feature = "gradient")]
        "exchange" => exchange_seeds(),
        "file" => file_seeds(),
        "message" => message_seeds(),
        #[cfg(feature = "gradient")]
        "quantized" => quantized_seeds(),
        _ => recipes(),
    }
}

fn codebook_seeds() -> Vec<(String, Vec<u8>)> {
    let small = small_set();
    let bytes = small.to_bytes();
    let mut seeds = vec![
        ("small-set".to_owned(), bytes.clone()),
        // The body adds the checksum to this one.
        ("small-set-unchecked".to_owned(), bytes[..bytes.len() - 4].to_vec()),
        // And changes the version of a set by this one.
        ("change".to_owned(), vec![8, 0, 2]),
    ];
    #[cfg(feature = "json")]
    {
        seeds.push(("small-set.json".to_owned(), small.to_json().into_bytes()));
        let empty = r#"{"format":"huffwire codebook set","version":1,"name":"n","codebooks":[{"alphabet":"plain","width":1,"limit":8,"codes":{"0":"0","1":"1"}}],"bindings":[]}"#;
        seeds.push(("tiny-set.json".to_owned(), empty.into()));
    }
    let builtin = CodebookSet::builtin();
    for (number, book) in builtin.books().iter().enumerate().step_by(5) {
        let mut lengths = Vec::new();
        book.lengths().write(&mut lengths);
        seeds.push((format!("book-{number}"), lengths));
    }
    seeds
}

fn file_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, embed, checksums, dtypes) in [
        ("empty", false, true, &[][..]),
        ("bytes", false, true, &[Dtype::U8]),
        ("unchecked", false, false, &[Dtype::Bf16]),
        ("embedded", true, true, &[Dtype::Bf16, Dtype::U8]),
        ("several", false, false, &[Dtype::F32, Dtype::E4m3, Dtype::Complex64]),
    ] {
        seeds.push((name.to_owned(), small_file(embed, checksums, dtypes)));
    }
    // A directory alone, as the body wants it: checksums, offset, the bytes.
    let file = small_file(true, true, &[Dtype::Bf16]);
    let trailer = &file[file.len() - file::TRAILER_BYTES..];
    let (range, _) = file::read_trailer(trailer, file.len() as u64).unwrap();
    let mut alone = vec![1, range.start as u8, (range.start >> 8) as u8];
    alone.extend_from_slice(&file[range.start as usize..range.end as usize]);
    seeds.push(("directory".to_owned(), alone));
    // Recipes: options, shape, items (type, mode, size, literal), where to change, changes.
    for (number, (embed, originals, items, deltas)) in
        [(1, 1, 1, 0), (1, 2, 3, 0), (0, 3, 2, 0), (0, 1, 1, 0), (0, 1, 3, 1)]
            .into_iter()
            .enumerate()
    {
        let shape = embed | originals << 1 | items << 3 | deltas << 6;
        let mut recipe = vec![32 * (number as u8 % 2), 0, shape];
        for dtype in [0, 12, 3, 15, 9, 1] {
            recipe.push(dtype);
            recipe.extend(tensor_recipe(5, 384, &[125, 3, 9, 200]));
        }
        recipe.extend_from_slice(&[number as u8, 20, 0, 7]);
        seeds.push((format!("recipe-{number}"), recipe));
    }
    seeds
}

fn small_file(embed: bool, checksums: bool, dtypes: &[Dtype]) -> Vec<u8> {
    let set = small_set();
    let options = EncodeOptions::default().checksums(checksums).block_log2(10);
    let mut encoder = Encoder::new(Arc::clone(&set), options).unwrap();
    let mut writer = Writer::new(checksums, 10).unwrap();
    let place = writer.add_set(&set, embed);
    let mut bytes = writer.header().to_vec();
    writer.begin_original("model.safetensors").unwrap();
    for &dtype in dtypes {
        let raw = tensor(dtype, 128, 100);
        let info = TensorInfo {
            name: format!("layers.0.{dtype}"),
            dtype: dtype.to_string(),
            shape: vec![4, 32],
        };
        let tensor = (dtype != Dtype::U8).then_some(info);
        let (kind, set) = (Kind::Tensor, place);
        writer.begin_item(NewItem { tensor, kind, dtype, set }).unwrap();
        for block in raw.chunks(1024) {
            let coded = encoder.encode_block(&Tensor::new(dtype, block), &mut bytes).unwrap();
            writer.push_block(block.len(), coded.bytes, coded.checksum).unwrap();
        }
    }
    bytes.extend_from_slice(&writer.finish().unwrap());
    bytes
}

fn message_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let tensor_in_context = tensor(Dtype::Bf16, 600, 0);
    let in_context = Tensor::new(Dtype::Bf16, &tensor_in_context).in_context(7);
    let message = Encoder::builtin().encode_tensor_to_vec(&in_context).unwrap();
    seeds.push(("context-7".to_owned(), message));
    for dtype in Dtype::all() {
        let message = Encoder::builtin().encode_to_vec(dtype, &tensor(dtype, 20, 0)).unwrap();
        seeds.push((format!("{dtype}-tiny"), message));
    }
    for dtype in Dtype::all().filter(|dtype| dtype.coding() == *dtype) {
        for (level, zeros, checksums) in [(Level::Fast, 128, true), (Level::Max, 0, false)] {
            let options = EncodeOptions::default().level(level).checksums(checksums).block_log2(10);
            let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
            let raw = tensor(dtype, 500, zeros);
            let message = encoder.encode_to_vec(dtype, &raw).unwrap();
            if message.len() < 2048 {
                let level = format!("{level:?}").to_lowercase();
                seeds.push((format!("{dtype}-{level}"), message));
            }
        }
        // A block alone: type, size, the block.
        let options = EncodeOptions::default().checksums(false).block_log2(10);
        let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
        let raw = tensor(dtype, 200, 60);
        let raw = &raw[..raw.len().min(1024 / dtype.unit_bytes() * dtype.unit_bytes())];
        let (low, high) = (raw.len() as u8, (raw.len() >> 8) as u8);
        let mut alone = vec![dtype.number() - 1, low, high];
        encoder.encode_block(&Tensor::new(dtype, raw), &mut alone).unwrap();
        seeds.push((format!("block-{dtype}"), alone));
    }
    seeds
}

/// Messages over a base of zeros, which the body has at hand, and recipes.
fn delta_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for dtype in [Dtype::Bf16, Dtype::F32, Dtype::E4m3, Dtype::I8, Dtype::F64] {
        for (name, units, every) in [("few", 600, 40), ("many", 200, 3), ("all", 100, 1)] {
            let base = vec![0; units * dtype.unit_bytes()];
            let mut new = tensor(dtype, units, 0);
            for (number, unit) in new.chunks_mut(dtype.unit_bytes()).enumerate() {
                if number % every != 0 {
                    unit.fill(0);
                }
            }
            let message = Encoder::builtin().encode_delta_to_vec(dtype, &base, &new).unwrap();
            seeds.push((format!("{dtype}-{name}"), message));
        }
    }
    for (number, dtype) in Dtype::all().enumerate() {
        let mut recipe = vec![dtype.number() - 1, 32 * (number as u8 % 2), number as u8 % 3];
        // Base and new tensor.
        recipe.extend(tensor_recipe(5, 640, &[125, 1, 200, 3, number as u8, 64, 255, 0]));
        recipe.extend(tensor_recipe(number as u8 & 1, 640, &[126, 2, 8, 3, 90, 64, 128, 0]));
        // Context, and a change of the payload.
        recipe.extend_from_slice(&[number as u8, 4 + number as u8, 0, 7]);
        seeds.push((format!("recipe-{dtype}"), recipe));
    }
    seeds
}

/// A message for each encoder, recipes for each quantizer, streams alone, and items.
#[cfg(feature = "gradient")]
fn quantized_seeds() -> Vec<(String, Vec<u8>)> {
    use huffwire::gradient::ValueBuf;
    use huffwire::gradient::encode::EncoderKind;
    use huffwire::gradient::item::ItemWriter;
    use huffwire::gradient::message::{self, Options, Origin};
    use huffwire::gradient::quantize::{Natural, Quantized, Quantizer};

    let mut random = Random::new(3);
    let values = (0..200).map(|_| (random.bits().trailing_zeros() as i8 - 2).max(0)).collect();
    let quantizer = Quantizer::Natural(Natural);
    let quantized = Quantized { quantizer, values: ValueBuf::I8(values), scales: vec![1.0] };
    let mut seeds = Vec::new();
    for (number, kind) in EncoderKind::all().enumerate() {
        let mut bytes = Vec::new();
        let origin = Origin { dtype: Dtype::Bf16, shape: &[20, 10] };
        let options = Options::default().encoder(kind).checksums(number % 2 == 0);
        message::encode(&quantized, origin, &options, &mut bytes).unwrap();
        let item = ItemWriter::new(&quantized, origin, &options).unwrap();
        let mut entries = vec![item.kind_header().len() as u8, 200];
        entries.extend_from_slice(item.kind_header());
        item.encode_block(0, &mut entries).unwrap();
        seeds.push((format!("item-{kind}"), entries));
        seeds.push((format!("message-{kind}"), bytes));
        let mut stream = Vec::new();
        kind.encoder((-4, 4)).encode(quantized.values.view(), &mut stream).unwrap();
        seeds.push((format!("stream-{kind}"), stream));
        // Quantizer, its parameters, encoder, seed, values, changes.
        let mut recipe = vec![number as u8, 5, 30, 128, number as u8, 9];
        recipe.extend(tensor_recipe(5, 640, &[125; 8]));
        recipe.extend_from_slice(&[30, 0, 7]);
        seeds.push((format!("recipe-{number}"), recipe));
    }
    seeds
}

/// For each quantizer of the body: a piece, behind two bytes that say which and how large, and recipes.
#[cfg(feature = "gradient")]
fn exchange_seeds() -> Vec<(String, Vec<u8>)> {
    use huffwire::gradient::exchange::{ExchangeCodec, Piece};

    let mut seeds = Vec::new();
    for (number, quantizer) in fuzz_bodies::EXCHANGED.into_iter().enumerate() {
        let mut codec = ExchangeCodec::new(quantizer).unwrap();
        let bytes = tensor(Dtype::F32, 160, 40);
        let floats = bytes.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float));
        let floats: Vec<f32> = floats.collect();
        let mut piece = vec![0; codec.bound(floats.len())];
        let sent = codec.encode(Piece::new(&floats), None, &mut piece).unwrap();
        let piece = &piece[..sent.bytes];
        seeds.push((format!("piece-{number}"), [&[number as u8, 20], piece].concat()));
        // Quantizer, size of a foreign piece, seed, values, changes.
        for (mode, name) in [(5, "peak"), (3, "zeros")] {
            let mut recipe = vec![number as u8, 20, 30];
            recipe.extend(tensor_recipe(mode, 1152, &[125, 1, 60, 3, 124, 64, 61, 0]));
            recipe.extend_from_slice(&[9, 0, 7]);
            seeds.push((format!("{name}-{number}"), recipe));
        }
    }
    seeds
}

/// What the bodies read as a tensor: how its units come about, how many bytes it has, and bytes that are repeated.
fn tensor_recipe(mode: u8, bytes: u16, literal: &[u8]) -> Vec<u8> {
    let [low, high] = bytes.to_le_bytes();
    [&[(literal.len() as u8) << 3 | mode, low, high], literal].concat()
}

/// Type, options, tensor, set, tensor: what `round_trip` reads, and what the others read where they take recipes.
fn recipes() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (number, dtype) in Dtype::all().enumerate() {
        for mode in [number as u8 & 7, (number as u8 + 3) & 7] {
            let options = (number * 7) as u8 ^ mode << 2;
            let mut recipe = vec![dtype.number() - 1, options, number as u8 % 3];
            for mode in [mode, mode ^ 5] {
                let bytes = u16::from_le_bytes([(37 * number) as u8, mode * 5]);
                let literal = [120, 1, 200, 3, number as u8, 64, 255, 0];
                recipe.extend(tensor_recipe(mode, bytes, &literal));
                recipe.push(mode * 31); // Which set, the first time; the start of nothing, the second.
            }
            seeds.push((format!("{dtype}-{mode}"), recipe));
        }
    }
    seeds
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

/// Whether this is the crate as it was published, which has no fuzz targets.
fn is_packaged() -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml.orig").exists()
}

/// The committed seeds of a target, smallest first.
fn committed(target: &str) -> Vec<Vec<u8>> {
    let folder = folder(target);
    if is_packaged() {
        return made_here(target).into_iter().map(|seed| seed.1).collect();
    }
    let entries = std::fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<Vec<u8>> =
        entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    seeds.sort_by_key(Vec::len);
    seeds
}

/// Runs a body; when it panics, says on what.
fn run(target: &str, body: Body, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| body(input));
    if outcome.is_err() {
        panic!("fuzz target {target} fails on {input:02x?}");
    }
}

fn body_of(target: &str) -> Body {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    found.unwrap().1
}

fn write_seeds(target: &str) {
    let folder = folder(target);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in made_here(target) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn seeds_are_small_and_every_target_has_some() {
    if std::env::var_os("HUFFWIRE_REGENERATE_SEEDS").is_some() {
        TARGETS.iter().for_each(|(target, _)| write_seeds(target));
    }
    let mut total = 0;
    for (target, _) in TARGETS {
        let seeds = committed(target);
        assert!(seeds.len() >= 10, "{target} has {} seeds", seeds.len());
        for seed in &seeds {
            assert!(seed.len() <= 2048, "{target}: a seed of {} bytes", seed.len());
            total += seed.len();
        }
    }
    assert!(total <= 150_000, "{total} bytes of seeds");
}

#[test]
fn seeds_pass() {
    for (target, body) in TARGETS {
        for seed in committed(target) {
            run(target, body, &seed);
        }
    }
}

/// Inputs for which a body once had no answer.
#[cfg(feature = "gradient")]
#[test]
fn inputs_that_were_found_pass() {
    // A piece whose codebook has a code that is too long.
    let piece = [
        0xd1, 0x00, 0x14, 0x14, 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0x10, 0x81, 0x18,
        0x11, 0x81, 0x18, 0x11, 0x82, 0x0d, 0x00, 0xfd, 0xff, 0xcc, 0xff, 0x00, 0x32, 0x02, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x32, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0x2d, 0x00,
        0x00, 0x03,
    ];
    run("exchange", body_of("exchange"), &piece);
}

#[test]
fn seeds_made_today_pass() {
    for (target, body) in TARGETS {
        for (_, seed) in made_here(target) {
            run(target, body, &seed);
        }
    }
}

#[test]
fn any_target_passes_on_the_seeds_of_any_other() {
    for (target, body) in TARGETS {
        for (other, _) in TARGETS {
            for seed in committed(other).iter().step_by(3) {
                run(target, body, seed);
            }
        }
    }
}

/// Cuts and flips of seeds, so many that a target takes about a second.
fn damaged_seeds_pass(target: &str, budget: usize) {
    let body = body_of(target);
    let seeds = committed(target);
    let mut left = budget;
    for seed in &seeds {
        let share = (left / 2).max(200);
        let bits = 8 * seed.len();
        for cut in (0..seed.len()).step_by(seed.len().div_ceil(share)) {
            run(target, body, &seed[..cut]);
        }
        for bit in (0..bits).step_by(bits.div_ceil(share)) {
            let mut flipped = seed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            run(target, body, &flipped);
        }
        left = left.saturating_sub(seed.len().min(share) + bits.min(share));
        if left == 0 {
            return;
        }
    }
}

/// Inputs that begin as a seed does, with bytes changed, doubled and dropped; and noise.
fn generated_inputs_pass(target: &str, cases: usize) {
    let body = body_of(target);
    let seeds = committed(target);
    let mut random = Random::new(crc32c(target.as_bytes()).into());
    for case in 0..cases {
        let mut input = if case % 4 == 0 {
            (0..random.below(400)).map(|_| random.bits() as u8).collect()
        } else {
            seeds[random.below(seeds.len())].clone()
        };
        for _ in 0..random.below(6) {
            if input.is_empty() {
                break;
            }
            let at = random.below(input.len());
            match random.below(4) {
                0 => input[at] = random.bits() as u8,
                1 => input[at] ^= 1 << random.below(8),
                2 => {
                    let end = (at + random.below(9)).min(input.len());
                    input.drain(at..end);
                }
                _ => {
                    let end = (at + random.below(9)).min(input.len());
                    let piece = input[at..end].to_vec();
                    let to = random.below(input.len());
                    input.splice(to..to, piece);
                }
            }
        }
        run(target, body, &input);
    }
}

#[test]
fn damaged_codebook_seeds_pass() {
    damaged_seeds_pass("codebook", 2500);
}

#[test]
fn damaged_delta_seeds_pass() {
    damaged_seeds_pass("deltas", 2500);
}

#[cfg(feature = "gradient")]
#[test]
fn damaged_exchange_seeds_pass() {
    damaged_seeds_pass("exchange", 2500);
}

#[test]
fn damaged_file_seeds_pass() {
    damaged_seeds_pass("file", 2500);
}

#[test]
fn damaged_message_seeds_pass() {
    damaged_seeds_pass("message", 2500);
}

#[cfg(feature = "gradient")]
#[test]
fn damaged_quantized_seeds_pass() {
    damaged_seeds_pass("quantized", 2500);
}

#[test]
fn damaged_round_trip_seeds_pass() {
    damaged_seeds_pass("round_trip", 1200);
}

#[test]
fn generated_codebook_inputs_pass() {
    generated_inputs_pass("codebook", 2500);
}

#[test]
fn generated_delta_inputs_pass() {
    generated_inputs_pass("deltas", 2500);
}

#[cfg(feature = "gradient")]
#[test]
fn generated_exchange_inputs_pass() {
    generated_inputs_pass("exchange", 2500);
}

#[test]
fn generated_file_inputs_pass() {
    generated_inputs_pass("file", 2500);
}

#[test]
fn generated_message_inputs_pass() {
    generated_inputs_pass("message", 2500);
}

#[cfg(feature = "gradient")]
#[test]
fn generated_quantized_inputs_pass() {
    generated_inputs_pass("quantized", 2500);
}

#[test]
fn generated_round_trip_inputs_pass() {
    generated_inputs_pass("round_trip", 1200);
}
