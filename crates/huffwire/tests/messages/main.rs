//! Messages as senders and receivers use them: typed, in contexts, in parts, from streams, by several codebook sets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod bounds;
mod contexts;
mod expected;
#[path = "../forge/mod.rs"]
mod forge;
mod places;
mod ranges;
mod sets;
mod streams;
mod typed;

use huffwire::{
    CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, Error, Expected, MessageReader, POISON,
    Result, StreamError, Tensor,
};
use huffwire_testing::{Random, noise};
use proptest::prelude::*;

use forge::whole;

fn any_dtype() -> impl Strategy<Value = Dtype> {
    prop::sample::select(Dtype::all().collect::<Vec<_>>())
}

fn encoder(options: EncodeOptions) -> Encoder {
    Encoder::new(CodebookSet::builtin(), options).unwrap()
}

fn blocks_of(log2: u8) -> EncodeOptions {
    EncodeOptions::default().block_log2(log2)
}

/// Whole values of a type, at most so many units: noise, zeros and values with a peak take turns.
fn tensor(dtype: Dtype, units: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let unit = dtype.unit_bytes();
    let mut bytes = Vec::new();
    for index in 0..whole(dtype, units) {
        let bits = random.bits();
        let peak = 0x3c00_3c00_3c00_3c00 | bits >> 3 & 0x83ff_00ff_83ff_00ff;
        let value = [bits, 0, peak, peak][index / 300 % 4];
        bytes.extend_from_slice(&value.to_le_bytes()[..unit]);
    }
    bytes
}

/// Decodes a message in every way there is. They must agree, and after an error leave nothing but poison.
#[track_caller]
fn decode(message: &[u8], expected: &Expected, bytes: usize) -> Result<Vec<u8>> {
    let mut decoder = Decoder::builtin();
    let in_vector = decoder.decode_expected_to_vec(message, expected).map(|(_, bytes)| bytes);
    let mut out = vec![0x11; bytes];
    let in_place = decoder.decode_expected(message, expected, &mut out).map(|_| out.clone());
    assert_eq!(in_place, in_vector);
    let is_poisoned = |out: &[u8]| out.iter().all(|&byte| byte == POISON);
    assert!(in_place.is_ok() || is_poisoned(&out));
    let mut out = vec![0x11; bytes];
    let ranged = decoder.decode_range(message, expected, 0..bytes, &mut out).map(|_| out.clone());
    assert_eq!(ranged, in_vector);
    assert!(ranged.is_ok() || is_poisoned(&out));
    let mut out = vec![0x11; bytes];
    match MessageReader::new(message, decoder).read_expected(expected, &mut out) {
        Ok(()) => assert_eq!(Ok(out), in_vector),
        Err(StreamError::Message(error)) => {
            assert_eq!(Err(error), in_vector);
            assert!(is_poisoned(&out));
        }
        Err(other) => panic!("{other} of a stream, {in_vector:?} of a message"),
    }
    in_vector
}

/// The error inside a block, and the number of the block.
#[track_caller]
fn inside(error: Error) -> (u64, Error) {
    match error {
        Error::InBlock { index, source } => (index, *source),
        other => panic!("no error of a block: {other}"),
    }
}
