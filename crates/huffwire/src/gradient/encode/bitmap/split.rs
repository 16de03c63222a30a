//! Zeros apart from the rest, on quantized values and bytes: the kernels of [`crate::kernels::layers`].

use crate::gradient::values::{Values, ValuesMut};
use crate::kernels::layers::{self, Items, ItemsMut};
use crate::kernels::platform::Platform;

pub(super) use crate::kernels::layers::SLACK;

/// [`layers::compress`] of bytes.
pub(super) fn split(platform: Platform, bytes: &[u8], masks: &mut [u8], kept: &mut [u8]) -> usize {
    layers::compress(platform, Items::Bytes(bytes), masks, kept)
}

/// [`layers::compress`] of quantized values.
pub(super) fn split_values(
    platform: Platform,
    values: Values<'_>,
    masks: &mut [u8],
    kept: &mut [u8],
) -> usize {
    let items = match values {
        Values::I8(values) => Items::I8(values),
        Values::I32(values) => Items::I32(values),
    };
    layers::compress(platform, items, masks, kept)
}

/// [`layers::expand`] to bytes.
pub(super) fn join(platform: Platform, masks: &[u8], kept: &[u8], bytes: &mut [u8]) {
    layers::expand(platform, masks, kept, ItemsMut::Bytes(bytes));
}

/// [`layers::expand`] to quantized values.
pub(super) fn join_values(platform: Platform, masks: &[u8], kept: &[u8], values: ValuesMut<'_>) {
    let items = match values {
        ValuesMut::I8(values) => ItemsMut::I8(values),
        ValuesMut::I32(values) => ItemsMut::I32(values),
    };
    layers::expand(platform, masks, kept, items);
}
