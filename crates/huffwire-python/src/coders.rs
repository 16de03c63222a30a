//! Encoders and decoders of the calling thread, with their scratch memory, kept for its next call.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::LocalKey;

use huffwire::{CodebookSet, Decoder, Encoder, Error};
use pyo3::prelude::*;

use crate::error::of_codec;
use crate::options::Encoding;

/// How many encoders, and how many decoders, a thread keeps: those that it used last.
const KEPT: usize = 4;

/// Scratch memory that is larger is given back after the call.
const KEPT_BYTES: usize = 64 << 20;

type Home<T> = RefCell<Vec<T>>;

thread_local! {
    static ENCODERS: Home<KeptEncoder> = const { RefCell::new(Vec::new()) };
    static DECODERS: Home<KeptDecoder> = const { RefCell::new(Vec::new()) };
    static SCRATCH: Home<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct KeptEncoder {
    set: Arc<CodebookSet>,
    encoder: Encoder,
}

struct KeptDecoder {
    /// Those that were given; the decoder has the built-in set, too.
    sets: Vec<Arc<CodebookSet>>,
    decoder: Decoder,
}

/// Calls `work` with something that the thread keeps; makes it if there is none that fits.
///
/// During the call the thread does not have it: Python code that runs in between (a finalizer) may call huffwire, too.
fn lend<T, R>(
    home: &'static LocalKey<Home<T>>,
    fits: impl Fn(&T) -> bool,
    make: impl FnOnce() -> PyResult<T>,
    work: impl FnOnce(&mut T) -> R,
) -> PyResult<R> {
    let found = home.with_borrow_mut(|kept| {
        let place = kept.iter().rposition(fits)?;
        Some(kept.remove(place))
    });
    let mut value = found.map_or_else(make, Ok)?;
    let result = work(&mut value);
    home.with_borrow_mut(|kept| {
        kept.push(value);
        if kept.len() > KEPT {
            kept.remove(0);
        }
    });
    Ok(result)
}

/// Calls `work` with an encoder of this thread.
///
/// # Errors
/// Those of the encoder's options, and of `work`.
pub(crate) fn with_encoder<R>(
    encoding: &Encoding,
    work: impl FnOnce(&mut Encoder) -> PyResult<R>,
) -> PyResult<R> {
    let Encoding { set, options } = encoding;
    let fits =
        |kept: &KeptEncoder| Arc::ptr_eq(&kept.set, set) && kept.encoder.options() == options;
    let make = || {
        let encoder = Encoder::new(Arc::clone(set), *options).map_err(of_codec)?;
        Ok(KeptEncoder { set: Arc::clone(set), encoder })
    };
    lend(&ENCODERS, fits, make, |kept| work(&mut kept.encoder))?
}

/// Calls `work` with a decoder of this thread that holds these sets and the built-in one.
///
/// # Errors
/// `CodebookError` for different sets that look alike to a message, and those of `work`.
pub(crate) fn with_decoder<R>(
    sets: &[Arc<CodebookSet>],
    work: impl FnOnce(&mut Decoder) -> PyResult<R>,
) -> PyResult<R> {
    let fits = |kept: &KeptDecoder| {
        kept.sets.len() == sets.len()
            && kept.sets.iter().zip(sets).all(|(kept, set)| Arc::ptr_eq(kept, set))
    };
    let make = || {
        let all = sets
            .iter()
            .try_fold(Decoder::builtin(), |decoder, set| decoder.with_set(Arc::clone(set)));
        Ok(KeptDecoder { sets: sets.to_vec(), decoder: all.map_err(of_codec)? })
    };
    lend(&DECODERS, fits, make, |kept| work(&mut kept.decoder))?
}

/// Calls `work` with scratch memory of this thread, of any length.
///
/// # Errors
/// Those of `work`.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> PyResult<R>) -> PyResult<R> {
    lend(
        &SCRATCH,
        |_| true,
        || Ok(Vec::new()),
        |scratch| {
            let result = work(scratch);
            if scratch.capacity() > KEPT_BYTES {
                *scratch = Vec::new();
            }
            result
        },
    )?
}

/// Makes the scratch memory at least so long.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn lengthen(scratch: &mut Vec<u8>, bytes: usize) -> Result<(), Error> {
    if let Some(more) = bytes.checked_sub(scratch.len()) {
        let none = Error::OutOfMemory { what: "a message", bytes: bytes as u64 };
        scratch.try_reserve_exact(more).map_err(|_| none)?;
        scratch.resize(bytes, 0);
    }
    Ok(())
}
