//! A coder for both limits, made of one coder for 8-bit codes and one for 12-bit codes.

use super::{CARRIED_BYTES, DecodeLanes, EncodeLanes, Escaped, Escapes, ToMerge, ToSplit};
use crate::error::Result;

/// A coder that depends on the code limit.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a block allocates nothing")]
pub(crate) enum ByLimit<A, B> {
    Bits8(A),
    Bits12(B),
}

impl<A: EncodeLanes, B: EncodeLanes> EncodeLanes for ByLimit<A, B> {
    fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        match self {
            Self::Bits8(coder) => coder.push(symbols, stream, end, escapes),
            Self::Bits12(coder) => coder.push(symbols, stream, end, escapes),
        }
    }

    fn push_split(
        &mut self,
        elements: ToSplit<'_>,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<bool> {
        match self {
            Self::Bits8(coder) => coder.push_split(elements, stream, end, escapes),
            Self::Bits12(coder) => coder.push_split(elements, stream, end, escapes),
        }
    }

    fn finish(&self, states: &mut [u8]) {
        match self {
            Self::Bits8(coder) => coder.finish(states),
            Self::Bits12(coder) => coder.finish(states),
        }
    }
}

impl<A: DecodeLanes, B: DecodeLanes> DecodeLanes for ByLimit<A, B> {
    fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()> {
        match self {
            Self::Bits8(coder) => coder.pull(escaped, symbols),
            Self::Bits12(coder) => coder.pull(escaped, symbols),
        }
    }

    fn pull_two(
        coders: [&mut Self; 2],
        [first, second]: [&mut Escaped<'_>; 2],
        [to_first, to_second]: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        match coders {
            [Self::Bits8(a), Self::Bits8(b)] => {
                DecodeLanes::pull_two([a, b], [first, second], [to_first, to_second])
            }
            [Self::Bits12(a), Self::Bits12(b)] => {
                DecodeLanes::pull_two([a, b], [first, second], [to_first, to_second])
            }
            [a, b] => [a.pull(first, to_first), b.pull(second, to_second)],
        }
    }

    fn pull_merged(&mut self, escaped: &mut Escaped<'_>, elements: ToMerge<'_>) -> Result<()> {
        match self {
            Self::Bits8(coder) => coder.pull_merged(escaped, elements),
            Self::Bits12(coder) => coder.pull_merged(escaped, elements),
        }
    }

    fn pull_merged_of_two(
        coders: [&mut Self; 2],
        [first, second]: [&mut Escaped<'_>; 2],
        [of_first, of_second]: [ToMerge<'_>; 2],
    ) -> [Result<()>; 2] {
        match coders {
            [Self::Bits8(a), Self::Bits8(b)] => {
                DecodeLanes::pull_merged_of_two([a, b], [first, second], [of_first, of_second])
            }
            [Self::Bits12(a), Self::Bits12(b)] => {
                DecodeLanes::pull_merged_of_two([a, b], [first, second], [of_first, of_second])
            }
            [a, b] => [a.pull_merged(first, of_first), b.pull_merged(second, of_second)],
        }
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        match self {
            Self::Bits8(coder) => coder.finish(),
            Self::Bits12(coder) => coder.finish(),
        }
    }
}
