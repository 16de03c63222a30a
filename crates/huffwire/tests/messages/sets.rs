//! Decoders with several codebook sets, and files of items that use several.

use std::sync::Arc;

use super::*;
use forge::small_set;
use huffwire::codebook::{Alphabet, CodeLimit, Lengths};
use huffwire::file::{self, Directory, NewItem, Writer};
use huffwire::message::Kind;
use huffwire::{CodedBlock, SetBuilder};

/// A set of plain books, each of which has a short code for one symbol.
fn set_of(symbols: &[usize]) -> Arc<CodebookSet> {
    let mut builder = SetBuilder::new("short codes");
    for &symbol in symbols {
        let mut ordinary = [0; 256];
        ordinary[symbol] = 1;
        let alphabet = Alphabet::Plain { width: 8 };
        let lengths = Lengths::new(alphabet, CodeLimit::Bits8, &ordinary, 1, 0).unwrap();
        builder.add(lengths).unwrap();
    }
    Arc::new(builder.build())
}

fn message(set: &Arc<CodebookSet>, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Arc::clone(set), EncodeOptions::default()).unwrap();
    encoder.encode_to_vec(Dtype::Bf16, bytes).unwrap()
}

#[test]
fn a_decoder_of_two_sets_decodes_the_messages_of_both() {
    let bytes = tensor(Dtype::Bf16, 5000, 1);
    let (builtin, small, third) = (CodebookSet::builtin(), small_set(), set_of(&[9]));
    let [first, second] = [&builtin, &small].map(|set| message(set, &bytes));
    assert!(first != second);
    let mut decoder = Decoder::builtin().with_set(small_set()).unwrap();
    // A set that it has already changes nothing.
    decoder = decoder.with_set(CodebookSet::builtin()).unwrap();
    let held: Vec<_> = decoder.sets().map(|set| set.id()).collect();
    assert_eq!(held, [builtin.id(), small.id()]);
    for message in [&first, &second, &first] {
        assert!(decoder.decode_to_vec(message).unwrap().1 == bytes);
        let mut some = [0; 100];
        let anything = Expected::anything();
        decoder.decode_range(message, &anything, 77..177, &mut some).unwrap();
        assert!(some == bytes[77..177]);
    }
    let mut reader = MessageReader::new(&second[..], decoder);
    let mut out = vec![0; bytes.len()];
    reader.read_tensor(Dtype::Bf16, &mut out).unwrap();
    assert!(out == bytes);

    let mut decoder = Decoder::new(builtin).with_set(small).unwrap();
    let error = decoder.decode_to_vec(&message(&third, &bytes)).unwrap_err();
    let Error::SetMismatch { wanted, held: found } = &error else { panic!("{error}") };
    assert_eq!(*wanted, format!("{}…", &third.id().to_string()[..8]));
    assert_eq!(*found, held);
    for id in held {
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
}

#[test]
fn sets_that_look_alike_to_a_message_are_refused() {
    // Found by trying 50,000 sets.
    let (one, other) = (set_of(&[31, 24, 14]), set_of(&[21, 34, 57]));
    assert_eq!(one.id().short(), other.id().short());
    assert_ne!(one.id(), other.id());
    let error = Decoder::new(Arc::clone(&one)).with_set(Arc::clone(&other)).unwrap_err();
    assert_eq!(error, Error::AmbiguousSet { held: one.id(), added: other.id() });
    assert!(error.to_string().contains(&one.id().to_string()));
}

/// A block of a file names its set by all of its id.
#[test]
fn a_block_of_a_set_that_looks_alike_is_refused() {
    let (one, other) = (set_of(&[31, 24, 14]), set_of(&[21, 34, 57]));
    let block = CodedBlock { dtype: Dtype::U8, set: other.id(), checksum: None, bytes: &[0, 1] };
    let error = Decoder::new(Arc::clone(&one)).decode_block(&block, &mut [0]).unwrap_err();
    let wanted = other.id().to_string();
    assert_eq!(error, Error::SetMismatch { wanted, held: vec![one.id()] });
}

#[test]
fn a_file_has_items_of_two_sets() {
    let sets = [small_set(), CodebookSet::builtin()];
    let mut writer = Writer::new(true, 10).unwrap();
    let places = [writer.add_set(&sets[0], true), writer.add_set(&sets[1], false)];
    assert_eq!(places, [0, 1]);
    assert_eq!(writer.add_set(&sets[0], false), 0, "a set is listed once");
    let mut bytes = writer.header().to_vec();
    let tensors = [1, 2, 3, 4].map(|seed| tensor(Dtype::Bf16, 1300, seed));
    writer.begin_original("tensors").unwrap();
    for (number, tensor) in tensors.iter().enumerate() {
        let (kind, dtype, set) = (Kind::Tensor, Dtype::Bf16, number % 2);
        writer.begin_item(NewItem { tensor: None, kind, dtype, set }).unwrap();
        let mut encoder = Encoder::new(Arc::clone(&sets[set]), blocks_of(10)).unwrap();
        for block in tensor.chunks(1024) {
            let coded = encoder.encode_block(&Tensor::new(dtype, block), &mut bytes).unwrap();
            writer.push_block(block.len(), coded.bytes, coded.checksum).unwrap();
        }
    }
    bytes.extend_from_slice(&writer.finish().unwrap());

    let trailer = &bytes[bytes.len() - file::TRAILER_BYTES..];
    let (range, check) = file::read_trailer(trailer, bytes.len() as u64).unwrap();
    let directory = &bytes[range.start as usize..range.end as usize];
    let directory = Directory::read(&bytes[..16], directory, range.start, check).unwrap();
    let listed: Vec<_> = directory.sets.iter().map(|set| set.id).collect();
    assert_eq!(listed, sets.each_ref().map(|set| set.id()));
    assert_eq!(directory.sets[0].embedded.as_ref(), Some(&sets[0]));
    assert!(directory.sets[1].embedded.is_none());
    let mut both = Decoder::builtin().with_set(small_set()).unwrap();
    for (item, tensor) in directory.items().zip(&tensors) {
        let set = directory.set_of(item).unwrap();
        let mut alone = Decoder::new(Arc::clone(&sets[1 - item.set]));
        for block in item.blocks() {
            let coded = &bytes[block.offset as usize..][..block.coded_bytes];
            let (dtype, checksum) = (item.dtype, block.checksum);
            let coded = CodedBlock { dtype, set, checksum, bytes: coded };
            let mut out = vec![0; block.raw_bytes];
            both.decode_block(&coded, &mut out).unwrap();
            assert!(out == tensor[block.raw_offset as usize..][..block.raw_bytes]);
            // The error of a missing set concerns this item alone.
            let error = alone.decode_block(&coded, &mut out).unwrap_err();
            assert!(matches!(error, Error::SetMismatch { .. }), "{error}");
        }
    }
}
