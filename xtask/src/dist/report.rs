//! What a person sees of a release while it is made, and at its end.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::target::Target;
use crate::steps::Gap;
use crate::suite::seconds;

/// What came of using a file of the release.
#[derive(Debug)]
pub(super) enum Trial {
    /// It works; the text says how it was tried.
    Passed(String),
    /// It was not tried, or not in every way.
    Left(Vec<Gap>),
}

impl Trial {
    /// What was not tried.
    pub(super) fn gaps(self) -> Vec<Gap> {
        match self {
            Self::Passed(_) => Vec::new(),
            Self::Left(gaps) => gaps,
        }
    }
}

/// The stages of a release, counted and timed.
pub(super) struct Progress {
    started: Instant,
    stages: usize,
    begun: usize,
}

impl Progress {
    pub(super) fn new(stages: usize) -> Self {
        Self { started: Instant::now(), stages, begun: 0 }
    }

    /// Does the work of a stage under a heading, and says how long it took.
    pub(super) fn stage<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begun += 1;
        println!("\n==== {} of {}: {what}", self.begun, self.stages);
        let started = Instant::now();
        let made = work().with_context(|| format!("failed: {what}"))?;
        println!("==== done in {}", seconds(started.elapsed()));
        Ok(made)
    }

    /// The time since the first stage began.
    pub(super) fn time(&self) -> String {
        seconds(self.started.elapsed())
    }
}

/// A file of the release.
#[derive(Debug, PartialEq)]
pub(super) struct Product {
    name: String,
    bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    digest: String,
}

/// The files of a folder, by name.
pub(super) fn products(folder: &Path) -> Result<Vec<Product>> {
    let mut products = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let content = fs::read(entry.path())?;
            let digest = Sha256::digest(&content);
            products.push(Product {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: content.len() as u64,
                digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            });
        }
    }
    products.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(products)
}

/// Checksums, as `sha256sum` writes and reads them.
pub(super) fn sums(products: &[Product]) -> String {
    products.iter().map(|Product { name, digest, .. }| format!("{digest}  {name}\n")).collect()
}

/// The table of all files: how large they are, how their checksums begin, and whether they were tried.
pub(super) fn table(products: &[Product], trials: &[(String, Trial)]) -> String {
    let mut rows = vec![["file", "bytes", "SHA-256", "tried"].map(str::to_owned)];
    for Product { name, bytes, digest } in products {
        let found = trials.iter().find(|(of, _)| of == name);
        let tried = match found.map(|(_, trial)| trial) {
            Some(Trial::Passed(how)) => how.as_str(),
            Some(Trial::Left(_)) => "NO",
            None => "",
        };
        let begin = digest.get(..12).unwrap_or(digest);
        rows.push([name.clone(), bytes.to_string(), format!("{begin}..."), tried.to_owned()]);
    }
    aligned(&rows, 1)
}

/// What was not tried, and what mends it; nothing if everything was.
pub(super) fn not_tried(trials: Vec<(String, Trial)>) -> String {
    let mut text = String::new();
    for (name, trial) in trials {
        for Gap { what, remedy } in trial.gaps() {
            text += &format!("NOT TRIED: {name}: {what}\n");
            if let Some(remedy) = remedy {
                text += &format!("           get it: {remedy}\n");
            }
        }
    }
    text
}

/// Why what was made must not be released; nothing if it may be.
pub(super) fn not_releasable(faults: &[String]) -> String {
    faults.iter().map(|fault| format!("NOT RELEASABLE: {fault}\n")).collect()
}

/// What is made for each target, and what of it can be tried on a machine whose target is `host`.
pub(super) fn list(targets: &[Target], host: &str) -> String {
    let mut rows = vec![["target", "program", "wheel"].map(str::to_owned)];
    for target in targets {
        let program = match target.emulator {
            _ if target.runs_on(host) => "tried in an empty root".to_owned(),
            Some(emulator) => format!("tried with {emulator}"),
            None => "not tried".to_owned(),
        };
        let system = target.compatibility.unwrap_or(target.wheel);
        let wheel = if target.wheel == host { "tried in a new environment" } else { "not tried" };
        rows.push([target.program.to_owned(), program, format!("{system}, {wheel}")]);
    }
    aligned(&rows, usize::MAX)
}

/// Rows in columns; the column `right` is aligned to the right.
fn aligned<const N: usize>(rows: &[[String; N]], right: usize) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            line += &if column == right {
                format!("{cell:>width$}  ")
            } else {
                format!("{cell:<width$}  ")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::target::TARGETS;
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("huffwire-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("inner")).unwrap();
        fs::write(folder.join("b.whl"), "abc").unwrap();
        fs::write(folder.join("a"), "").unwrap();
        folder
    }

    #[test]
    fn sums_are_those_of_sha256sum() {
        let folder = folder("sums");
        let found = sums(&products(&folder).unwrap());
        fs::remove_dir_all(&folder).unwrap();
        let expected = "\
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a
ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b.whl
";
        assert_eq!(found, expected);
    }

    #[test]
    fn the_table_tells_what_was_tried() {
        let folder = folder("table");
        let products = products(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let gap = Gap { what: "no qemu".to_owned(), remedy: Some("apt-get".to_owned()) };
        let trials = vec![
            ("b.whl".to_owned(), Trial::Passed("installed".to_owned())),
            ("a".to_owned(), Trial::Left(vec![gap])),
        ];
        let expected = "\
file   bytes  SHA-256          tried
a          0  e3b0c44298fc...  NO
b.whl      3  ba7816bf8f01...  installed
";
        assert_eq!(table(&products, &trials), expected);
        let left = not_tried(trials);
        assert_eq!(left, "NOT TRIED: a: no qemu\n           get it: apt-get\n");
    }

    #[test]
    fn a_draft_says_what_it_is() {
        assert_eq!(not_releasable(&[]), "");
        let faults = ["one", "two"].map(str::to_owned);
        assert_eq!(not_releasable(&faults), "NOT RELEASABLE: one\nNOT RELEASABLE: two\n");
    }

    #[test]
    fn the_list_depends_on_the_machine() {
        let of_linux = list(TARGETS, "x86_64-unknown-linux-gnu");
        let lines: Vec<&str> = of_linux.lines().collect();
        assert_eq!(lines.len(), 1 + TARGETS.len());
        assert!(lines[1].contains("empty root") && lines[1].contains("new environment"));
        assert!(lines[2].contains("tried with qemu-aarch64"));
        assert!(lines[4].ends_with("not tried") && lines[4].matches("not tried").count() == 2);
        assert!(lines.iter().all(|line| line.len() < 100), "{of_linux}");
        let of_another = list(TARGETS, "aarch64-unknown-linux-gnu");
        assert!(of_another.lines().nth(1).unwrap().contains("not tried"));
    }

    #[test]
    fn a_stage_that_fails_says_which() {
        let mut progress = Progress::new(2);
        assert_eq!(progress.stage("adding", || Ok(1 + 1)).unwrap(), 2);
        let error = progress.stage("building", || anyhow::bail!("no compiler")).map(|(): ()| ());
        assert_eq!(format!("{:#}", error.unwrap_err()), "failed: building: no compiler");
    }
}
