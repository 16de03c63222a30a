//! Codebook sets. Sender and receiver must have the same set.

mod builtin;
mod builtin_data;
#[cfg(feature = "json")]
mod json;
mod sets;
mod shape;

pub(crate) use sets::Sets;

use crate::codebook::fit::Fitted;
use crate::codebook::{Alphabet, Codebook, Lengths};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::ids::SetId;
use crate::planes::{Layout, MAX_PLANES};
use crate::wire::crc32c;
use crate::wire::{Reader, put_string, put_varint};

const WHAT: &str = "a codebook set";
const MAGIC: &[u8; 8] = b"HUFFBOOK";
const VERSION: u8 = 1;
/// Most books in a set. Modes of a plane from this number on do not name books.
pub(crate) const MAX_BOOKS: usize = 192;

/// The plane of a binding that is for layer 0 of a bitmap of quantized values; the layers above it follow. No element
/// type has so many planes. The books may be plain ones of any width.
pub const FIRST_LAYER: u8 = 128;
/// The plane of a binding that is for the highest layer that a bitmap can have, layer 4.
pub const LAST_LAYER: u8 = FIRST_LAYER + 4;

/// Binding: which books are meant for which tensors and planes. It is advice to the sender, and the id of the set does
/// not cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Pattern of tensor names; `*` stands for any characters, also none.
    pub pattern: String,
    /// The element type, or any. It stands for all types that are coded alike ([`Dtype::coding`]).
    pub dtype: Option<Dtype>,
    /// The layout of the planes.
    pub layout: Layout,
    /// The plane, counted from 0; or [`FIRST_LAYER`] and more, for the layers of a bitmap of quantized values.
    pub plane: u8,
    /// Numbers of the books to choose from.
    pub books: Vec<u8>,
}

impl Binding {
    /// Whether the pattern matches a tensor name.
    #[must_use]
    pub fn matches(&self, tensor: &str) -> bool {
        matches_pattern(&self.pattern, tensor)
    }
}

/// `*` stands for any run of characters, everything else for itself.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    // Between stars the first occurrence is as good as any later one; only the end is anchored.
    let Some((middle, last)) = tail.rsplit_once('*') else {
        return rest.ends_with(tail);
    };
    for part in middle.split('*') {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Up to 192 codebooks, numbered, with bindings from tensor kinds to books.
///
/// The id covers the books and their numbers: what a receiver needs to decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodebookSet {
    name: String,
    books: Vec<Codebook>,
    bindings: Vec<Binding>,
    id: SetId,
}

impl CodebookSet {
    /// The set's name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the set.
    #[must_use]
    pub const fn id(&self) -> SetId {
        self.id
    }

    /// The books by number.
    #[must_use]
    pub fn books(&self) -> &[Codebook] {
        &self.books
    }

    /// The book with this number.
    ///
    /// # Errors
    /// [`Error::UnknownCodebook`] when the set has none.
    pub fn book(&self, number: u8) -> Result<&Codebook> {
        let held = self.books.len();
        match self.books.get(usize::from(number)) {
            Some(book) => Ok(book),
            None => Err(Error::UnknownCodebook { number, held }),
        }
    }

    /// The bindings.
    #[must_use]
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Numbers of the books that can code a plane, each once: those of the first binding that matches
    /// the tensor's name, or of all bindings when `tensor` is `None`.
    pub fn candidates<'a>(
        &'a self,
        tensor: Option<&'a str>,
        dtype: Dtype,
        layout: Layout,
        plane: u8,
    ) -> impl Iterator<Item = u8> + 'a {
        let mut seen = [false; 256];
        let bindings = self.bindings.iter().filter(move |binding| {
            binding.layout == layout
                && binding.plane == plane
                && binding.dtype.is_none_or(|bound| bound.coding() == dtype.coding())
                && tensor.is_none_or(|name| binding.matches(name))
        });
        bindings
            .take(if tensor.is_some() { 1 } else { usize::MAX })
            .flat_map(|binding| &binding.books)
            .copied()
            .filter(move |&book| !std::mem::replace(&mut seen[usize::from(book)], true))
    }

    /// Serializes the set; see `docs/format.md`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        put_string(&mut out, &self.name);
        write_books(&mut out, &self.books);
        put_varint(&mut out, self.bindings.len() as u64);
        for binding in &self.bindings {
            put_string(&mut out, &binding.pattern);
            out.push(binding.dtype.map_or(0, Dtype::number));
            out.push(binding.layout.number());
            out.push(binding.plane);
            out.push(binding.books.len() as u8);
            out.extend_from_slice(&binding.books);
        }
        let checksum = crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads what [`CodebookSet::to_bytes`] wrote.
    ///
    /// # Errors
    /// A typed error for anything that is not exactly such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(Error::malformed(WHAT, 0, "it does not begin as a codebook set does"));
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::UnknownVersion {
                what: WHAT,
                found: version.into(),
                supported: VERSION.into(),
            });
        }
        let body = bytes.len() - 4; // The magic was there, so this many are.
        let stored = u32::from_le_bytes(Reader::new(WHAT, &bytes[body..]).array()?);
        let computed = crc32c(&bytes[..body]);
        if stored != computed {
            return Err(Error::Checksum { what: WHAT, stored, computed });
        }
        let mut reader = Reader::new(WHAT, &bytes[..body]);
        reader.take(MAGIC.len() + 1)?;
        let mut builder = SetBuilder::new(reader.string()?);
        let books = reader.u8()?;
        if usize::from(books) > MAX_BOOKS {
            let (found, limit) = (books.into(), MAX_BOOKS as u64);
            let remedy = "make a set of fewer codebooks";
            return Err(Error::TooLarge {
                what: "a codebook set (in books)",
                found,
                limit,
                remedy,
            });
        }
        for _ in 0..books {
            let (lengths, size) = Lengths::read(reader.clone().rest())?;
            reader.take(size)?;
            if builder.number_of(&lengths).is_some() {
                return Err(reader.malformed("the same codebook twice"));
            }
            builder.add(lengths)?;
        }
        let bindings = reader.varint()?;
        for _ in 0..bindings {
            let pattern = reader.string()?.to_owned();
            let dtype = match reader.u8()? {
                0 => None,
                number => Some(
                    Dtype::from_number(number)
                        .ok_or_else(|| reader.malformed("an unknown element type"))?,
                ),
            };
            let layout = Layout::from_number(reader.u8()?)
                .ok_or_else(|| reader.malformed("an unknown layout"))?;
            let plane = reader.u8()?;
            let count = usize::from(reader.u8()?);
            let books = reader.take(count)?.to_vec();
            builder.bind(Binding { pattern, dtype, layout, plane, books })?;
        }
        reader.finish()?;
        Ok(builder.build())
    }
}

fn write_books(out: &mut Vec<u8>, books: &[Codebook]) {
    out.push(books.len() as u8);
    for book in books {
        book.lengths().write(out);
    }
}

/// Builder of a set.
#[derive(Debug, Clone)]
pub struct SetBuilder {
    name: String,
    books: Vec<Codebook>,
    bindings: Vec<Binding>,
}

impl SetBuilder {
    /// An empty set of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), books: Vec::new(), bindings: Vec::new() }
    }

    /// The number of a book with this content, if the set has it already.
    #[must_use]
    pub fn number_of(&self, lengths: &Lengths) -> Option<u8> {
        self.books.iter().position(|book| book.lengths() == lengths).map(|number| number as u8)
    }

    /// Adds a book and returns its number; a book that is there already keeps its number.
    ///
    /// # Errors
    /// [`Error::InvalidCodebook`] when the set is full.
    pub fn add(&mut self, lengths: Lengths) -> Result<u8> {
        if let Some(number) = self.number_of(&lengths) {
            return Ok(number);
        }
        let number = self.books.len();
        if number == MAX_BOOKS {
            return Err(Error::codebook(format!(
                "a set holds at most {MAX_BOOKS} codebooks: make fewer for each kind, group tensors \
                 into fewer kinds, or leave out the built-in ones"
            )));
        }
        self.books.push(Codebook::new(lengths));
        Ok(number as u8)
    }

    /// Adds a freshly built book; see [`SetBuilder::add`].
    ///
    /// # Errors
    /// As [`SetBuilder::add`].
    pub fn add_fitted(&mut self, fitted: &Fitted) -> Result<u8> {
        self.add(fitted.lengths)
    }

    /// Adds a binding.
    ///
    /// # Errors
    /// [`Error::InvalidCodebook`] when the binding names no book, one twice, one that is not there, a
    /// plane beyond the last, or a book of another alphabet than the plane's.
    pub fn bind(&mut self, binding: Binding) -> Result<()> {
        let is_layer = (FIRST_LAYER..=LAST_LAYER).contains(&binding.plane);
        let is_plane = is_layer || usize::from(binding.plane) < MAX_PLANES;
        if binding.books.is_empty() || !is_plane {
            return Err(Error::codebook("a binding without a book or without a plane"));
        }
        for (index, &number) in binding.books.iter().enumerate() {
            if binding.books[..index].contains(&number) {
                return Err(Error::codebook(format!("codebook {number} is bound twice")));
            }
            let held = self.books.len();
            let book = self.books.get(usize::from(number));
            let book = book.ok_or(Error::UnknownCodebook { number, held })?;
            let fits = |dtype: Dtype| {
                let planes = dtype.planes(binding.layout);
                let plane = planes.get(usize::from(binding.plane));
                plane.is_some_and(|plane| plane.alphabet() == book.lengths().alphabet())
            };
            let fits = match binding.dtype {
                // The layers of bitmaps have bytes of any width, whatever the type.
                _ if is_layer => book.lengths().alphabet() != Alphabet::Centred,
                Some(dtype) => fits(dtype),
                None => Dtype::all().any(fits),
            };
            if !fits {
                return Err(Error::codebook(format!(
                    "codebook {number} is bound to a plane of another alphabet"
                )));
            }
        }
        self.bindings.push(binding);
        Ok(())
    }

    /// Adds the bindings of another set that `wanted` selects, behind those that are there, with their
    /// books, whose numbers may change.
    ///
    /// # Errors
    /// As [`SetBuilder::add`] and [`SetBuilder::bind`].
    pub fn include(
        &mut self,
        other: &CodebookSet,
        wanted: impl Fn(&Binding) -> bool,
    ) -> Result<()> {
        for binding in other.bindings.iter().filter(|binding| wanted(binding)) {
            let book = |&number: &u8| self.add(*other.book(number)?.lengths());
            let books = binding.books.iter().map(book).collect::<Result<_>>()?;
            self.bind(Binding { books, ..binding.clone() })?;
        }
        Ok(())
    }

    /// The finished set.
    #[must_use]
    pub fn build(self) -> CodebookSet {
        let mut content = Vec::new();
        write_books(&mut content, &self.books);
        let id = SetId::of(&content);
        CodebookSet { name: self.name, books: self.books, bindings: self.bindings, id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook::CodeLimit;

    fn lengths() -> Lengths {
        let direct = [1, 2, 3, 3];
        Lengths::new(Alphabet::Plain { width: 2 }, CodeLimit::Bits12, &direct, 0, 0).unwrap()
    }

    fn bytes_book() -> Lengths {
        Lengths::new(Alphabet::Plain { width: 8 }, CodeLimit::Bits8, &[8; 256], 0, 0).unwrap()
    }

    fn set() -> CodebookSet {
        let mut builder = SetBuilder::new("test");
        let book = builder.add(bytes_book()).unwrap();
        assert_eq!(builder.add(bytes_book()).unwrap(), book, "no book twice");
        let binding = Binding {
            pattern: "model.*.weight".into(),
            dtype: None,
            layout: Layout::Bytes,
            plane: 0,
            books: vec![book],
        };
        builder.bind(binding.clone()).unwrap();
        let other = builder.add(lengths()).unwrap();
        assert!(builder.bind(Binding { books: vec![other], ..binding.clone() }).is_err());
        assert!(builder.bind(Binding { books: vec![9], ..binding }).is_err());
        builder.build()
    }

    #[test]
    fn layers_of_bitmaps_take_plain_books() {
        let mut builder = SetBuilder::new("layers");
        let narrow = builder.add(lengths()).unwrap();
        let centred: Vec<u8> = (0..62).map(|slot| u8::from(slot < 1)).collect();
        let centred = Lengths::new(Alphabet::Centred, CodeLimit::Bits8, &centred, 1, 0).unwrap();
        let centred = builder.add(centred).unwrap();
        let binding = |plane, book| Binding {
            pattern: "*".into(),
            dtype: None,
            layout: Layout::Bytes,
            plane,
            books: vec![book],
        };
        builder.bind(binding(FIRST_LAYER, narrow)).unwrap();
        builder.bind(binding(LAST_LAYER, narrow)).unwrap();
        assert!(builder.bind(binding(FIRST_LAYER, centred)).is_err());
        assert!(builder.bind(binding(LAST_LAYER + 1, narrow)).is_err());
        let set = builder.build();
        assert_eq!(CodebookSet::from_bytes(&set.to_bytes()), Ok(set));
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("a.*.b", "a.1.b", true),
            ("a.*.b", "a.b", false),
            ("a.*.b", "a.1.c.b", true),
            ("a.*.b*c", "a.x.bc", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("x", "x", true),
            ("x", "xy", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn bytes_round_trip_and_any_damage_is_found() {
        let set = set();
        let bytes = set.to_bytes();
        assert_eq!(CodebookSet::from_bytes(&bytes), Ok(set));
        for cut in 0..bytes.len() {
            assert!(CodebookSet::from_bytes(&bytes[..cut]).is_err());
        }
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(CodebookSet::from_bytes(&damaged).is_err());
        }
    }

    #[test]
    fn candidates_follow_names_and_planes() {
        let set = set();
        let candidates =
            |tensor, layout| set.candidates(tensor, Dtype::Bf16, layout, 0).collect::<Vec<_>>();
        assert_eq!(candidates(None, Layout::Bytes), [0]);
        assert_eq!(candidates(Some("model.3.weight"), Layout::Bytes), [0]);
        let mut builder = SetBuilder::new("more");
        builder.include(&set, |_| true).unwrap();
        let flat = Lengths::new(Alphabet::Plain { width: 8 }, CodeLimit::Bits12, &[8; 256], 0, 0);
        let books = vec![builder.add(flat.unwrap()).unwrap()];
        let (pattern, dtype, layout) = ("*".to_owned(), None, Layout::Bytes);
        builder.bind(Binding { pattern, dtype, layout, plane: 0, books }).unwrap();
        let more = builder.build();
        let of = |tensor| more.candidates(tensor, Dtype::Bf16, Layout::Bytes, 0).collect();
        let (all, first, other): (Vec<u8>, Vec<u8>, Vec<u8>) =
            (of(None), of(Some("model.3.weight")), of(Some("x")));
        assert_eq!((all, first, other), (vec![0, 1], vec![0], vec![1]), "the first match wins");
        assert!(candidates(Some("model.3.bias"), Layout::Bytes).is_empty());
        assert!(candidates(None, Layout::Exponent).is_empty());
    }

    #[test]
    fn the_id_is_that_of_the_books() {
        let set = set();
        let mut renamed = SetBuilder::new("other name");
        renamed.add(bytes_book()).unwrap();
        renamed.add(lengths()).unwrap();
        assert_eq!(renamed.build().id(), set.id());
        let mut included = SetBuilder::new("included");
        included.include(&set, |_| true).unwrap();
        assert_eq!(included.build().books().len(), 1, "only what is bound");
        let mut swapped = SetBuilder::new("test");
        swapped.add(lengths()).unwrap();
        swapped.add(bytes_book()).unwrap();
        assert_ne!(swapped.build().id(), set.id());
    }
}
