//! Deltas in .hw files: what they restore, which base they take, chains, damage.

#![allow(clippy::unwrap_used, clippy::panic)] // A test says with a panic what does not hold.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use huffwire::delta::KIND_HEADER;
use huffwire::file::{self, NewItem, TensorInfo, checksum};
use huffwire::{CodebookSet, Dtype, Encoder, Kind, Tensor};
use huffwire_io::{
    Base, BlockJob, Destination, Error, Input, MAX_CHAIN, Origin, Output, RawOptions, ReadOptions,
    Reader, Region, TensorFile, Workers, WriteOptions, Writer, Written,
};
use huffwire_testing::{Random, files, float, noise};
use tempfile::TempDir;

/// A folder with files of tensors, and deltas of them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, tensors: &[files::Tensor<'_>]) {
        std::fs::write(self.path(name), files::safetensors(tensors)).unwrap();
    }

    fn open(&self, name: &str) -> TensorFile {
        TensorFile::open(&self.path(name), None, ReadOptions::default()).unwrap()
    }

    /// A chain of files.
    fn chain(&self, names: &[&str]) -> Result<Arc<Base>, Error> {
        let chain = Base::chain(names.iter().map(|name| self.open(name)))?;
        Ok(Arc::new(chain.unwrap()))
    }

    /// Writes `new` as `hw`, given its base, if it has one.
    fn compress(&self, new: &str, base: &[&str], hw: &str) -> Written {
        let base = (!base.is_empty()).then(|| self.chain(base).unwrap());
        let options = WriteOptions { base, analyse: true, ..WriteOptions::default() };
        let mut writer = Writer::create(&self.path(hw), true, options).unwrap();
        writer.add_inputs(&Input::open(&self.path(new), None).unwrap(), |_| ()).unwrap();
        writer.finish().unwrap()
    }

    /// The first original of a .hw file.
    fn restore(&self, hw: &str, base: &[&str]) -> Result<Vec<u8>, Error> {
        self.restore_on(hw, base, ReadOptions::default())
    }

    fn restore_on(&self, hw: &str, base: &[&str], options: ReadOptions) -> Result<Vec<u8>, Error> {
        let TensorFile::Hw(reader) = TensorFile::open(&self.path(hw), None, options)? else {
            panic!("{hw} is no .hw file");
        };
        let reader = match base {
            [] => *reader,
            base => reader.with_base(self.chain(base)?)?,
        };
        restored(&reader, &self.path("restored"))
    }

    /// A delta from the end of one chain to the end of another one.
    fn between(&self, from: &[&str], to: &[&str], hw: &str) -> Written {
        let base = Some(self.chain(from).unwrap());
        let options = WriteOptions { base, ..WriteOptions::default() };
        let mut writer = Writer::create(&self.path(hw), true, options).unwrap();
        writer.add_base(&self.chain(to).unwrap(), |_| ()).unwrap();
        writer.finish().unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

fn restored(reader: &Reader, path: &Path) -> Result<Vec<u8>, Error> {
    let mut output = Output::create(path, true, &[]).unwrap();
    reader.write_original(&reader.directory().originals[0], &mut output, |_| ())?;
    output.finish().unwrap();
    Ok(std::fs::read(path).unwrap())
}

fn weights(count: usize) -> Vec<u8> {
    float::to_bf16_bytes(&Random::new(1).tensor(count, -6.0, 0.5))
}

/// The same with some of the lowest bits flipped: one word in so many.
fn changed(bytes: &[u8], one_in: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = bytes.to_vec();
    for word in bytes.chunks_mut(2) {
        if random.below(one_in) == 0 {
            word[0] ^= 1;
        }
    }
    bytes
}

/// Four steps of a small model: 0.safetensors to 3.safetensors, and the deltas 1.hw to 3.hw.
fn steps() -> Files {
    let files = Files::new();
    let mut w = weights(40_000);
    let (norm, counter) = (noise(400, 3), noise(8, 4));
    for step in 0..4 {
        let counter = changed(&counter, 1 + step, step as u64);
        files.write(
            &format!("{step}.safetensors"),
            &[
                ("w", "BF16", &[200, 200], &w),
                ("norm", "F32", &[100], &norm),
                ("step", "I64", &[1], &counter),
            ],
        );
        w = changed(&w, 50, 9 + step as u64);
        if step > 0 {
            let (new, old) = (format!("{step}.safetensors"), format!("{}.safetensors", step - 1));
            files.compress(&new, &[&old], &format!("{step}.hw"));
        }
    }
    files
}

#[test]
fn a_file_comes_back_on_any_threads_from_any_file_with_the_base() {
    let files = Files::new();
    // Two blocks, and a part of one.
    let (a, b) = (weights((2 << 20) + 77), noise(70_004, 2));
    let (new_a, mut new_b) = (changed(&a, 100, 5), b.clone());
    new_b[70_003] ^= 1;
    files.write(
        "old.safetensors",
        &[
            ("a", "BF16", &[a.len() / 2], &a),
            ("none", "F32", &[0], &[]),
            ("b", "U8", &[70_004], &b),
        ],
    );
    files.write(
        "new.safetensors",
        &[
            ("a", "BF16", &[a.len() / 2], &new_a),
            ("none", "F32", &[0], &[]),
            ("b", "U8", &[70_004], &new_b),
        ],
    );
    files.compress("old.safetensors", &[], "old.hw");
    std::fs::copy(files.path("old.safetensors"), files.path("other name.safetensors")).unwrap();
    let written = files.compress("new.safetensors", &["old.safetensors"], "new.hw");
    let kinds: Vec<Kind> = written.directory.items().map(|item| item.kind).collect();
    let expected = [Kind::Tensor, Kind::Delta, Kind::Tensor, Kind::Delta];
    assert_eq!(kinds, expected, "headers and empty tensors need no base");
    assert!(written.bytes < 110_000, "{}", written.bytes);
    let usage = written.analyses[1].delta.as_ref().unwrap();
    let differ = a.chunks(2).zip(new_a.chunks(2)).filter(|(a, b)| a != b).count();
    assert_eq!((usage.changes(), usage.words()), (differ as u64, (2 << 20) + 77));
    let kinds: Vec<_> =
        usage.kinds().map(|(kind, counts)| (kind.is_sparse(), counts.blocks)).collect();
    assert_eq!(kinds, [(false, 1), (true, 2)], "few words of the last block may change");

    let workers = Arc::new(Workers::new(3).unwrap());
    let on_threads = || ReadOptions { workers: Arc::clone(&workers), ..ReadOptions::default() };
    // The same file from any base and on any threads.
    let base = Some(files.chain(&["old.hw"]).unwrap());
    let options = WriteOptions { base, workers: Arc::clone(&workers), ..WriteOptions::default() };
    let mut writer = Writer::create(&files.path("same.hw"), false, options).unwrap();
    let file = std::fs::File::open(files.path("new.safetensors")).unwrap();
    // A stream is read in order.
    let inputs = Input::stream(file, Origin::stdin(), "new", None).unwrap();
    writer.add_inputs(&inputs, |_| ()).unwrap();
    writer.finish().unwrap();
    assert!(files.read("same.hw") == files.read("new.hw"));

    let whole = files.read("new.safetensors");
    for base in ["old.safetensors", "old.hw", "other name.safetensors"] {
        assert!(files.restore("new.hw", &[base]).unwrap() == whole, "{base}");
        assert!(files.restore_on("new.hw", &[base], on_threads()).unwrap() == whole, "{base}");
        let reader = Reader::open(&files.path("new.hw")).unwrap();
        let reader = reader.with_base(files.chain(&[base]).unwrap()).unwrap();
        reader.check_base().unwrap();
        let range = (1 << 20) - 3..(1 << 20) + 5;
        let part = reader.read_range("a", range.start as u64..range.end as u64).unwrap();
        assert_eq!(part, new_a[2 * range.start..2 * range.end]);
        let item = reader.tensor("a").unwrap();
        let mut memory = vec![0; 20];
        let middle = (1 << 20) - 5..(1 << 20) + 5;
        let region = Region::new(item.raw_bytes, &[item.units()], std::slice::from_ref(&middle));
        let to = Destination { item, region: region.unwrap(), memory: &mut memory };
        reader.decode_into(&workers, &mut [to], |_| Ok::<(), Error>(())).unwrap();
        assert_eq!(memory, new_a[2 * (1 << 20) - 10..2 * (1 << 20) + 10]);
        let mut memory = vec![0; new_b.len()];
        let item = reader.tensor("b").unwrap();
        let region = Region::all(item.raw_bytes);
        let to = Destination { item, region, memory: &mut memory };
        reader.decode_into(&workers, &mut [to], |_| Ok::<(), Error>(())).unwrap();
        assert!(memory == new_b);
    }
}

#[test]
fn tensors_that_are_new_gone_or_of_another_shape_are_stored_whole() {
    let files = Files::new();
    let w = weights(3000);
    let same = ("same", "BF16", &[3000][..], &w[..]);
    files.write(
        "old.safetensors",
        &[
            same,
            ("reshaped", "BF16", &[30, 100], &w),
            ("retyped", "BF16", &[3000], &w),
            ("longer", "BF16", &[3000], &w),
            ("gone", "BF16", &[3000], &w),
        ],
    );
    files.write(
        "new.safetensors",
        &[
            ("new", "BF16", &[3000], &w),
            ("longer", "BF16", &[2999], &w[2..]),
            ("retyped", "F16", &[3000], &w),
            ("reshaped", "BF16", &[100, 30], &w),
            same,
        ],
    );
    let written = files.compress("new.safetensors", &["old.safetensors"], "new.hw");
    let is_delta =
        |item: &file::Item| Some((item.tensor.as_ref()?.name.clone(), item.kind == Kind::Delta));
    let deltas: Vec<(String, bool)> = written.directory.items().filter_map(is_delta).collect();
    let expected = ["new", "longer", "retyped", "reshaped", "same"];
    assert_eq!(deltas, expected.map(|name| (name.to_owned(), name == "same")));
    let base = files.chain(&["old.safetensors"]).unwrap();
    let matches = base.matches(&Input::open(&files.path("new.safetensors"), None).unwrap());
    assert_eq!(matches.matched, ["same"]);
    assert_eq!(matches.new, ["new"]);
    assert_eq!(matches.reshaped, ["longer", "retyped", "reshaped"]);
    assert_eq!(matches.gone, ["gone"]);
    assert_eq!(
        files.restore("new.hw", &["old.safetensors"]).unwrap(),
        files.read("new.safetensors")
    );
    // All but the deltas can be read without the base.
    let reader = Reader::open(&files.path("new.hw")).unwrap();
    assert!(reader.has_deltas());
    assert!(reader.read("new").unwrap() == w);
    for error in [reader.read("same").unwrap_err(), reader.check_base().unwrap_err()] {
        assert!(matches!(error, Error::BaseMissing { .. }), "{error}");
    }
    let usages = reader.delta_usages(|_| ()).unwrap();
    let unchanged = usages.last().unwrap().as_ref().unwrap();
    assert_eq!((unchanged.changes(), unchanged.words()), (0, 3000));
    assert_eq!((unchanged.changed_percent(), unchanged.bits_per_change()), (0.0, None));
    assert_eq!(unchanged.blocks(), "unchanged");
}

#[test]
fn tensors_are_matched_by_original_then_by_name() {
    let files = Files::new();
    let (a, b) = (weights(2000), noise(4000, 1));
    // Both shards have a tensor of that name, and they are found by the names of the files alone.
    let write = |name: &str, originals: &[(&str, &[u8])]| {
        let mut writer = Writer::create(&files.path(name), false, WriteOptions::default()).unwrap();
        for (original, bytes) in originals {
            writer.begin_original(original).unwrap();
            let info = TensorInfo { name: "w".into(), dtype: "BF16".into(), shape: vec![2000] };
            writer.add_tensor(info, Dtype::Bf16, bytes).unwrap();
        }
        writer.finish().unwrap();
    };
    write("shards.hw", &[("1", &a), ("2", &b)]);
    let delta = |original: &str, base: &str, hw: &str| {
        let base = Some(files.chain(&[base]).unwrap());
        let options = WriteOptions { base, ..WriteOptions::default() };
        let mut writer = Writer::create(&files.path(hw), true, options).unwrap();
        writer.begin_original(original).unwrap();
        let info = TensorInfo { name: "w".into(), dtype: "BF16".into(), shape: vec![2000] };
        writer.add_tensor(info, Dtype::Bf16, &b).unwrap();
        writer.finish().unwrap().directory.items().next().unwrap().kind
    };
    assert_eq!(delta("2", "shards.hw", "x.hw"), Kind::Delta);
    assert_eq!(files.restore("x.hw", &["shards.hw"]).unwrap(), b);
    assert_eq!(delta("3", "shards.hw", "x.hw"), Kind::Tensor, "the name is not unique");
    write("one.hw", &[("another", &b)]);
    assert_eq!(delta("3", "one.hw", "x.hw"), Kind::Delta);
    assert_eq!(files.restore("x.hw", &["one.hw"]).unwrap(), b);
    // Two tensors with other names have nothing to do with the only one of the base.
    let two = [("u", "BF16", &[2000][..], &b[..]), ("v", "BF16", &[2000], &b)];
    files.write("two.safetensors", &two);
    let written = files.compress("two.safetensors", &["one.hw"], "two.hw");
    assert!(written.directory.items().all(|item| item.kind == Kind::Tensor));
    // A delta whose base is not unique any more.
    let error = files.restore("x.hw", &["shards.hw"]).unwrap_err();
    assert!(matches!(error, Error::NotInBase { .. }), "{error}");
    assert!(error.to_string().contains("\"w\"") && error.to_string().contains("shards.hw"));
}

#[test]
fn arrays_and_raw_files_have_other_names() {
    let files = Files::new();
    let a = weights(5000);
    for (name, bytes) in [("1.npy", &a), ("2.npy", &changed(&a, 90, 1))] {
        std::fs::write(files.path(name), files::npy("<i2", "(5000,)", bytes)).unwrap();
    }
    let written = files.compress("2.npy", &["1.npy"], "2.hw");
    assert_eq!(written.directory.items().last().unwrap().kind, Kind::Delta);
    assert_eq!(files.restore("2.hw", &["1.npy"]).unwrap(), files.read("2.npy"));
    // The same bits in another byte order are another type.
    std::fs::write(files.path("swapped.npy"), files::npy(">i2", "(5000,)", &a)).unwrap();
    let error = files.restore("2.hw", &["swapped.npy"]).unwrap_err();
    assert!(matches!(error, Error::NotInBase { .. }), "{error}");
    assert!(error.to_string().contains("i16") && error.to_string().contains("word16"), "{error}");
    let raw = RawOptions::new(Dtype::Bf16);
    std::fs::write(files.path("1.bin"), &a).unwrap();
    std::fs::write(files.path("2.bin"), changed(&a, 90, 1)).unwrap();
    let base = Arc::new(Base::open(&files.path("1.bin"), Some(&raw)).unwrap());
    let options = WriteOptions { base: Some(Arc::clone(&base)), ..WriteOptions::default() };
    let mut writer = Writer::create(&files.path("raw.hw"), false, options).unwrap();
    let inputs = Input::open(&files.path("2.bin"), Some(&raw)).unwrap();
    writer.add_inputs(&inputs, |_| ()).unwrap();
    assert!(writer.finish().unwrap().bytes < 700);
    let reader = Reader::open(&files.path("raw.hw")).unwrap().with_base(base).unwrap();
    assert!(reader.read("2.bin").unwrap() == files.read("2.bin"));
}

#[test]
fn chains_are_read_folded_and_reversed() {
    let files = steps();
    let whole = |step: usize| files.read(&format!("{step}.safetensors"));
    let chain = ["0.safetensors", "1.hw", "2.hw", "3.hw"];
    for step in 1..4 {
        let hw = format!("{step}.hw");
        assert_eq!(files.restore(&hw, &chain[..step]).unwrap(), whole(step));
        // Folded it is what it would be if it had been made at once.
        files.between(&chain[..1], &chain[..=step], "folded.hw");
        files.compress(&format!("{step}.safetensors"), &chain[..1], "direct.hw");
        assert!(files.read("folded.hw") == files.read("direct.hw"));
        assert_eq!(files.restore("folded.hw", &chain[..1]).unwrap(), whole(step));
        // Back from the last step.
        files.between(&chain[..=step], &chain[..1], "back.hw");
        let last = format!("{step}.safetensors");
        assert_eq!(files.restore("back.hw", &[&last]).unwrap(), whole(0));
        assert_eq!(files.restore("back.hw", &chain[..=step]).unwrap(), whole(0));
    }
    // On threads, too, while every base is read on the thread that needs it.
    let workers = Arc::new(Workers::new(3).unwrap());
    let options = ReadOptions { workers, ..ReadOptions::default() };
    assert_eq!(files.restore_on("3.hw", &chain[..3], options).unwrap(), whole(3));
}

#[test]
fn a_chain_with_a_missing_link_is_refused_and_the_link_is_named() {
    let files = steps();
    for (chain, at_fault) in [
        (&["0.safetensors", "1.hw", "3.hw"][..], "3.hw"),
        (&["0.safetensors", "2.hw", "1.hw"], "1.hw"),
        (&["0.safetensors", "1.hw", "1.hw"], "1.hw"),
    ] {
        let error = files.chain(chain).unwrap_err();
        assert!(matches!(error, Error::BrokenChain { .. }), "{error}");
        let text = error.to_string();
        let path = files.path(at_fault).display().to_string();
        assert!(text.starts_with(&path) && text.contains("\"w\""), "{text}");
    }
    // What is no delta tells nothing of itself before it is read.
    let error = files.restore("2.hw", &["0.safetensors"]).unwrap_err();
    let Error::WrongBase { path, base, source, .. } = &error else { panic!("{error}") };
    assert!(path.ends_with("2.hw") && base.ends_with("0.safetensors"), "{error}");
    assert!(matches!(**source, huffwire::Error::WrongBase { applied: false, .. }));
    assert!(!files.path("restored").exists());
    let error = files.restore("2.hw", &["2.safetensors"]).unwrap_err();
    assert!(error.to_string().contains("applied already"), "{error}");
    // A delta has to have a base, and what is behind the first base has to be a delta.
    assert!(matches!(files.chain(&["1.hw", "2.hw"]), Err(Error::BaseMissing { .. })));
    let error = files.chain(&["0.safetensors", "1.safetensors"]).unwrap_err();
    assert!(matches!(error, Error::NotADelta { .. }), "{error}");
    let nothing: [TensorFile; 0] = [];
    assert!(Base::chain(nothing).unwrap().is_none());
}

/// The longest chain can be read through on a thread, whose stack is small.
#[test]
fn chains_have_an_end() {
    let files = Files::new();
    let mut w = weights(100);
    let mut chain = vec!["0.safetensors".to_owned()];
    for step in 0..=33 {
        files.write("new.safetensors", &[("w", "BF16", &[100], &w)]);
        if step == 0 {
            std::fs::rename(files.path("new.safetensors"), files.path("0.safetensors")).unwrap();
        } else {
            files.compress("new.safetensors", &["old.safetensors"], &format!("{step}.hw"));
            chain.push(format!("{step}.hw"));
        }
        files.write("old.safetensors", &[("w", "BF16", &[100], &w)]);
        w[step] ^= 1;
    }
    let names: Vec<&str> = chain.iter().map(String::as_str).collect();
    let workers = Arc::new(Workers::new(2).unwrap());
    let options = ReadOptions { workers, ..ReadOptions::default() };
    files.restore_on("32.hw", &names[..32], options).unwrap();
    let full = files.chain(&names[..33]).unwrap();
    let error = full.check_chain("33.hw").unwrap_err();
    assert!(matches!(error, Error::LongChain { limit: MAX_CHAIN, .. }), "{error}");
    files.chain(&names[..32]).unwrap().check_chain("32.hw").unwrap();
    for error in [files.chain(&names), files.restore("33.hw", &names[..33]).map(|_| panic!())] {
        let error = error.unwrap_err();
        assert!(matches!(error, Error::LongChain { limit: 32, .. }), "{error}");
    }
}

/// No output may replace a file that a reader still reads, nor may one change unnoticed.
#[test]
fn files_of_bases_are_files_of_the_reader() {
    let files = Files::new();
    let mut w = weights(100);
    for step in 0..3 {
        files.write(&format!("{step}.safetensors"), &[("w", "BF16", &[100], &w)]);
        w[step] ^= 1;
    }
    files.compress("1.safetensors", &["0.safetensors"], "1.hw");
    files.compress("2.safetensors", &["1.safetensors"], "2.hw");
    let reader = Reader::open(&files.path("2.hw")).unwrap();
    let reader = reader.with_base(files.chain(&["0.safetensors", "1.hw"]).unwrap()).unwrap();
    let labels: Vec<String> = reader.origins().iter().map(|o| o.label().to_owned()).collect();
    let expected = ["2.hw", "1.hw", "0.safetensors"];
    assert_eq!(labels, expected.map(|name| files.path(name).display().to_string()));

    reader.check_length().unwrap();
    let base = std::fs::OpenOptions::new().append(true).open(files.path("0.safetensors"));
    std::io::Write::write_all(&mut base.unwrap(), b"more").unwrap();
    assert!(matches!(reader.check_length(), Err(Error::Changed { .. })));
}

/// An original may have no items; it stays when a chain is folded.
#[test]
fn originals_without_items_stay() {
    let files = Files::new();
    let w = weights(100);
    files.write("old.safetensors", &[("w", "BF16", &[100], &w)]);
    let mut writer = Writer::create(&files.path("0.hw"), false, WriteOptions::default()).unwrap();
    for name in ["first", "second", "third"] {
        writer.begin_original(name).unwrap();
        if name == "second" {
            let info = TensorInfo { name: "w".into(), dtype: "BF16".into(), shape: vec![100] };
            writer.add_tensor(info, Dtype::Bf16, &w).unwrap();
        }
    }
    writer.finish().unwrap();
    files.between(&["old.safetensors"], &["0.hw"], "folded.hw");
    let reader = Reader::open(&files.path("folded.hw")).unwrap();
    let names = reader.directory().originals.iter().map(|original| original.name.as_str());
    assert!(names.eq(["first", "second", "third"]));
}

#[test]
fn a_sharded_model_is_a_base() {
    let files = Files::new();
    let (a, b) = (weights(3000), noise(6000, 1));
    files.write("model-1.safetensors", &[("a", "BF16", &[3000], &a)]);
    files.write("model-2.safetensors", &[("b", "BF16", &[3000], &b)]);
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    std::fs::write(files.path("model.safetensors.index.json"), index).unwrap();
    let (a, b) = (changed(&a, 40, 1), changed(&b, 40, 2));
    files.write("new.safetensors", &[("b", "BF16", &[3000], &b), ("a", "BF16", &[3000], &a)]);
    let base = ["model.safetensors.index.json"];
    assert!(files.compress("new.safetensors", &base, "new.hw").bytes < 1000);
    assert_eq!(files.restore("new.hw", &base).unwrap(), files.read("new.safetensors"));
}

#[test]
fn bases_that_lack_something_are_refused() {
    let files = steps();
    let w = weights(40_000);
    for (name, tensors) in [
        ("lacks.safetensors", [("x", "BF16", &[200, 200][..], &w[..]), ("y", "U8", &[1], &[1])]),
        ("retyped.safetensors", [("w", "F16", &[200, 200], &w), ("y", "U8", &[1], &[1])]),
        ("short.safetensors", [("w", "BF16", &[199, 200], &w[400..]), ("y", "U8", &[1], &[1])]),
    ] {
        files.write(name, &tensors);
        let reader = Reader::open(&files.path("1.hw")).unwrap();
        let reader = reader.with_base(files.chain(&[name]).unwrap()).unwrap();
        for error in [reader.check_base().unwrap_err(), reader.read("w").unwrap_err()] {
            assert!(matches!(error, Error::NotInBase { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

/// Whatever is damaged: an error, and never another file than the one that was compressed.
#[test]
fn damaged_deltas_are_errors() {
    let files = Files::new();
    let w = weights(300);
    files.write("0.safetensors", &[("w", "BF16", &[300], &w)]);
    files.write("1.safetensors", &[("w", "BF16", &[300], &changed(&w, 9, 1))]);
    files.compress("1.safetensors", &["0.safetensors"], "1.hw");
    let whole = files.read("1.hw");
    let base = files.chain(&["0.safetensors"]).unwrap();
    let read = |bytes: Vec<u8>| -> Result<Vec<u8>, Error> {
        let reader = Reader::from_reader(Cursor::new(bytes), ReadOptions::default())?;
        let reader = reader.with_base(Arc::clone(&base))?;
        restored(&reader, &files.path("restored"))
    };
    assert_eq!(read(whole.clone()).unwrap(), files.read("1.safetensors"));
    for cut in 0..whole.len() {
        assert!(read(whole[..cut].to_vec()).is_err(), "{cut}");
    }
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(bytes).is_err(), "bit {bit}");
    }
    // Without checksums it is the hashes that tell.
    let options = huffwire::EncodeOptions::default().checksums(false);
    let options =
        WriteOptions { base: Some(Arc::clone(&base)), encode: options, ..WriteOptions::default() };
    let mut writer = Writer::create(&files.path("1.hw"), true, options).unwrap();
    writer.add_inputs(&Input::open(&files.path("1.safetensors"), None).unwrap(), |_| ()).unwrap();
    let written = writer.finish().unwrap();
    let delta = written.directory.items().last().unwrap();
    let start = delta.kind_header().unwrap().offset;
    let whole = files.read("1.hw");
    for bit in 8 * start as usize..8 * (start + delta.coded_bytes()) as usize {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match read(bytes) {
            Ok(found) => assert_eq!(found, files.read("1.safetensors"), "bit {bit}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A file whose only item is a delta of zeros, with this kind header and this block.
fn forged(kind_header: &[u8], raw: usize, block: &[u8]) -> Vec<u8> {
    let mut writer = file::Writer::new(true, 17).unwrap();
    let set = writer.add_set(&CodebookSet::builtin(), false);
    let mut bytes = writer.header().to_vec();
    writer.begin_original("x").unwrap();
    let info = TensorInfo { name: "w".into(), dtype: "BF16".into(), shape: vec![raw as u64 / 2] };
    let item = NewItem { tensor: Some(info), kind: Kind::Delta, dtype: Dtype::Bf16, set };
    writer.begin_item(item).unwrap();
    writer.push_kind_header(kind_header.len(), Some(checksum(kind_header))).unwrap();
    writer.push_block(raw, block.len(), Some(checksum(block))).unwrap();
    bytes.extend_from_slice(kind_header);
    bytes.extend_from_slice(block);
    bytes.extend(writer.finish().unwrap());
    bytes
}

#[test]
fn hostile_deltas_are_errors() {
    let files = Files::new();
    let zeros = vec![0; 2000];
    files.write("0.safetensors", &[("w", "BF16", &[1000], &zeros)]);
    let base = files.chain(&["0.safetensors"]).unwrap();
    let mut block = Vec::new();
    let new = changed(&zeros, 30, 2);
    Encoder::builtin()
        .encode_delta_block(&zeros, &Tensor::new(Dtype::Bf16, &new), &mut block)
        .unwrap();
    let open = |bytes: Vec<u8>| Reader::from_reader(Cursor::new(bytes), ReadOptions::default());
    let read = |bytes: Vec<u8>| open(bytes)?.with_base(Arc::clone(&base))?.read("w");
    let check = |bytes: Vec<u8>| {
        let reader = open(bytes)?;
        let mut found = Vec::new();
        let jobs = reader.directory().items().flat_map(Reader::blocks);
        reader.check_delta_blocks(jobs, |_: &BlockJob<'_>, header| {
            found.push(header?);
            Ok::<(), Error>(())
        })?;
        Ok::<_, Error>(found)
    };
    assert!(read(forged(&KIND_HEADER, 2000, &block)).unwrap() == new);
    let headers = check(forged(&KIND_HEADER, 2000, &block)).unwrap();
    assert_eq!(headers[0].changes as usize, new.iter().filter(|byte| **byte != 0).count());
    let error = read(forged(&[2], 2000, &block)).unwrap_err().to_string();
    assert!(error.contains("a kind header that this version does not know"), "{error}");
    // More changes than words, and other lies.
    for (at, byte) in [(33, 0xff), (0, 5), (0, 4), (40, 0xff)] {
        let mut forgery = block.clone();
        forgery[at] = byte;
        let bytes = forged(&KIND_HEADER, 2000, &forgery);
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, Error::Codec { .. }), "{error}");
    }
    let mut forgery = block.clone();
    forgery[0] = 5;
    assert!(check(forged(&KIND_HEADER, 2000, &forgery)).is_err());
    // A block of few bytes that claims to be large costs nothing where the base is small.
    let error = read(forged(&KIND_HEADER, 2 << 20, &block)).unwrap_err();
    assert!(matches!(error, Error::NotInBase { .. }), "{error}");
}

#[test]
fn tensors_that_a_base_does_not_help_are_as_small_as_without_one() {
    let files = Files::new();
    for bytes in [2, 100, 3000, 40_000, 500_000, 5_000_000] {
        let (a, b) = (noise(bytes, 1), noise(bytes, 2));
        for (name, bytes) in [("0.npy", &a), ("1.npy", &b)] {
            let shape = format!("({},)", bytes.len() / 2);
            std::fs::write(files.path(name), files::npy("<u2", &shape, bytes)).unwrap();
        }
        let plain = files.compress("1.npy", &[], "plain.hw").bytes;
        let delta = files.compress("1.npy", &["0.npy"], "delta.hw").bytes;
        assert!(delta as f64 <= plain as f64 * 1.001, "{bytes}: {delta} and {plain}");
        assert_eq!(files.restore("delta.hw", &["0.npy"]).unwrap(), files.read("1.npy"));
    }
}

#[test]
fn tensors_that_do_not_change_take_next_to_nothing() {
    let files = Files::new();
    let bytes = vec![0x3f; 64 << 20];
    std::fs::write(files.path("x.npy"), files::npy("<f2", "(33554432,)", &bytes)).unwrap();
    let written = files.compress("x.npy", &["x.npy"], "x.hw");
    let ratio = f64::from(64 << 20) / written.bytes as f64;
    assert!(ratio >= 4000.0, "{ratio}");
}
