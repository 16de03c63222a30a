//! Description of a block without decoding it: for people, and for decoders on other devices, which need to know where
//! the parts of the block are.

use super::MAX_HEADER_BYTES;
use super::header::BlockHeader;
use crate::codebook::{CodeLimit, Codebook, Lengths};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::plane_codec::{BookRef, Coder, PlaneHeader, Sizes};
use crate::planes::{Layout, MAX_PLANES};
use crate::set::CodebookSet;
use crate::wire::Reader;

/// Description of a block: the layout, and how and where each plane is stored.
///
/// The description follows from the block's header and from the number of elements; nothing is decoded.
///
/// A loader that decodes on a GPU needs no more: for each plane, the book and the places of the parts of the payload.
/// The payload is a stack. A plane in lanes takes the last bytes in front of it ([`PlaneInfo::carried_bytes`]) into its
/// lanes, so these bytes are missing in front of the plane. In nearly all blocks they are the end of plane 1, carried
/// by the lanes of plane 0.
///
/// ```
/// use huffwire::{CodebookSet, CodedBlock, Decoder, Dtype, Encoder, PlaneMode, Tensor};
///
/// let tensor: Vec<u8> = (0..16384u32)
///     .flat_map(|i| ((i.wrapping_mul(2_654_435_761) >> 12) as f32 / 1e6 - 0.5).to_le_bytes())
///     .collect();
/// let mut block = Vec::new();
/// Encoder::builtin().encode_block(&Tensor::new(Dtype::F32, &tensor), &mut block)?;
/// let set = CodebookSet::builtin();
/// let coded = CodedBlock { dtype: Dtype::F32, set: set.id(), checksum: None, bytes: &block };
/// let info = Decoder::builtin().inspect_block(&coded, tensor.len())?;
///
/// let exponents = &info.planes[0];
/// let PlaneMode::Resident { book, base, .. } = exponents.mode else { panic!("{info:?}") };
/// let table = set.book(book)?; // the tables that the kernel looks codes up in
/// let parts = exponents.parts.expect("a coded plane");
/// // Offsets count from the block's first byte, the layout.
/// let states = parts.states..parts.stream;
/// let stream = parts.stream..parts.escapes;
/// let escapes = parts.escapes..parts.end;
/// assert_eq!(states.len(), 192);
///
/// // Plane 1: its last 128 bytes come out of the lanes of plane 0, the others lie here.
/// let raw = info.planes[1].payload.clone();
/// assert_eq!(raw.len() + exponents.carried_bytes, exponents.symbols);
/// assert_eq!(raw.end, states.start);
/// # let _ = (table, base, stream, escapes);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// The layout; `None` for a block stored verbatim, whose elements lie behind its first byte.
    pub layout: Option<Layout>,
    /// Bytes of the header: where the payload begins.
    pub header_bytes: usize,
    /// How each plane is stored, in the order of the layout.
    pub planes: Vec<PlaneInfo>,
}

/// How a plane of a block is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneInfo {
    /// Raw, constant, or coded, and with which book.
    pub mode: PlaneMode,
    /// Symbols stored: units of the block times symbols for each, less the zeros of plane 0.
    pub symbols: usize,
    /// Units that plane 0 codes as exact zeros: they have no symbols in later planes. 0 for all other planes.
    pub zeros: usize,
    /// Place of the payload in the block, without the bytes that lanes of other planes carry: the end of the payload,
    /// or all of it.
    pub payload: std::ops::Range<usize>,
    /// Bytes of the planes behind this one that the lanes of this plane carry. 0 if this plane is not in lanes.
    pub carried_bytes: usize,
    /// Places of the parts of the payload; `None` if the plane is not coded.
    pub parts: Option<PlaneParts>,
}

/// How a plane of a block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaneMode {
    /// Raw: symbols packed without gaps.
    Raw,
    /// Constant: one symbol, repeated.
    Constant(u8),
    /// Coded with a book of the set.
    Resident {
        /// The book's number.
        book: u8,
        /// Exponent of slot 0 (centred books).
        base: u8,
        /// How the codes lie.
        coder: Coder,
    },
    /// Coded with a book that is stored in the block.
    Embedded {
        /// The limit on its codes.
        limit: CodeLimit,
        /// Exponent of slot 0 (centred books).
        base: u8,
        /// How the codes lie.
        coder: Coder,
    },
}

/// Where the parts of a coded plane's payload begin, as offsets from the block's first byte. Each part ends where the
/// next one begins.
///
/// They hold as if no byte of this plane were carried by the lanes of another one: what lies beyond the end of
/// [`PlaneInfo::payload`] does not lie in the block, but in those lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneParts {
    /// The book, if it is stored in the block: its serialized form begins here, in the header.
    pub book: Option<usize>,
    /// The states of the lanes; nothing in a single stream.
    pub states: usize,
    /// The stream.
    pub stream: usize,
    /// The escapes, a byte each.
    pub escapes: usize,
    /// The end of the escapes.
    pub end: usize,
}

impl BlockInfo {
    /// Reads the header of a block of `bytes` bytes of elements.
    pub(crate) fn read(
        set: &CodebookSet,
        dtype: Dtype,
        block: &[u8],
        bytes: usize,
    ) -> Result<Self> {
        let mut reader = Reader::new(super::WHAT, &block[..block.len().min(MAX_HEADER_BYTES)]);
        let mut embedded = vec![Codebook::new(Lengths::placeholder()); MAX_PLANES];
        let mut header = None;
        let header = BlockHeader::read(&mut reader, set, dtype, bytes, &mut embedded, &mut header)?;
        let Some(header) = header else {
            return Ok(Self { layout: None, header_bytes: 1, planes: Vec::new() });
        };
        let header_bytes = block.len().min(MAX_HEADER_BYTES) - reader.remaining();
        let units = bytes / dtype.unit_bytes();
        let sizes = Sizes::of(header.planes(), |plane| header.shape(plane, units));
        let mut planes = Vec::new();
        // What is left of a plane's payload when the lanes in front of it have taken theirs.
        let mut end = header_bytes.saturating_add(sizes.total);
        let mut header_at = 1;
        for (index, plane) in header.planes().iter().enumerate() {
            let shape = header.shape(index, units);
            let carried_bytes = sizes.carried[index];
            let begin = (header_bytes + sizes.before[index]).saturating_sub(carried_bytes);
            let size = plane.payload_bytes(&shape);
            let book = header.book(index, set, &embedded);
            let parts = plane.coded().map(|coded| {
                let states = begin;
                let stream = states.saturating_add(coded.states_bytes());
                let escapes = stream.saturating_add(coded.stream_bytes);
                PlaneParts {
                    book: plane.embeds().then_some(header_at + 1),
                    states,
                    stream,
                    escapes,
                    end: escapes.saturating_add(coded.escapes),
                }
            });
            let stored_end = begin.saturating_add(size).min(end);
            planes.push(PlaneInfo {
                mode: mode(plane),
                symbols: shape.count,
                zeros: plane.coded().map_or(0, |coded| coded.zeros),
                payload: begin.min(stored_end)..stored_end,
                carried_bytes,
                parts,
            });
            end = begin.min(stored_end);
            header_at += plane.header_bytes(book)?;
        }
        Ok(Self { layout: Some(header.scheme.layout), header_bytes, planes })
    }
}

const fn mode(plane: &PlaneHeader) -> PlaneMode {
    let coded = match plane {
        PlaneHeader::Raw => return PlaneMode::Raw,
        PlaneHeader::Constant(symbol) => return PlaneMode::Constant(*symbol),
        PlaneHeader::Coded(coded) => coded,
    };
    let (limit, base, coder) = (coded.limit, coded.base, coded.coder);
    match coded.book {
        BookRef::Resident(book) => PlaneMode::Resident { book, base, coder },
        BookRef::Embedded => PlaneMode::Embedded { limit, base, coder },
    }
}
