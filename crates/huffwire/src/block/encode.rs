//! Encoding of blocks: a block is planned on a sample if that is enough, else on the whole block, and then written.

use super::plane_by_plane::{self, SplitPlanes};
use super::planner::{Evidence, Outcome, Planned, Planner};
use super::{VERBATIM, bound, capacity, one_pass};
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::lanes::CachePolicy;
use crate::plan::{Level, Policy};
use crate::plane_codec::{PlaneHeader, PlaneWriter};
use crate::set::CodebookSet;

/// Encodes blocks; owns the scratch memory, so that a block costs no allocation.
#[derive(Debug)]
pub(crate) struct BlockEncoder {
    platform: Platform,
    planner: Planner,
    pieces: one_pass::WriteScratch,
    writer: PlaneWriter,
}

/// What came of a plan made by a sample.
enum BySample {
    Written(usize),
    /// A plane that is constant in the sample is not in the block, or the signs vary.
    Varies,
    /// The sample is not enough to know.
    LookAtAll,
}

impl BlockEncoder {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            planner: Planner::new(platform),
            pieces: one_pass::WriteScratch::default(),
            writer: PlaneWriter::default(),
        }
    }

    /// Encodes whole units into `out`, which has [`capacity`] bytes; returns the bytes used, at most [`bound`]. From
    /// [`bound`] bytes on it can be tried with fewer: [`Error::OutputTooSmall`] tells that it takes [`capacity`].
    pub(crate) fn encode(
        &mut self,
        set: &CodebookSet,
        policy: &Policy,
        bytes: &[u8],
        cache: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<usize> {
        let (needed, available) = (capacity(bytes.len()), out.len());
        let too_small = Error::OutputTooSmall { needed, available };
        if available < bound(bytes.len()) {
            return Err(too_small);
        }
        match self.encode_layout(set, policy, bytes, cache, out) {
            Ok(Some(length)) if length < bound(bytes.len()) => return Ok(length),
            // With more room the block might be coded, and what it becomes must not depend on the room.
            Err(Error::OutputTooSmall { .. }) if available < needed => return Err(too_small),
            // What was chosen by a sample may turn out to be a bad choice, or not to fit at all.
            Ok(_) | Err(Error::OutputTooSmall { .. }) => {}
            Err(error) => return Err(error),
        }
        out[0] = VERBATIM;
        out[1..=bytes.len()].copy_from_slice(bytes);
        Ok(bound(bytes.len()))
    }

    /// Encodes with the layout that costs least; `None` when that is none.
    fn encode_layout(
        &mut self,
        set: &CodebookSet,
        policy: &Policy,
        bytes: &[u8],
        cache: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>> {
        // What a sample says of planes that are all the same is believed once.
        for evidence in [Evidence::Sample, Evidence::SampleOfVarying] {
            match self.planner.plan_by_sample(set, policy, evidence, bytes) {
                Outcome::NoSample => break,
                // At the highest level a sample may be too small to see a gain.
                Outcome::NoLayout if policy.level() == Level::Fast => return Ok(None),
                Outcome::NoLayout => break,
                Outcome::Planned => match self.write_by_sample(set, policy, bytes, cache, out)? {
                    BySample::Written(length) => return Ok(Some(length)),
                    BySample::Varies => {}
                    BySample::LookAtAll => break,
                },
            }
        }
        if self.planner.plan(set, policy, bytes) != Outcome::Planned {
            return Ok(None);
        }
        let apart = self.planner.sets_zeros_apart();
        match self.planner.planned() {
            Some(planned) if one_pass::can_write(&planned.header, apart) => {
                self.write_in_one_pass(set, policy, bytes, cache, out)
            }
            _ => self.write_plane_by_plane(set, out),
        }
    }

    /// Writes what was planned by a sample, if that is enough to know.
    fn write_by_sample(
        &mut self,
        set: &CodebookSet,
        policy: &Policy,
        bytes: &[u8],
        cache: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<BySample> {
        let Some(Planned { header, promising }) = self.planner.planned() else {
            return Ok(BySample::LookAtAll);
        };
        let centred = header.scheme.planes[0].centred;
        // The few symbols of exponents are known by a sample that is large enough, bytes are not.
        let fits_books = policy.level() == Level::Max && centred;
        if !fits_books && header.planes().iter().any(PlaneHeader::embeds) {
            return Ok(BySample::LookAtAll);
        }
        let unit_bytes = policy.dtype().unit_bytes();
        let apart = self.planner.sets_zeros_apart();
        if !promising && one_pass::can_write(header, apart) {
            let unfit = if header.planes().iter().any(is_constant) {
                BySample::Varies
            } else {
                BySample::LookAtAll
            };
            let written = self.write_in_one_pass(set, policy, bytes, cache, out);
            // Whether elements that do not fit are noticed before the room ends depends on the pieces, hence on the
            // platform.
            if matches!(written, Err(Error::OutputTooSmall { .. }))
                && !self.planner.fits(unit_bytes, bytes)
            {
                return Ok(unfit);
            }
            return Ok(written?.map_or(unfit, BySample::Written));
        }
        let is_coded = header.planes()[0].coded().is_some();
        if !promising || !centred || !is_coded || apart {
            return Ok(BySample::LookAtAll);
        }
        if self.planner.plan_others(set, policy, bytes) != Outcome::Planned {
            return Ok(BySample::Varies);
        }
        Ok(self.write_plane_by_plane(set, out)?.map_or(BySample::LookAtAll, BySample::Written))
    }

    /// Writes the block in one pass, as it is planned; `None` when it does not fit its plan.
    fn write_in_one_pass(
        &mut self,
        set: &CodebookSet,
        policy: &Policy,
        bytes: &[u8],
        cache: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>> {
        let Self { platform, planner, pieces, .. } = self;
        let elements = (bytes, policy.dtype().unit_bytes(), cache);
        let Some((header, embedded)) = planner.header_and_books() else { return Ok(None) };
        one_pass::write(*platform, set, embedded, header, elements, pieces, out)
    }

    /// Writes the planes that the planner has split; `None` when there is no plan.
    fn write_plane_by_plane(&mut self, set: &CodebookSet, out: &mut [u8]) -> Result<Option<usize>> {
        let Self { platform, planner, writer, .. } = self;
        let Some(Planned { header, .. }) = planner.planned() else { return Ok(None) };
        let split: SplitPlanes<'_> = planner.split();
        plane_by_plane::write(*platform, set, header, &split, writer, out).map(Some)
    }
}

const fn is_constant(plane: &PlaneHeader) -> bool {
    matches!(plane, PlaneHeader::Constant(_))
}
