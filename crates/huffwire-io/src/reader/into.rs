//! Decoding straight into memory that the caller gives.

use std::ops::Range;

use huffwire::file::{EntryRef, Item};
use huffwire::{CodedBlock, Decoder, Kind};

use super::{BlockJob, Reader, describe};
use crate::error::{Error, Result};
use crate::workers::Workers;

/// A box of elements of a tensor: a range of each dimension.
///
/// Its elements, taken in the order of the tensor, are consecutive in the memory that they are decoded to.
///
/// ```
/// use huffwire_io::Region;
///
/// // Two columns of a matrix of 4 rows and 6 columns, whose elements have 2 bytes.
/// let region = Region::new(48, &[4, 6], &[0..4, 1..3])?;
/// assert_eq!(region.bytes(), 4 * 2 * 2);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Outermost first; the last one is the bytes of an element.
    axes: Vec<Axis>,
    bytes: u64,
    /// The item has so many bytes.
    whole: u64,
}

/// A dimension, and the range of it that belongs to a region.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Axis {
    range: Range<u64>,
    /// Bytes from one place to the next: in the item, and in the region.
    item_step: u64,
    region_step: u64,
    /// Bytes that lie side by side in both: those of the range, if all dimensions within are whole.
    run: u64,
}

impl Region {
    /// All of an item of so many bytes.
    #[must_use]
    pub fn all(bytes: u64) -> Self {
        let axis = Axis { range: 0..bytes, item_step: 1, region_step: 1, run: bytes };
        Self { axes: vec![axis], bytes, whole: bytes }
    }

    /// The elements whose place lies in the range of each dimension, of a tensor of so many bytes.
    ///
    /// # Errors
    /// A text that says what does not fit: the shape and the bytes, or the ranges and the shape.
    pub fn new(
        bytes: u64,
        shape: &[u64],
        ranges: &[Range<u64>],
    ) -> std::result::Result<Self, String> {
        if shape.len() != ranges.len() {
            return Err(format!("{} ranges for {} dimensions", ranges.len(), shape.len()));
        }
        for (range, &size) in ranges.iter().zip(shape) {
            if range.start > range.end || range.end > size {
                return Err(format!("the range {range:?} reaches outside a dimension of {size}"));
            }
        }
        let wrong =
            || format!("{bytes} bytes are no whole number for each element of shape {shape:?}");
        let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
        let unit = match elements {
            // Of no elements; where a dimension is 0 the others may be anything.
            Some(0) | None if shape.contains(&0) && bytes == 0 => return Ok(Self::all(0)),
            Some(count) if count > 0 && bytes.is_multiple_of(count) => bytes / count,
            _ => return Err(wrong()),
        };
        let (mut item_step, mut region_step) = (1, 1);
        let mut axes = Vec::new();
        // From the innermost dimension outwards. Nothing overflows: no product exceeds the bytes of the item.
        let inner = std::iter::once((0..unit, unit));
        let outer = ranges.iter().cloned().zip(shape.iter().copied()).rev();
        for (range, size) in inner.chain(outer) {
            let count = range.end - range.start;
            // As long as all within is whole, steps in the item and in the region are the same.
            let run = if item_step == region_step { count * region_step } else { 0 };
            axes.push(Axis { range, item_step, region_step, run });
            item_step *= size;
            region_step *= count;
        }
        axes.reverse();
        Ok(Self { axes, bytes: region_step, whole: bytes })
    }

    /// Size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes of the region lie before this offset in the item.
    fn before(&self, offset: u64) -> u64 {
        if self.bytes == 0 || offset == 0 {
            return 0;
        }
        let (mut left, mut count) = (offset, 0);
        for axis in &self.axes {
            let index = left / axis.item_step;
            left %= axis.item_step;
            let Range { start, end } = axis.range;
            count += (index.clamp(start, end) - start) * axis.region_step;
            if index < start || index >= end {
                break;
            }
        }
        count
    }

    /// The longest run of bytes that begins at this byte of the region: its offset in the item, and its length.
    fn run(&self, place: u64) -> (u64, u64) {
        let (mut left, mut offset, mut run) = (place, 0, 0);
        for axis in &self.axes {
            // The outermost axis within which all is whole has the longest runs.
            if run == 0 && axis.run > 0 {
                run = axis.run - left % axis.run;
            }
            offset += (axis.range.start + left / axis.region_step) * axis.item_step;
            left %= axis.region_step;
        }
        (offset, run)
    }
}

/// Elements of a tensor, and the memory that they are decoded to.
#[derive(Debug)]
pub struct Destination<'d, 'm> {
    /// The tensor: an item of the reader's directory.
    pub item: &'d Item,
    /// Which of its elements.
    pub region: Region,
    /// As many bytes as the region has.
    pub memory: &'m mut [u8],
}

/// What a thread decodes with. Kept for later calls.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) decoder: Decoder,
    pub(super) coded: Vec<u8>,
    pub(super) raw: Vec<u8>,
    /// The base of a block of a delta.
    pub(super) base: Vec<u8>,
}

impl From<Decoder> for Spare {
    fn from(decoder: Decoder) -> Self {
        Self { decoder, coded: Vec::new(), raw: Vec::new(), base: Vec::new() }
    }
}

/// A block, and the memory of those of its bytes that belong to a region.
struct Job<'d, 'm> {
    block: BlockJob<'d>,
    region: &'d Region,
    /// The place of the memory in the region.
    from: u64,
    memory: &'m mut [u8],
}

impl Job<'_, '_> {
    /// Copies from the decoded block what belongs to the region.
    fn copy(&mut self, raw: &[u8]) {
        let mut done = 0;
        while done < self.memory.len() {
            let (offset, run) = self.region.run(self.from + done as u64);
            let start = (offset - self.block.block.raw_offset) as usize;
            let length = (run as usize).min(self.memory.len() - done);
            self.memory[done..done + length].copy_from_slice(&raw[start..start + length]);
            done += length;
        }
    }
}

/// The blocks that hold bytes of the region, each with its part of the memory.
fn jobs_of<'d>(to: &'d mut Destination<'_, '_>) -> impl Iterator<Item = Job<'d, 'd>> + Send {
    let Destination { item, region, memory } = to;
    let region = &*region;
    let (mut rest, mut from) = (&mut **memory, 0);
    let parts = Reader::blocks(item).map(move |block| {
        let EntryRef { raw_offset, raw_bytes, .. } = block.block;
        let to = region.before(raw_offset + raw_bytes as u64);
        let (part, behind) = std::mem::take(&mut rest).split_at_mut((to - from) as usize);
        rest = behind;
        let job = Job { block, region, from, memory: part };
        from = to;
        job
    });
    parts.filter(|job| !job.memory.is_empty())
}

impl Reader {
    /// Decodes tensors, or parts of them, straight into memory. Blocks that hold nothing of a region are not read. No
    /// tensor is copied and no memory is taken but for a few blocks for each thread.
    ///
    /// The work is done on `workers`, not on those of [`ReadOptions`](super::ReadOptions), so that a reader can live
    /// longer than threads. `progress` is called on the calling thread with the number of bytes done since its last
    /// call; its error ends the work. After an error the contents of the memory are undefined.
    ///
    /// # Errors
    /// [`Error::Range`] when memory and region differ in size, or region and item; [`Error::TooLarge`] when all
    /// regions together exceed [`ReadOptions::max_size`](super::ReadOptions::max_size);
    /// [`Error::CodebooksMissing`]; [`Error::Codec`] when a block is damaged; [`Error::Io`].
    pub fn decode_into<E: From<Error> + Send>(
        &self,
        workers: &Workers,
        destinations: &mut [Destination<'_, '_>],
        mut progress: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_destinations(destinations)?;
        // Quantized values depend on what lies before them, so their blocks are restored in order.
        let (plain, mut values): (Vec<_>, Vec<_>) = destinations
            .iter_mut()
            .partition(|to| matches!(to.item.kind, Kind::Tensor | Kind::Delta));
        let jobs = plain.into_iter().flat_map(jobs_of);
        let work = |job: &mut Job<'_, '_>| {
            self.decode_job(job)?;
            Ok::<_, Error>(job.memory.len() as u64)
        };
        workers.run_in_place(jobs, work, &mut progress)?;
        for to in &mut values {
            let mut jobs: Vec<_> = jobs_of(to).collect();
            let blocks: Vec<_> = jobs.iter().map(|job| job.block).collect();
            let mut at = 0;
            self.decode_blocks(blocks.into_iter(), |_, decoded| {
                let job = &mut jobs[at];
                at += 1;
                job.copy(decoded?);
                progress(job.memory.len() as u64)
            })?;
        }
        Ok(self.check_length()?)
    }

    fn check_destinations(&self, destinations: &[Destination<'_, '_>]) -> Result<()> {
        let mut total = 0u64;
        for Destination { item, region, memory } in destinations {
            if region.bytes != memory.len() as u64 || region.whole != item.raw_bytes {
                let detail = format!(
                    "{} of {} bytes in memory for {} of {} bytes in the file",
                    memory.len(),
                    region.whole,
                    region.bytes,
                    item.raw_bytes
                );
                let name = item.tensor.as_ref().map_or("", |tensor| &tensor.name).to_owned();
                return Err(Error::Range { path: self.file.label().to_owned(), name, detail });
            }
            self.codebooks_of(item)?;
            if item.raw_bytes == 0 {
                self.check_kind_header(item)?;
            }
            total = total.saturating_add(region.bytes);
        }
        match destinations {
            [one] => self.check_size(|| describe(one.item), total),
            several => self.check_size(|| format!("{} tensors", several.len()), total),
        }
    }

    fn decode_job(&self, job: &mut Job<'_, '_>) -> Result<()> {
        let BlockJob { item, block, .. } = job.block;
        let set = self.codebooks_of(item)?.id();
        let mut spare = self.spare()?;
        let Spare { decoder, coded, raw, base } = &mut spare;
        let result = self.read_coded(&block, coded).and_then(|()| {
            let coded =
                CodedBlock { dtype: item.dtype, set, checksum: block.checksum, bytes: coded };
            if job.memory.len() == block.raw_bytes {
                return self.decode_coded(&job.block, &coded, (decoder, base), job.memory);
            }
            raw.resize(block.raw_bytes, 0);
            self.decode_coded(&job.block, &coded, (decoder, base), raw)?;
            job.copy(raw);
            Ok(())
        });
        self.keep(spare);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    /// The bytes of a region one by one, by the definition.
    fn offsets(shape: &[u64], ranges: &[Range<u64>], unit: u64) -> Vec<u64> {
        let elements = shape.iter().product::<u64>();
        let inside = |element: &u64| {
            let mut left = *element;
            shape.iter().zip(ranges).rev().all(|(&size, range)| {
                let index = left % size;
                left /= size;
                range.contains(&index)
            })
        };
        let bytes = |element: u64| element * unit..(element + 1) * unit;
        (0..elements).filter(inside).flat_map(bytes).collect()
    }

    #[test]
    fn regions_are_boxes() {
        let cases: [(&[u64], &[Range<u64>]); 9] = [
            (&[], &[]),
            (&[7], from_ref(&(2..5))),
            (&[7], from_ref(&(3..3))),
            (&[4, 6], &[1..3, 0..6]),
            (&[4, 6], &[0..4, 1..3]),
            (&[3, 4, 5], &[0..3, 1..3, 0..5]),
            (&[3, 4, 5], &[2..3, 3..4, 4..5]),
            (&[3, 1, 5, 2], &[1..3, 0..1, 2..4, 1..2]),
            (&[2, 3, 4], &[0..2, 0..3, 0..4]),
        ];
        for (shape, ranges) in cases {
            for unit in [1, 2, 8] {
                let bytes = shape.iter().product::<u64>() * unit;
                let region = Region::new(bytes, shape, ranges).unwrap();
                let expected = offsets(shape, ranges, unit);
                assert_eq!(region.bytes(), expected.len() as u64, "{shape:?} {ranges:?}");
                for offset in 0..=bytes {
                    let before = expected.iter().filter(|&&byte| byte < offset).count();
                    assert_eq!(
                        region.before(offset),
                        before as u64,
                        "{shape:?} {ranges:?} {offset}"
                    );
                }
                let mut found = Vec::new();
                while (found.len() as u64) < region.bytes() {
                    let (offset, run) = region.run(found.len() as u64);
                    assert!(run > 0);
                    found.extend(offset..offset + run);
                }
                assert_eq!(found, expected, "{shape:?} {ranges:?}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (bytes, shape, ranges) in [
            (12, &[3, 2][..], from_ref(&(0..3))),
            (12, &[3, 2], &[0..3, 0..3]),
            (13, &[3, 2], &[0..3, 0..2]),
            (12, &[u64::MAX, u64::MAX], &[0..1, 0..1]),
            (12, &[0], from_ref(&(0..0))),
        ] {
            assert!(Region::new(bytes, shape, ranges).is_err(), "{bytes} {shape:?} {ranges:?}");
        }
        assert_eq!(Region::new(0, &[u64::MAX, 9, 0], &[0..1, 0..9, 0..0]).unwrap().bytes(), 0);
    }
}
