//! Planes to headers and payload.

use super::header::{CodedPlane, Coder, PlaneHeader, no_book};
use super::payload::PayloadWriter;
use super::{single, slots};
use crate::codebook::{Alphabet, Codebook};
use crate::error::{Error, Result};
use crate::kernels::pack::{pack, packed_bytes};
use crate::kernels::platform::Platform;
use crate::lanes::{self, Escapes, SlotMap};
use crate::planes::MAX_PLANES;

/// A plane that is going to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaneToWrite<'a> {
    /// How. Of a coded plane only book, limit, coder and base count: sizes are found out.
    pub(crate) header: PlaneHeader,
    /// The book that the header names.
    pub(crate) book: Option<&'a Codebook>,
    /// Bits of a symbol.
    pub(crate) width: u8,
    /// One a byte, each below `2^width`. Of a constant plane they are not looked at.
    pub(crate) symbols: &'a [u8],
    /// 0 for each symbol that the book's zero codes; empty if there are none. Only for books with a zero.
    pub(crate) nonzero: &'a [u8],
}

/// Writes planes; owns the scratch memory.
#[derive(Debug, Default)]
pub(crate) struct PlaneWriter {
    slots: Vec<u8>,
    escapes: Vec<u8>,
    in_lanes: Escapes,
    /// Streams and escapes of all planes that are single streams.
    singles: Vec<u8>,
}

/// Room that is enough for any planes of so many bytes in all, as long as their headers were planned on exact counts:
/// whole groups of words are stored.
pub(crate) const fn room(bytes: usize) -> usize {
    bytes + 4 * lanes::LANES
}

impl PlaneWriter {
    /// Writes headers and payload of at most [`MAX_PLANES`] planes to the start of `out`; returns their length.
    ///
    /// # Errors
    /// [`Error::OutputTooSmall`]; [`Error::InvalidCodebook`] for a coded plane without a book, or with a symbol that
    /// the book's alphabet does not have.
    pub(crate) fn write(
        &mut self,
        platform: Platform,
        planes: &[PlaneToWrite<'_>],
        out: &mut [u8],
    ) -> Result<usize> {
        let mut headers = [PlaneHeader::Raw; MAX_PLANES];
        for (plane, header) in planes.iter().zip(&mut headers) {
            *header = plane.header;
        }
        // The headers of single streams are as long as their numbers: these planes are coded first.
        self.singles.clear();
        let mut ends = [0; MAX_PLANES];
        for ((plane, header), end) in planes.iter().zip(&mut headers).zip(&mut ends) {
            if let PlaneHeader::Coded(coded @ CodedPlane { coder: Coder::Single, .. }) = header {
                self.write_single(platform, plane, coded)?;
            }
            *end = self.singles.len();
        }
        let mut at = [0; MAX_PLANES + 1];
        for (index, (plane, header)) in planes.iter().zip(&headers).enumerate() {
            at[index + 1] = at[index] + header.header_bytes(plane.book)?;
        }
        let start = at[planes.len()];
        let (needed, available) = (start, out.len());
        if available < needed {
            return Err(Error::OutputTooSmall { needed, available });
        }
        let mut payload = PayloadWriter::new(out, start);
        for (index, plane) in planes.iter().enumerate().rev() {
            match &mut headers[index] {
                PlaneHeader::Constant(_) => {}
                PlaneHeader::Raw => {
                    let size = packed_bytes(plane.symbols.len(), plane.width);
                    pack(platform, plane.symbols, plane.width, payload.push(size)?);
                }
                PlaneHeader::Coded(coded) if coded.coder == Coder::Single => {
                    let bytes = coded.stream_bytes + coded.escapes;
                    let stored = &self.singles[ends[index] - bytes..ends[index]];
                    payload.push(bytes)?.copy_from_slice(stored);
                }
                PlaneHeader::Coded(coded) => {
                    self.write_lanes(platform, plane, coded, &mut payload)?;
                }
            }
        }
        let end = payload.end();
        for (index, (plane, header)) in planes.iter().zip(&headers).enumerate() {
            header.write(plane.book, &mut payload.headers()[at[index]..at[index + 1]])?;
        }
        Ok(end)
    }

    /// Appends stream and escapes to `self.singles`.
    fn write_single(
        &mut self,
        platform: Platform,
        plane: &PlaneToWrite<'_>,
        coded: &mut CodedPlane,
    ) -> Result<()> {
        let book = plane.book.ok_or_else(no_book)?;
        let Self { slots, escapes, singles, .. } = self;
        let symbols = (plane.symbols, plane.nonzero);
        coded.zeros = slots::from_symbols(platform, book, coded.base, symbols, slots, escapes);
        check_slots(platform, book, slots)?;
        let before = singles.len();
        platform.run(
            #[inline(always)]
            || single::encode(book, slots, singles),
        );
        coded.stream_bytes = singles.len() - before;
        coded.escapes = escapes.len();
        singles.extend_from_slice(escapes);
        Ok(())
    }

    fn write_lanes(
        &mut self,
        platform: Platform,
        plane: &PlaneToWrite<'_>,
        coded: &mut CodedPlane,
        payload: &mut PayloadWriter<'_>,
    ) -> Result<()> {
        let book = plane.book.ok_or_else(no_book)?;
        let carried = payload.take();
        let states_bytes = lanes::states_bytes(book.limit());
        let free = payload.free();
        let available = free.len();
        let (states, stream) = free
            .split_at_mut_checked(states_bytes)
            .ok_or(Error::OutputTooSmall { needed: states_bytes, available })?;
        let escapes = if plane.nonzero.is_empty() {
            check_slots(platform, book, plane.symbols)?;
            self.in_lanes.clear(plane.symbols.len());
            let map = SlotMap::new(book.lengths().alphabet(), coded.base);
            let mut encoder = lanes::Encoder::new(platform, book.tables(), map, &carried, true);
            encoder.push(plane.symbols, stream, &mut self.in_lanes)?;
            (coded.zeros, coded.stream_bytes) = (0, encoder.finish(states));
            self.in_lanes.as_slice()
        } else {
            let Self { slots, escapes, .. } = self;
            let symbols = (plane.symbols, plane.nonzero);
            coded.zeros = slots::from_symbols(platform, book, coded.base, symbols, slots, escapes);
            coded.stream_bytes = lanes::encode_on(platform, book, slots, &carried, states, stream)?;
            escapes
        };
        coded.escapes = escapes.len();
        payload.grow(states_bytes + coded.stream_bytes);
        payload.push(escapes.len())?.copy_from_slice(escapes);
        Ok(())
    }
}

/// Checks that a plain book has a slot for every symbol. (In a centred one, what has none takes the escape.)
fn check_slots(platform: Platform, book: &Codebook, symbols: &[u8]) -> Result<()> {
    let Alphabet::Plain { width } = book.lengths().alphabet() else { return Ok(()) };
    if width < 8 && super::is_beyond(platform, symbols, width) {
        return Err(Error::codebook("a symbol outside the codebook's alphabet"));
    }
    Ok(())
}
