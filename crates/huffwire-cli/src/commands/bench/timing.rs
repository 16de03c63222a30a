//! Rounds in which every candidate has its turn, and what the clock says.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::candidate::Candidate;
use super::cpu;
use super::working_set::{Message, WorkingSet};

/// A sample lasts at least so long: the clock and an interrupt are noise against it.
const SHORTEST: Duration = Duration::from_millis(2);

/// What was measured of a candidate.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Seconds for the whole working set, a value for each round.
    pub(super) encode: Vec<f64>,
    pub(super) decode: Vec<f64>,
    /// The length of each message.
    pub(super) lengths: Vec<usize>,
}

impl Samples {
    /// Bytes of all messages.
    pub(super) fn coded_bytes(&self) -> usize {
        self.lengths.iter().sum()
    }
}

/// Runs all rounds; returns the processor's clock in GHz as it was meanwhile, if that can be told.
///
/// Candidates take turns, so that what the machine does besides hits all of them alike, and each round
/// begins with the next one, so that none always follows the same.
pub(super) fn run(
    candidates: &mut [Candidate],
    set: &mut WorkingSet,
    rounds: usize,
    mut turn: impl FnMut(&str),
) -> Result<Option<f64>> {
    for candidate in &mut *candidates {
        let codec = candidate.label.codec;
        check(candidate, set).with_context(|| codec.to_owned())?;
        turn(codec);
    }
    let mut clocks = Vec::new();
    let count = candidates.len();
    for round in 0..rounds {
        clocks.extend(cpu::clock_ghz());
        for index in 0..count {
            let candidate = &mut candidates[(index + round) % count];
            measure(candidate, set).with_context(|| candidate.label.codec.to_owned())?;
            turn(candidate.label.codec);
        }
    }
    clocks.extend(cpu::clock_ghz());
    Ok(median(&clocks))
}

/// The round that is not timed: memory of the coder is allocated, and every bit must come back.
fn check(candidate: &mut Candidate, set: &mut WorkingSet) -> Result<()> {
    candidate.samples.lengths = vec![0; set.messages.len()];
    encode(candidate, set)?;
    // What the candidate before it restored must not pass for its own work.
    for (restored, raw) in set.restored.iter_mut().zip(set.raw.iter()) {
        *restored = !raw;
    }
    decode(candidate, set)?;
    let same = |message: &Message| {
        set.raw.get(message.raw.clone()) == set.restored.get(message.raw.clone())
    };
    if let Some(index) = set.messages.iter().position(|message| !same(message)) {
        bail!("message {index} was not restored bit by bit; this is a bug in the measured coder");
    }
    Ok(())
}

fn measure(candidate: &mut Candidate, set: &mut WorkingSet) -> Result<()> {
    let seconds = sample(|| encode(candidate, set))?;
    candidate.samples.encode.push(seconds);
    let seconds = sample(|| decode(candidate, set))?;
    candidate.samples.decode.push(seconds);
    Ok(())
}

fn encode(candidate: &mut Candidate, set: &mut WorkingSet) -> Result<()> {
    for (message, length) in set.messages.iter().zip(&mut candidate.samples.lengths) {
        let raw = &set.raw[message.raw.clone()];
        let coded = &mut set.coded[message.coded.clone()];
        *length = candidate.coder.encode(message.dtype, raw, coded)?;
    }
    Ok(())
}

fn decode(candidate: &mut Candidate, set: &mut WorkingSet) -> Result<()> {
    for (message, length) in set.messages.iter().zip(&candidate.samples.lengths) {
        let coded = &set.coded[message.coded.clone()][..*length];
        let restored = &mut set.restored[message.raw.clone()];
        candidate.coder.decode(coded, restored)?;
    }
    Ok(())
}

/// Seconds of one call of `work`, called until that took [`SHORTEST`]. The clock is read after 1, 3, 7, 15
/// calls and so on, so that reading it costs nothing where calls are short.
fn sample(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    let (mut calls, mut more) = (0u64, 1u64);
    loop {
        for _ in 0..more {
            work()?;
        }
        calls += more;
        more *= 2;
        let elapsed = started.elapsed();
        if elapsed >= SHORTEST {
            return Ok(elapsed.as_secs_f64() / calls as f64);
        }
    }
}

/// The value in the middle, or halfway between the two in the middle; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn short_work_is_repeated_and_long_work_is_not() {
        let mut calls = 0u64;
        let started = Instant::now();
        let seconds = sample(|| {
            calls += 1;
            Ok(())
        });
        let lasted = started.elapsed();
        assert!(lasted >= SHORTEST && calls > 1);
        assert!(seconds.unwrap() * calls as f64 <= lasted.as_secs_f64() * 1.001);

        let mut calls = 0;
        let seconds = sample(|| {
            calls += 1;
            std::thread::sleep(SHORTEST);
            Ok(())
        });
        assert_eq!(calls, 1);
        assert!(seconds.unwrap() >= SHORTEST.as_secs_f64());
    }
}
