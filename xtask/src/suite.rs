//! `cargo xtask test`: the steps one after another, with a summary at the end.

use std::env;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::needs;
use crate::steps::{self, Gap, Outcome, Step};

/// What `cargo xtask test` understands.
pub(crate) const ARGUMENTS: &str = "[--install] [--skip STEP]...";

/// What the command line says.
#[derive(Debug, Default, PartialEq)]
struct Request {
    /// Whether to bring what is missing, from rustup and from the system's packages.
    install: bool,
    /// The steps to leave out.
    skipped: Vec<&'static str>,
}

/// Runs every step that is not skipped, up to the first that fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let request = parse(arguments)?;
    let started = Instant::now();
    if request.install {
        println!("\n==== install: what the steps need");
        // What only a release needs is left alone.
        needs::install(|step| steps::find(step).is_ok() && !request.skipped.contains(&step))?;
    }
    let strict = request.install || demanded();
    let mut failure = None;
    let mut summary = Vec::new();
    let mut not_checked = Vec::new();
    for step in steps::ALL {
        let ending = if request.skipped.contains(&step.name) {
            Ending::Skipped
        } else if failure.is_some() {
            Ending::NotReached
        } else {
            let ended = timed(step, strict);
            not_checked.extend(ended.gaps.into_iter().map(|gap| (step.name, gap)));
            failure = ended.result.err();
            ended.ending
        };
        summary.push((step.name, ending));
    }

    println!("\n==== summary, after {}", seconds(started.elapsed()));
    for (name, ending) in &summary {
        println!("{name:<9} {ending}");
    }
    tell(&not_checked);
    failure.map_or(Ok(()), Err)
}

/// Runs one step by itself.
pub(crate) fn run_one(step: &Step) -> Result<()> {
    let ended = timed(step, demanded());
    tell(&ended.gaps.into_iter().map(|gap| (step.name, gap)).collect::<Vec<_>>());
    ended.result
}

/// Whether this is a machine that must have everything.
fn demanded() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// What became of a step.
struct Ended {
    ending: Ending,
    gaps: Vec<Gap>,
    result: Result<()>,
}

/// Runs `step` under a heading, and says how it ended and how long it took. With `strict` it fails
/// when something is missing that could be there.
fn timed(step: &Step, strict: bool) -> Ended {
    println!("\n==== {}: {}", step.name, step.about);
    let started = Instant::now();
    let outcome = (step.run)();
    let time = started.elapsed();
    let ended = judged(step.name, outcome, time, strict);
    println!("==== {}: {}", step.name, ended.ending);
    ended
}

fn judged(name: &str, outcome: Result<Outcome>, time: Duration, strict: bool) -> Ended {
    let (ending, gaps, error) = match outcome {
        Ok(Outcome::Passed) => (Ending::Passed(time), Vec::new(), None),
        Ok(Outcome::Partly(gaps)) if strict && gaps.iter().any(|gap| gap.remedy.is_some()) => {
            let error = anyhow!("with --install or CI=true nothing may be missing");
            (Ending::Failed(time), gaps, Some(error))
        }
        Ok(Outcome::Partly(gaps)) => (Ending::Partly(time), gaps, None),
        Err(error) => (Ending::Failed(time), Vec::new(), Some(error)),
    };
    let result = error.map_or(Ok(()), |error| Err(error.context(format!("step `{name}`"))));
    Ended { ending, gaps, result }
}

/// Says in one list what was not checked, and what would mend it.
fn tell(not_checked: &[(&str, Gap)]) {
    if not_checked.is_empty() {
        return;
    }
    println!("\n==== NOT CHECKED");
    for (step, Gap { what, remedy }) in not_checked {
        println!("{step:<9} {what}");
        if let Some(remedy) = remedy {
            println!("          get it: {remedy}");
        }
    }
    if not_checked.iter().any(|(_, gap)| gap.remedy.is_some()) {
        println!("`cargo xtask test --install` brings what can be installed.");
    }
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut request = Request::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--install" => request.install = true,
            "--skip" => {
                let name = words.next().context("`--skip` needs the name of a step")?;
                request.skipped.push(steps::find(name)?.name);
            }
            other => bail!("`test` does not know `{other}`, only {ARGUMENTS}"),
        }
    }
    Ok(request)
}

/// How a step ended.
#[derive(Debug, PartialEq)]
enum Ending {
    Passed(Duration),
    Partly(Duration),
    Failed(Duration),
    Skipped,
    NotReached,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(time) => write!(f, "ok in {}", seconds(*time)),
            Self::Partly(time) => write!(f, "NOT ALL CHECKED, the rest ok in {}", seconds(*time)),
            Self::Failed(time) => write!(f, "FAILED after {}", seconds(*time)),
            Self::Skipped => f.write_str("skipped"),
            Self::NotReached => f.write_str("not reached"),
        }
    }
}

/// A time as people read it.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn steps_can_be_skipped() {
        assert_eq!(request("").unwrap(), Request::default());
        assert_eq!(request("--skip fuzz --skip doc").unwrap().skipped, ["fuzz", "doc"]);
    }

    #[test]
    fn nothing_is_installed_unasked() {
        assert!(!request("--skip fuzz").unwrap().install);
        assert!(request("--skip fuzz --install").unwrap().install);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--skip", "--skip fuz", "fuzz", "--instal"] {
            assert!(request(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_could_be_there_may_be_missing_only_unless_it_is_demanded() {
        let mendable = Gap { what: "a test".to_owned(), remedy: Some("a program".to_owned()) };
        let natural = Gap::of_machine("a test");
        for (gap, strict, passes) in [
            (&mendable, false, true),
            (&mendable, true, false),
            (&natural, false, true),
            (&natural, true, true),
        ] {
            let outcome = Ok(Outcome::with(vec![gap.clone()]));
            let ended = judged("name", outcome, Duration::ZERO, strict);
            assert_eq!(ended.result.is_ok(), passes, "{gap:?} {strict}");
            assert_eq!(ended.gaps.first(), Some(gap));
        }
    }
}
