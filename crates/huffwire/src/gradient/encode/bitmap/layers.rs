//! The layers of a bitmap, in memory: values to planes, and planes to values.

use super::split::{self, SLACK};
use crate::error::Result;
use crate::gradient::encode::malformed;
use crate::gradient::values::{Value, Values, with_values};
use crate::kernels::bytes;
use crate::kernels::platform::Platform;

/// The largest number of splits. A mask of the last one stands for 4096 values.
pub(in super::super) const MAX_DEPTH: usize = 4;

/// The most planes that a bitmap has.
pub(super) const PLANES: usize = MAX_DEPTH + 1;

/// The byte in layer 0 of a value that needs more than a byte.
pub(super) const WIDE: u8 = 255;

/// Bytes of a layer of so many values.
pub(super) const fn layer_bytes(values: usize, layer: usize) -> usize {
    values.div_ceil(1 << (3 * layer))
}

/// Memory for the layers of values that are encoded.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Number of values.
    count: usize,
    /// The layers: bytes of values, masks of the first split, masks of the second split, and so on.
    layers: [Vec<u8>; PLANES],
    /// For each layer that is split, the bytes that are not 0, less 1.
    kept: [Vec<u8>; MAX_DEPTH],
    /// For each layer that is split, the number of such bytes.
    kept_count: [usize; MAX_DEPTH],
}

impl Layers {
    /// Takes values that are split at most so many times. Layer 0 is split; with `depth` 0 it is filled alone.
    pub(super) fn begin(&mut self, platform: Platform, values: Values<'_>, depth: usize) {
        self.count = values.len();
        for layer in 0..=depth {
            let length = layer_bytes(self.count, layer);
            grow(&mut self.layers[layer], length);
            if layer < depth {
                grow(&mut self.kept[layer], length + SLACK);
            }
        }
        if depth == 0 {
            return self.take_whole(platform, values);
        }
        let masks = &mut self.layers[1][..layer_bytes(self.count, 1)];
        self.kept_count[0] = split::split_values(platform, values, masks, &mut self.kept[0]);
    }

    /// Fills all planes for `depth` splits.
    pub(super) fn take(&mut self, platform: Platform, values: Values<'_>, depth: usize) {
        self.begin(platform, values, depth);
        (1..depth).for_each(|layer| self.split(platform, layer));
    }

    /// Fills layer 0.
    pub(super) fn take_whole(&mut self, platform: Platform, values: Values<'_>) {
        let bytes = &mut self.layers[0][..values.len()];
        with_values!(Values, values, values => platform.run(|| {
            for (byte, &value) in bytes.iter_mut().zip(values) {
                *byte = value.to_zigzag();
            }
        }));
    }

    /// Splits a layer of masks.
    pub(super) fn split(&mut self, platform: Platform, layer: usize) {
        let (low, high) = self.layers.split_at_mut(layer + 1);
        let masks = &mut high[0][..layer_bytes(self.count, layer + 1)];
        let bytes = &low[layer][..layer_bytes(self.count, layer)];
        self.kept_count[layer] = split::split(platform, bytes, masks, &mut self.kept[layer]);
    }

    /// Number of values.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn layer(&self, layer: usize) -> &[u8] {
        &self.layers[layer][..layer_bytes(self.count, layer)]
    }

    /// Of a layer that was split, the bytes that are not 0, less 1.
    pub(super) fn kept(&self, layer: usize) -> &[u8] {
        &self.kept[layer][..self.kept_count[layer]]
    }

    /// The plane of a layer: the bytes that are not 0, or all bytes of the highest layer.
    pub(super) fn plane(&self, layer: usize, depth: usize) -> &[u8] {
        if layer == depth { self.layer(layer) } else { self.kept(layer) }
    }

    /// Counts of the plane of a layer that was split, and counts of the layer.
    pub(super) fn counts(&self, platform: Platform, layer: usize) -> [[u32; 256]; 2] {
        // The vector kernel is fast where few different bytes occur, which is not so with masks.
        let quick = if layer == 0 { platform } else { Platform::Portable };
        let kept = bytes::histogram(quick, self.kept(layer));
        let mut all = [0; 256];
        all[0] = (self.layer(layer).len() - self.kept_count[layer]) as u32;
        all[1..].copy_from_slice(&kept[..255]);
        [kept, all]
    }
}

/// Memory for the layers of values that are decoded.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// For each layer between the highest one and the values, all its bytes.
    layers: [Vec<u8>; MAX_DEPTH],
}

impl Joined {
    /// Puts values together from planes, that of the highest layer first. (If there are splits and all its bytes are 0,
    /// it may be empty.) Returns the highest byte of layer 0; values whose byte is 255 are -128.
    pub(super) fn values<S: Value>(
        &mut self,
        platform: Platform,
        planes: &[Vec<u8>],
        values: &mut [S],
    ) -> Result<u8> {
        let Some((top, kept)) = planes.split_first() else { return Ok(0) };
        if kept.is_empty() {
            platform.run(|| {
                for (value, &byte) in values.iter_mut().zip(top) {
                    *value = S::from_zigzag(byte);
                }
            });
            return Ok(highest(platform, top));
        }
        let mut masks: &[u8] = top;
        let mut ones = platform.run(|| count_ones(top));
        let mut below = self.layers[..kept.len()].iter_mut();
        for (number, kept) in kept.iter().enumerate() {
            let layer = planes.len() - 2 - number;
            let length = layer_bytes(values.len(), layer);
            // Bits of the last mask beyond the last byte of the layer must be 0.
            let last = masks.last().copied().unwrap_or(0);
            if !length.is_multiple_of(8) && last >> (length % 8) != 0 {
                return Err(malformed("a mask that goes beyond the last value"));
            }
            if ones == 0 && planes[number + 1..].iter().all(Vec::is_empty) {
                values.fill(S::default());
                return Ok(0);
            }
            if ones != kept.len() {
                let bytes = kept.len();
                return Err(malformed(format!("a plane of {bytes} bytes, where {ones} are due")));
            }
            let most = highest(platform, kept);
            if most == u8::MAX {
                return Err(malformed("a 0 where the masks have none"));
            }
            if layer == 0 {
                split::join_values(platform, masks, kept, S::view_mut(values));
                return Ok(most + 1);
            }
            let Some(bytes) = below.next() else { break };
            grow(bytes, length);
            let bytes = &mut bytes[..length];
            split::join(platform, masks, kept, bytes);
            // The plane has far fewer bytes than the layer, so its bits are counted.
            ones = platform.run(|| kept.iter().map(|less| (less + 1).count_ones() as usize).sum());
            masks = bytes;
        }
        Ok(0)
    }
}

/// The bits of 1 in some bytes.
#[inline(always)]
fn count_ones(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones() as usize);
    let rest = rest.iter().map(|mask| mask.count_ones() as usize);
    words.sum::<usize>() + rest.sum::<usize>()
}

/// The highest byte; 0 if there are no bytes.
pub(super) fn highest(platform: Platform, bytes: &[u8]) -> u8 {
    platform.run(|| bytes.iter().fold(0, |highest, &byte| byte.max(highest)))
}

fn grow(bytes: &mut Vec<u8>, length: usize) {
    if bytes.len() < length {
        bytes.resize(length, 0);
    }
}
