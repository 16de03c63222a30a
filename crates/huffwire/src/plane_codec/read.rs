//! Reading planes from a payload.

use super::header::{BookRef, Coder, PlaneHeader, PlaneShape};
use super::payload::PayloadReader;
use super::{WHAT, single, slots};
use crate::codebook::Codebook;
use crate::error::{Error, Result};
use crate::kernels::pack::{packed_bytes, unpack};
use crate::kernels::platform::Platform;
use crate::lanes::{self, Reading};

/// Reads planes; owns the scratch memory.
#[derive(Debug, Default)]
pub(crate) struct PlaneReader {
    /// Slots of the plane that was read last, if it had zeros apart or was a single stream.
    slots: Vec<u8>,
    payload: Vec<u8>,
}

/// A plane that is going to be read, with the book that its header names, if it names one, and how many bytes its lanes
/// carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaneToRead<'a> {
    pub(crate) header: PlaneHeader,
    pub(crate) shape: PlaneShape,
    pub(crate) book: Option<&'a Codebook>,
    pub(crate) carried: usize,
}

impl PlaneReader {
    /// Slots of the plane that was read last, if its header says that there are zeros: theirs is
    /// [`crate::codebook::ZERO_SLOT`]. Takes their memory, until it is given back.
    pub(crate) fn take_slots(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.slots)
    }

    /// Gives memory back.
    pub(crate) fn give_back(&mut self, slots: Vec<u8>) {
        self.slots = slots;
    }

    /// Reads the plane on top of the payload; `symbols` are resized.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what `docs/format.md`, section 7.4, forbids.
    pub(crate) fn read(
        &mut self,
        platform: Platform,
        plane: &PlaneToRead<'_>,
        payload: &mut PayloadReader<'_>,
        symbols: &mut Vec<u8>,
    ) -> Result<()> {
        let &PlaneToRead { header, shape: PlaneShape { width, count, .. }, carried, .. } = plane;
        match header {
            PlaneHeader::Raw => {
                let packed = payload.take(packed_bytes(count, width), &mut self.payload)?;
                symbols.resize(count, 0);
                check_padding(unpack(platform, packed, width, symbols))
            }
            PlaneHeader::Constant(symbol) => {
                symbols.clear();
                symbols.resize(count, symbol);
                Ok(())
            }
            PlaneHeader::Coded(coded) if coded.coder == Coder::Lanes && coded.zeros == 0 => {
                let mut lanes = self.open(platform, plane, payload)?;
                symbols.resize(count, 0);
                lanes.pull(symbols)?;
                payload.put_back(&lanes.finish()?, carried)?;
                check_width(platform, width, symbols)
            }
            PlaneHeader::Coded(coded) => {
                let book = plane.book.ok_or_else(super::header::no_book)?;
                let bytes = payload.take(coded.payload_bytes(), &mut self.payload)?;
                let (states, bytes) = bytes.split_at(coded.states_bytes());
                let (stream, escapes) = bytes.split_at(coded.stream_bytes);
                let slots = &mut self.slots;
                symbols.resize(count, 0);
                slots.resize(count, 0);
                if coded.coder == Coder::Lanes {
                    let bytes = lanes::decode_on(platform, book, states, stream, slots)?;
                    payload.put_back(&bytes, carried)?;
                } else {
                    // For a book that is used once the table is not worth making.
                    let several = match coded.book {
                        BookRef::Resident(_) => book.multi_symbol(),
                        BookRef::Embedded => None,
                    };
                    platform.run(
                        #[inline(always)]
                        || single::decode(book, several, stream, slots),
                    )?;
                }
                let what = (coded.base, coded.zeros);
                slots::to_symbols(platform, book, what, slots, escapes, symbols)?;
                // Also where the base puts a slot beyond what 5 bits hold.
                check_width(platform, width, symbols)
            }
        }
    }

    /// Two planes of two payloads, side by side if both are in lanes and have no zeros apart. The error may be that of
    /// either.
    pub(crate) fn read_two(
        [a, b]: [&mut Self; 2],
        platform: Platform,
        [plane_a, plane_b]: [&PlaneToRead<'_>; 2],
        [payload_a, payload_b]: [&mut PayloadReader<'_>; 2],
        [symbols_a, symbols_b]: [&mut Vec<u8>; 2],
    ) -> Result<()> {
        let in_lanes = |plane: &PlaneToRead<'_>| {
            plane.header.coded().is_some_and(|c| c.coder == Coder::Lanes && c.zeros == 0)
        };
        if !in_lanes(plane_a) || !in_lanes(plane_b) {
            a.read(platform, plane_a, payload_a, symbols_a)?;
            return b.read(platform, plane_b, payload_b, symbols_b);
        }
        let mut lanes_a = a.open(platform, plane_a, payload_a)?;
        let mut lanes_b = b.open(platform, plane_b, payload_b)?;
        symbols_a.resize(plane_a.shape.count, 0);
        symbols_b.resize(plane_b.shape.count, 0);
        let [pulled_a, pulled_b] =
            lanes::Decoder::pull_two([&mut lanes_a, &mut lanes_b], [symbols_a, symbols_b]);
        pulled_a.and(pulled_b)?;
        payload_a.put_back(&lanes_a.finish()?, plane_a.carried)?;
        payload_b.put_back(&lanes_b.finish()?, plane_b.carried)?;
        check_width(platform, plane_a.shape.width, symbols_a)?;
        check_width(platform, plane_b.shape.width, symbols_b)
    }

    /// The lanes of a plane without zeros apart.
    fn open<'s, 'a: 's>(
        &'s mut self,
        platform: Platform,
        plane: &PlaneToRead<'s>,
        payload: &mut PayloadReader<'a>,
    ) -> Result<lanes::Decoder<'s>> {
        let (Some(coded), Some(book)) = (plane.header.coded(), plane.book) else {
            return Err(super::header::no_book());
        };
        let bytes = payload.take(coded.payload_bytes(), &mut self.payload)?;
        let (states, bytes) = bytes.split_at(coded.states_bytes());
        let (stream, escapes) = bytes.split_at(coded.stream_bytes);
        let reading = Reading::Symbols { base: coded.base, escapes };
        lanes::Decoder::new(platform, book.tables(), reading, states, stream)
    }
}

/// An error where a symbol has more than `width` bits.
fn check_width(platform: Platform, width: u8, symbols: &[u8]) -> Result<()> {
    if is_beyond(platform, symbols, width) { Err(outside()) } else { Ok(()) }
}

/// An error where padding was found not to be 0.
pub(crate) fn check_padding(is_zero: bool) -> Result<()> {
    if is_zero { Ok(()) } else { Err(padding()) }
}

/// Whether a symbol has more than `width` bits.
pub(crate) fn is_beyond(platform: Platform, symbols: &[u8], width: u8) -> bool {
    width < 8 && platform.run(|| symbols.iter().fold(0, |all, symbol| all | symbol)) >> width != 0
}

/// The error of a symbol with more bits than the plane's symbols have.
#[cold]
pub(crate) fn outside() -> Error {
    Error::malformed(WHAT, 0, "a symbol outside the alphabet")
}

#[cold]
fn padding() -> Error {
    Error::malformed(WHAT, 0, "padding bits that are not zero")
}
