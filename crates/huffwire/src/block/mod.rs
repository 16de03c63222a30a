//! A block: the unit of random access and of parallel work. See `docs/format.md`, "Block".
//!
//! ```text
//! elements -> Planner: sample, counts, BlockHeader -> one pass, or plane by plane -> block
//! block -> BlockHeader::read -> ReadBlock -> one pass, or plane by plane -> elements
//! ```
//!
//! The plan of a block is its header before the sizes are known. Planes are written and read by
//! `plane_codec` one after the other, or, for nearly all blocks, in one pass over the elements
//! (`one_pass`).

mod decode;
mod encode;
mod header;
mod inspect;
mod one_pass;
mod plane_by_plane;
mod planner;
mod scratch;
mod size;

pub(crate) use decode::BlockDecoder;
pub(crate) use encode::BlockEncoder;
pub use inspect::{BlockInfo, PlaneInfo, PlaneMode, PlaneParts};
pub use size::block_bytes;
pub(crate) use size::{BLOCK_LOG2, MAX_HEADER_BYTES, bound, capacity, units_per_block};

const WHAT: &str = "a block";

/// First byte of a block that holds the elements as they are.
const VERBATIM: u8 = 0;

#[cfg(test)]
mod tests {
    use super::encode::BlockEncoder;
    use super::header::{BlockHeader, Kind};
    use super::one_pass::{self, PieceScratch, WriteScratch};
    use super::plane_by_plane::{self, SplitPlanes};
    use super::scratch::BlockScratch;
    use super::size;
    use crate::dtype::Dtype;
    use crate::kernels::platform::Platform;
    use crate::lanes::CachePolicy;
    use crate::plan::{Choice, Level, Policy};
    use crate::plane_codec::{Coder, PlaneHeader, PlaneWriter};
    use crate::planes::{MAX_PLANES, SymbolRule};
    use crate::set::CodebookSet;
    use huffwire_testing::Random;

    /// Values with a peak of exponents; all of one sign if `one_sign`.
    fn tensor(dtype: Dtype, units: usize, one_sign: bool, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed);
        let bytes = dtype.unit_bytes();
        let mut tensor = Vec::new();
        for _ in 0..units {
            let noise = random.bits();
            let exponent = 100 - u64::from(random.bits().trailing_zeros().min(20));
            let value = match bytes {
                4 => exponent << 23 | noise & 0x7f_ffff,
                2 if dtype == Dtype::Bf16 => exponent << 7 | noise & 0x7f,
                2 => (exponent % 32) << 10 | noise & 0x3ff,
                _ => (exponent / 2) & 0x3f | noise & 7,
            };
            let sign = if one_sign { 1 } else { noise >> 63 };
            let place = if matches!(dtype, Dtype::E2m3 | Dtype::E3m2) { 5 } else { 8 * bytes - 1 };
            let value = value & ((1 << place) - 1) | sign << place;
            tensor.extend_from_slice(&value.to_le_bytes()[..bytes]);
        }
        tensor
    }

    /// Blocks of every layout whose planes are raw or constant behind the first one: both ways to write them make the
    /// same bytes, and both ways to read them the same elements.
    #[test]
    fn both_ways_to_write_and_to_read_are_the_same() {
        let set = CodebookSet::builtin();
        let mut in_one_pass = 0;
        for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32, Dtype::E4m3, Dtype::E2m3, Dtype::E8m0] {
            for (units, one_sign) in
                [(2048, true), (2049, false), (8191, true), (20_000, false), (20_003, true)]
            {
                let elements = tensor(dtype, units, one_sign, units as u64);
                let policy =
                    Policy::new(&set, dtype, "", SymbolRule::Auto, Level::Fast, Choice::Cheapest);
                for platform in Platform::available() {
                    let mut block = vec![0; size::capacity(elements.len())];
                    let cache = CachePolicy::Cached;
                    let mut encoder = BlockEncoder::new(platform);
                    let length =
                        encoder.encode(&set, &policy, &elements, cache, &mut block).unwrap();
                    block.truncate(length);
                    let (mut scratch, mut header) = (BlockScratch::new(), None);
                    let read = Kind::read(
                        &set,
                        dtype,
                        &block,
                        elements.len(),
                        &mut scratch.embedded,
                        &mut header,
                    );
                    let Ok(Kind::Coded(coded)) = read else { continue };
                    let mut header: BlockHeader = *coded.header;
                    if !one_pass::can_write(&header, false) || header.zeros() > 0 {
                        continue;
                    }
                    in_one_pass += 1;

                    let mut planes = vec![Vec::new(); MAX_PLANES];
                    let scheme = header.scheme;
                    assert!(scheme.split_to_vecs(
                        platform,
                        dtype.unit_bytes(),
                        &elements,
                        &mut planes
                    ));
                    let split =
                        SplitPlanes { planes: &planes, nonzero: &[], embedded: &scratch.embedded };
                    let mut whole = vec![0; size::capacity(elements.len())];
                    let mut writer = PlaneWriter::default();
                    let length = plane_by_plane::write(
                        platform,
                        &set,
                        &header,
                        &split,
                        &mut writer,
                        &mut whole,
                    )
                    .unwrap();
                    assert!(whole[..length] == block, "{dtype} {units} {platform}: {header:?}");
                    let mut pieces = vec![0; size::capacity(elements.len())];
                    let length = one_pass::write(
                        platform,
                        &set,
                        &scratch.embedded,
                        &mut header,
                        (&elements, dtype.unit_bytes(), cache),
                        &mut WriteScratch::default(),
                        &mut pieces,
                    );
                    assert_eq!(length, Ok(Some(block.len())));
                    assert!(pieces[..block.len()] == block, "{dtype} {units} {platform}");

                    let mut out = vec![0x11; elements.len()];
                    plane_by_plane::read(platform, &set, &coded, &mut scratch, &mut out).unwrap();
                    assert!(out == elements, "{dtype} {units} {platform}");
                    out.fill(0x11);
                    let pass = one_pass::plan(&coded, &set, &scratch.embedded).unwrap();
                    one_pass::read(platform, &pass, cache, &mut PieceScratch::default(), &mut out)
                        .unwrap();
                    assert!(out == elements, "{dtype} {units} {platform}");
                }
            }
        }
        let platforms = Platform::available().count();
        assert!(in_one_pass >= 20 * platforms, "{in_one_pass} on {platforms} platforms");
    }

    /// Single streams beside raw and constant planes: those of few symbols, and no others.
    #[test]
    fn few_symbols_are_single_streams() {
        let set = CodebookSet::builtin();
        for (units, coder) in [(128, Coder::Single), (2047, Coder::Single), (2048, Coder::Lanes)] {
            for level in [Level::Fast, Level::Max] {
                let elements = tensor(Dtype::Bf16, units, false, 5);
                let policy =
                    Policy::new(&set, Dtype::Bf16, "", SymbolRule::Auto, level, Choice::Sample);
                let mut block = vec![0; size::capacity(elements.len())];
                let mut encoder = BlockEncoder::new(Platform::detect());
                let cache = CachePolicy::Cached;
                let length = encoder.encode(&set, &policy, &elements, cache, &mut block).unwrap();
                let (mut scratch, mut header) = (BlockScratch::new(), None);
                let block = &block[..length];
                let read = Kind::read(
                    &set,
                    Dtype::Bf16,
                    block,
                    elements.len(),
                    &mut scratch.embedded,
                    &mut header,
                );
                let Ok(Kind::Coded(coded)) = read else { panic!("verbatim") };
                let PlaneHeader::Coded(exponents) = coded.header.planes()[0] else { panic!() };
                assert_eq!(exponents.coder, coder, "{units} {level:?}");
            }
        }
    }
}
