//! What is told of many files.

use std::path::Path;

use anyhow::Result;
use huffwire_io::tree::{Direction, Job, Link, Plan};
use serde::Serialize;

use super::{Done, Task};
use crate::failure::{self, FailureReport};
use crate::report::{Stream, count, percent, printable, saving, size};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether everything was done.
    ok: bool,
    files: Vec<FileReport>,
    failures: Vec<FailureReport>,
    /// Folders among the results.
    folders: usize,
    /// Symbolic links that were made again.
    links: u64,
    /// Those of them that lead out of the folder that was given.
    links_leading_out: u64,
    /// Files that were left alone: .hw files beside which their outputs would lie.
    skipped_files: u64,
    raw_bytes: u64,
    file_bytes: u64,
    saving_percent: f64,
    lossy_tensors: usize,
    seconds: f64,
    #[serde(skip)]
    direction: Direction,
}

/// A file that was done.
#[derive(Debug, Serialize)]
struct FileReport {
    input: String,
    outputs: Vec<String>,
    raw_bytes: u64,
    /// Bytes of the .hw file, or of the copy of a file that is none.
    file_bytes: u64,
    saving_percent: f64,
    lossy_tensors: usize,
    /// Whether the input was removed.
    removed: bool,
    note: Option<String>,
}

impl Report {
    pub(super) fn new(task: &Task<'_>, plan: &Plan) -> Self {
        Self {
            ok: true,
            files: Vec::new(),
            failures: Vec::new(),
            folders: plan.folders.len(),
            links: 0,
            links_leading_out: 0,
            skipped_files: plan.skipped,
            raw_bytes: 0,
            file_bytes: 0,
            saving_percent: 0.0,
            lossy_tensors: 0,
            seconds: 0.0,
            direction: task.direction,
        }
    }

    pub(super) fn fail(&mut self, input: &Path, error: &anyhow::Error) {
        self.ok = false;
        self.failures.push(FailureReport::new(input, error));
    }

    pub(super) fn add(&mut self, job: &Job, outcome: Result<Done>) {
        let done = match outcome {
            Ok(done) => done,
            Err(error) => return self.fail(&job.source, &error),
        };
        let removed = matches!(done.removed, Some(Ok(())));
        if let Some(Err(error)) = &done.removed {
            self.fail(&job.source, error);
        }
        self.raw_bytes += done.raw_bytes;
        self.file_bytes += done.file_bytes;
        self.lossy_tensors += done.lossy_tensors;
        self.files.push(FileReport {
            input: job.source.display().to_string(),
            outputs: job.targets.iter().map(|path| path.display().to_string()).collect(),
            raw_bytes: done.raw_bytes,
            file_bytes: done.file_bytes,
            saving_percent: saving(done.raw_bytes, done.file_bytes),
            lossy_tensors: done.lossy_tensors,
            removed,
            note: done.note,
        });
    }

    pub(super) fn add_link(&mut self, link: &Link, made: Result<()>) {
        match made {
            Ok(()) => {
                self.links += 1;
                self.links_leading_out += u64::from(link.leads_out);
            }
            Err(error) => self.fail(&link.source, &error),
        }
    }

    /// Whether something failed and nothing was done.
    pub(super) const fn is_in_vain(&self) -> bool {
        !self.ok && self.files.is_empty() && self.links == 0
    }

    pub(super) const fn exit_code(&self) -> u8 {
        if self.ok { failure::SUCCESS } else { failure::FAILURE }
    }

    pub(super) fn print(&mut self, task: &Task<'_>, seconds: f64) -> Result<()> {
        self.saving_percent = saving(self.raw_bytes, self.file_bytes);
        self.seconds = seconds;
        if task.common.json {
            return Stream::Stdout.print_json(self);
        }
        for failure in &self.failures {
            failure::print(&failure.error);
        }
        if task.common.quiet {
            return Ok(());
        }
        let mut text = String::new();
        for file in &self.files {
            if task.verbose {
                text.push_str(&self.line(file));
            }
            if let Some(note) = &file.note {
                text.push_str(&format!("{}\n", printable(note)));
            }
        }
        text.push_str(&self.summary());
        Stream::Stdout.print(&text)
    }

    /// A line about one file.
    fn line(&self, file: &FileReport) -> String {
        let (from, to) = (printable(&file.input), printable(&file.outputs.join(", ")));
        format!("{from} -> {to}: {}\n", self.sizes(file.raw_bytes, file.file_bytes))
    }

    fn sizes(&self, raw: u64, coded: u64) -> String {
        let (raw_size, coded_size) = (size(raw), size(coded));
        match self.direction {
            Direction::Compress => {
                format!("{raw_size} -> {coded_size}, saved {}", percent(saving(raw, coded)))
            }
            Direction::Decompress => format!("{coded_size} -> {raw_size}"),
        }
    }

    /// A line about the whole, and one for whatever is not as one may expect.
    fn summary(&self) -> String {
        let files = count(self.files.len() as u64, "file");
        let speed = (self.raw_bytes as f64 / self.seconds.max(1e-9)) as u64;
        let sizes = self.sizes(self.raw_bytes, self.file_bytes);
        let mut text = format!("{files}: {sizes}, {}/s", size(speed));
        let removed = self.files.iter().filter(|file| file.removed).count() as u64;
        for (number, what) in [
            (self.links, "link made again"),
            (removed, "input removed"),
            (self.skipped_files, "file left alone, which is a .hw file"),
            (self.failures.len() as u64, "failure"),
        ] {
            if number > 0 {
                text.push_str(&format!("; {}", count(number, what)));
            }
        }
        text.push('\n');
        if self.links_leading_out > 0 {
            let links = count(self.links_leading_out, "link leading out of the folder");
            text.push_str(&format!("{links}: what lies there is no part of the output\n"));
        }
        if self.lossy_tensors > 0 {
            let tensors = count(self.lossy_tensors as u64, "tensor");
            text.push_str(&format!(
                "{tensors} quantized: the floats are near the original ones, not the same\n"
            ));
        }
        text
    }
}
