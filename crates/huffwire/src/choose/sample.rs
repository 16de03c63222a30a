//! The sample of a block that books are chosen by.

/// Units in a run of a sample.
const RUN: usize = 64;

/// How many runs of a block of so many units are looked at.
const fn sample_runs(units: usize) -> usize {
    let sample = units / 16;
    let sample = if sample < 1024 { 1024 } else { sample };
    if sample > 4096 { 4096 / RUN } else { sample / RUN }
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
    let run_bytes = RUN * unit_bytes;
    sample.clear();
    for index in 0..wanted {
        // In the middle of the stretch that it stands for.
        let start = (2 * index + 1) * runs / (2 * wanted) * run_bytes;
        sample.extend_from_slice(&bytes[start..start + run_bytes]);
    }
    Some(sample)
}
