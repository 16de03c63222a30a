//! Cutting a tensor into shards along an axis.

use std::ops::Range;

use huffwire::Dtype;

use crate::input::Tensor;
use crate::options::Options;

/// The way in which a tensor is cut. In memory its bytes are rows, and each row has a run of bytes of each shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The ends of the shards' runs within a row; the last is the length of a row.
    ends: Vec<u64>,
}

impl Cut {
    /// The whole tensor as one shard.
    fn whole(bytes: u64) -> Self {
        Self { ends: vec![bytes.max(1)] }
    }

    /// How the options cut a tensor. One that has no such axis, or not enough elements along it, or that would be cut
    /// within a unit, stays whole.
    pub(crate) fn of(tensor: &Tensor<'_>, options: &Options) -> Self {
        let cut = along(&tensor.info.shape, tensor.dtype, options);
        cut.unwrap_or_else(|| Self::whole(tensor.bytes))
    }

    /// Number of shards.
    pub(crate) fn shards(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Bytes of a row.
    pub(crate) fn row(&self) -> u64 {
        self.ends.last().copied().unwrap_or(1)
    }

    /// The runs of a range of a tensor's bytes, in order: their shards, and where they are, counted from the start of the
    /// range.
    pub(crate) fn runs(&self, range: Range<u64>) -> impl Iterator<Item = (u32, Range<usize>)> + '_ {
        let mut at = range.start;
        let mut shard = self.ends.partition_point(|end| *end <= at % self.row());
        std::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let end = (at - at % self.row() + self.ends[shard]).min(range.end);
            let run = (shard as u32, (at - range.start) as usize..(end - range.start) as usize);
            shard = if shard + 1 < self.ends.len() { shard + 1 } else { 0 };
            at = end;
            Some(run)
        })
    }
}

fn along(shape: &[u64], dtype: Dtype, options: &Options) -> Option<Cut> {
    let shards = u64::from(options.shards.get());
    let axis = if options.axis < 0 { options.axis + shape.len() as i64 } else { options.axis };
    let axis = usize::try_from(axis).ok()?;
    let &length = shape.get(axis)?;
    if shards < 2 || length < shards {
        return None;
    }
    let inner = shape[axis + 1..].iter().try_fold(1u64, |all, &size| all.checked_mul(size))?;
    let end = |shard: u64| {
        let elements = u128::from(length) * u128::from(shard) / u128::from(shards);
        dtype.bytes_of(u64::try_from(elements).ok()?.checked_mul(inner)?)
    };
    Some(Cut { ends: (1..=shards).map(end).collect::<Option<_>>()? }).filter(|cut| cut.row() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{File, InMemory};

    fn cut(shape: &[u64], dtype: Dtype, shards: u32, axis: i64) -> Cut {
        let bytes = vec![0; dtype.bytes_of(shape.iter().product()).unwrap() as usize];
        let file = File::in_memory("x", vec![InMemory::new("x", dtype, shape, &bytes)]);
        Cut::of(&file.tensors()[0], &options(shards, axis))
    }

    fn options(shards: u32, axis: i64) -> Options {
        Options { shards: shards.try_into().unwrap(), axis, ..Options::default() }
    }

    fn runs(cut: &Cut, range: Range<u64>) -> Vec<(u32, Range<usize>)> {
        cut.runs(range).collect()
    }

    #[test]
    fn the_first_axis_is_cut_into_consecutive_bytes() {
        let cut = cut(&[5, 2], Dtype::Bf16, 2, 0);
        assert_eq!(runs(&cut, 0..20), [(0, 0..8), (1, 8..20)]);
    }

    #[test]
    fn the_last_axis_is_cut_in_every_row() {
        let cut = cut(&[2, 3], Dtype::Bf16, 3, -1);
        let all = [(0, 0..2), (1, 2..4), (2, 4..6), (0, 6..8), (1, 8..10), (2, 10..12)];
        assert_eq!(runs(&cut, 0..12), all);
        // From the middle of a run on.
        assert_eq!(runs(&cut, 3..8), [(1, 0..1), (2, 1..3), (0, 3..5)]);
        assert_eq!(cut.shards(), 3);
    }

    #[test]
    fn what_cannot_be_cut_stays_whole() {
        for (shape, dtype, shards, axis) in [
            (&[4u64][..], Dtype::Bf16, 2, 1),
            (&[3, 9], Dtype::Bf16, 4, 0),
            (&[3, 9], Dtype::Bf16, 1, 0),
            (&[], Dtype::F32, 2, -1),
            (&[2, 2], Dtype::E2m1, 2, -1),
            (&[0, 8], Dtype::F32, 2, -1),
        ] {
            let cut = cut(shape, dtype, shards, axis);
            let whole = if shape.contains(&0) { cut.shards() } else { 1 };
            assert_eq!(cut.shards(), whole, "{shape:?}");
            let covered: usize = runs(&cut, 0..40).iter().map(|(_, run)| run.len()).sum();
            assert_eq!(covered, 40);
        }
    }
}
