//! `cargo xtask test`: the steps one after another, with a summary at the end.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::steps::{self, Outcome, Step};

/// Runs every step that is not skipped, up to the first that fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let skipped = skipped(arguments)?;
    let started = Instant::now();
    let mut failure = None;
    let mut summary = Vec::new();
    for step in steps::ALL {
        let ending = if skipped.contains(&step.name) {
            Ending::Skipped
        } else if failure.is_some() {
            Ending::NotReached
        } else {
            let (ending, result) = timed(step);
            failure = result.err();
            ending
        };
        summary.push((step.name, ending));
    }

    println!("\n==== summary, after {}", seconds(started.elapsed()));
    for (name, ending) in &summary {
        println!("{name:<9} {ending}");
    }
    failure.map_or(Ok(()), Err)
}

/// Runs one step by itself.
pub(crate) fn run_one(step: &Step) -> Result<()> {
    timed(step).1
}

/// Runs `step` under a heading, and says how it ended and how long it took.
fn timed(step: &Step) -> (Ending, Result<()>) {
    println!("\n==== {}: {}", step.name, step.about);
    let started = Instant::now();
    let outcome = (step.run)();
    let time = started.elapsed();
    let (ending, result) = match outcome {
        Ok(Outcome::Passed) => (Ending::Passed(time), Ok(())),
        Ok(Outcome::NotChecked(why)) => (Ending::NotChecked(why), Ok(())),
        Err(error) => {
            let error = error.context(format!("step `{}`", step.name));
            (Ending::Failed(time), Err(error))
        }
    };
    println!("==== {}: {ending}", step.name);
    (ending, result)
}

/// The steps that `arguments` ask to leave out.
fn skipped(arguments: &[String]) -> Result<Vec<&'static str>> {
    let mut skipped = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word != "--skip" {
            bail!("`test` does not know `{word}`, only `--skip STEP`");
        }
        let name = words.next().context("`--skip` needs the name of a step")?;
        skipped.push(steps::find(name)?.name);
    }
    Ok(skipped)
}

/// What became of a step.
enum Ending {
    Passed(Duration),
    Failed(Duration),
    NotChecked(String),
    Skipped,
    NotReached,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(time) => write!(f, "ok in {}", seconds(*time)),
            Self::Failed(time) => write!(f, "FAILED after {}", seconds(*time)),
            Self::NotChecked(why) => write!(f, "NOT CHECKED: {why}"),
            Self::Skipped => f.write_str("skipped"),
            Self::NotReached => f.write_str("not reached"),
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Vec<&'static str>> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        skipped(&words)
    }

    #[test]
    fn steps_can_be_skipped() {
        assert!(parse("").unwrap().is_empty());
        assert_eq!(parse("--skip fuzz --skip doc").unwrap(), ["fuzz", "doc"]);
    }

    #[test]
    fn a_misspelt_skip_is_an_error() {
        assert!(parse("--skip").is_err());
        assert!(parse("--skip fuz").is_err());
        assert!(parse("fuzz").is_err());
    }
}
