//! The header of a block: a layout, and the header of each plane.

use super::{VERBATIM, WHAT};
use crate::codebook::Codebook;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::plane_codec::{BookRef, PlaneHeader, PlaneShape, PlaneToRead, Sizes};
use crate::planes::{Layout, MAX_PLANES, Scheme};
use crate::set::CodebookSet;
use crate::wire::Reader;

/// How a block that is not verbatim is stored. What a sender plans is a header whose sizes are estimates.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockHeader {
    pub(super) scheme: &'static Scheme,
    /// By plane; raw behind the last one.
    planes: [PlaneHeader; MAX_PLANES],
}

impl BlockHeader {
    /// All planes raw.
    pub(super) const fn raw(scheme: &'static Scheme) -> Self {
        Self { scheme, planes: [PlaneHeader::Raw; MAX_PLANES] }
    }

    pub(super) fn planes(&self) -> &[PlaneHeader] {
        &self.planes[..self.scheme.planes.len()]
    }

    pub(super) fn set(&mut self, plane: usize, header: PlaneHeader) {
        self.planes[plane] = header;
    }

    /// Exact zeros that plane 0 codes apart.
    pub(super) fn zeros(&self) -> usize {
        self.planes[0].coded().map_or(0, |coded| coded.zeros)
    }

    /// What the codec of planes has to know of a plane of a block of so many units. Units that plane 0 codes as zeros
    /// have no symbol in the others.
    pub(super) fn shape(&self, plane: usize, units: usize) -> PlaneShape {
        let zeros = if plane == 0 { 0 } else { self.zeros() };
        let plane = &self.scheme.planes[plane];
        let count = (units * usize::from(plane.per_unit)).saturating_sub(zeros);
        PlaneShape { alphabet: plane.alphabet(), width: plane.width, count, any_plain: false }
    }

    /// The book of a plane, if it has one.
    pub(super) fn book<'a>(
        &self,
        plane: usize,
        set: &'a CodebookSet,
        embedded: &'a [Codebook],
    ) -> Option<&'a Codebook> {
        match self.planes[plane].coded()?.book {
            BookRef::Resident(number) => set.book(number).ok(),
            BookRef::Embedded => embedded.get(plane),
        }
    }

    /// Reads the header of a block of so many bytes of elements into `place`; `None` if it is verbatim. Books that are in
    /// it land in `embedded`, by plane.
    pub(super) fn read<'h>(
        reader: &mut Reader<'_>,
        set: &CodebookSet,
        dtype: Dtype,
        bytes: usize,
        embedded: &mut [Codebook],
        place: &'h mut Option<Self>,
    ) -> Result<Option<&'h Self>> {
        let number = reader.u8()?;
        if number == VERBATIM {
            return Ok(None);
        }
        let scheme = Layout::from_number(number).and_then(|layout| dtype.scheme(layout));
        let scheme = scheme.ok_or_else(|| {
            Error::malformed(WHAT, 0, format!("layout {number}, which {dtype} does not have"))
        })?;
        let units = bytes / dtype.unit_bytes();
        let header = place.insert(Self::raw(scheme));
        for (index, embedded) in embedded.iter_mut().enumerate().take(scheme.planes.len()) {
            let shape = header.shape(index, units);
            header.planes[index] = PlaneHeader::read(reader, &shape, set, embedded)?;
        }
        Ok(Some(header))
    }

    /// Bytes of the header.
    pub(super) fn header_bytes(&self, set: &CodebookSet, embedded: &[Codebook]) -> Result<usize> {
        let of_plane = |(index, plane): (usize, &PlaneHeader)| {
            plane.header_bytes(self.book(index, set, embedded))
        };
        self.planes().iter().enumerate().try_fold(1, |sum, plane| Ok(sum + of_plane(plane)?))
    }

    /// Writes the header to the start of `out`.
    pub(super) fn write(
        &self,
        set: &CodebookSet,
        embedded: &[Codebook],
        out: &mut [u8],
    ) -> Result<()> {
        let available = out.len();
        let no_room = || Error::OutputTooSmall { needed: 1, available };
        let (layout, mut rest) = out.split_first_mut().ok_or_else(no_room)?;
        *layout = self.scheme.layout.number();
        for (index, plane) in self.planes().iter().enumerate() {
            let bytes = plane.write(self.book(index, set, embedded), rest)?;
            rest = &mut rest[bytes..];
        }
        Ok(())
    }
}

/// A block whose header was read and whose payload has the right size.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadBlock<'a> {
    pub(super) header: &'a BlockHeader,
    pub(super) unit_bytes: usize,
    pub(super) units: usize,
    pub(super) payload: &'a [u8],
    pub(super) sizes: Sizes,
}

/// What a block is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    /// The elements as they are.
    Verbatim(&'a [u8]),
    Coded(ReadBlock<'a>),
}

impl<'a> Kind<'a> {
    /// Reads the header of a block of so many bytes of elements into `place`; finds out where its payload is. (A header is
    /// some hundred bytes, which would take longer to move than to read.)
    pub(super) fn read(
        set: &CodebookSet,
        dtype: Dtype,
        block: &'a [u8],
        bytes: usize,
        embedded: &mut [Codebook],
        place: &'a mut Option<BlockHeader>,
    ) -> Result<Self> {
        let mut reader = Reader::new(WHAT, block);
        let Some(header) = BlockHeader::read(&mut reader, set, dtype, bytes, embedded, place)?
        else {
            let elements = reader.take(bytes)?;
            reader.finish()?;
            return Ok(Self::Verbatim(elements));
        };
        let unit_bytes = dtype.unit_bytes();
        let units = bytes / unit_bytes;
        let sizes = Sizes::of(header.planes(), |plane| header.shape(plane, units));
        let payload = reader.take(sizes.total)?;
        reader.finish()?;
        Ok(Self::Coded(ReadBlock { header, unit_bytes, units, payload, sizes }))
    }
}

impl<'b> ReadBlock<'_> {
    /// What the codec of planes needs to read a plane.
    pub(super) fn plane(
        &self,
        plane: usize,
        set: &'b CodebookSet,
        embedded: &'b [Codebook],
    ) -> PlaneToRead<'b> {
        PlaneToRead {
            header: self.header.planes()[plane],
            shape: self.header.shape(plane, self.units),
            book: self.header.book(plane, set, embedded),
            carried: self.sizes.carried[plane],
        }
    }
}
