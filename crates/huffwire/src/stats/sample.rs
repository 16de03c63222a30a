//! The sample of a block that books are chosen by.

/// Units in a run of a sample.
const RUN: usize = 64;

/// How many units are looked at: one in so many, but no fewer and no more than so many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SampleSize {
    one_in: usize,
    least: usize,
    most: usize,
}

impl SampleSize {
    /// To choose a book by.
    pub(crate) const CHOICE: Self = Self { one_in: 64, least: 1024, most: 8192 };
    /// To make a book from, of some 20 symbols: what such a book costs more than the best one is some 20
    /// bits for each time that the sample goes into the block.
    pub(crate) const MAKING: Self = Self { one_in: 8, least: 4096, most: 8192 };
    /// To make a book of up to 256 symbols from, which costs 180 bits for each time that the sample goes into the
    /// block.
    pub(crate) const REMAINDER: Self = Self { one_in: 4, least: 16384, most: 65536 };
    /// To tell noise from what can be coded.
    pub(super) const NOISE: Self = Self { one_in: 16, least: 4096, most: 4096 };

    const fn runs(self, units: usize) -> usize {
        let sample = units / self.one_in;
        let sample = if sample < self.least { self.least } else { sample };
        if sample > self.most { self.most / RUN } else { sample / RUN }
    }
}

/// Draws the sample of a block: runs of 64 units, spread evenly. `None` if the sample would be all of the block, or
/// nearly all.
pub(crate) fn draw_sample<'a>(
    bytes: &[u8],
    unit_bytes: usize,
    size: SampleSize,
    sample: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    let runs = bytes.len() / unit_bytes / RUN;
    let wanted = size.runs(bytes.len() / unit_bytes);
    if runs < 2 * wanted {
        return None;
    }
    let size = RUN * unit_bytes;
    sample.resize(wanted * size, 0);
    // In the middle of the stretch that it stands for.
    let start = |index| (2 * index + 1) * runs / (2 * wanted) * size;
    match unit_bytes {
        1 => draw::<RUN>(bytes, start, sample),
        2 => draw::<{ 2 * RUN }>(bytes, start, sample),
        4 => draw::<{ 4 * RUN }>(bytes, start, sample),
        _ => {
            for (index, run) in sample.chunks_exact_mut(size).enumerate() {
                run.copy_from_slice(&bytes[start(index)..start(index) + size]);
            }
        }
    }
    Some(sample)
}

/// Copies runs of `N` bytes: a constant, since to call a function for so few takes longer than they do.
fn draw<const N: usize>(bytes: &[u8], start: impl Fn(usize) -> usize, sample: &mut [u8]) {
    for (index, run) in sample.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        if let Some(bytes) = bytes[start(index)..].first_chunk() {
            *run = *bytes;
        }
    }
}
