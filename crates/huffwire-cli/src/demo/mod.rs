//! `huffwire demo`: the idea of fixed codebooks, shown on tensors of a real if small training.
//!
//! The demo repeats what Agrawal et al. (arXiv 2601.10673) did with Gemma 2B. It splits the tensors into shards as a
//! group of accelerators would hold them, averages the distributions of one batch into codebooks, and uses these
//! on a later batch.

mod measure;
mod report;
mod shards;

use std::time::Instant;

use anyhow::{Result, bail};
use huffwire::SymbolRule;

use crate::args::DemoArgs;
use crate::files;
use crate::progress;
use crate::report::Stream;

/// Trains, measures, and prints what came out.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let started = Instant::now();
    let workers = files::workers(args.common.threads)?;
    let config = huffwire_demo::Config::default();
    let steps = config.dump_steps.iter().max().copied().unwrap_or(0);
    let bar = progress::steps(steps as u64, args.common.quiet);
    let batches = workers.install(|| {
        huffwire_demo::train(&config, |step, _, loss| {
            bar.set_position(step as u64);
            bar.set_message(format!("loss {loss:.2}"));
        })
    });
    bar.finish_and_clear();
    let [earlier, later] = &batches[..] else { bail!("the training gave no two batches") };

    let (before, now) = (shards::of(earlier), shards::of(later));
    let rows = workers.install(|| -> Result<_> {
        let mut rows = measure::measure(SymbolRule::Auto, &before, &now)?;
        rows.extend(measure::measure(SymbolRule::Bytes, &before, &now)?);
        Ok(rows)
    })?;
    let report = report::Report {
        calibrated_at_step: earlier.step,
        coded_at_step: later.step,
        loss: later.loss,
        shards: now.len(),
        round_trip: "identical",
        rows,
        seconds: started.elapsed().as_secs_f64(),
    };
    if args.common.json {
        Stream::Stdout.print_json(&report)
    } else if args.common.quiet {
        Ok(())
    } else {
        Stream::Stdout.print(&report.to_string())
    }
}
