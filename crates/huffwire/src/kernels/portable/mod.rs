//! The kernels in portable safe Rust: the reference that defines the bytes.

pub(crate) mod bytes;
pub(crate) mod deltas;
pub(crate) mod interleave;
pub(crate) mod lanes;
#[cfg(feature = "gradient")]
pub(crate) mod layers;
pub(crate) mod pack;
#[cfg(feature = "gradient")]
pub(crate) mod quantize;
pub(crate) mod sums;

use super::Kernels;
use super::lanes::{CARRIED_BYTES, Reading, SlotMap};
use super::tables::Tables;
use crate::error::Result;

/// Whatever the program was compiled for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

impl Kernels for Portable {
    type Encoder<'t> = lanes::Encoder;
    type Decoder<'t> = lanes::Decoder<'t, Self>;

    fn encoder<'t>(
        self,
        tables: &'t Tables,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self::Encoder<'t> {
        lanes::encoder(tables, map, carried, keep_escapes)
    }

    fn decoder<'t>(
        self,
        tables: &'t Tables,
        reading: Reading<'_>,
        states: &[u8],
        stream: &'t [u8],
    ) -> Result<Self::Decoder<'t>> {
        lanes::decoder(self, tables, reading, states, stream)
    }
}
