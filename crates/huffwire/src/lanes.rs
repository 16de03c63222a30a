//! The lane coder with codebooks: it codes a plane of slots in 64 lanes that share one stream.
//!
//! `docs/format.md`, section 6, says what is stored. The head of `kernels/lanes/mod.rs` tells how the coder works and
//! why the decoder always finds the words that the encoder emitted.

pub use crate::kernels::lanes::{CARRIED_BYTES, LANES, states_bytes, stream_capacity};
pub(crate) use crate::kernels::lanes::{
    CachePolicy, Decoder, Encoder, Escapes, Join, Reading, SlotMap, ToMerge, ToSplit, fuses,
    word_bytes, wrong_count,
};

use crate::codebook::Codebook;
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;

/// Encodes `slots` with the codes of `book`; returns the length of the stream in bytes.
///
/// `carried` are bytes that [`decode`] returns. `states` takes [`states_bytes`] bytes. `stream` needs
/// [`stream_capacity`] bytes; what lies beyond the returned length is left undefined. Uses
/// [`Platform::detect`].
///
/// # Errors
/// [`Error::OutputTooSmall`] when `states` or `stream` is too short, [`Error::InvalidCodebook`] when
/// a slot lies outside the book's alphabet.
pub fn encode(
    book: &Codebook,
    slots: &[u8],
    carried: &[u8; CARRIED_BYTES],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    encode_on(Platform::detect(), book, slots, carried, states, stream)
}

/// [`encode`] on a platform of the caller's choice.
///
/// # Errors
/// As [`encode`].
pub fn encode_on(
    platform: Platform,
    book: &Codebook,
    slots: &[u8],
    carried: &[u8; CARRIED_BYTES],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    let needed = states_bytes(book.limit());
    let available = states.len();
    let states = states.get_mut(..needed).ok_or(Error::OutputTooSmall { needed, available })?;
    let last = (book.lengths().alphabet().slots() - 1) as u8;
    let highest = platform.run(|| slots.iter().fold(0, |highest, &slot| slot.max(highest)));
    if highest > last {
        return Err(Error::codebook("a symbol outside the codebook's alphabet"));
    }
    let mut encoder = Encoder::new(platform, book.tables(), SlotMap::IDENTITY, carried, false);
    encoder.push(slots, stream, &mut Escapes::default())?;
    Ok(encoder.finish(states))
}

/// Decodes `slots.len()` slots; `states` and `stream` must be exactly what [`encode`] made. Returns its
/// `carried`. Uses [`Platform::detect`].
///
/// # Errors
/// [`Error::Malformed`] when a state has no sentinel, the stream ends too early, or the lanes do not
/// end where every encoder begins. The contents of `slots` are undefined after an error.
pub fn decode(
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<[u8; CARRIED_BYTES]> {
    decode_on(Platform::detect(), book, states, stream, slots)
}

/// [`decode`] on a platform of the caller's choice.
///
/// # Errors
/// As [`decode`].
pub fn decode_on(
    platform: Platform,
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<[u8; CARRIED_BYTES]> {
    let mut decoder = Decoder::new(platform, book.tables(), Reading::Slots, states, stream)?;
    decoder.pull(slots)?;
    decoder.finish()
}

#[cfg(test)]
mod tests;
