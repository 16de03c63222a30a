//! Bases: the files of tensors that deltas are applied to.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use huffwire::Dtype;
use huffwire::file::{Item, Original, TensorInfo};

use crate::error::{Error, Result};
use crate::formats::RawOptions;
use crate::input::{Input, Origin, Piece};
use crate::reader::{ReadOptions, Reader};
use crate::tensors::TensorFile;

/// File of tensors that deltas are made against and applied to: of any format, a sharded model, or a .hw file, which may
/// be a delta with a base of its own.
///
/// Tensors are matched by name: first within the original of the same name, then where only one tensor of the base has
/// the name. If both files have only one tensor, names do not matter, as those of arrays in `.npy` files and of raw files
/// are the names of the files. That a tensor is the right one, hashes in the delta tell. What stands around
/// tensors, such as headers, is never a delta: so a base may be in another format than the one that a delta was made of.
///
/// ```
/// use std::sync::Arc;
/// use huffwire::Dtype;
/// use huffwire_io::{Base, Input, RawOptions, Reader, WriteOptions, Writer};
///
/// let folder = tempfile::tempdir()?;
/// let [old, new, delta] = ["old.bin", "new.bin", "new.hw"].map(|name| folder.path().join(name));
/// std::fs::write(&old, [1; 100_000])?;
/// let mut changed = vec![1; 100_000];
/// changed[7] = 2;
/// std::fs::write(&new, &changed)?;
///
/// let raw = RawOptions::new(Dtype::U8);
/// let base = Arc::new(Base::open(&old, Some(&raw))?);
/// let options = WriteOptions { base: Some(Arc::clone(&base)), ..WriteOptions::default() };
/// let mut writer = Writer::create(&delta, false, options)?;
/// writer.add_inputs(&Input::open(&new, Some(&raw))?, |_| ())?;
/// assert!(writer.finish()?.bytes < 200);
///
/// let reader = Reader::open(&delta)?.with_base(base)?;
/// assert_eq!(reader.read("new.bin")?, changed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Base {
    file: TensorFile,
    /// The tensors of each original, by its name.
    by_original: HashMap<String, Names>,
    /// All tensors.
    tensors: Names,
}

/// The most deltas of a chain. Each is read while those behind it wait, on one stack.
pub const MAX_CHAIN: usize = 32;

/// Where the tensor of a name lies; `None` for a name that several have.
type Names = HashMap<String, Option<Place>>;

/// Place of an item in a base: the number of its original, and its number in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    original: usize,
    item: usize,
}

/// An item of a base, or one that has to have a base.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    /// `None` for bytes around tensors, which have no base.
    pub(crate) info: Option<&'a TensorInfo>,
    pub(crate) dtype: Dtype,
    pub(crate) bytes: u64,
}

/// The names of originals, and their items.
type Originals<'a> = Vec<(&'a str, Vec<Stored<'a>>)>;

/// How the tensors of a file are matched with those of a base.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Matches {
    /// Tensors that the base has, too, with the same type and shape.
    pub matched: Vec<String>,
    /// Tensors that the base does not have.
    pub new: Vec<String>,
    /// Tensors that the base has with another type or shape.
    pub reshaped: Vec<String>,
    /// Tensors that only the base has.
    pub gone: Vec<String>,
}

impl Base {
    /// The tensors of a file.
    #[must_use]
    pub fn new(file: impl Into<TensorFile>) -> Self {
        let mut file = file.into();
        if let TensorFile::Hw(reader) = &mut file {
            // Bases are read by the threads that code, which must not wait for other threads.
            reader.decode_on_calling_thread();
        }
        let mut base = Self { by_original: HashMap::new(), tensors: Names::new(), file };
        let (mut originals, mut tensors) = (HashMap::new(), Names::new());
        for (original, (name, items)) in base.originals().into_iter().enumerate() {
            let mut names = Names::new();
            for (item, info) in items.iter().enumerate().filter_map(|(n, i)| Some((n, i.info?))) {
                note(&mut names, &info.name, Place { original, item });
                note(&mut tensors, &info.name, Place { original, item });
            }
            originals.insert(name.to_owned(), names);
        }
        (base.by_original, base.tensors) = (originals, tensors);
        base
    }

    /// Opens a file of any format that [`Input::open`] knows, or a .hw file.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`].
    pub fn open(path: &Path, raw: Option<&RawOptions>) -> Result<Self> {
        TensorFile::open(path, raw, ReadOptions::default()).map(Self::new)
    }

    /// A chain: a file, and .hw files each of which is a delta of what is before it.
    ///
    /// # Errors
    /// [`Error::NotADelta`] for a file behind the first that is no .hw file; [`Error::BaseMissing`] for a first file
    /// that is a delta; [`Error::NotInBase`]; [`Error::LongChain`] for more than 32 deltas; [`Error::BrokenChain`] for
    /// deltas that do not follow each other, as far as their hashes tell without decoding; those of reading.
    pub fn chain(files: impl IntoIterator<Item = TensorFile>) -> Result<Option<Self>> {
        let mut chain: Option<Self> = None;
        for file in files {
            let file = match (chain.take(), file) {
                (None, file) => file,
                (Some(base), TensorFile::Hw(reader)) => reader.with_base(Arc::new(base))?.into(),
                (Some(_), file) => {
                    return Err(Error::NotADelta { path: first_label(&file) });
                }
            };
            if let TensorFile::Hw(reader) = &file {
                reader.check_base()?;
            }
            chain = Some(Self::new(file));
        }
        Ok(chain)
    }

    /// How many deltas it is restored with.
    fn deltas(&self) -> usize {
        match &self.file {
            TensorFile::Hw(reader) => reader.base().map_or(0, |base| 1 + base.deltas()),
            TensorFile::Files(_) => 0,
        }
    }

    /// An error where the delta `path` would make a chain with this base that is too long to be read through.
    ///
    /// [`Reader::with_base`] looks itself. Who writes a delta that is to be read behind this base asks before.
    ///
    /// # Errors
    /// [`Error::LongChain`] where the base is the last of [`MAX_CHAIN`] deltas.
    pub fn check_chain(&self, path: &str) -> Result<()> {
        if self.deltas() < MAX_CHAIN {
            return Ok(());
        }
        Err(Error::LongChain { path: path.to_owned(), limit: MAX_CHAIN })
    }

    /// What it is called in messages: the path of the file.
    #[must_use]
    pub fn label(&self) -> &str {
        match &self.file {
            TensorFile::Files(inputs) => inputs.first().map_or("", |input| input.file.label()),
            TensorFile::Hw(reader) => reader.file().label(),
        }
    }

    /// Size of all originals, restored.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        match &self.file {
            TensorFile::Files(inputs) => inputs.iter().map(|input| input.file.bytes()).sum(),
            TensorFile::Hw(reader) => reader.directory().raw_bytes(),
        }
    }

    /// The file itself.
    #[must_use]
    pub const fn file(&self) -> &TensorFile {
        &self.file
    }

    /// The files that it is read from, also those of its own base: no output may replace one of them.
    #[must_use]
    pub fn origins(&self) -> Vec<&Origin> {
        self.file.origins()
    }

    /// An error when one of the files is no longer as long as it was.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub fn check_length(&self) -> Result<()> {
        self.file.check_length()
    }

    /// Which tensors of some inputs have a base in this file.
    #[must_use]
    pub fn matches(&self, inputs: &[Input]) -> Matches {
        self.matches_of(of_inputs(inputs))
    }

    /// Which tensors of another base have a base in this one.
    #[must_use]
    pub fn matches_of_base(&self, other: &Self) -> Matches {
        self.matches_of(other.originals())
    }

    fn matches_of(&self, originals: Originals<'_>) -> Matches {
        let mut matches = Matches::default();
        let mut used = HashSet::new();
        let tensors = originals.iter().flat_map(|(_, items)| items);
        let is_only = tensors.filter(|item| item.info.is_some()).count() == 1;
        for (original, items) in originals {
            for item in items {
                let Some(info) = item.info else { continue };
                let place = self.find(original, &item, is_only);
                used.extend(place);
                let list = match place {
                    None => &mut matches.new,
                    Some(place) if self.is_like(place, &item) => &mut matches.matched,
                    Some(_) => &mut matches.reshaped,
                };
                list.push(info.name.clone());
            }
        }
        for (original, (_, items)) in self.originals().into_iter().enumerate() {
            for (item, stored) in items.iter().enumerate() {
                let is_used = used.contains(&Place { original, item });
                let gone = stored.info.filter(|_| !is_used);
                matches.gone.extend(gone.map(|info| info.name.clone()));
            }
        }
        matches
    }

    /// Where the tensor of that name lies, whatever its type and size. `original` is what it is a part of elsewhere,
    /// `is_only` whether it is the only tensor there.
    pub(crate) fn find(&self, original: &str, item: &Stored<'_>, is_only: bool) -> Option<Place> {
        let name = &item.info?.name;
        let of = |names: &Names| names.get(name).copied().flatten();
        let there = self.by_original.get(original).and_then(of);
        let only = || match self.tensors.len() {
            1 if is_only => self.tensors.values().next().copied().flatten(),
            _ => None,
        };
        there.or_else(|| of(&self.tensors)).or_else(only)
    }

    /// The place of a tensor of the same type, shape and size.
    pub(crate) fn find_like(
        &self,
        original: &str,
        item: &Stored<'_>,
        is_only: bool,
    ) -> Option<Place> {
        self.find(original, item, is_only).filter(|place| self.is_like(*place, item))
    }

    fn is_like(&self, place: Place, item: &Stored<'_>) -> bool {
        let found = self.item(place);
        let (ours, theirs) =
            (found.info.map(|info| &info.shape), item.info.map(|info| &info.shape));
        (found.dtype, found.bytes, ours) == (item.dtype, item.bytes, theirs)
    }

    /// Name, type and size of an item.
    pub(crate) fn item(&self, place: Place) -> Stored<'_> {
        match &self.file {
            TensorFile::Files(inputs) => {
                Stored::of_piece(&inputs[place.original].pieces[place.item])
            }
            TensorFile::Hw(reader) => {
                Stored::of_item(&reader.directory().originals[place.original].items[place.item])
            }
        }
    }

    /// Reads bytes of an item, from `start` on, on the calling thread.
    pub(crate) fn read(&self, place: Place, start: u64, bytes: &mut [u8]) -> Result<()> {
        match &self.file {
            TensorFile::Files(inputs) => {
                let input = &inputs[place.original];
                input.file.read_exact_at(bytes, input.pieces[place.item].range.start + start)
            }
            TensorFile::Hw(reader) => {
                let item = &reader.directory().originals[place.original].items[place.item];
                reader.read_bytes(item, start, bytes)
            }
        }
    }

    /// The .hw file and its item, where an item of the base is one.
    pub(crate) fn hw_item(&self, place: Place) -> Option<(&Reader, &Item)> {
        let TensorFile::Hw(reader) = &self.file else { return None };
        Some((reader, &reader.directory().originals[place.original].items[place.item]))
    }

    /// All originals.
    pub(crate) fn originals(&self) -> Originals<'_> {
        match &self.file {
            TensorFile::Files(inputs) => of_inputs(inputs),
            TensorFile::Hw(reader) => {
                let originals = reader.directory().originals.iter();
                originals.map(|original| (original.name.as_str(), items_of(original))).collect()
            }
        }
    }
}

impl Place {
    /// The item with this number, of the original with this number.
    pub(crate) const fn new(original: usize, item: usize) -> Self {
        Self { original, item }
    }
}

impl<'a> Stored<'a> {
    pub(crate) fn of_piece(piece: &'a Piece) -> Self {
        Self { info: piece.tensor.as_ref(), dtype: piece.dtype, bytes: piece.bytes() }
    }

    pub(crate) const fn of_item(item: &'a Item) -> Self {
        Self { info: item.tensor.as_ref(), dtype: item.dtype, bytes: item.raw_bytes }
    }
}

/// What messages call a file.
fn first_label(file: &TensorFile) -> String {
    file.origins().first().map_or("", |origin| origin.label()).to_owned()
}

fn of_inputs(inputs: &[Input]) -> Originals<'_> {
    let items = inputs.iter().map(|input| input.pieces.iter().map(Stored::of_piece).collect());
    inputs.iter().map(|input| input.name.as_str()).zip(items).collect()
}

fn items_of(original: &Original) -> Vec<Stored<'_>> {
    original.items.iter().map(Stored::of_item).collect()
}

/// Notes where a name is found; what is found twice is not found.
fn note(names: &mut Names, name: &str, place: Place) {
    let is_known = names.contains_key(name);
    names.insert(name.to_owned(), (!is_known).then_some(place));
}
