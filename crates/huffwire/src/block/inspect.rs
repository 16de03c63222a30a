//! What a block says of itself, for people.

use super::decode::{CodedHeader, PlaneHeader, Side, book};
use super::{VERBATIM, WHAT};
use crate::codebook::CodeLimit;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::plan::BookRef;
use crate::planes::Layout;
use crate::set::CodebookSet;
use crate::wire::Reader;

/// What a block consists of, for people: the layout and how each plane is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// The layout; `None` for a block stored verbatim.
    pub layout: Option<Layout>,
    /// How each plane is stored.
    pub planes: Vec<PlaneInfo>,
}

/// How a plane of a block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaneInfo {
    /// As it is.
    Raw,
    /// One symbol, repeated.
    Constant(u8),
    /// With a book of the set.
    Resident {
        /// The book's number.
        book: u8,
        /// Exponent of slot 0 (centred books).
        base: u8,
    },
    /// With a book stored in the block.
    Embedded {
        /// The limit on its codes.
        limit: CodeLimit,
    },
}

impl BlockInfo {
    /// Reads the header of a block of `bytes` bytes of elements.
    pub(crate) fn read(
        set: &CodebookSet,
        dtype: Dtype,
        block: &[u8],
        bytes: usize,
    ) -> Result<Self> {
        let mut reader = Reader::new(WHAT, block);
        let number = reader.u8()?;
        if number == VERBATIM {
            return Ok(Self { layout: None, planes: Vec::new() });
        }
        let scheme = Layout::from_number(number).and_then(|layout| dtype.scheme(layout));
        let scheme = scheme.ok_or_else(|| Error::malformed(WHAT, 0, "an unknown layout"))?;
        let mut side = Side::new();
        let units = bytes / dtype.unit_bytes();
        let mut planes = Vec::new();
        for (index, plane) in scheme.planes.iter().enumerate() {
            planes.push(match side.read_header(set, plane, index, units, &mut reader)? {
                PlaneHeader::Raw => PlaneInfo::Raw,
                PlaneHeader::Constant(symbol) => PlaneInfo::Constant(symbol),
                PlaneHeader::Coded(CodedHeader {
                    book_ref: BookRef::Resident(book), base, ..
                }) => PlaneInfo::Resident { book, base },
                PlaneHeader::Coded(CodedHeader { book_ref, .. }) => PlaneInfo::Embedded {
                    limit: book(set, &side.embedded, book_ref, index)?.limit(),
                },
            });
        }
        Ok(Self { layout: Some(scheme.layout), planes })
    }
}
