//! Many files in one call: each is worked on by itself, and what fails does not keep the rest from being done.

mod links;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use huffwire_io::tree::{Direction, Job, Plan, Request};
use indicatif::ProgressBar;

use self::report::Report;
use crate::args::{Common, ManyArgs};
use crate::files::{self, is_dash};
use crate::interrupt;
use crate::progress;

/// What the command line says of many files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) direction: Direction,
    pub(crate) inputs: &'a [PathBuf],
    pub(crate) output: Option<&'a Path>,
    pub(crate) force: bool,
    pub(crate) verbose: bool,
    pub(crate) many: &'a ManyArgs,
    pub(crate) common: &'a Common,
}

/// What became of a file.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Bytes of the originals.
    pub(crate) raw_bytes: u64,
    /// Bytes of the .hw file, or of the copy of a file that is none.
    pub(crate) file_bytes: u64,
    /// Tensors that were quantized.
    pub(crate) lossy_tensors: usize,
    /// What is worth knowing of it.
    pub(crate) note: Option<String>,
    /// Whether the input was removed; why it was not, although it should have been.
    pub(crate) removed: Option<Result<()>>,
}

/// Whether the inputs are so many that each output has a name of its own: several, or a folder.
pub(crate) fn is_many(inputs: &[PathBuf], many: &ManyArgs) -> bool {
    match inputs {
        [one] => many.recursive && !is_dash(one) && one.is_dir(),
        _ => true,
    }
}

/// Works on all files with `work`, reports, and returns the exit code.
pub(crate) fn run(
    task: &Task<'_>,
    work: impl Fn(&Job, &ProgressBar) -> Result<Done> + Sync,
) -> Result<u8> {
    let started = Instant::now();
    if task.inputs.iter().any(|input| is_dash(input)) {
        bail!("-: standard input can only be the only input");
    }
    if let Some(output) = task.output
        && (is_dash(output) || output.exists() && !output.is_dir())
    {
        bail!("{}: for several inputs the output must be a folder", output.display());
    }
    let request = Request {
        direction: task.direction,
        inputs: task.inputs,
        recursive: task.many.recursive,
        output: task.output,
    };
    let mut plan = Plan::new(&request)?;
    let mut report = Report::new(task, &plan);
    for (input, error) in plan.failures.drain(..) {
        report.fail(&input, &error.into());
    }
    let (mut made, mut closed) = (Vec::new(), Vec::new());
    for folder in &plan.folders {
        // The folder that the user named may be a link.
        if Some(folder.as_path()) == task.output && folder.is_dir() || is_in(folder, &closed) {
            continue;
        }
        if let Err(error) = links::make_folder(folder, &mut made) {
            report.fail(folder, &error);
            closed.push(folder.clone());
        }
    }
    // What would lie in a folder that cannot be used is named with that folder.
    plan.jobs.retain(|job| !job.targets.iter().any(|target| is_in(target, &closed)));
    plan.links.retain(|link| !is_in(&link.path, &closed));
    let bar = progress::bytes(plan.bytes(), task.common.quiet);
    for (job, outcome) in plan.jobs.iter().zip(each(&plan.jobs, task.many.jobs(), &bar, &work)) {
        report.add(job, outcome);
    }
    bar.finish_and_clear();
    // After the files: no file was written through a link that was made here.
    for link in &plan.links {
        let made = files::create_link(&link.path, &link.target, task.force);
        let made = made.and_then(|()| match task.many.rm {
            true => links::remove(link),
            false => Ok(()),
        });
        report.add_link(link, made);
    }
    if report.is_in_vain() {
        for folder in made.iter().rev() {
            // Only if it is empty, and there is nobody to tell if it is not.
            let _ = fs::remove_dir(folder);
        }
    }
    report.print(task, started.elapsed().as_secs_f64())?;
    Ok(report.exit_code())
}

/// Whether a path lies in one of these folders.
fn is_in(path: &Path, folders: &[PathBuf]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

/// Does all jobs, some at a time; the results are in the order of the jobs.
fn each(
    jobs: &[Job],
    at_a_time: usize,
    bar: &ProgressBar,
    work: &(impl Fn(&Job, &ProgressBar) -> Result<Done> + Sync),
) -> Vec<Result<Done>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { return };
            let outcome = work(job, bar);
            interrupt::note_progress(note_outcome(&outcomes, index, outcome), jobs.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..at_a_time.min(jobs.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Notes what became of a job; returns how many are at an end.
fn note_outcome(
    outcomes: &Mutex<Vec<(usize, Result<Done>)>>,
    index: usize,
    outcome: Result<Done>,
) -> usize {
    let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.push((index, outcome));
    outcomes.len()
}
