//! Encoder and decoder of a plane, on any platform.

use super::{
    CARRIED_BYTES, DecodeLanes, EncodeLanes, Escaped, Escapes, Reading, SlotMap, ToMerge, ToSplit,
    states_bytes,
};
use crate::error::{Error, Result};
use crate::kernels::platform::{DecoderOf, EncoderOf, Platform};
use crate::kernels::tables::Tables;

/// Encoder of a plane, piece by piece, **the last piece first**.
#[derive(Debug)]
pub(crate) struct Encoder<'t> {
    coder: EncoderOf<'t>,
    /// Bytes in the stream.
    end: usize,
}

impl<'t> Encoder<'t> {
    /// Lanes that carry some bytes; `keep_escapes` says whether [`Encoder::push`] collects what
    /// takes the escape.
    // In place: lanes are large, and moving them takes as long as encoding some of what they hold.
    #[inline(always)]
    pub(crate) fn new(
        platform: Platform,
        tables: &'t Tables,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self {
        Self { coder: EncoderOf::new(platform, tables, map, carried, keep_escapes), end: 0 }
    }

    /// Encodes a piece, which goes before those pushed so far. All pieces but the first one pushed, the
    /// plane's last, must be whole steps.
    ///
    /// `stream` is the same slice in all calls; it needs [`stream_capacity`](super::stream_capacity).
    ///
    /// # Errors
    /// [`Error::OutputTooSmall`] when it does not have it.
    pub(crate) fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        escapes: &mut Escapes,
    ) -> Result<()> {
        self.coder.push(symbols, stream, &mut self.end, escapes)
    }

    /// Splits elements on the way. Only where the platform [`fuses`](super::fuses). `false` when a bit is set that
    /// has no place in either plane.
    ///
    /// # Errors
    /// As [`Encoder::push`].
    pub(crate) fn push_split(
        &mut self,
        elements: ToSplit<'_>,
        stream: &mut [u8],
        escapes: &mut Escapes,
    ) -> Result<bool> {
        self.coder.push_split(elements, stream, &mut self.end, escapes)
    }

    /// Writes the [`states_bytes`]; returns the length of the stream in bytes.
    pub(crate) fn finish(&self, states: &mut [u8]) -> usize {
        self.coder.finish(states);
        self.end
    }
}

/// Decoder of a plane, piece by piece, the first piece first.
#[derive(Debug)]
pub(crate) struct Decoder<'t> {
    coder: DecoderOf<'t>,
    escaped: Escaped<'t>,
}

impl<'t> Decoder<'t> {
    /// Lanes as [`Encoder::finish`] left them.
    ///
    /// # Errors
    /// [`Error::Truncated`] for states of the wrong size, [`Error::Malformed`] for one without a
    /// sentinel.
    #[inline]
    pub(crate) fn new(
        platform: Platform,
        tables: &'t Tables,
        reading: Reading<'t>,
        states: &[u8],
        stream: &'t [u8],
    ) -> Result<Self> {
        let (needed, available) = (states_bytes(tables.limit()), states.len());
        if available != needed {
            return Err(Error::Truncated { what: "lane states", offset: 0, needed, available });
        }
        let coder = DecoderOf::new(platform, tables, reading, states, stream)?;
        Ok(Self { coder, escaped: Escaped::new(tables, reading) })
    }

    /// Decodes the next piece. All pieces but the last one must be whole steps.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the stream ends too early. The contents of `symbols` are undefined then.
    pub(crate) fn pull(&mut self, symbols: &mut [u8]) -> Result<()> {
        self.coder.pull(&mut self.escaped, symbols)
    }

    /// [`Decoder::pull`] for two planes at a time, which a processor can do side by side.
    pub(crate) fn pull_two(
        [first, second]: [&mut Self; 2],
        symbols: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        let escaped = [&mut first.escaped, &mut second.escaped];
        DecodeLanes::pull_two([&mut first.coder, &mut second.coder], escaped, symbols)
    }

    /// Puts elements together on the way. Only where the platform [`fuses`](super::fuses).
    ///
    /// # Errors
    /// As [`Decoder::pull`].
    pub(crate) fn pull_merged(&mut self, elements: ToMerge<'_>) -> Result<()> {
        self.coder.pull_merged(&mut self.escaped, elements)
    }

    /// [`Decoder::pull_merged`] for two planes at a time, which are joined in the same way.
    pub(crate) fn pull_merged_of_two(
        [first, second]: [&mut Self; 2],
        elements: [ToMerge<'_>; 2],
    ) -> [Result<()>; 2] {
        let escaped = [&mut first.escaped, &mut second.escaped];
        DecodeLanes::pull_merged_of_two([&mut first.coder, &mut second.coder], escaped, elements)
    }

    /// Checks the end; returns what the lanes carried.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the lanes do not end where every encoder begins, or the escapes were too few
    /// or too many, or there were zeros among the symbols.
    pub(crate) fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        let carried = self.coder.finish()?;
        self.escaped.finish()?;
        Ok(carried)
    }
}
