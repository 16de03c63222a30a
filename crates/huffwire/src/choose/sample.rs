//! The sample of a block that books are chosen by.

/// Units in a run of a sample.
const RUN: usize = 64;

/// How many runs of a block of so many units are looked at.
const fn sample_runs(units: usize) -> usize {
    let sample = units / 16;
    let sample = if sample < 1024 { 1024 } else { sample };
    if sample > 2048 { 2048 / RUN } else { sample / RUN }
}

/// Draws the sample of a block: runs of 64 units, spread evenly. `None` when that were the block, or nearly.
pub(crate) fn draw_sample<'a>(
    bytes: &[u8],
    unit_bytes: usize,
    sample: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    let runs = bytes.len() / unit_bytes / RUN;
    let wanted = sample_runs(bytes.len() / unit_bytes);
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
