//! Items of quantized values: floats come back, whole or in part, and damage is found.

#![cfg(feature = "gradient")]
#![allow(clippy::unwrap_used)] // A test says with a panic what does not hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use huffwire::file::TensorInfo;
use huffwire::gradient::encode::{BitmapBooks, EncoderKind};
use huffwire::gradient::item::Options;
use huffwire::gradient::quantize::{
    Keep, Linear, Natural, Qsgd, Quantized, Quantizer, Sparsify, WHOLE,
};
use huffwire::{CodebookSet, Dtype, Kind};
use huffwire_io::{Error, InputFile, Output, ReadOptions, Reader, Workers, WriteOptions, Writer};
use tempfile::TempDir;

/// Values in a block.
const BLOCK: usize = 1 << 20;

fn folder() -> (TempDir, impl Fn(&str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str| path.join(name))
}

fn gradient(elements: usize) -> Vec<f32> {
    (0..elements).map(|i| (i as f32 * 0.37).sin().powi(9)).collect()
}

fn quantizers() -> [Quantizer; 4] {
    [
        Quantizer::Qsgd(Qsgd { levels: 4, bucket: 1000, ..Qsgd::default() }),
        Quantizer::Natural(Natural),
        Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.01 }),
        Quantizer::Linear(Linear { bucket: WHOLE }),
    ]
}

fn info(elements: usize) -> TensorInfo {
    TensorInfo { name: "g".to_owned(), dtype: "F32".to_owned(), shape: vec![elements as u64] }
}

/// A file of an original with a header and a quantized tensor.
fn write(path: &Path, quantized: &Quantized, options: &Options, workers: Workers) {
    let workers = Arc::new(workers);
    let write = WriteOptions { workers, ..WriteOptions::default() };
    let mut writer = Writer::create(path, true, write).unwrap();
    writer.begin_original("x").unwrap();
    writer.add_bytes(b"header").unwrap();
    let elements = quantized.values.view().len();
    let mut done = 0;
    let add = |bytes| done += bytes;
    let sizes = writer.add_values(info(elements), Dtype::F32, quantized, options, add).unwrap();
    assert_eq!(done, 4 * elements as u64);
    let written = writer.finish().unwrap();
    let item = &written.directory.originals[0].items[1];
    assert_eq!((item.kind, item.raw_bytes), (Kind::Values, done));
    assert_eq!(item.coded_bytes(), sizes.coded);
    assert!(sizes.scales + sizes.codebooks < sizes.coded);
}

fn bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

fn whole(reader: &Reader, path: &Path) -> Vec<u8> {
    let mut output = Output::create(path, true, &[]).unwrap();
    let original = &reader.directory().originals[0];
    reader.write_original(original, &mut output, |_| ()).unwrap();
    output.finish().unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn floats_come_back_whole_or_in_part_on_any_threads() {
    let (_folder, path) = folder();
    let elements = 2 * BLOCK + 1234;
    let gradient = gradient(elements);
    for quantizer in quantizers() {
        let quantized = quantizer.quantize(&gradient, 7).unwrap();
        let near = bytes(&quantized.dequantize().unwrap());
        write(&path("1.hw"), &quantized, &Options::default(), Workers::caller());
        write(&path("3.hw"), &quantized, &Options::default(), Workers::new(3).unwrap());
        let file = std::fs::read(path("1.hw")).unwrap();
        assert!(file == std::fs::read(path("3.hw")).unwrap(), "{quantizer}");
        for workers in [Workers::caller(), Workers::new(3).unwrap()] {
            let options = ReadOptions { workers: Arc::new(workers), ..ReadOptions::default() };
            let reader = Reader::new(InputFile::open(&path("1.hw")).unwrap(), options).unwrap();
            assert!(reader.read("g").unwrap() == near, "{quantizer}");
            for (from, to) in
                [(0, 3), (BLOCK - 1, BLOCK + 1), (2 * BLOCK, elements), (elements, elements)]
            {
                let part = reader.read_range("g", from as u64..to as u64).unwrap();
                assert!(part == near[4 * from..4 * to], "{quantizer} {from}..{to}");
            }
            assert!(whole(&reader, &path("x")) == [b"header", &near[..]].concat(), "{quantizer}");
            let usages = reader.usages(|_| ()).unwrap();
            assert!(usages[0].is_some() && usages[1].is_none());
            let items: Vec<_> = reader.directory().items().collect();
            assert!(reader.values_header(items[0]).unwrap().is_none());
            let header = reader.values_header(items[1]).unwrap().unwrap();
            assert_eq!((header.quantizer, header.elements()), (quantizer, elements));
            reader.check_kind_header(items[1]).unwrap();
        }
    }
}

/// The scales of a block of a sparsifier begin where those of the block before it end.
#[test]
fn blocks_are_restored_in_any_order() {
    let (_folder, path) = folder();
    for quantizer in quantizers() {
        let quantized = quantizer.quantize(&gradient(2 * BLOCK + 5), 7).unwrap();
        let near = bytes(&quantized.dequantize().unwrap());
        write(&path("x.hw"), &quantized, &Options::default(), Workers::caller());
        let reader = Reader::open(&path("x.hw")).unwrap();
        let jobs: Vec<_> = Reader::blocks(reader.tensor("g").unwrap()).collect();
        let order = [2, 0, 1, 1, 0, 2].map(|index| jobs[index]);
        let mut restored = 0;
        let all = reader.decode_blocks(order.into_iter(), |job, block| {
            let at = job.block.raw_offset as usize;
            assert!(block? == &near[at..at + job.block.raw_bytes], "{quantizer} {}", job.index);
            restored += 1;
            Ok::<(), Error>(())
        });
        all.unwrap();
        assert_eq!(restored, 6);
    }
}

#[test]
fn every_encoder_serves_and_books_are_embedded() {
    let (_folder, path) = folder();
    let quantizer = Quantizer::Qsgd(Qsgd { levels: 3, ..Qsgd::default() });
    let quantized = quantizer.quantize(&gradient(100_000), 7).unwrap();
    let near = bytes(&quantized.dequantize().unwrap());
    for encoder in EncoderKind::all() {
        let options = Options::default().encoder(encoder);
        write(&path("x.hw"), &quantized, &options, Workers::caller());
        assert!(Reader::open(&path("x.hw")).unwrap().read("g").unwrap() == near, "{encoder}");
    }
    let books = Arc::new(BitmapBooks::train([quantized.values.view()]).unwrap());
    let options = Options::default().books(Arc::clone(&books));
    write(&path("x.hw"), &quantized, &options, Workers::caller());
    let reader = Reader::open(&path("x.hw")).unwrap();
    assert!(reader.directory().sets.iter().any(|set| set.id == books.set().id()));
    assert!(reader.read("g").unwrap() == near);
    let header = reader.values_header(reader.tensor("g").unwrap()).unwrap().unwrap();
    assert_eq!(header.encoder, EncoderKind::BitmapFixed);
}

#[test]
fn floats_of_16_bits_come_back_as_such() {
    let (_folder, path) = folder();
    let quantized = Quantizer::Linear(Linear { bucket: WHOLE }).quantize(&gradient(500), 0);
    let quantized = quantized.unwrap();
    for dtype in [Dtype::Bf16, Dtype::F16] {
        let mut writer = Writer::create(&path("x.hw"), true, WriteOptions::default()).unwrap();
        writer.begin_original("x").unwrap();
        writer.add_values(info(500), dtype, &quantized, &Options::default(), |_| ()).unwrap();
        writer.finish().unwrap();
        let reader = Reader::open(&path("x.hw")).unwrap();
        assert_eq!(reader.tensor("g").unwrap().dtype, dtype);
        assert_eq!(reader.read("g").unwrap().len(), 1000);
    }
}

#[test]
fn damage_is_found_wherever_it_is() {
    let (_folder, path) = folder();
    for elements in [0, 5000] {
        let quantized = Quantizer::Natural(Natural).quantize(&gradient(elements), 7).unwrap();
        write(&path("x.hw"), &quantized, &Options::default(), Workers::caller());
        let file = std::fs::read(path("x.hw")).unwrap();
        let item = Reader::open(&path("x.hw")).unwrap().tensor("g").unwrap().clone();
        for entry in item.entries() {
            let mut damaged = file.clone();
            damaged[entry.offset as usize + entry.coded_bytes / 2] ^= 8;
            std::fs::write(path("damaged.hw"), damaged).unwrap();
            let reader = Reader::open(&path("damaged.hw")).unwrap();
            let error = reader.read("g").unwrap_err().to_string();
            let part = if entry.raw_bytes == 0 { "kind header at offset" } else { "block 0" };
            for mention in ["damaged.hw", "\"g\"", part, "checksum"] {
                assert!(error.contains(mention), "{mention}: {error}");
            }
            let mut output = Output::to_stream("memory", std::io::sink());
            let original = &reader.directory().originals[0];
            assert!(reader.write_original(original, &mut output, |_| ()).is_err());
            let item = reader.tensor("g").unwrap();
            assert_eq!(reader.check_kind_header(item).is_err(), entry.raw_bytes == 0);
            assert_eq!(reader.values_header(item).is_err(), entry.raw_bytes == 0);
        }
    }
}

/// A scale for each element, in a few bytes of scales that are all alike.
#[test]
fn scales_count_against_the_limit() {
    let (_folder, path) = folder();
    let quantizer = Quantizer::Linear(Linear { bucket: 1 });
    let quantized = quantizer.quantize(&vec![1.0; BLOCK], 0).unwrap();
    write(&path("x.hw"), &quantized, &Options::default(), Workers::caller());
    let open = |max_size| {
        let options = ReadOptions { max_size, ..ReadOptions::default() };
        Reader::new(InputFile::open(&path("x.hw")).unwrap(), options).unwrap()
    };
    assert_eq!(open(4 << 20).read_range("g", 5..6).unwrap().len(), 4);
    let error = open((4 << 20) - 1).read_range("g", 5..6).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn what_does_not_go_together_is_refused_and_the_writer_can_go_on() {
    let (_folder, path) = folder();
    let quantized = Quantizer::Natural(Natural).quantize(&gradient(500), 0).unwrap();
    let options = Options::default();
    let mut writer = Writer::create(&path("x.hw"), true, WriteOptions::default()).unwrap();
    let before = writer.add_values(info(500), Dtype::F32, &quantized, &options, |_| ());
    assert!(matches!(before, Err(Error::Unwritable { .. })), "no original has begun");
    writer.begin_original("x").unwrap();
    for (elements, dtype) in [(499, Dtype::F32), (500, Dtype::F64)] {
        let wrong = writer.add_values(info(elements), dtype, &quantized, &options, |_| ());
        let wrong = wrong.unwrap_err().to_string();
        assert!(wrong.contains("\"g\""), "{wrong}");
    }
    writer.add_values(info(500), Dtype::F32, &quantized, &options, |_| ()).unwrap();
    writer.finish().unwrap();
    assert_eq!(Reader::open(&path("x.hw")).unwrap().read("g").unwrap().len(), 2000);
    let embedded = Reader::open(&path("x.hw")).unwrap();
    assert_eq!(embedded.sets().next().unwrap().id(), CodebookSet::builtin().id());
}
