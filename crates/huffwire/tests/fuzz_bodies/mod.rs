//! What must hold of any bytes at all: one body per fuzz target.
//!
//! `tests/fuzz.rs` runs the bodies on every `cargo test`, libFuzzer runs them for as long as one
//! likes (`cargo xtask fuzz`). Checksums would turn away nearly every mutated input, so each body
//! also takes its input as a *recipe*: what to build, and which bytes of it to change before the
//! checksums are made good again.

#![allow(unreachable_pub)] // The fuzz targets include this file as their own module.
#![allow(unexpected_cfgs)] // `fuzzing` is known to some of those who compile this file only.

mod deltas;
#[cfg(any(fuzzing, feature = "gradient"))]
mod exchange;
#[path = "../forge/mod.rs"]
pub mod forge;
#[cfg(any(fuzzing, feature = "gradient"))]
mod quantized;

use std::sync::Arc;

#[allow(unused_imports, reason = "each fuzz target takes its own body")]
pub use deltas::deltas;
use forge::{builtin_block, crc32c, mend_message, small_set, whole};
use huffwire::calibrate::{Collector, Options, Profile};
use huffwire::codebook::{Codebook, Lengths};
use huffwire::file::{self, Directory, NewItem, TensorInfo, Writer};
use huffwire::message::{self, Header, Kind};
use huffwire::{
    Choice, CodebookSet, CodedBlock, Decoder, Dtype, EncodeOptions, Encoder, Error, Expected,
    Level, MessageReader, POISON, SymbolRule, Tensor, lanes,
};
#[cfg(any(fuzzing, feature = "gradient"))]
#[allow(unused_imports, reason = "each fuzz target takes its own body")]
pub use {
    exchange::{EXCHANGED, exchange},
    quantized::quantized,
};

/// Messages that claim more are not decoded: the caller of the library decides what is too much.
const LARGEST: usize = 4 << 20;

/// Takes fields from the front of an input, which never ends: zeros follow.
struct Recipe<'a>(&'a [u8]);

impl<'a> Recipe<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) | usize::from(self.byte()) << 8
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn dtype(&mut self) -> Dtype {
        let count = Dtype::all().count();
        Dtype::all().nth(usize::from(self.byte()) % count).expect("fewer than there are")
    }

    /// Two bytes.
    fn options(&mut self) -> EncodeOptions {
        let choices = self.byte();
        let rules = [SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes];
        let chances = [Choice::Cheapest, Choice::Sample, Choice::Named];
        EncodeOptions::default()
            .rule(rules[usize::from(choices & 3) % 3])
            .level(if choices & 4 == 0 { Level::Fast } else { Level::Max })
            .choice(chances[usize::from(choices >> 3 & 3) % 3])
            .checksums(choices & 32 != 0)
            .block_log2(10 + self.byte() % 11)
    }

    /// A context, or none: one byte.
    fn context(&mut self) -> Option<u64> {
        let byte = self.byte();
        (byte & 1 == 1).then_some(u64::from(byte >> 1))
    }

    /// Whole units of a type; the first byte says how they come about, two more how many bytes.
    fn tensor(&mut self, dtype: Dtype) -> Vec<u8> {
        let (mode, bytes) = (self.byte(), self.number());
        let unit = dtype.unit_bytes();
        let bytes = whole(dtype, bytes % 2600 / unit) * unit;
        let literal = self.take(usize::from(mode >> 3));
        let mut noise = literal.iter().fold(0x9e37_79b9_7f4a_7c15u64, |seed, &byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut random = || {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) as u32
        };
        // The literal bytes over and over, so that a short input makes any histogram.
        let repeated = |i: usize| match literal.len() {
            0 => 0,
            length => literal[i % length],
        };
        let of_unit = |i: usize, f: &mut dyn FnMut() -> u32| match f() % 2 {
            0 => repeated(i),
            _ => 0,
        };
        match mode & 7 {
            0 => (0..bytes).map(repeated).collect(),
            1 => (0..bytes).map(|_| repeated(random() as usize % 256)).collect(),
            2 => (0..bytes).map(|_| random() as u8).collect(),
            3 => (0..bytes).map(|i| of_unit(i, &mut random)).collect(),
            // Whole units are zero, as in the output of a ReLU.
            4 => (0..bytes / unit)
                .flat_map(|i| {
                    let zero = random() % 256 < u32::from(repeated(0));
                    (0..unit)
                        .map(move |k| i * unit + k)
                        .map(|i| if zero { 0 } else { repeated(i * 7 % 255) })
                        .collect::<Vec<u8>>()
                })
                .collect(),
            // Exponents with a peak, in the top bits of each unit, above noise.
            5 => (0..bytes / unit)
                .flat_map(|_| {
                    let spread = random().trailing_zeros() + random().trailing_zeros();
                    let exponent = u64::from(u32::from(repeated(0)).wrapping_sub(spread) & 0xff);
                    let bits = exponent << 55 | u64::from(random()) << 24 | u64::from(random());
                    bits.to_be_bytes()[..unit].iter().rev().copied().collect::<Vec<u8>>()
                })
                .collect(),
            6 => (0..bytes).map(|_| 1u8 << (random().trailing_zeros() % 8)).collect(),
            _ => (0..bytes).map(|i| (i / 3 + i) as u8).collect(),
        }
    }

    /// The built-in set, or one made from the tensor.
    fn set(&mut self, dtype: Dtype, rule: SymbolRule, tensor: &[u8]) -> Arc<CodebookSet> {
        let made = || {
            let mut profile = Profile::new(dtype, rule);
            let unit = dtype.unit_bytes();
            profile.add(&tensor[..whole(dtype, tensor.len() / 2 / unit) * unit])?;
            let mut collector = Collector::new(rule);
            collector.push("layers.*", profile)?;
            collector.build(&Options::default())
        };
        if self.byte() & 31 < 30 {
            return CodebookSet::builtin();
        }
        // Nothing to calibrate on: an empty tensor.
        made().map_or_else(|_| CodebookSet::builtin(), |made| Arc::new(made.set))
    }

    /// Changes bytes as the rest of the input says, three of its bytes a change; a change behind
    /// the end appends, and a last odd byte cuts.
    fn edit(&mut self, bytes: &mut Vec<u8>) {
        while self.0.len() >= 3 {
            let (at, byte) = (self.number(), self.byte());
            match bytes.get_mut(at) {
                Some(place) => *place = byte,
                None => bytes.push(byte),
            }
        }
        if let &[cut] = self.0 {
            bytes.truncate(bytes.len().saturating_sub(cut.into()));
        }
    }
}

/// Any bytes as a message: decoded or refused, and nothing of a refused one is handed out.
pub fn message(data: &[u8]) {
    any_message(data, None);
    any_message(data, Some(7));
    any_block(data);

    let mut recipe = Recipe(data);
    let dtype = recipe.dtype();
    let options = recipe.options();
    let tensor = recipe.tensor(dtype);
    let context = recipe.context();
    let edits = recipe.0;
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).expect("valid options");
    let whole = Tensor::new(dtype, &tensor);
    let in_context = context.map_or(whole.clone(), |context| whole.in_context(context));
    let mut message = encoder.encode_tensor_to_vec(&in_context).expect("whole values");
    recipe.edit(&mut message);
    mend_message(&mut message, context);
    any_message(&message, context);

    // A block alone has no header that could stop it.
    let options = options.checksums(false);
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).expect("valid options");
    let limit = (1 << options.block_log2) / dtype.unit_bytes() * dtype.unit_bytes();
    let tensor = &tensor[..tensor.len().min(limit)];
    let mut block = Vec::new();
    encoder.encode_block(&Tensor::new(dtype, tensor), &mut block).expect("whole units");
    Recipe(edits).edit(&mut block);
    decode_block(dtype, &block, tensor.len());
}

fn any_message(message: &[u8], context: Option<u64>) {
    let mut decoder = Decoder::builtin();
    let anything = Expected::anything();
    let expected = context.map_or(anything, |context| anything.context(context));
    let header = match Header::read(message, context) {
        Ok(header) => header,
        Err(error) => {
            let decoded = decoder.decode_expected_to_vec(message, &expected);
            assert_eq!(decoded, Err(error.clone()));
            let mut out = [0; 64];
            let decoded = decoder.decode_expected(message, &expected, &mut out);
            assert_eq!(decoded, Err(error));
            assert_eq!(out, [POISON; 64]);
            return;
        }
    };
    assert_eq!(header.has_context, context.is_some());
    let Some(size) = header.raw_bytes().ok().filter(|&size| size <= LARGEST) else {
        return;
    };
    let mut out = vec![0x11; size];
    let in_place = decoder.decode_expected(message, &expected, &mut out);
    let in_vector = decoder.decode_expected_to_vec(message, &expected);
    match (in_place, in_vector) {
        (Ok(first), Ok((second, decoded))) => {
            assert_eq!((first, second), (header, header));
            assert!(decoded == out, "two decodings differ");
            let mut longer = vec![0; size + 1];
            assert!(decoder.decode_expected(message, &expected, &mut longer).is_err());
            // Some of it, and all of it from a stream.
            let range = size / 3..size - size / 4;
            let mut some = vec![0x22; range.len()];
            let ranged = decoder.decode_range(message, &expected, range.clone(), &mut some);
            assert_eq!((ranged, &some[..]), (Ok(header), &out[range]));
            assert_eq!(streamed(message, &expected, &mut out.clone()), Ok(out));
        }
        (Err(first), Err(second)) => {
            assert_eq!(first, second);
            assert!(!first.to_string().is_empty());
            assert!(out.iter().all(|&byte| byte == POISON), "an error left data behind");
            let of_stream = streamed(message, &expected, &mut out);
            // A stream may go on behind a message, and end within it; its reader looks at the kind before the set.
            let whole = matches!(
                first,
                Error::Malformed { .. } | Error::Truncated { .. } | Error::SetMismatch { .. }
            );
            assert!(whole || of_stream == Err(Some(first)), "{of_stream:?}");
        }
        (first, second) => panic!("decode says {first:?}, decode_to_vec {:?}", second.err()),
    }
}

/// The elements of a message that comes as a stream; the error of the message, if there is one.
fn streamed(message: &[u8], expected: &Expected, out: &mut [u8]) -> Result<Vec<u8>, Option<Error>> {
    use huffwire::StreamError;
    let mut reader = MessageReader::new(message, Decoder::builtin());
    match reader.read_expected(expected, out) {
        Ok(()) => Ok(out.to_vec()),
        Err(error) => {
            assert!(out.iter().all(|&byte| byte == POISON), "an error left data behind");
            match error {
                StreamError::Message(error) => Err(Some(error)),
                StreamError::Ended(more) => {
                    assert!(more > 0);
                    Err(None)
                }
                other => panic!("{other}"),
            }
        }
    }
}

/// The first bytes are element type and size, the rest is the block.
fn any_block(data: &[u8]) {
    let mut recipe = Recipe(data);
    let (dtype, size) = (recipe.dtype(), recipe.number());
    decode_block(dtype, recipe.0, size / dtype.unit_bytes() * dtype.unit_bytes());
}

fn decode_block(dtype: Dtype, block: &[u8], size: usize) {
    let mut decoder = Decoder::builtin();
    let mut out = vec![0x11; size];
    let coded = builtin_block(dtype, block);
    let decoded = decoder.decode_block(&coded, &mut out);
    if decoded.is_err() {
        assert!(out.iter().all(|&byte| byte == POISON));
    } else {
        let info = decoder.inspect_block(&coded, size);
        info.expect("a block that decodes can be looked into");
        // The decoder keeps nothing of what it saw: a fresh one and the same one agree.
        let mut again = vec![0x22; size];
        Decoder::builtin().decode_block(&coded, &mut again).expect("the same bytes");
        assert!(out == again);
    }
    let checked = CodedBlock { checksum: Some(crc32c(block)), ..coded };
    assert_eq!(decoder.decode_block(&checked, &mut out), decoded);
    let damaged = CodedBlock { checksum: Some(!crc32c(block)), ..coded };
    assert!(decoder.decode_block(&damaged, &mut out).is_err());
    assert!(out.iter().all(|&byte| byte == POISON));
}

/// Any bytes as a file: opened or refused; what is opened lies where it says.
pub fn file(data: &[u8]) {
    let _ = file::read_header(data);
    let _ = file::read_trailer(data, data.len() as u64);
    open(data);

    // A directory alone: the input is its bytes, and where it lies.
    let mut recipe = Recipe(data);
    let flags = recipe.byte();
    let checksums = flags & 1 != 0;
    let header = Writer::new(checksums, 10).expect("a block size").header();
    let offset = recipe.number() as u64;
    let bytes = recipe.0;
    if let Ok(directory) = Directory::read(&header, bytes, offset, crc32c(bytes)) {
        check_directory(&directory, offset);
    }

    // A whole file, changed in its directory or anywhere.
    let mut recipe = Recipe(data);
    let (mut bytes, directory_at) = build_file(&mut recipe);
    if recipe.byte() & 1 == 0 {
        recipe.edit(&mut bytes);
        open(&bytes);
        return;
    }
    let end = bytes.len() - file::TRAILER_BYTES;
    let mut directory = bytes[directory_at..end].to_vec();
    bytes.truncate(directory_at);
    recipe.edit(&mut directory);
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(&(directory_at as u64).to_le_bytes());
    bytes.extend_from_slice(&(directory.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32c(&directory).to_le_bytes());
    bytes.extend_from_slice(b"HWDE");
    open(&bytes);
}

/// A file of up to three originals with up to three items each, coded with one of two sets; tells where its
/// directory begins.
fn build_file(recipe: &mut Recipe<'_>) -> (Vec<u8>, usize) {
    let EncodeOptions { checksums, block_log2, .. } = recipe.options();
    let shape = recipe.byte();
    let options = EncodeOptions::default().checksums(checksums).block_log2(block_log2);
    let mut writer = Writer::new(checksums, block_log2).expect("a block size");
    let mut encoders = [small_set(), CodebookSet::builtin()].map(|set| {
        writer.add_set(&set, shape & 1 != 0);
        Encoder::new(set, options).expect("valid options")
    });
    let mut bytes = writer.header().to_vec();
    for original in 0..shape >> 1 & 3 {
        writer.begin_original(&format!("model-{original}.safetensors")).expect("a plain name");
        for item in 0..shape >> 3 & 3 {
            let dtype = recipe.dtype();
            let bytes_of_item = recipe.tensor(dtype);
            let tensor = (item > 0).then(|| TensorInfo {
                name: format!("layers.{item}.weight"),
                dtype: "BF16".into(),
                shape: vec![bytes_of_item.len() as u64, 1],
            });
            let set = usize::from(shape >> 5 & 1 ^ item & 1);
            let encoder = &mut encoders[set];
            let is_delta = shape >> 6 & 1 != 0 && item > 0;
            let kind = if is_delta { Kind::Delta } else { Kind::Tensor };
            let new = NewItem { tensor, kind, dtype, set };
            writer.begin_item(new).expect("an original was begun");
            if is_delta {
                let header = huffwire::delta::KIND_HEADER;
                let check = checksums.then(|| crc32c(&header));
                writer.push_kind_header(header.len(), check).expect("a kind header");
                bytes.extend_from_slice(&header);
            }
            // Of zeros, which need not be remembered.
            if is_delta && !bytes_of_item.is_empty() {
                let (base, new) =
                    (vec![0; bytes_of_item.len()], Tensor::new(dtype, &bytes_of_item));
                let coded = encoder.encode_delta_block(&base, &new, &mut bytes).expect("a block");
                let pushed = writer.push_block(base.len(), coded.bytes, coded.checksum);
                pushed.expect("a full block");
                continue;
            }
            for block in bytes_of_item.chunks(huffwire::block::block_bytes(dtype, block_log2)) {
                let coded = encoder.encode_block(&Tensor::new(dtype, block), &mut bytes);
                let coded = coded.expect("a block");
                let pushed = writer.push_block(block.len(), coded.bytes, coded.checksum);
                pushed.expect("a full block");
            }
        }
    }
    let directory_at = bytes.len();
    bytes.extend_from_slice(&writer.finish().unwrap());
    (bytes, directory_at)
}

fn open(bytes: &[u8]) {
    let size = bytes.len();
    let Some(trailer) = bytes.last_chunk::<{ file::TRAILER_BYTES }>() else {
        return;
    };
    let Ok((range, check)) = file::read_trailer(trailer, size as u64) else {
        return;
    };
    let at = range.start as usize..range.end as usize;
    let header = &bytes[..file::HEADER_BYTES];
    let Ok(directory) = Directory::read(header, &bytes[at], range.start, check) else {
        return;
    };
    check_directory(&directory, range.start);
    for item in directory.items().filter(|item| item.kind != Kind::Values) {
        let listed = &directory.sets[item.set];
        let set = match &listed.embedded {
            Some(set) => Arc::clone(set),
            None if listed.id == CodebookSet::builtin().id() => CodebookSet::builtin(),
            None => small_set(),
        };
        let mut decoder = Decoder::new(set);
        for block in item.blocks().filter(|block| block.raw_bytes <= LARGEST) {
            let bytes = &bytes[block.offset as usize..][..block.coded_bytes];
            let (dtype, checksum) = (item.dtype, block.checksum);
            let coded = CodedBlock { dtype, set: listed.id, checksum, bytes };
            let mut out = vec![0x11; block.raw_bytes];
            if item.kind == Kind::Delta {
                let base = vec![0; block.raw_bytes];
                let decoded = decoder.decode_delta_block(&coded, &base, &mut out);
                let left = |byte: &u8| [0x11, POISON].contains(byte);
                assert!(decoded.is_ok() || out.iter().all(left));
                continue;
            }
            let decoded = decoder.decode_block(&coded, &mut out);
            assert!(decoded.is_ok() || out.iter().all(|&byte| byte == POISON));
        }
    }
}

/// What every directory that is accepted promises.
fn check_directory(directory: &Directory, end: u64) {
    let mut at = file::HEADER_BYTES as u64;
    for item in directory.items() {
        let (first, mut raw) = (at, 0);
        for (number, entry) in item.entries().enumerate() {
            assert_eq!((entry.offset, entry.raw_offset), (at, raw));
            assert!(entry.coded_bytes > 0 && entry.checksum.is_some() == directory.checksums);
            let is_header = item.kind != Kind::Tensor && number == 0;
            assert_eq!(entry.raw_bytes == 0, is_header);
            assert_eq!(is_header, item.kind_header() == Some(entry));
            assert!(entry.raw_bytes <= item.block_bytes());
            at += entry.coded_bytes as u64;
            raw += entry.raw_bytes as u64;
        }
        assert!(directory.set_of(item).is_some());
        assert_eq!((raw, at - first), (item.raw_bytes, item.coded_bytes()));
        assert_eq!(item.units() * item.dtype.unit_bytes() as u64, raw);
        let middle = raw / 2;
        let found: Vec<_> = item.blocks_of(middle..middle + 1).collect();
        assert_eq!(found.len(), usize::from(raw > 0));
        assert!(
            found
                .iter()
                .all(|b| b.raw_offset <= middle && middle < b.raw_offset + b.raw_bytes as u64)
        );
        assert_eq!(item.blocks_of(0..u64::MAX).count(), item.blocks().count());
        if let Some(tensor) = &item.tensor {
            assert!(directory.tensor(&tensor.name).is_some());
        }
    }
    assert_eq!(at, end);
    for original in &directory.originals {
        assert!(file::is_plain_name(&original.name));
        assert!(!original.name.contains(['/', '\\']) && original.name != "..");
    }
    let raw: u64 = directory.items().map(|item| item.raw_bytes).sum();
    assert_eq!(directory.raw_bytes(), raw);
}

/// Any bytes as a codebook set, as JSON, as a codebook: what is accepted is usable, and is written
/// exactly as it was read.
pub fn codebook(data: &[u8]) {
    if let Ok(set) = CodebookSet::from_bytes(data) {
        assert_eq!(set.to_bytes(), data);
        check_set(set);
    }
    let mut mended = data.to_vec();
    mended.extend_from_slice(&crc32c(data).to_le_bytes());
    if let Ok(set) = CodebookSet::from_bytes(&mended) {
        assert_eq!(set.to_bytes(), mended);
        check_set(set);
    }
    let mut recipe = Recipe(data);
    let mut bytes = small_set().to_bytes();
    bytes.truncate(bytes.len() - 4);
    recipe.edit(&mut bytes);
    let check = crc32c(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    if let Ok(set) = CodebookSet::from_bytes(&bytes) {
        assert_eq!(set.to_bytes(), bytes);
        check_set(set);
    }
    if let Ok((lengths, size)) = Lengths::read(data) {
        let mut written = Vec::new();
        lengths.write(&mut written);
        assert_eq!(written, data[..size]);
        check_book(&Codebook::new(lengths));
    }
    #[cfg(any(fuzzing, feature = "json"))]
    if let Ok(set) =
        str::from_utf8(data).map_or(Err(()), |json| CodebookSet::from_json(json).map_err(|_| ()))
    {
        check_set(set);
    }
}

/// Every symbol can be coded, and comes back.
fn check_book(book: &Codebook) {
    let lengths = book.lengths();
    assert_eq!(book.decode_table().len(), 1 << book.limit().bits());
    let symbols = lengths.alphabet().symbols();
    let slots: Vec<u8> = (0..symbols + 70).map(|i| (i % symbols) as u8).collect();
    let mut states = vec![0; lanes::states_bytes(book.limit())];
    let bits = slots.len() as u64 * u64::from(book.limit().bits());
    let mut stream = vec![0; lanes::stream_capacity(book.limit(), bits)];
    let used = lanes::encode(book, &slots, &[7; 128], &mut states, &mut stream)
        .expect("slots of the book");
    let mut decoded = vec![0; slots.len()];
    lanes::decode(book, &states, &stream[..used], &mut decoded).expect("what was just encoded");
    for (&decoded, &slot) in decoded.iter().zip(&slots) {
        match lengths.direct(slot) {
            0 => assert_eq!(Some(decoded), lengths.escape_slot()),
            _ => assert_eq!(decoded, slot),
        }
    }
}

fn check_set(set: CodebookSet) {
    assert_eq!(CodebookSet::from_bytes(&set.to_bytes()).as_ref(), Ok(&set));
    #[cfg(any(fuzzing, feature = "json"))]
    assert_eq!(CodebookSet::from_json(&set.to_json()).as_ref(), Ok(&set));
    for (number, book) in set.books().iter().enumerate() {
        assert_eq!(set.book(number as u8), Ok(book));
        check_book(book);
    }
    let set = Arc::new(set);
    let mut encoder =
        Encoder::new(Arc::clone(&set), EncodeOptions::default()).expect("valid options");
    let mut decoder = Decoder::new(set);
    let tensor: Vec<u8> = (0..1200u32).map(|i| (i * i / 11 % 97) as u8).collect();
    for dtype in Dtype::all() {
        let message = encoder.encode_to_vec(dtype, &tensor).expect("whole units");
        let (_, decoded) = decoder.decode_to_vec(&message).expect("a message");
        assert!(decoded == tensor, "{dtype}");
    }
}

/// A tensor, a set and options made from any bytes: it comes back, in bounded size, and the same
/// input always makes the same message.
pub fn round_trip(data: &[u8]) {
    let mut recipe = Recipe(data);
    let dtype = recipe.dtype();
    let options = recipe.options();
    let first = recipe.tensor(dtype);
    let set = recipe.set(dtype, options.rule, &first);
    let second = recipe.tensor(dtype);
    let mut encoder = Encoder::new(Arc::clone(&set), options).expect("valid options");
    let mut decoder = Decoder::new(Arc::clone(&set));
    fn named(dtype: Dtype, bytes: &[u8]) -> Tensor<'_> {
        Tensor::new(dtype, bytes).named("layers.0.weight")
    }
    // The second time around every scratch buffer holds what another tensor left there.
    let mut messages = Vec::new();
    for tensor in [&first, &second, &first] {
        let message = encoder.encode_tensor_to_vec(&named(dtype, tensor)).expect("whole values");
        let units = tensor.len() / dtype.unit_bytes();
        let bound = message::bound(dtype, units, options.block_log2);
        assert!(message.len() <= bound, "{} over {bound}", message.len());
        let (header, decoded) = decoder.decode_to_vec(&message).expect("a message");
        assert!(decoded == *tensor, "{dtype} {options:?}");
        assert_eq!(header.units as usize, units);
        messages.push(message);
    }
    assert!(messages[0] == messages[2], "an encoder remembers too much");
    let mut fresh = Encoder::new(set, options).expect("valid options");
    let message = fresh.encode_tensor_to_vec(&named(dtype, &second)).expect("whole values");
    assert!(messages[1] == message, "an encoder remembers too much");

    // A block alone, whose bound has no slack: a file's directory refuses longer ones.
    let limit = huffwire::block::block_bytes(dtype, options.block_log2);
    let block = &first[..first.len().min(limit)];
    let mut coded = Vec::new();
    let encoded = fresh.encode_block(&Tensor::new(dtype, block), &mut coded).expect("a block");
    assert_eq!(encoded.bytes, coded.len());
    assert_eq!(encoded.checksum, options.checksums.then(|| crc32c(&coded)));
    assert!(coded.len() <= 1 + block.len(), "a block of {} bytes", coded.len());
}
