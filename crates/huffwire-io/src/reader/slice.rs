//! Ranges of elements.

use std::ops::{Bound, Range, RangeBounds};

use huffwire::file::Item;

use super::Reader;
use crate::error::{Error, Result};

/// A part of a tensor.
pub(super) struct Slice {
    pub(super) bytes: Range<u64>,
    pub(super) shape: Vec<u64>,
}

impl Reader {
    /// The bytes of some elements of an item, counted from 0, and the shape that they have.
    pub(super) fn slice(&self, item: &Item, range: &impl RangeBounds<u64>) -> Result<Slice> {
        let shape = item.tensor.as_ref().map(|tensor| tensor.shape.clone()).unwrap_or_default();
        if is_full(range) {
            return Ok(Slice { bytes: 0..item.raw_bytes, shape });
        }
        let wrong = |detail: String| Error::Range {
            path: self.file.label().to_owned(),
            name: item.tensor.as_ref().map_or_else(String::new, |tensor| tensor.name.clone()),
            detail,
        };
        let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
        let bits = u128::from(item.raw_bytes) * 8;
        let bits_each = match elements {
            Some(0) => Some(0),
            Some(n) if bits.is_multiple_of(u128::from(n)) => Some(bits / u128::from(n)),
            _ => None,
        };
        let (Some(elements), Some(bits_each)) = (elements, bits_each) else {
            let detail =
                "the size of an element does not follow from its size and shape; read all of it";
            return Err(wrong(detail.to_owned()));
        };
        let start = match range.start_bound() {
            Bound::Unbounded => 0,
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
        };
        let end = match range.end_bound() {
            Bound::Unbounded => elements,
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
        };
        if start > end {
            return Err(wrong(format!("the range {start}..{end} ends before it begins")));
        }
        if end > elements {
            return Err(wrong(format!(
                "the range {start}..{end} reaches outside its {elements} elements"
            )));
        }
        let at = |element: u64| match u128::from(element) * bits_each {
            bits if bits.is_multiple_of(8) => Ok((bits / 8) as u64),
            _ => Err(wrong(format!(
                "its elements have {bits_each} bits: a range must begin and end between bytes"
            ))),
        };
        Ok(Slice { bytes: at(start)?..at(end)?, shape: vec![end - start] })
    }
}

pub(super) fn is_full(range: &impl RangeBounds<u64>) -> bool {
    matches!((range.start_bound(), range.end_bound()), (Bound::Unbounded, Bound::Unbounded))
}
