//! The class `Codebooks`: a set of codebooks that sender and receiver hold.
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use huffwire::CodebookSet;
use huffwire::codebook::{Alphabet, ZERO_SLOT};
use huffwire_io::{Output, load_codebooks};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::error::{Class, of_codec, of_io};
use crate::memory::Input;
use crate::stats::Pmf;

/// A set of codebooks. Sender and receiver must hold the same one; its `id` tells.
///
/// `Codebooks.builtin()` is the set that is always there. Other sets come from `huffwire.calibrate`, from a file
/// (`Codebooks.load`) or from bytes (`Codebooks.from_bytes`, or `Codebooks(data)`). A set cannot be changed. Sets with
/// the same content are equal, and they can be pickled.
///
/// >>> import huffwire
/// >>> books = huffwire.Codebooks.builtin()
/// >>> huffwire.Codebooks.from_bytes(books.to_bytes()) == books
/// True
#[pyclass(frozen, module = "huffwire", skip_from_py_object)]
pub(crate) struct Codebooks {
    pub(crate) set: Arc<CodebookSet>,
}

impl From<CodebookSet> for Codebooks {
    fn from(set: CodebookSet) -> Self {
        Self { set: Arc::new(set) }
    }
}

#[pymethods]
impl Codebooks {
    #[new]
    #[pyo3(signature = (data, /))]
    fn new(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::from_bytes(data)
    }

    /// The set that is built in. It needs no calibration.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> Codebooks.builtin().name
    /// 'builtin'
    #[staticmethod]
    fn builtin() -> Self {
        Self { set: CodebookSet::builtin() }
    }

    /// The set in these bytes, as `to_bytes` or `huffwire calibrate` wrote them.
    ///
    /// Raises DamagedError for bytes that are cut short or changed, VersionError for those of a newer huffwire, and
    /// CodebookError for codebooks that are not valid.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> data = Codebooks.builtin().to_bytes()
    /// >>> len(Codebooks.from_bytes(data)) == len(Codebooks.builtin())
    /// True
    #[staticmethod]
    #[pyo3(signature = (data, /))]
    fn from_bytes(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        // A tuple would be an address, and this is called by people.
        if data.is_instance_of::<PyTuple>() {
            return Err(
                Class::Unsupported.error("a tuple gives no access to its bytes: pass bytes")
            );
        }
        let data: Input = data.extract()?;
        CodebookSet::from_bytes(data.bytes()).map(Self::from).map_err(of_codec)
    }

    /// The set as bytes: what `huffwire calibrate` writes to a file.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> Codebooks.builtin().to_bytes()[:8]
    /// b'HUFFBOOK'
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.set.to_bytes())
    }

    /// The set in this JSON, as `to_json` or `huffwire codebooks export` wrote it.
    ///
    /// Raises CodebookError for JSON that is no valid set, VersionError for that of a newer huffwire.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> Codebooks.from_json(Codebooks.builtin().to_json()).name
    /// 'builtin'
    #[staticmethod]
    #[pyo3(signature = (text, /))]
    fn from_json(text: &str) -> PyResult<Self> {
        CodebookSet::from_json(text).map(Self::from).map_err(of_codec)
    }

    /// The set as JSON, with all code words written out.
    ///
    /// >>> import json
    /// >>> from huffwire import Codebooks
    /// >>> json.loads(Codebooks.builtin().to_json())["name"]
    /// 'builtin'
    fn to_json(&self) -> String {
        self.set.to_json()
    }

    /// The set in a file: a codebook file, its JSON export, or a `.hw` file that embeds codebooks.
    ///
    /// Raises FileError where the system refuses to read the file (MissingFileError if there is none), CodebookError
    /// for a file without codebooks, and what `from_bytes` and `from_json` raise.
    ///
    /// >>> import os, tempfile
    /// >>> from huffwire import Codebooks
    /// >>> with tempfile.TemporaryDirectory() as folder:
    /// ...     path = os.path.join(folder, "my.books")
    /// ...     Codebooks.builtin().save(path)
    /// ...     Codebooks.load(path) == Codebooks.builtin()
    /// True
    #[staticmethod]
    #[pyo3(signature = (path, /))]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let set = py.detach(|| load_codebooks(&path)).map_err(of_io)?;
        Ok(Self { set })
    }

    /// Writes the set to a file: as JSON if its name ends in `.json`, else as `to_bytes` does. A file of that name is
    /// replaced at once and only when the new one is complete; after an error, or when the program is killed meanwhile,
    /// the old file is still there.
    ///
    /// Raises FileError where the system refuses to write.
    ///
    /// >>> import os, tempfile
    /// >>> from huffwire import Codebooks
    /// >>> with tempfile.TemporaryDirectory() as folder:
    /// ...     path = os.path.join(folder, "books.json")
    /// ...     Codebooks.builtin().save(path)
    /// ...     Codebooks.load(path).id == Codebooks.builtin().id
    /// True
    #[pyo3(signature = (path, /))]
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let set = &self.set;
        let write = || {
            let json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
            let bytes = if json { (set.to_json() + "\n").into_bytes() } else { set.to_bytes() };
            let mut output = Output::create(&path, true, &[])?;
            output.write(&bytes)?;
            output.finish()
        };
        py.detach(write).map(drop).map_err(of_io)
    }

    /// The id of the set, 16 hexadecimal digits: a hash of its codebooks. Name and bindings do not change it.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> len(Codebooks.builtin().id)
    /// 16
    #[getter]
    fn id(&self) -> String {
        self.set.id().to_string()
    }

    /// The name of the set, for people.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> Codebooks.builtin().name
    /// 'builtin'
    #[getter]
    fn name(&self) -> &str {
        self.set.name()
    }

    /// The codebooks, a list in the order of their numbers.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> Codebooks.builtin().books[0].alphabet
    /// 'centred'
    #[getter]
    fn books(&self) -> Vec<Codebook> {
        let count = self.set.books().len();
        (0..count).map(|number| Codebook { set: Arc::clone(&self.set), number }).collect()
    }

    /// What the codebooks are for, a list.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> Codebooks.builtin().bindings[0].layout
    /// 'exponent'
    #[getter]
    fn bindings(&self) -> Vec<Binding> {
        let bindings = self.set.bindings().iter().map(|binding| Binding {
            pattern: binding.pattern.clone(),
            dtype: binding.dtype.map(|dtype| dtype.name()),
            layout: binding.layout.name(),
            plane: binding.plane,
            books: binding.books.iter().copied().map(usize::from).collect(),
        });
        bindings.collect()
    }

    /// The codebooks and what they are for, as text for people.
    ///
    /// >>> from huffwire import Codebooks
    /// >>> print(Codebooks.builtin().describe().splitlines()[0])  # doctest: +ELLIPSIS
    /// set ... (builtin), 107 codebooks
    fn describe(&self) -> String {
        describe(&self.set, &self.books())
    }

    fn __len__(&self) -> usize {
        self.set.books().len()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.set == other.set
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.set.id().hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> (Bound<'py, pyo3::types::PyType>, (Bound<'py, PyBytes>,)) {
        (slf.get_type(), (slf.get().to_bytes(slf.py()),))
    }

    fn __repr__(&self) -> String {
        let (id, name, books) = (self.set.id(), self.set.name(), self.set.books().len());
        format!("<huffwire.Codebooks {id} ({name}), {books} codebooks>")
    }
}

/// A codebook of a set.
///
/// >>> from huffwire import Codebooks
/// >>> book = Codebooks.builtin().books[0]
/// >>> max(book.lengths.values()) <= book.max_code_bits
/// True
#[pyclass(frozen, module = "huffwire", skip_from_py_object)]
pub(crate) struct Codebook {
    set: Arc<CodebookSet>,
    number: usize,
}

impl Codebook {
    fn get(&self) -> &huffwire::Codebook {
        &self.set.books()[self.number]
    }

    fn escape_and_zero(&self) -> impl Iterator<Item = (Slot, u8, u8)> {
        let lengths = self.get().lengths();
        let zero = (lengths.zero() > 0).then_some((Slot::Zero, ZERO_SLOT as u8, lengths.zero()));
        let escape = lengths.escape_slot().map(|slot| (Slot::Escape, slot, lengths.escape()));
        zero.into_iter().chain(escape)
    }

    /// What has a code, the number of its code, and the bits of it.
    fn slots(&self) -> impl Iterator<Item = (Slot, u8, u8)> {
        let lengths = self.get().lengths().ordinary_lengths().iter().zip(0..=u8::MAX);
        let coded = lengths.filter(|(bits, _)| **bits > 0);
        coded.map(|(&bits, slot)| (Slot::Symbol(slot), slot, bits)).chain(self.escape_and_zero())
    }
}

/// What has a code: a number, or one of two words.
#[derive(PartialEq, Eq, Hash)]
enum Slot {
    Symbol(u8),
    Zero,
    Escape,
}

impl<'py> IntoPyObject<'py> for Slot {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self {
            Self::Symbol(symbol) => Ok(symbol.into_pyobject(py)?.into_any()),
            Self::Zero => Ok("zero".into_pyobject(py)?.into_any()),
            Self::Escape => Ok("escape".into_pyobject(py)?.into_any()),
        }
    }
}

#[pymethods]
impl Codebook {
    /// The number of the codebook in its set.
    #[getter]
    const fn number(&self) -> usize {
        self.number
    }

    /// The id of the codebook, 16 hexadecimal digits: a hash of its code lengths.
    #[getter]
    fn id(&self) -> String {
        self.get().lengths().id().to_string()
    }

    /// `"centred"`: symbols are exponents above a base that each block chooses. `"plain"`: symbols are numbers.
    #[getter]
    fn alphabet(&self) -> &'static str {
        match self.get().lengths().alphabet() {
            Alphabet::Centred => "centred",
            Alphabet::Plain { .. } => "plain",
        }
    }

    /// Bits of a symbol, 1 to 8.
    #[getter]
    fn width(&self) -> u8 {
        match self.get().lengths().alphabet() {
            Alphabet::Centred => 8,
            Alphabet::Plain { width } => width,
        }
    }

    /// Whether the codebook is narrow: the fastest kind, for exponents.
    #[getter]
    fn narrow(&self) -> bool {
        self.get().lengths().is_narrow()
    }

    /// The most bits that a code may have: 8 or 12.
    #[getter]
    fn max_code_bits(&self) -> u8 {
        self.get().lengths().limit().bits()
    }

    /// The bits of each code, a dict. Keys are symbols, and `"zero"` and `"escape"` where exact zeros and all symbols
    /// without a code of their own have one. A centred symbol is the exponent's distance above the base.
    #[getter]
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
        let lengths = pyo3::types::PyDict::new(py);
        self.slots().try_for_each(|(slot, _, bits)| lengths.set_item(slot, bits))?;
        Ok(lengths)
    }

    /// The code words, strings of 0 and 1, a dict with the keys of `lengths`.
    #[getter]
    fn codes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
        let codes = pyo3::types::PyDict::new(py);
        self.slots().try_for_each(|(slot, number, _)| {
            codes.set_item(slot, self.get().code_string(number))
        })?;
        Ok(codes)
    }

    /// The distribution that a built-in codebook was made for, as text; None for any other codebook.
    #[getter]
    fn about(&self) -> Option<&'static str> {
        CodebookSet::builtin_about(self.get().lengths())
    }

    /// The mean bits for a symbol when symbols follow a PMF, escapes included. For a centred codebook the PMF is one of
    /// exponents (256, or 257 with the exact zero), and `base` is the exponent of symbol 0.
    #[pyo3(signature = (pmf, base=0))]
    fn mean_bits(&self, pmf: &Pmf, base: u8) -> f64 {
        self.get().mean_bits(pmf.inner(), base)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.get().lengths() == other.get().lengths()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.get().lengths().id().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!(
            "<huffwire.Codebook #{} {}, {} alphabet of {} bits, codes of at most {} bits>",
            self.number,
            self.id(),
            self.alphabet(),
            self.width(),
            self.max_code_bits()
        )
    }
}

/// What some codebooks of a set are for.
///
/// >>> from huffwire import Codebooks
/// >>> Codebooks.builtin().bindings[0].pattern
/// '*'
#[pyclass(frozen, get_all, eq, hash, module = "huffwire", skip_from_py_object)]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Binding {
    /// Pattern of tensor names; `*` stands for any characters.
    pattern: String,
    /// The element type, or None for any.
    dtype: Option<&'static str>,
    /// The layout of the planes.
    layout: &'static str,
    /// The plane, counted from 0; 128 and more are layers of a bitmap of quantized values.
    plane: u8,
    /// Numbers of the codebooks.
    books: Vec<usize>,
}

#[pymethods]
impl Binding {
    fn __repr__(&self) -> String {
        let Self { pattern, dtype, layout, plane, books } = self;
        let dtype = dtype.unwrap_or("any type");
        format!("<huffwire.Binding {pattern:?}, {dtype}, {layout} {plane}: {}>", ranges(books))
    }
}

fn describe(set: &CodebookSet, books: &[Codebook]) -> String {
    let headings = ["book", "id", "alphabet", "max bits", "symbols", "escape", "zero", "made for"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    let or_dash = |bits: u8| if bits == 0 { "-".to_owned() } else { bits.to_string() };
    for book in books {
        let lengths = book.get().lengths();
        rows.push(vec![
            format!("#{}", book.number),
            book.id(),
            format!("{} {}", book.alphabet(), book.width()),
            book.max_code_bits().to_string(),
            lengths.ordinary_lengths().iter().filter(|bits| **bits > 0).count().to_string(),
            or_dash(lengths.escape()),
            or_dash(lengths.zero()),
            book.about().unwrap_or_default().to_owned(),
        ]);
    }
    let mut bindings = vec![["tensors", "type", "symbols", "books"].map(str::to_owned).to_vec()];
    for binding in set.bindings() {
        let books: Vec<usize> = binding.books.iter().copied().map(usize::from).collect();
        bindings.push(vec![
            binding.pattern.escape_debug().to_string(),
            binding.dtype.map_or("any", |dtype| dtype.name()).to_owned(),
            format!("{} {}", binding.layout, binding.plane),
            ranges(&books),
        ]);
    }
    let (id, name) = (set.id(), set.name().escape_debug());
    format!(
        "set {id} ({name}), {} codebooks\n\n{}\n{}",
        books.len(),
        table(&rows),
        table(&bindings)
    )
}

/// Columns of the same width, flush left.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// `#0-#5, #9`.
fn ranges(books: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &book in books {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == book => *last = book,
            _ => runs.push((book, book)),
        }
    }
    let text = |(first, last)| {
        if first == last { format!("#{first}") } else { format!("#{first}-#{last}") }
    };
    runs.into_iter().map(text).collect::<Vec<_>>().join(", ")
}
