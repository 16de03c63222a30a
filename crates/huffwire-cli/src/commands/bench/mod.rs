//! `huffwire bench`: what is measured, and against what.
//!
//! A speed means little by itself: machines differ, and so do their moods. So memcpy, which bounds
//! what any coder can reach, and the well-known coders run on the same bytes in the same run, in turns.

mod candidate;
mod cpu;
mod huffwire;
mod report;
mod rivals;
mod timing;
mod working_set;

use std::num::NonZeroUsize;
use std::thread;

use ::huffwire::{EncodeOptions, Platform, SymbolRule};
use anyhow::Result;

use crate::args::{BenchArgs, PlatformArg, name};
use crate::books;
use crate::files;
use crate::progress;
use crate::report::Stream;

use candidate::Candidate;
use working_set::WorkingSet;

/// Measures and reports.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let mut inputs = Vec::new();
    for path in &args.inputs {
        inputs.extend(files::open_tensors(path, &args.raw)?);
    }
    let message = args.message.map(|bytes| bytes.get());
    let wanted = args.working_set.map(|bytes| bytes.get());
    let mut candidates = candidates(args)?;
    let mut set = WorkingSet::load(&inputs, wanted, message, &candidates)?;

    let rounds = usize::from(args.rounds);
    let bar = progress::steps((candidates.len() * (rounds + 1)) as u64, args.quiet);
    let clock_ghz = timing::run(&mut candidates, &mut set, rounds, |name| {
        bar.set_message(name.to_owned());
        bar.inc(1);
    })?;
    bar.finish_and_clear();

    let report = report::Report::new(&candidates, &set, message, rounds, clock_ghz);
    if args.json {
        Stream::Stdout.print_json(&report)
    } else {
        Stream::Stdout.print(&report.to_string())
    }
}

/// Everything that is measured, in the order of the report.
fn candidates(args: &BenchArgs) -> Result<Vec<Candidate>> {
    let mut candidates = rivals::copies();
    if !args.no_peers {
        candidates.extend(rivals::peers(args.checksums)?);
    }
    let set = books::load_or_builtin(args.codebooks.codebooks.as_deref())?.set;
    let crews = huffwire::crews(&distinct(threads(args)))?;
    for &symbols in &distinct(args.symbols.iter().copied()) {
        for &level in &distinct(args.level.iter().copied()) {
            let options = EncodeOptions::default()
                .rule(SymbolRule::from(symbols))
                .level(level.into())
                .checksums(args.checksums);
            for &platform in &distinct(platforms(args)) {
                for crew in &crews {
                    let names = (name(symbols), name(level));
                    candidates.push(huffwire::candidate(&set, options, platform, crew, names)?);
                }
            }
        }
    }
    Ok(candidates)
}

fn threads(args: &BenchArgs) -> Vec<u16> {
    if !args.threads.is_empty() {
        return args.threads.clone();
    }
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if cores > 1 { vec![1, 2] } else { vec![1] }
}

fn platforms(args: &BenchArgs) -> Vec<Platform> {
    if args.platform.is_empty() {
        return vec![Platform::detect()];
    }
    let mut platforms = Vec::new();
    for wanted in &args.platform {
        match wanted {
            PlatformArg::All => platforms.extend(Platform::available()),
            PlatformArg::One(platform) => platforms.push(*platform),
        }
    }
    platforms
}

/// Each value once, where it is first: `--level fast,fast` asks for nothing more than `--level fast`.
fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}
