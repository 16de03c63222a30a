//! What compressing would save, found out without doing it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use huffwire::{Dtype, Encoder, Tensor, delta};

use crate::base::{Base, Place, Stored};
use crate::error::{Error, Result};
use crate::input::{Input, Piece};
use crate::writer::WriteOptions;

/// About what the directory has for each block and for each item, beside names.
const BYTES_A_BLOCK: u64 = 7;
const BYTES_AN_ITEM: u64 = 16;

/// What compressing some files would save.
#[derive(Debug, Clone, Default)]
pub struct Estimate {
    /// Elements of one type each, and the bytes around tensors.
    pub groups: Vec<Group>,
    /// The size of all files in bytes.
    pub raw_bytes: u64,
    /// The size that their .hw file would have, in bytes.
    pub file_bytes: u64,
}

/// All elements of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The type as the files spell it; `None` for the bytes around tensors.
    pub original_dtype: Option<String>,
    /// The type that they are coded as.
    pub dtype: Dtype,
    /// Whether they become deltas of a base.
    pub delta: bool,
    /// Number of tensors.
    pub tensors: u64,
    /// Their size in bytes.
    pub raw_bytes: u64,
    /// What they would take, in bytes.
    pub coded_bytes: u64,
    /// Bytes that were encoded to find this out: all of them, where this is `raw_bytes`.
    pub sampled_bytes: u64,
}

/// A piece of an input, and what it becomes a delta of.
#[derive(Clone, Copy)]
struct Part<'a> {
    input: &'a Input,
    piece: &'a Piece,
    base: Option<(&'a Base, Place)>,
}

/// The blocks of the pieces of one type.
struct Blocks<'a> {
    dtype: Dtype,
    delta: bool,
    block_bytes: u64,
    /// The pieces, and the number of blocks up to the end of each.
    pieces: Vec<(Part<'a>, u64)>,
    tensors: u64,
    raw_bytes: u64,
    /// The block that is encoded next, and how many were.
    next: u64,
    sampled: u64,
    sampled_bytes: u64,
    coded_bytes: u64,
}

impl<'a> Blocks<'a> {
    fn add(&mut self, part: Part<'a>) {
        let piece = part.piece;
        let blocks = self.count() + piece.bytes().div_ceil(self.block_bytes);
        self.pieces.push((part, blocks));
        self.tensors += u64::from(piece.tensor.is_some());
        self.raw_bytes += piece.bytes();
    }

    fn count(&self) -> u64 {
        self.pieces.last().map_or(0, |(_, end)| *end)
    }

    /// Encodes one more block; false if there is none.
    fn sample(&mut self, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<bool> {
        let count = self.count();
        if self.sampled == count {
            return Ok(false);
        }
        let at = self.pieces.partition_point(|(_, end)| *end <= self.next);
        let (Part { input, piece, base }, end) = self.pieces[at];
        let blocks = piece.bytes().div_ceil(self.block_bytes);
        let offset = (self.next - (end - blocks)) * self.block_bytes;
        let start = piece.range.start + offset;
        let bytes = input.file.read(start..piece.range.end.min(start + self.block_bytes))?;
        out.clear();
        let tensor = Tensor::new(piece.dtype, &bytes).named(piece.name());
        let failed = Error::codec(input.file.label(), format!("tensor {:?}", piece.name()));
        match base {
            None => encoder.encode_block(&tensor, out).map(drop).map_err(failed)?,
            Some((base, place)) => {
                let mut before = vec![0; bytes.len()];
                base.read(place, offset, &mut before)?;
                encoder.encode_delta_block(&before, &tensor, out).map(drop).map_err(failed)?;
            }
        }
        self.sampled += 1;
        self.sampled_bytes += bytes.len() as u64;
        self.coded_bytes += out.len() as u64;
        self.next = (self.next + stride(count)) % count;
        Ok(true)
    }

    fn group(self, original_dtype: Option<String>) -> Group {
        let coded = match self.sampled_bytes {
            0 => 0,
            sampled => {
                let all = u128::from(self.coded_bytes) * u128::from(self.raw_bytes);
                (all / u128::from(sampled)) as u64
            }
        };
        Group {
            original_dtype,
            dtype: self.dtype,
            delta: self.delta,
            tensors: self.tensors,
            raw_bytes: self.raw_bytes,
            coded_bytes: coded,
            sampled_bytes: self.sampled_bytes,
        }
    }
}

/// A step by which all blocks are reached, each once, and the first ones lie far apart wherever one stops.
fn stride(count: u64) -> u64 {
    let divides = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    // The golden ratio: of all steps, multiples of it are spread most evenly.
    let golden = (count as f64 * 0.618_033_988_75) as u64;
    (golden.max(1)..).find(|&step| divides(step, count)).unwrap_or(1)
}

/// Encodes a sample of the blocks of some files, and tells what all of them would take. Blocks are chosen evenly from
/// the tensors of each type, until `time` has passed or all were encoded.
///
/// ```
/// use std::time::Duration;
/// use huffwire_io::{Input, RawOptions, WriteOptions, estimate};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("x.bin");
/// std::fs::write(&path, [0x3f; 100_000])?;
/// let inputs = Input::open(&path, Some(&RawOptions::new(huffwire::Dtype::Bf16)))?;
/// let estimate = estimate(&inputs, &WriteOptions::default(), Duration::from_secs(1))?;
/// assert!(estimate.file_bytes < 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of reading, and [`Error::Codec`] for options that make no sense.
pub fn estimate(inputs: &[Input], options: &WriteOptions, time: Duration) -> Result<Estimate> {
    let started = Instant::now();
    let mut encoder = Encoder::new(options.codebooks.clone(), options.encode)
        .map_err(Error::codec("the options", ""))?;
    let mut groups: BTreeMap<(Option<&str>, u8, bool), Blocks<'_>> = BTreeMap::new();
    let mut names = 0;
    let is_only = inputs.iter().flat_map(Input::tensors).count() == 1;
    for input in inputs {
        for piece in &input.pieces {
            let base = options.base.as_ref().and_then(|base| {
                let place = base.find_like(&input.name, &Stored::of_piece(piece), is_only)?;
                Some((&**base, place))
            });
            let is_delta = base.is_some();
            let spelling = piece.tensor.as_ref().map(|tensor| tensor.dtype.as_str());
            let dtype = piece.dtype;
            let block_bytes = match is_delta {
                true => delta::block_bytes(dtype),
                false => huffwire::block::block_bytes(dtype, options.encode.block_log2),
            };
            let block_bytes = block_bytes as u64;
            let group =
                groups.entry((spelling, dtype.number(), is_delta)).or_insert_with(|| Blocks {
                    dtype,
                    delta: is_delta,
                    block_bytes,
                    pieces: Vec::new(),
                    tensors: 0,
                    raw_bytes: 0,
                    next: 0,
                    sampled: 0,
                    sampled_bytes: 0,
                    coded_bytes: 0,
                });
            group.add(Part { input, piece, base });
            names += piece.name().len() as u64 + BYTES_AN_ITEM;
        }
    }
    let mut out = Vec::new();
    let mut is_first = true;
    'sample: loop {
        let mut is_done = true;
        for blocks in groups.values_mut() {
            // Each type has a block encoded at least.
            if !is_first && started.elapsed() >= time {
                break 'sample;
            }
            is_done &= !blocks.sample(&mut encoder, &mut out)?;
        }
        if is_done {
            break;
        }
        is_first = false;
    }
    let blocks: u64 = groups.values().map(Blocks::count).sum();
    let groups = groups.into_iter();
    let groups = groups.map(|((spelling, ..), blocks)| blocks.group(spelling.map(str::to_owned)));
    let groups: Vec<Group> = groups.collect();
    let coded: u64 = groups.iter().map(|group| group.coded_bytes).sum();
    Ok(Estimate {
        raw_bytes: groups.iter().map(|group| group.raw_bytes).sum(),
        file_bytes: coded + BYTES_A_BLOCK * blocks + names,
        groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_reached_once() {
        for count in [1u64, 2, 3, 10, 97, 1000, 4096] {
            let mut seen: Vec<u64> = (0..count).map(|i| i * stride(count) % count).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
