//! Writing and reading .hw files, damage and limits included.

#![allow(clippy::unwrap_used)] // A test says with a panic what does not hold.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use huffwire::file::{self, NewItem, TensorInfo};
use huffwire::{CodebookSet, Dtype, Kind, SetBuilder};
use huffwire_io::formats::safetensors::Header;
use huffwire_io::{
    Destination, Error, Input, InputFile, Output, RawOptions, ReadOptions, Reader, Region,
    TensorFormat, Workers, WriteOptions, Writer,
};
use huffwire_testing::{Random, files, float, noise};
use tempfile::TempDir;

fn folder() -> (TempDir, impl Fn(&str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str| path.join(name))
}

fn weights(count: usize) -> Vec<u8> {
    float::to_bf16_bytes(&Random::new(1).tensor(count, -6.0, 0.5))
}

fn info(name: &str, shape: &[u64]) -> TensorInfo {
    TensorInfo { name: name.to_owned(), dtype: "BF16".to_owned(), shape: shape.to_vec() }
}

/// A .hw file of one tensor `w` of a million values, and the bytes of that tensor.
fn one_tensor(path: &Path) -> Vec<u8> {
    let bytes = weights(1 << 20);
    let mut writer = Writer::create(path, false, WriteOptions::default()).unwrap();
    writer.begin_original("x").unwrap();
    writer.add_tensor(info("w", &[1024, 1024]), Dtype::Bf16, &bytes).unwrap();
    writer.finish().unwrap();
    bytes
}

fn restored(reader: &Reader, path: &Path) -> Vec<u8> {
    let mut output = Output::create(path, true, &[]).unwrap();
    let original = &reader.directory().originals[0];
    reader.write_original(original, &mut output, |_| ()).unwrap();
    output.finish().unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn files_come_back_and_do_not_depend_on_the_threads() {
    let (_folder, path) = folder();
    let (a, b) = (weights(300_000), noise(70_001, 2));
    let file = files::safetensors(&[
        ("a", "BF16", &[300, 1000], &a),
        ("empty", "F32", &[0], &[]),
        ("b", "U8", &[70_001], &b),
    ]);
    std::fs::write(path("m.safetensors"), &file).unwrap();
    let all = [Workers::caller(), Workers::new(1).unwrap(), Workers::new(3).unwrap()];
    let mut packed = Vec::new();
    for (number, workers) in all.into_iter().enumerate() {
        let workers = Arc::new(workers);
        let options = WriteOptions { workers: Arc::clone(&workers), ..WriteOptions::default() };
        let target = path(&format!("{number}.hw"));
        let mut writer = Writer::create(&target, false, options).unwrap();
        let mut done = 0;
        let inputs = Input::open(&path("m.safetensors"), None).unwrap();
        writer.add_inputs(&inputs, |bytes| done += bytes).unwrap();
        let written = writer.finish().unwrap();
        packed.push(std::fs::read(&target).unwrap());
        assert_eq!((done, written.bytes), (file.len() as u64, packed[number].len() as u64));
        let options = ReadOptions { workers, ..ReadOptions::default() };
        let reader = Reader::new(InputFile::open(&target).unwrap(), options).unwrap();
        assert!(restored(&reader, &path("restored")) == file);
        assert!(reader.read("a").unwrap() == a && reader.read("b").unwrap() == b);
        assert!(reader.read("empty").unwrap().is_empty());
        assert_eq!(reader.usages(|_| ()).unwrap().len(), 4);
    }
    assert!(packed.iter().all(|other| *other == packed[0]));
}

#[test]
fn originals_in_memory_may_mix_tensors_and_bytes() {
    let (_folder, path) = folder();
    let mut writer = Writer::create(&path("x.hw"), false, WriteOptions::default()).unwrap();
    writer.begin_original("x").unwrap();
    writer.add_bytes(b"before").unwrap();
    // No whole number of elements: coded as bytes.
    writer.add_tensor(info("odd", &[3]), Dtype::Bf16, b"odd").unwrap();
    writer.add_bytes(b"").unwrap();
    writer.add_bytes(b"after").unwrap();
    writer.finish().unwrap();
    let reader = Reader::open(&path("x.hw")).unwrap();
    assert_eq!(restored(&reader, &path("x")), b"beforeoddafter");
}

/// Counts the bytes that are read.
struct Counting(Cursor<Vec<u8>>, Arc<AtomicU64>);

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Seek for Counting {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn ranges_read_only_the_blocks_that_hold_them() {
    let (_folder, path) = folder();
    let bytes = one_tensor(&path("x.hw"));
    let count = Arc::new(AtomicU64::new(0));
    let file = Counting(Cursor::new(std::fs::read(path("x.hw")).unwrap()), Arc::clone(&count));
    let reader = Reader::from_reader(file, ReadOptions::default()).unwrap();
    let total = bytes.len() as u64 / 2;
    let sizes: Vec<u64> =
        reader.tensor("w").unwrap().blocks().map(|b| b.coded_bytes as u64).collect();
    assert_eq!(sizes.len(), 16);
    for (range, blocks) in [
        (0..1, 0..1),
        (65_535..65_537, 0..2),
        (70_000..70_000, 0..0),
        (total - 1..total, 15..16),
        (0..total, 0..16),
    ] {
        count.store(0, Ordering::Relaxed);
        let part = reader.read_range("w", range.clone()).unwrap();
        assert!(part == bytes[2 * range.start as usize..2 * range.end as usize], "{range:?}");
        let expected: u64 = sizes[blocks].iter().sum();
        assert_eq!(count.load(Ordering::Relaxed), expected, "{range:?}");
    }
    assert!(reader.read_range("w", 7..=7).unwrap() == bytes[14..16]);
    assert!(reader.read_range("w", ..2).unwrap() == bytes[..4]);
    for range in [0..total + 1, total + 1..total + 1, u64::MAX..u64::MAX] {
        assert!(matches!(reader.read_range("w", range), Err(Error::Range { .. })));
    }
}

#[test]
fn limits_hold_before_anything_is_decoded() {
    let (_folder, path) = folder();
    let bytes = one_tensor(&path("x.hw"));
    let open = |max_size, max_directory_size| {
        let options = ReadOptions { max_size, max_directory_size, ..ReadOptions::default() };
        Reader::new(InputFile::open(&path("x.hw")).unwrap(), options)
    };
    let size = bytes.len() as u64;
    assert!(open(size, 1 << 20).unwrap().read("w").unwrap() == bytes);
    let reader = open(size - 1, 1 << 20).unwrap();
    assert!(matches!(reader.read("w"), Err(Error::TooLarge { .. })));
    assert!(reader.read_range("w", 1..).unwrap() == bytes[2..]);
    let mut output = Output::to_stream("memory", io::sink());
    let original = &reader.directory().originals[0];
    let refused = reader.write_original(original, &mut output, |_| ());
    assert!(matches!(refused, Err(Error::TooLarge { .. })) && output.written() == 0);
    assert!(matches!(open(size, 10), Err(Error::TooLarge { .. })));
}

#[test]
fn damage_is_an_error_that_names_file_tensor_and_block() {
    let (_folder, path) = folder();
    let bytes = one_tensor(&path("x.hw"));
    let mut file = std::fs::read(path("x.hw")).unwrap();
    let reader = Reader::open(&path("x.hw")).unwrap();
    let second = reader.tensor("w").unwrap().blocks().nth(1).unwrap();
    file[second.offset as usize + 1000] ^= 1;
    std::fs::write(path("damaged.hw"), &file).unwrap();
    let reader = Reader::open(&path("damaged.hw")).unwrap();
    let error = reader.read("w").unwrap_err();
    assert!(matches!(error, Error::Codec { .. }));
    for mention in ["damaged.hw", "\"w\"", "block 1 at offset"] {
        assert!(error.to_string().contains(mention), "{error}");
    }
    assert!(reader.read_range("w", ..65_536).unwrap() == bytes[..131_072], "block 0 is as it was");
    let mut damaged = 0;
    let jobs = reader.directory().items().flat_map(Reader::blocks);
    let counted = reader.decode_blocks(jobs, |_, block| {
        damaged += usize::from(block.is_err());
        Ok::<(), Error>(())
    });
    assert_eq!((counted.is_ok(), damaged), (true, 1));
    for cut in [0, 7, 11, 20, 100, file.len() - 1] {
        let cut = Cursor::new(file[..cut].to_vec());
        assert!(Reader::from_reader(cut, ReadOptions::default()).is_err());
    }
}

#[test]
fn an_unfinished_file_never_appears() {
    let (_folder, path) = folder();
    let target = path("x.hw");
    let write = || {
        let mut writer = Writer::create(&target, false, WriteOptions::default()).unwrap();
        writer.begin_original("x").unwrap();
        writer
    };
    drop(write());
    let mut writer = write();
    assert!(matches!(writer.begin_original("x"), Err(Error::Unwritable { .. })));
    assert!(matches!(writer.begin_original("../x"), Err(Error::Unwritable { .. })));
    // An input that is gone while it is read.
    std::fs::write(path("in.bin"), noise(100_000, 1)).unwrap();
    let inputs = Input::open(&path("in.bin"), Some(&RawOptions::new(Dtype::U8))).unwrap();
    std::fs::write(path("in.bin"), b"").unwrap();
    assert!(matches!(writer.add_inputs(&inputs, |_| ()), Err(Error::Changed { .. })));
    assert!(matches!(writer.finish(), Err(Error::Unwritable { .. })));
    assert!(!target.exists());
    assert_eq!(std::fs::read_dir(target.parent().unwrap()).unwrap().count(), 1, "no litter");
}

#[test]
fn arrays_keep_their_headers() {
    let (_folder, path) = folder();
    let array = files::npy("<f4", "(2, 3)", &[1; 24]);
    std::fs::write(path("a.npy"), &array).unwrap();
    let mut writer = Writer::create(&path("a.hw"), false, WriteOptions::default()).unwrap();
    writer.add_inputs(&Input::open(&path("a.npy"), None).unwrap(), |_| ()).unwrap();
    writer.finish().unwrap();
    let reader = Reader::open(&path("a.hw")).unwrap();
    let mut output = Output::create(&path("b.npy"), false, &[]).unwrap();
    let bytes = reader.write_tensor("a.npy", .., TensorFormat::Npy, &mut output, |_| ());
    assert_eq!(bytes.unwrap(), 24);
    output.finish().unwrap();
    assert_eq!(std::fs::read(path("b.npy")).unwrap(), array);
}

#[test]
fn names_that_resemble_are_told() {
    let (_folder, path) = folder();
    one_tensor(&path("x.hw"));
    let reader = Reader::open(&path("x.hw")).unwrap();
    let message = reader.read("lm_head.w").unwrap_err().to_string();
    let expected = r#"there is no tensor "lm_head.w" among its 1; did you mean "w"?"#;
    assert!(message.ends_with(expected), "{message}");
}

/// A file that is written entry by entry, each of them an item's only one.
fn write_entries(path: &Path, sets: &[Arc<CodebookSet>], entries: &[(Kind, usize, &[u8])]) {
    let mut writer = file::Writer::new(true, 17).unwrap();
    let mut bytes = writer.header().to_vec();
    let places: Vec<usize> = sets.iter().map(|set| writer.add_set(set, false)).collect();
    writer.begin_original("x").unwrap();
    for (number, &(kind, set, entry)) in entries.iter().enumerate() {
        let tensor = Some(info(&format!("t{number}"), &[2]));
        let (dtype, set) = (Dtype::Bf16, places[set]);
        writer.begin_item(NewItem { tensor, kind, dtype, set }).unwrap();
        let check = Some(file::checksum(entry));
        match kind {
            Kind::Tensor => writer.push_block(4, entry.len(), check).unwrap(),
            _ => writer.push_kind_header(entry.len(), check).unwrap(),
        }
        bytes.extend_from_slice(entry);
    }
    bytes.extend(writer.finish().unwrap());
    std::fs::write(path, bytes).unwrap();
}

/// A set of the first built-in codebooks, so many of them.
fn other_set(books: usize) -> Arc<CodebookSet> {
    let mut set = SetBuilder::new("other");
    for book in &CodebookSet::builtin().books()[..books] {
        set.add(*book.lengths()).unwrap();
    }
    Arc::new(set.build())
}

#[test]
fn a_file_may_need_several_sets_of_codebooks() {
    let (_folder, path) = folder();
    let (one, other, third) = (other_set(1), other_set(2), other_set(3));
    // Layout 0: the bytes as they are.
    let (a, b) = (&[0, 1, 2, 3, 4][..], &[0, 5, 6, 7, 8][..]);
    let sets = [Arc::clone(&one), Arc::clone(&other)];
    write_entries(&path("x.hw"), &sets, &[(Kind::Tensor, 0, a), (Kind::Tensor, 1, b)]);
    let reader = Reader::open(&path("x.hw")).unwrap();
    assert_eq!((reader.missing(), reader.sets().count()), (Some(one.id()), 0));
    let usages = reader.usages(|_| ()).unwrap();
    assert!(usages.iter().all(Option::is_none), "{usages:?}");
    let wrong = reader.with_codebooks(third, "third").unwrap_err().to_string();
    assert!(wrong.contains("third holds set"), "{wrong}");
    // One of two sets is enough for the items that name it.
    let reader = Reader::open(&path("x.hw")).unwrap().with_codebooks(other, "other").unwrap();
    assert_eq!(reader.missing(), Some(one.id()));
    assert_eq!(reader.read("t1").unwrap(), b[1..]);
    let missing = reader.read("t0").unwrap_err();
    assert!(matches!(missing, Error::CodebooksMissing { wanted, .. } if wanted == one.id()));
    assert!(reader.check_codebooks().is_err());
    let known: Vec<bool> = reader.usages(|_| ()).unwrap().iter().map(Option::is_some).collect();
    assert_eq!(known, [false, true]);
    let reader = reader.with_codebooks(one, "one").unwrap();
    reader.check_codebooks().unwrap();
    assert_eq!(restored(&reader, &path("x")), [&a[1..], &b[1..]].concat());
}

#[test]
fn blocks_that_changed_places_are_found() {
    let (_folder, path) = folder();
    // Noise is stored as it is: all blocks have the same length.
    let bytes = noise(1 << 18, 3);
    let mut writer = Writer::create(&path("x.hw"), false, WriteOptions::default()).unwrap();
    writer.begin_original("x").unwrap();
    let tensor = TensorInfo { name: "n".into(), dtype: "U8".into(), shape: vec![1 << 18] };
    writer.add_tensor(tensor, Dtype::U8, &bytes).unwrap();
    writer.finish().unwrap();
    let reader = Reader::open(&path("x.hw")).unwrap();
    let blocks: Vec<_> = reader.tensor("n").unwrap().blocks().collect();
    let [first, second] = blocks[..] else { panic!("two blocks") };
    assert_eq!(first.coded_bytes, second.coded_bytes);
    let mut file = std::fs::read(path("x.hw")).unwrap();
    let (a, b) = file.split_at_mut(second.offset as usize);
    a[first.offset as usize..].swap_with_slice(&mut b[..second.coded_bytes]);
    std::fs::write(path("x.hw"), &file).unwrap();
    let reader = Reader::open(&path("x.hw")).unwrap();
    let error = reader.read("n").unwrap_err().to_string();
    assert!(error.contains("block 0") && error.contains("checksum"), "{error}");
    let mut damaged = Vec::new();
    let jobs = reader.directory().items().flat_map(Reader::blocks);
    let found = reader.decode_blocks(jobs, |job, block| {
        damaged.extend(block.is_err().then_some(job.index));
        Ok::<(), Error>(())
    });
    found.unwrap();
    assert_eq!(damaged, [0, 1]);
}

#[test]
fn files_that_nobody_could_read_are_not_written() {
    let mut writer = file::Writer::new(true, 17).unwrap();
    let set = writer.add_set(&CodebookSet::builtin(), false);
    writer.begin_original("x").unwrap();
    let item = |kind| NewItem { tensor: None, kind, dtype: Dtype::Bf16, set };
    // Items whose kind header never comes.
    for kind in [Kind::Values, Kind::Delta] {
        writer.begin_item(item(kind)).unwrap();
        for error in [writer.begin_item(item(Kind::Tensor)), writer.finish().map(|_| ())] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("without its kind header"), "{error}");
        }
        writer.push_kind_header(1, Some(0)).unwrap();
    }
    // More sets than a reader takes.
    let mut writer = file::Writer::new(true, 17).unwrap();
    let places: Vec<usize> =
        (1..=33).map(|books| writer.add_set(&other_set(books), false)).collect();
    writer.begin_original("x").unwrap();
    let item = NewItem { tensor: None, kind: Kind::Tensor, dtype: Dtype::Bf16, set: places[0] };
    let error = writer.begin_item(item).unwrap_err().to_string();
    assert!(error.contains("32 codebook sets"), "{error}");
}

/// Quantized values are such a kind for a build without the feature that reads them.
#[cfg(not(feature = "gradient"))]
#[test]
fn other_items_of_a_file_are_read_without_the_feature_for_one() {
    let (_folder, path) = folder();
    let block = &[0, 1, 2, 3, 4][..];
    let entries = [(Kind::Tensor, 0, block), (Kind::Values, 0, &[9][..])];
    write_entries(&path("x.hw"), &[CodebookSet::builtin()], &entries);
    let reader = Reader::open(&path("x.hw")).unwrap();
    assert_eq!(reader.read("t0").unwrap(), [1, 2, 3, 4]);
    let error = reader.read("t1").unwrap_err().to_string();
    for mention in ["x.hw", "\"t1\"", "kind 1 (quantized values)"] {
        assert!(error.contains(mention), "{mention}: {error}");
    }
    let mut output = Output::to_stream("memory", io::sink());
    let original = &reader.directory().originals[0];
    assert!(reader.write_original(original, &mut output, |_| ()).is_err());
}

#[test]
fn tensors_are_decoded_into_memory() {
    let (_folder, path) = folder();
    let bytes = one_tensor(&path("x.hw"));
    let reader = Reader::open(&path("x.hw")).unwrap();
    let item = reader.tensor("w").unwrap();
    for workers in [Workers::caller(), Workers::new(3).unwrap()] {
        let (mut all, mut columns) = (vec![0; bytes.len()], vec![0; 2 * 1024 * 5]);
        let mut destinations = [
            Destination { item, region: Region::all(bytes.len() as u64), memory: &mut all },
            Destination {
                item,
                region: Region::new(2 << 20, &[1024, 1024], &[0..1024, 7..12]).unwrap(),
                memory: &mut columns,
            },
        ];
        let mut done = 0;
        let progress = |bytes| {
            done += bytes;
            Ok::<(), Error>(())
        };
        reader.decode_into(&workers, &mut destinations, progress).unwrap();
        assert_eq!(done, (all.len() + columns.len()) as u64);
        assert!(all == bytes);
        let expected = bytes.chunks(2048).flat_map(|row| &row[14..24]).copied();
        assert!(columns.iter().copied().eq(expected));
    }
}

#[test]
fn decoding_into_memory_checks_sizes_and_can_be_ended() {
    let (_folder, path) = folder();
    let bytes = one_tensor(&path("x.hw"));
    let options = ReadOptions { max_size: 1 << 20, ..ReadOptions::default() };
    let limited = Reader::new(InputFile::open(&path("x.hw")).unwrap(), options).unwrap();
    let reader = Reader::open(&path("x.hw")).unwrap();
    let into = |reader: &Reader, memory: &mut [u8], progress: fn(u64) -> Result<(), Error>| {
        let (item, region) = (reader.tensor("w").unwrap(), Region::all(2 << 20));
        let mut to = [Destination { item, region, memory }];
        reader.decode_into(&Workers::caller(), &mut to, progress).unwrap_err()
    };
    let mut memory = vec![0; bytes.len()];
    let error = into(&limited, &mut memory, |_| Ok(()));
    assert!(matches!(error, Error::TooLarge { limit: 0x10_0000, .. }), "{error}");
    let error = into(&reader, &mut memory[1..], |_| Ok(()));
    assert!(matches!(error, Error::Range { .. }), "{error}");
    let error = into(&reader, &mut memory, |_| Err(Error::Terminal));
    assert!(matches!(error, Error::Terminal), "{error}");
}

#[test]
fn tensors_are_added_together_until_progress_fails() {
    let (_folder, path) = folder();
    let (a, b) = (weights(1000), noise(300_000, 3));
    let info_b = TensorInfo { name: "b".into(), dtype: "U8".into(), shape: vec![300_000] };
    let tensors =
        || [(info("a", &[1000]), Dtype::Bf16, &a[..]), (info_b.clone(), Dtype::U8, &b[..])];
    let mut writer = Writer::create(&path("x.hw"), false, WriteOptions::default()).unwrap();
    writer.begin_original("x").unwrap();
    let mut done = 0;
    let progress = |bytes| {
        done += bytes;
        Ok::<(), Error>(())
    };
    writer.add_tensors(tensors(), progress).unwrap();
    assert_eq!(done, 302_000);
    writer.finish().unwrap();
    let reader = Reader::open(&path("x.hw")).unwrap();
    assert!(reader.read("a").unwrap() == a && reader.read("b").unwrap() == b);

    let mut writer = Writer::create(&path("y.hw"), false, WriteOptions::default()).unwrap();
    writer.begin_original("y").unwrap();
    let error = writer.add_tensors(tensors(), |_| Err(Error::Terminal)).unwrap_err();
    assert!(matches!(error, Error::Terminal));
    assert!(matches!(writer.finish(), Err(Error::Unwritable { .. })));
    assert!(!path("y.hw").exists());
}

/// Restored by its header or by the directory: the tensors are the same, or the file is refused.
#[test]
fn headers_and_directories_that_differ_are_noticed() {
    let (_folder, path) = folder();
    let (a, b) = (weights(100), weights(50));
    let header = |first: &str, shape: &[u64]| {
        let tensors = vec![info(first, shape), info("b", &[50])];
        Header::new("m", None, tensors).unwrap()
    };
    let made = |header: &Header| {
        let mut writer = Writer::create(&path("m.hw"), true, WriteOptions::default()).unwrap();
        writer.begin_original("m.safetensors").unwrap();
        writer.add_bytes(&header.to_bytes()).unwrap();
        writer.add_tensor(info("a", &[10, 10]), Dtype::Bf16, &a).unwrap();
        writer.add_tensor(info("b", &[50]), Dtype::Bf16, &b).unwrap();
        writer.finish().unwrap();
        header.check("m.hw", &Reader::open(&path("m.hw")).unwrap().directory().originals[0])
    };
    made(&header("a", &[10, 10])).unwrap();
    for wrong in [header("a", &[100]), header("c", &[10, 10]), header("a", &[101])] {
        let error = made(&wrong).unwrap_err().to_string();
        assert!(error.contains("\"a\""), "{error}");
    }
    let more = vec![info("a", &[10, 10]), info("b", &[50]), info("c", &[0])];
    let error = made(&Header::new("m", None, more).unwrap()).unwrap_err().to_string();
    assert!(error.contains("\"c\""), "{error}");
}

#[test]
fn headers_that_no_safetensors_file_can_have_are_refused() {
    let tensor = |name: &str, dtype: &str, shape: &[u64]| TensorInfo {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.to_vec(),
    };
    for (tensors, what) in [
        (vec![tensor("a", "C128", &[1])], "C128"),
        (vec![tensor("__metadata__", "F32", &[1])], "__metadata__"),
        (vec![tensor("a", "F32", &[1]), tensor("a", "U8", &[1])], "two tensors"),
        (vec![tensor("a", "F4", &[3])], "whole number"),
        (vec![tensor("a", "F32", &[u64::MAX, 2])], "too many"),
    ] {
        let error = Header::new("m", None, tensors).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    for bytes in [&b""[..], b"\x02\0\0\0\0\0\0\0{", b"\x02\0\0\0\0\0\0\0[]"] {
        assert!(matches!(Header::parse("m", bytes), Err(Error::InvalidFormat { .. })));
    }
}
