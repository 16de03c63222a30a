//! Headers, trailers and directories of files.

use super::*;

const NAME: &str = "model.safetensors";

/// A tensor of that type, coded with the first set of a file.
const fn new_item(tensor: Option<TensorInfo>, dtype: Dtype) -> NewItem {
    NewItem { tensor, kind: Kind::Tensor, dtype, set: 0 }
}

/// A writer of a file of small blocks, coded with the built-in set.
fn writer(checksums: bool) -> Writer {
    let mut writer = Writer::new(checksums, 10).unwrap();
    assert_eq!(writer.add_set(&CodebookSet::builtin(), false), 0);
    writer
}

/// A file of two items, and what they hold.
fn sample(checksums: bool) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut encoder = encoder(checksums);
    let mut writer = writer(checksums);
    let mut bytes = writer.header().to_vec();
    writer.begin_original(NAME).unwrap();
    let raw = vec![b"a header".to_vec(), tensor(700)];
    for (raw, tensor) in raw.iter().zip([false, true]) {
        let dtype = if tensor { Dtype::Bf16 } else { Dtype::U8 };
        let info = tensor.then(|| TensorInfo {
            name: "w".into(),
            dtype: "BF16".into(),
            shape: vec![7, 100],
        });
        writer.begin_item(new_item(info, dtype)).unwrap();
        for block in raw.chunks(1024) {
            let coded = encoder.encode_block(&Tensor::new(dtype, block), &mut bytes).unwrap();
            writer.push_block(block.len(), coded.bytes, coded.checksum).unwrap();
        }
    }
    bytes.extend_from_slice(&writer.finish().unwrap());
    (bytes, raw)
}

/// Reads a whole file as a program would.
fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let trailer = bytes.len().saturating_sub(file::TRAILER_BYTES);
    let (range, check) = file::read_trailer(&bytes[trailer..], bytes.len() as u64)?;
    let range = range.start as usize..range.end as usize;
    let directory = &bytes[range.clone()];
    let directory = Directory::read(bytes, directory, range.start as u64, check)?;
    let mut decoder = Decoder::builtin();
    let items = directory.items().map(|item| {
        let mut raw = vec![0; item.raw_bytes as usize];
        for block in item.blocks() {
            let coded = &bytes[block.offset as usize..][..block.coded_bytes];
            let out = &mut raw[block.raw_offset as usize..][..block.raw_bytes];
            let (dtype, checksum) = (item.dtype, block.checksum);
            let set = directory.set_of(item).expect("a listed set");
            decoder.decode_block(&CodedBlock { dtype, set, checksum, bytes: coded }, out)?;
        }
        Ok(raw)
    });
    items.collect()
}

#[test]
fn cut_anywhere_is_an_error() {
    for checksums in [true, false] {
        let (bytes, raw) = sample(checksums);
        assert_eq!(read(&bytes).as_ref(), Ok(&raw));
        for cut in 0..bytes.len() {
            let error = read(&bytes[..cut]).expect_err("a file that was cut");
            let known = matches!(error, Error::Malformed { .. } | Error::Truncated { .. });
            assert!(known, "{cut}: {error}");
            says(&error, &["trailer of a huffwire file"]);
        }
    }
}

#[test]
fn every_flipped_bit_is_found_by_the_checksums() {
    let (bytes, _) = sample(true);
    for bit in 0..8 * bytes.len() {
        assert!(read(&flipped(&bytes, bit)).is_err(), "bit {bit}");
    }
}

#[test]
fn flipped_bits_outside_the_blocks_are_found_even_without_checksums_of_blocks() {
    let (bytes, _) = sample(false);
    let (range, _) =
        file::read_trailer(&bytes[bytes.len() - file::TRAILER_BYTES..], bytes.len() as u64)
            .unwrap();
    for bit in 0..8 * bytes.len() {
        let outside = bit / 8 < file::HEADER_BYTES || bit / 8 >= range.start as usize;
        let result = read(&flipped(&bytes, bit));
        assert!(result.is_err() || !outside, "bit {bit}");
    }
}

#[test]
fn a_header_of_another_version_or_with_unknown_flags_is_refused() {
    let header = sample(true).0[..file::HEADER_BYTES].to_vec();
    assert_eq!(file::read_header(&header), Ok(true));
    let mended = |at, change: &[u8]| {
        let mut header = with(&header, at, change);
        let check = crc32c(&header[..12]);
        header[12..].copy_from_slice(&check.to_le_bytes());
        file::read_header(&header).unwrap_err()
    };
    malformed(&mended(0, b"h"), 0, &["header", "this is no huffwire file"]);
    let (what, found, supported) = ("a huffwire file", 2, 1);
    let newer = Error::UnknownVersion { what, found, supported };
    assert_eq!(mended(8, &[2]), newer);
    malformed(&mended(10, &[3]), 10, &["flags that this version does not know"]);
    let damaged = file::read_header(&with(&header, 10, &[0])).unwrap_err();
    assert!(matches!(damaged, Error::Checksum { .. }), "{damaged}");
    for cut in 0..header.len() {
        let error = file::read_header(&header[..cut]).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }));
    }
}

#[test]
fn trailers_that_point_outside_the_file_are_refused() {
    let trailer = |offset: u64, length: u64| {
        let mut bytes = offset.to_le_bytes().to_vec();
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(b"\0\0\0\0HWDE");
        bytes
    };
    let size = 1000;
    assert_eq!(file::read_trailer(&trailer(900, 76), size), Ok((900..976, 0)));
    for (offset, length) in [
        (900, 75),
        (900, 77),
        (15, 961),
        (0, 976),
        (u64::MAX, 977),
        (977, u64::MAX),
        (u64::MAX, u64::MAX),
        (1 << 63, 1 << 63),
    ] {
        let error = file::read_trailer(&trailer(offset, length), size).unwrap_err();
        malformed(&error, 0, &["trailer", "a directory that cannot be there"]);
    }
    for size in [0, 23, 24, 39] {
        assert!(file::read_trailer(&trailer(16, 0), size).is_err());
    }
    let error = file::read_trailer(&with(&trailer(900, 76), 20, b"X"), size).unwrap_err();
    malformed(&error, 24, &["the file was cut, or is no huffwire file"]);
    let mut long = trailer(900, 76);
    long.push(0);
    assert!(file::read_trailer(&long, size).is_err());
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [varint(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// Block size and set, which is not embedded: what most directories here begin with.
fn start() -> Vec<u8> {
    [&[10, 1], &CodebookSet::builtin().id().0[..], &[0]].concat()
}

/// The directory made of these parts, behind blocks of 100 bytes.
fn directory(parts: &[&[u8]]) -> Result<Directory> {
    let bytes = parts.concat();
    // Without checksums of entries: most of what is tested here does not need them.
    let header = writer(false).header();
    let offset = file::HEADER_BYTES as u64 + 100;
    Directory::read(&header, &bytes, offset, crc32c(&bytes))
}

#[track_caller]
fn refused(parts: &[&[u8]]) -> Error {
    let error = directory(parts).expect_err("this directory must be refused");
    says(&error, &["the directory of a huffwire file", "offset"]);
    error
}

/// One original of one item without a name, `bytes` bytes of u8, one block of 100 coded bytes.
fn one_item(bytes: u64) -> [Vec<u8>; 5] {
    [
        start(),
        [varint(1), string(NAME), varint(1)].concat(),
        // Kind, type. The set is the first one.
        vec![0, Dtype::U8.number()],
        varint(bytes),
        varint(100),
    ]
}

fn parts(item: &[Vec<u8>]) -> Vec<&[u8]> {
    item.iter().map(Vec::as_slice).collect()
}

#[test]
fn the_directory_that_the_other_tests_forge_is_accepted() {
    let item = one_item(200);
    let directory = directory(&parts(&item)).unwrap();
    assert_eq!(directory.raw_bytes(), 200);
    assert_eq!(directory.items().next().unwrap().coded_bytes(), 100);
}

#[test]
fn a_directory_cut_anywhere_or_longer_is_refused() {
    let bytes = one_item(200).concat();
    for cut in 0..bytes.len() {
        let error = refused(&[&bytes[..cut]]);
        assert!(matches!(error, Error::Truncated { .. }), "{cut}: {error}");
    }
    let error = refused(&[&bytes, &[0]]);
    malformed(&error, bytes.len(), &["1 bytes too many"]);
}

#[test]
fn a_damaged_directory_is_refused() {
    let bytes = one_item(200).concat();
    let header = writer(false).header();
    let error = Directory::read(&header, &bytes, 116, !crc32c(&bytes)).unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }));
    says(&error, &["the directory of a huffwire file is damaged"]);
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    for name in ["../x", "..", ".", "", "a/b", "/etc/passwd", "a\\b", "c:x", "a\0b", "a\nb", "x/.."]
    {
        let error = refused(&[&start(), &[1], &string(name), &[0]]);
        let quoted = format!("{name:?} is no plain file name");
        says(&error, &["malformed", &quoted]);
        let error = writer(true).begin_original(name).unwrap_err();
        malformed(&error, 0, &[&quoted]);
        assert!(!file::is_plain_name(name));
    }
    assert!(file::is_plain_name("model..v2.safetensors"));
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let error = refused(&[&start(), &[1, 2, 0xff, 0xfe, 0]]);
    malformed(&error, start().len() + 2, &["a name that is not UTF-8"]);
}

#[test]
fn lying_sizes_and_counts_are_refused() {
    for number in [1 << 20, u64::from(u32::MAX), 1 << 62, u64::MAX - 1, u64::MAX] {
        let lie = varint(number);
        // Number of sets; size of the embedded set.
        refused(&[&[10], &lie]);
        refused(&[&start()[..10], &lie]);
        // Number of originals; length of a name; number of items.
        refused(&[&start(), &lie]);
        refused(&[&start(), &[1], &lie]);
        refused(&[&start(), &[1], &string(NAME), &lie]);
        // Length of a tensor's name and of its type; number of dimensions.
        let tensor = [start(), vec![1], string(NAME), vec![1, 0x80]].concat();
        refused(&[&tensor, &lie]);
        refused(&[&tensor, &string("w"), &lie]);
        refused(&[&tensor, &string("w"), &string("U8"), &lie]);
        // Place of the set; size of the item; length of its block.
        let item = one_item(200);
        let before = item[..3].concat();
        let other_set = [0x40, Dtype::U8.number()];
        let error = refused(&[&item[0], &item[1], &other_set, &lie, &item[3], &item[4]]);
        match number > isize::MAX as u64 {
            true => says(&error, &["malformed"]),
            false => says(&error, &["an item of a codebook set that is not listed"]),
        }
        // The first one goes without saying.
        refused(&[&item[0], &item[1], &other_set, &[0], &item[3], &item[4]]);
        refused(&[&before, &lie]);
        refused(&[&before, &lie, &item[4]]);
        refused(&[&before, &item[3], &lie]);
    }
}

#[test]
fn sizes_beyond_what_can_be_addressed_are_refused() {
    for lie in [i64::MAX as u64 + 1, u64::MAX] {
        let error = refused(&parts(&one_item(lie)));
        says(&error, &["a size that no tensor of this type can have"]);
    }
    for (bytes, dtype) in [
        (201, Dtype::Bf16),
        (200, Dtype::E3m2Packed),
        (202, Dtype::Complex32),
        (204, Dtype::Complex64),
        (200, Dtype::Complex128),
    ] {
        let mut item = one_item(bytes);
        item[2][1] = dtype.number();
        says(&refused(&parts(&item)), &["a size that no tensor of this type can have"]);
    }
}

#[test]
fn empty_blocks_and_blocks_beyond_their_bound_are_refused() {
    for (coded, words) in [
        (0, "an entry of 0 bytes, or of more than 4 GiB"),
        (1 << 32, "an entry of 0 bytes, or of more than 4 GiB"),
        (1 + 200 + 1, "a block larger than blocks can be"),
    ] {
        let mut item = one_item(200);
        item[4] = varint(coded);
        says(&refused(&parts(&item)), &[words]);
    }
}

#[test]
fn blocks_that_do_not_fill_the_space_are_refused() {
    for coded in [99, 101] {
        let mut item = one_item(200);
        item[4] = varint(coded);
        says(&refused(&parts(&item)), &["do not fill the space before the directory"]);
    }
}

#[test]
fn unknown_element_types_and_block_sizes_are_refused() {
    for (part, at, value, words) in [
        (2, 1, 0, "an unknown element type"),
        (2, 1, 30, "an unknown element type"),
        (2, 1, 255, "an unknown element type"),
        (0, 0, 9, "a block size outside 1 KiB to 1 MiB"),
        (0, 0, 21, "a block size outside 1 KiB to 1 MiB"),
        (0, 0, 255, "a block size outside 1 KiB to 1 MiB"),
    ] {
        let mut item = one_item(200);
        item[part][at] = value;
        says(&refused(&parts(&item)), &["malformed", words]);
    }
}

#[test]
fn unknown_kinds_are_refused_by_number() {
    for (number, name) in [3, 4, 62, 63].map(|number| (number, "unknown")) {
        for named in [0, 0x80] {
            let mut item = one_item(200);
            item[2][0] = named | number;
            let error = directory(&parts(&item)).unwrap_err();
            assert_eq!(error, Error::UnknownKind { number, name });
            says(&error, &[&format!("kind {number} ({name})")]);
        }
    }
}

#[test]
fn items_of_quantized_values_have_a_kind_header() {
    let values = [Kind::Values.number(), Dtype::F32.number()];
    let mut item = one_item(400);
    item[2] = values.to_vec();
    // The kind header, and all 100 values in a block.
    item[4] = [varint(30), varint(70)].concat();
    let found = directory(&parts(&item)).unwrap();
    let found = found.items().next().unwrap();
    assert_eq!((found.kind, found.units()), (Kind::Values, 100));
    let header = found.kind_header().unwrap();
    assert_eq!((header.offset, header.coded_bytes, header.raw_bytes), (16, 30, 0));
    let blocks: Vec<_> = found.blocks().collect();
    assert_eq!((blocks[0].offset, blocks[0].coded_bytes), (46, 70));
    assert_eq!((blocks[0].raw_offset, blocks[0].raw_bytes), (0, 400));
    assert_eq!((blocks.len(), found.entries().count()), (1, 2));
    // Without the block's length.
    item[4] = varint(100);
    let error = refused(&parts(&item));
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
}

/// A directory with a delta of so many bytes of bf16, whose entries have these lengths.
fn delta_item(bytes: u64, lengths: &[u64]) -> [Vec<u8>; 5] {
    let mut item = one_item(bytes);
    item[2] = vec![Kind::Delta.number(), Dtype::Bf16.number()];
    item[4] = lengths.iter().flat_map(|length| varint(*length)).collect();
    item
}

#[test]
fn items_that_are_deltas_have_a_kind_header_of_one_byte_and_large_blocks() {
    let block = delta::block_bytes(Dtype::Bf16) as u64;
    assert_eq!(block, 1 << 21);
    let found = directory(&parts(&delta_item(block + 200, &[1, 60, 39]))).unwrap();
    let found = found.items().next().unwrap();
    assert_eq!((found.kind, found.units()), (Kind::Delta, (1 << 20) + 100));
    let header = found.kind_header().unwrap();
    assert_eq!((header.offset, header.coded_bytes, header.raw_bytes), (16, 1, 0));
    let blocks: Vec<_> = found.blocks().map(|b| (b.offset, b.raw_offset, b.raw_bytes)).collect();
    assert_eq!(blocks, [(17, 0, block as usize), (77, block, 200)]);
    // An empty one has a kind header, and no block.
    let error = refused(&parts(&delta_item(0, &[1])));
    says(&error, &["do not fill the space before the directory"]);
    for length in [2, 100] {
        let error = refused(&parts(&delta_item(400, &[length, 100 - length])));
        says(&error, &["a kind header of a delta of another length than 1 byte"]);
    }
}

#[test]
fn blocks_of_deltas_beyond_their_bound_are_refused() {
    // A header of 38 bytes, the size of parts, and for each part of 1 KiB its length in 3 bytes and the first byte of a
    // block.
    for (raw, bound) in [(400, 39 + 4 + 400), (1024, 39 + 4 + 1024), (1026, 39 + 8 + 1026)] {
        let error = refused(&parts(&delta_item(raw, &[1, bound])));
        says(&error, &["do not fill the space before the directory"]);
        for coded in [bound + 1, u64::from(u32::MAX)] {
            let error = refused(&parts(&delta_item(raw, &[1, coded])));
            says(&error, &["a block of a delta larger than such blocks can be"]);
        }
        let mut writer = writer(true);
        writer.begin_original(NAME).unwrap();
        let item = NewItem { kind: Kind::Delta, ..new_item(None, Dtype::Bf16) };
        writer.begin_item(item).unwrap();
        let invalid = |result| matches!(result, Err(Error::InvalidOption(_)));
        assert!(invalid(writer.push_kind_header(2, Some(7))));
        writer.push_kind_header(1, Some(7)).unwrap();
        assert!(invalid(writer.push_block(raw as usize, bound as usize + 1, Some(7))));
        writer.push_block(raw as usize, bound as usize, Some(7)).unwrap();
    }
}

/// A claim of very many blocks takes as many bytes of the directory, and what is read of it no more memory.
#[test]
fn a_delta_that_claims_to_be_large_is_refused() {
    for bytes in [1 << 40, 1 << 62] {
        let error = refused(&parts(&delta_item(bytes, &[1, 99])));
        assert!(matches!(error, Error::Truncated { .. }), "{error}");
    }
}

#[test]
fn a_set_that_is_listed_twice_is_refused() {
    let set = &start()[2..];
    let error = refused(&[&[10, 2], set, set, &[0]]);
    says(&error, &["malformed", "a codebook set that is listed twice"]);
}

#[test]
fn entries_have_checksums_if_the_file_has_them() {
    let item = [one_item(200).concat(), vec![1, 2, 3, 4]].concat();
    let header = writer(true).header();
    let read = |bytes: &[u8]| Directory::read(&header, bytes, 116, crc32c(bytes));
    let directory = read(&item).unwrap();
    let block = directory.items().next().unwrap().blocks().next().unwrap();
    assert_eq!(block.checksum, Some(0x0403_0201));
    for cut in 1..=4 {
        let error = read(&item[..item.len() - cut]).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{error}");
    }
}

/// Sound blocks in each other's places fail the checksums of these places.
#[test]
fn exchanged_blocks_are_refused() {
    let mut encoder = encoder(true);
    let mut writer = writer(true);
    let raw = tensor(1200);
    let mut bytes = writer.header().to_vec();
    writer.begin_original(NAME).unwrap();
    writer.begin_item(new_item(None, Dtype::Bf16)).unwrap();
    let blocks: Vec<Vec<u8>> = raw
        .chunks(1024)
        .map(|block| {
            let mut coded = Vec::new();
            let tensor = Tensor::new(Dtype::Bf16, block);
            let encoded = encoder.encode_block(&tensor, &mut coded).unwrap();
            writer.push_block(block.len(), encoded.bytes, encoded.checksum).unwrap();
            coded
        })
        .collect();
    let end = writer.finish().unwrap();
    for order in [[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0], [0, 0, 2]] {
        bytes.truncate(file::HEADER_BYTES);
        order.into_iter().for_each(|number| bytes.extend_from_slice(&blocks[number]));
        bytes.extend_from_slice(&end);
        match read(&bytes) {
            Ok(found) => assert!(order == [0, 1, 2] && found == [raw.clone()]),
            // Blocks of other lengths move the directory.
            Err(error) if bytes.len() == end.len() + 16 + blocks.concat().len() => {
                assert!(matches!(error, Error::Checksum { what: "a block", .. }), "{error}");
            }
            Err(error) => says(&error, &["trailer"]),
        }
    }
}

#[test]
fn numbers_not_in_their_shortest_form_are_refused() {
    let long_form = [0x80, 0x00];
    let too_long = [0xff; 10];
    for form in [&long_form[..], &too_long] {
        let error = refused(&[&start(), form]);
        malformed(&error, start().len(), &["a variable-length number that is not canonical"]);
    }
}

#[test]
fn an_embedded_set_other_than_the_one_named_is_refused() {
    let set = small_set().to_bytes();
    let before = &start()[..10];
    let error = refused(&[before, &varint(set.len() as u64), &set, &[0]]);
    says(&error, &["the embedded codebook set is not the one named"]);
    let damaged = flipped(&set, 100);
    let error = directory(&[before, &varint(set.len() as u64), &damaged, &[0]]).unwrap_err();
    says(&error, &["a codebook set is damaged"]);
}

#[test]
fn a_writer_used_in_the_wrong_order_is_refused() {
    let mut writer = Writer::new(true, 10).unwrap();
    let invalid = |result| matches!(result, Err(Error::InvalidOption(_)));
    let sum = Some(7);
    assert!(invalid(writer.begin_item(new_item(None, Dtype::U8))), "no set");
    writer.add_set(&CodebookSet::builtin(), false);
    assert!(invalid(writer.begin_item(new_item(None, Dtype::U8))), "no original");
    assert!(invalid(writer.push_block(10, 10, sum)));
    writer.begin_original(NAME).unwrap();
    assert!(writer.begin_original(NAME).is_err(), "the name is taken");
    assert!(invalid(writer.push_block(10, 10, sum)), "no item");
    assert!(invalid(writer.push_kind_header(10, sum)), "no item");
    let other_set = NewItem { set: 1, ..new_item(None, Dtype::U8) };
    assert!(invalid(writer.begin_item(other_set)));
    writer.begin_item(new_item(None, Dtype::U8)).unwrap();
    assert!(invalid(writer.push_kind_header(10, sum)), "a tensor has none");
    assert!(invalid(writer.push_block(0, 10, sum)));
    assert!(invalid(writer.push_block(1025, 10, sum)));
    assert!(invalid(writer.push_block(1024, 10, None)), "no checksum");
    writer.push_block(1024, 10, sum).unwrap();
    writer.push_block(1023, 10, sum).unwrap();
    assert!(invalid(writer.push_block(1024, 10, sum)), "behind a short block");
    let values = NewItem { kind: Kind::Values, ..new_item(None, Dtype::F32) };
    writer.begin_item(values).unwrap();
    assert!(invalid(writer.push_block(400, 10, sum)), "before the kind header");
    writer.push_kind_header(10, sum).unwrap();
    assert!(invalid(writer.push_kind_header(10, sum)), "a second one");
    writer.push_block(400, 10, sum).unwrap();
    let mut unchecked = self::writer(false);
    unchecked.begin_original(NAME).unwrap();
    unchecked.begin_item(new_item(None, Dtype::U8)).unwrap();
    assert!(invalid(unchecked.push_block(10, 10, sum)), "a file without checksums");
    for block_log2 in [0, 9, 21, 255] {
        assert!(matches!(Writer::new(true, block_log2), Err(Error::InvalidOption(_))));
    }
}

/// Each of these would make a file that cannot be read.
#[test]
fn a_writer_refuses_blocks_that_no_reader_would_accept() {
    for (dtype, raw, coded) in [
        (Dtype::Bf16, 101, 50),     // Half an element.
        (Dtype::Complex64, 12, 10), // A real part alone.
        (Dtype::U8, 100, 0),        // A block of no bytes.
        (Dtype::U8, 100, 102),      // Longer than verbatim.
        #[cfg(target_pointer_width = "64")]
        (Dtype::U8, 100, (1 << 32) + 50), // 50 in 32 bits.
    ] {
        let mut writer = writer(false);
        writer.begin_original(NAME).unwrap();
        writer.begin_item(new_item(None, dtype)).unwrap();
        let pushed = writer.push_block(raw, coded, None);
        assert!(matches!(pushed, Err(Error::InvalidOption(_))), "{dtype}: {raw} bytes in {coded}");
    }
}
