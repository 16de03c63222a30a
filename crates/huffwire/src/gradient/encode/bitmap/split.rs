//! Zeros apart from the rest, on states and bytes: the kernels of [`crate::kernels::layers`].

use crate::gradient::states::{States, StatesMut};
use crate::kernels::layers::{self, Items, ItemsMut};
use crate::platform::Platform;

pub(super) use crate::kernels::layers::SLACK;

/// [`layers::compress`] of bytes.
pub(super) fn split(
    platform: Platform,
    bytes: &[u8],
    masks: &mut [u8],
    values: &mut [u8],
) -> usize {
    layers::compress(platform, Items::Bytes(bytes), masks, values)
}

/// [`layers::compress`] of states.
pub(super) fn split_states(
    platform: Platform,
    states: States<'_>,
    masks: &mut [u8],
    values: &mut [u8],
) -> usize {
    let items = match states {
        States::I8(states) => Items::I8(states),
        States::I32(states) => Items::I32(states),
    };
    layers::compress(platform, items, masks, values)
}

/// [`layers::expand`] to bytes.
pub(super) fn join(platform: Platform, masks: &[u8], values: &[u8], bytes: &mut [u8]) {
    layers::expand(platform, masks, values, ItemsMut::Bytes(bytes));
}

/// [`layers::expand`] to states.
pub(super) fn join_states(platform: Platform, masks: &[u8], values: &[u8], states: StatesMut<'_>) {
    let items = match states {
        StatesMut::I8(states) => ItemsMut::I8(states),
        StatesMut::I32(states) => ItemsMut::I32(states),
    };
    layers::expand(platform, masks, values, items);
}
