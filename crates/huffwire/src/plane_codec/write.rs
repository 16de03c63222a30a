//! Writing planes: headers and payload.

use super::header::{CodedPlane, Coder, PlaneHeader, no_book};
use super::payload::PayloadWriter;
use super::{single, slots};
use crate::codebook::{Alphabet, Codebook};
use crate::error::{Error, Result};
use crate::kernels::pack::{pack, packed_bytes};
use crate::kernels::platform::Platform;
use crate::lanes::{self, CARRIED_BYTES, Escapes, SlotMap};
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
    /// Whether the plane is stored raw where its codes turn out to be longer. Only without zeros apart.
    pub(crate) or_raw: bool,
}

impl PlaneToWrite<'_> {
    const fn raw_bytes(&self) -> usize {
        packed_bytes(self.symbols.len(), self.width)
    }
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
    /// Writes headers and payload of at most [`MAX_PLANES`] planes to the start of `out`; returns their length. The
    /// planes get the headers that they were written with.
    ///
    /// # Errors
    /// [`Error::OutputTooSmall`]; [`Error::InvalidCodebook`] for a coded plane without a book, or with a symbol that
    /// the book's alphabet does not have.
    pub(crate) fn write(
        &mut self,
        platform: Platform,
        planes: &mut [PlaneToWrite<'_>],
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
                let start = self.singles.len();
                self.write_single(platform, plane, coded)?;
                if plane.or_raw && self.singles.len() - start > plane.raw_bytes() {
                    self.singles.truncate(start);
                    *header = PlaneHeader::Raw;
                }
            }
            *end = self.singles.len();
        }
        let mut start = 0;
        for (plane, header) in planes.iter().zip(&headers) {
            start += header.header_bytes(plane.book)?;
        }
        let (needed, available) = (start, out.len());
        if available < needed {
            return Err(Error::OutputTooSmall { needed, available });
        }
        let mut payload = PayloadWriter::new(out, start);
        for (index, plane) in planes.iter().enumerate().rev() {
            let header = &mut headers[index];
            if let PlaneHeader::Coded(coded @ CodedPlane { coder: Coder::Lanes, .. }) = header {
                let (before, carried) = payload.take();
                self.write_lanes(platform, plane, coded, &carried, &mut payload)?;
                if plane.or_raw && payload.end() - before > plane.raw_bytes() {
                    payload.give_back(before, &carried);
                    *header = PlaneHeader::Raw;
                }
            }
            match header {
                PlaneHeader::Constant(_) => {}
                PlaneHeader::Raw => {
                    let place = payload.push(plane.raw_bytes())?;
                    pack(platform, plane.symbols, plane.width, place);
                }
                PlaneHeader::Coded(coded) if coded.coder == Coder::Single => {
                    let bytes = coded.stream_bytes + coded.escapes;
                    let stored = &self.singles[ends[index] - bytes..ends[index]];
                    payload.push(bytes)?.copy_from_slice(stored);
                }
                // In lanes: it is there.
                PlaneHeader::Coded(_) => {}
            }
        }
        let end = payload.end();
        let mut at = 0;
        for (plane, header) in planes.iter_mut().zip(headers) {
            let size = header.header_bytes(plane.book)?;
            header.write(plane.book, &mut payload.headers()[at..at + size])?;
            at += size;
            plane.header = header;
        }
        // A plane that is raw after all has a shorter header.
        if at < start {
            out.copy_within(start..end, at);
        }
        Ok(end - (start - at))
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
        carried: &[u8; CARRIED_BYTES],
        payload: &mut PayloadWriter<'_>,
    ) -> Result<()> {
        let book = plane.book.ok_or_else(no_book)?;
        let states_bytes = lanes::states_bytes(book.limit());
        let free = payload.free();
        let available = free.len();
        let (states, stream) = free
            .split_at_mut_checked(states_bytes)
            .ok_or(Error::OutputTooSmall { needed: states_bytes, available })?;
        let escapes = if plane.nonzero.is_empty() {
            check_slots(platform, book, plane.symbols)?;
            self.in_lanes.clear(plane.symbols.len());
            let keep = book.lengths().escape() > 0;
            let map = SlotMap::new(book.lengths().alphabet(), coded.base);
            let mut encoder = lanes::Encoder::new(platform, book.tables(), map, carried, keep);
            encoder.push(plane.symbols, stream, &mut self.in_lanes)?;
            (coded.zeros, coded.stream_bytes) = (0, encoder.finish(states));
            self.in_lanes.as_slice()
        } else {
            let Self { slots, escapes, .. } = self;
            let symbols = (plane.symbols, plane.nonzero);
            coded.zeros = slots::from_symbols(platform, book, coded.base, symbols, slots, escapes);
            coded.stream_bytes = lanes::encode_on(platform, book, slots, carried, states, stream)?;
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
