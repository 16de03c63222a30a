//! Damaged, forged and mistaken input: always a typed error that says what is wrong and where,
//! never a panic, never a byte handed out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic says what does not hold.

mod blocks;
mod carried;
mod codebook_sets;
mod encoding;
mod files;
#[path = "../forge/mod.rs"]
mod forge;
mod messages;

use std::sync::Arc;

use forge::{builtin_block, crc32c, entries_of, mend_message, message_of, small_set};
use huffwire::codebook::{Alphabet, CodeLimit, Lengths, WINDOW};
use huffwire::file::{self, Directory, NewItem, TensorInfo, Writer};
use huffwire::message::{self, Header, Kind};
use huffwire::{Binding, SetBuilder};
use huffwire::{
    CodebookSet, CodedBlock, Decoder, Dtype, EncodeOptions, Encoder, Error, Expected, Layout,
    POISON, Result, Tensor, delta,
};

/// The elements that most tests here are about: zeros, ordinary values, and some that take the
/// escape.
fn tensor(units: u16) -> Vec<u8> {
    let value = |i: u16| match i.wrapping_mul(40_503) >> 10 {
        mixed if mixed % 3 == 0 => 0,
        mixed if mixed % 17 == 1 => 0x0100 | mixed,
        mixed => 0x3c00 + (mixed << 5) % 0x0600 + mixed % 31,
    };
    (0..units).flat_map(|i| value(i).to_le_bytes()).collect()
}

fn options(checksums: bool) -> EncodeOptions {
    EncodeOptions::default().checksums(checksums).block_log2(10)
}

fn encoder(checksums: bool) -> Encoder {
    Encoder::new(CodebookSet::builtin(), options(checksums)).unwrap()
}

/// A message of three blocks, and what it decodes to.
fn sample_message(checksums: bool) -> (Vec<u8>, Vec<u8>) {
    let tensor = tensor(1200);
    let message = encoder(checksums).encode_to_vec(Dtype::Bf16, &tensor).unwrap();
    assert!(message.len() < tensor.len());
    (message, tensor)
}

/// Decodes into a buffer of that size, and checks that an error leaves only poison.
fn decode(message: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut out = vec![0x11; size];
    let decoded = Decoder::builtin().decode(message, &mut out);
    if decoded.is_err() {
        assert!(out.iter().all(|&byte| byte == POISON), "an error left data in the buffer");
    }
    decoded.map(|_| out)
}

fn decode_error(message: &[u8], size: usize) -> Error {
    decode(message, size).expect_err("this message must be refused")
}

/// The error inside a block, and the number of the block.
#[track_caller]
fn inside(error: Error) -> (u64, Error) {
    match error {
        Error::InBlock { index, source } => (index, *source),
        other => panic!("no error of a block: {other}"),
    }
}

/// Checks the text of an error, which must name what and where.
#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

/// Checks that the error is a malformed field at this offset, described so.
#[track_caller]
fn malformed(error: &Error, at: usize, words: &[&str]) {
    let Error::Malformed { offset, .. } = error else {
        panic!("{error} ({error:?}) is not about a malformed field");
    };
    assert_eq!(*offset, at, "{error}");
    says(error, &["malformed at offset", &at.to_string()]);
    says(error, words);
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    changed
}

fn with(bytes: &[u8], at: usize, change: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at..at + change.len()].copy_from_slice(change);
    changed
}
