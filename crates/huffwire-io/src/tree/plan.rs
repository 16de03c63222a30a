//! Which files become which.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::check::{Places, check};
use super::walk::{EntryKind, kind_of, walk};
use crate::error::{Error, Result};
use crate::input::InputFile;
use crate::reader::{Reader, is_hw_file};

/// Whether files are compressed or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Each file becomes a .hw file.
    Compress,
    /// Each .hw file becomes what it was made from.
    Decompress,
}

/// Which files and folders are to be worked on, and where the results go.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is done with them.
    pub direction: Direction,
    /// Files and folders.
    pub inputs: &'a [PathBuf],
    /// Whether folders are worked on, with everything in them. They are failures otherwise.
    pub recursive: bool,
    /// The folder for the results; `None`: each result lies beside its input.
    pub output: Option<&'a Path>,
}

/// All that is to be done.
///
/// A file `x` becomes `x.hw`, and `x.hw` becomes `x`. The content of a single folder lies directly in the output folder;
/// of several inputs each has its own name there. Folders and symbolic links keep their names, except that one whose
/// name ends in `.hw` gets another `.hw`: so no two things in a folder can become one, and all names come back.
///
/// ```
/// use huffwire_io::tree::{Direction, Plan, Request};
///
/// let folder = tempfile::tempdir()?;
/// let (from, to) = (folder.path().join("model"), folder.path().join("packed"));
/// std::fs::create_dir(&from)?;
/// std::fs::write(from.join("config.json"), "{}")?;
/// let inputs = [from.clone()];
/// let request = Request { direction: Direction::Compress, inputs: &inputs, recursive: true, output: Some(&to) };
/// let plan = Plan::new(&request)?;
/// assert_eq!(plan.jobs[0].source, from.join("config.json"));
/// assert_eq!(plan.jobs[0].targets, [to.join("config.json.hw")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Plan {
    /// Folders to be made, each before those in it. They may exist.
    pub folders: Vec<PathBuf>,
    /// Files to be worked on.
    pub jobs: Vec<Job>,
    /// Symbolic links to be made.
    pub links: Vec<Link>,
    /// What cannot be worked on, and why.
    pub failures: Vec<(PathBuf, Error)>,
    /// Files that are left alone, because they are already what they would become.
    pub skipped: u64,
}

/// A file to be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The file.
    pub source: PathBuf,
    /// The files that are made from it: one, unless a .hw file of a sharded model is restored.
    pub targets: Vec<PathBuf>,
    /// What is done with it.
    pub action: Action,
    /// Bytes that are read, or restored: a measure of the work.
    pub bytes: u64,
}

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is compressed; its kind must be known.
    Compress,
    /// It is compressed; what is no tensor file is taken as bytes.
    CompressAny,
    /// It is a .hw file and is restored.
    Decompress,
    /// It is no .hw file and is copied.
    Copy,
}

/// A symbolic link to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The link that it is a copy of.
    pub source: PathBuf,
    /// Where it is made.
    pub path: PathBuf,
    /// Where it leads.
    pub target: PathBuf,
    /// Whether it leads out of the folder that was given: what it leads to is no part of the result.
    pub leads_out: bool,
}

/// The ending of the names of .hw files.
const ENDING: &str = "hw";

fn with_ending(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(".");
    name.push(ENDING);
    name
}

/// The name without `.hw`, if it has this ending.
fn without_ending(name: &OsStr) -> Option<&OsStr> {
    let name = Path::new(name);
    (name.extension()? == ENDING).then(|| name.file_stem())?
}

impl Direction {
    /// What a folder or a link of this name becomes.
    fn rename(self, name: &OsStr) -> OsString {
        match (self, without_ending(name)) {
            (_, None) => name.to_owned(),
            (Self::Compress, Some(_)) => with_ending(name),
            (Self::Decompress, Some(stem)) => stem.to_owned(),
        }
    }

    /// The path of a folder within the results, from its path within the folder given.
    fn rename_all(self, below: &Path) -> PathBuf {
        below.iter().map(|name| self.rename(name)).collect()
    }
}

impl Plan {
    /// Finds out what is to be done. Nothing is made or changed.
    ///
    /// # Errors
    /// [`Error::SameOutput`] when two inputs would become one output, [`Error::SameFile`] when an output would replace an
    /// input, [`Error::Nested`] when results would lie in a folder that is worked on. What concerns a single file
    /// is no error here, but one of [`Plan::failures`].
    pub fn new(request: &Request<'_>) -> Result<Self> {
        let mut plan = Self::default();
        let alone = request.inputs.len() == 1;
        if let Some(output) = request.output {
            plan.folders.push(output.to_owned());
        }
        for input in request.inputs {
            // An input that is a link stands for what it leads to.
            let is_folder = input.is_dir();
            if is_folder && !request.recursive {
                plan.failures.push((input.clone(), Error::folder(input)));
            } else if is_folder {
                plan.add_folder(request, input, alone)?;
            } else {
                plan.add_file(request, input);
            }
        }
        check(&plan, request)?;
        Ok(plan)
    }

    /// Bytes that are read, or restored, from all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.jobs.iter().map(|job| job.bytes).sum()
    }

    fn add_file(&mut self, request: &Request<'_>, input: &Path) {
        let bytes = match fs::metadata(input) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => return self.add_special(input),
            Err(error) => {
                let error = Error::io(&input.display().to_string(), "cannot be opened")(error);
                return self.failures.push((input.to_owned(), error));
            }
        };
        let folder = match (request.output, input.parent()) {
            (Some(folder), _) => folder.to_owned(),
            (None, parent) => parent.unwrap_or(Path::new("")).to_owned(),
        };
        let Some(name) = input.file_name() else { return self.add_special(input) };
        let action = match (request.direction, request.recursive) {
            (Direction::Compress, true) => Action::CompressAny,
            (Direction::Compress, false) => Action::Compress,
            (Direction::Decompress, _) => Action::Decompress,
        };
        if action == Action::Decompress && without_ending(name).is_none() {
            let path = input.display().to_string();
            return self.failures.push((input.to_owned(), Error::NoEnding { path }));
        }
        self.add_job(input.to_owned(), &folder, name, (action, bytes));
    }

    fn add_special(&mut self, path: &Path) {
        let what = match kind_of(path) {
            Ok(EntryKind::Special(what)) => what,
            _ => "no file",
        };
        let error = Error::Special { path: path.display().to_string(), what };
        self.failures.push((path.to_owned(), error));
    }

    /// Adds a folder with all that is in it.
    fn add_folder(&mut self, request: &Request<'_>, input: &Path, alone: bool) -> Result<()> {
        let Request { direction, output, .. } = *request;
        let base = match output {
            None => input.to_owned(),
            Some(output) => {
                let own = if alone { None } else { name_of(input) };
                own.map_or_else(|| output.to_owned(), |name| output.join(direction.rename(&name)))
            }
        };
        if output.is_some_and(|output| output != base) {
            self.folders.push(base.clone());
        }
        let root = input.canonicalize().unwrap_or_else(|_| input.to_owned());
        let (entries, errors) = walk(input);
        self.failures.extend(errors);
        for entry in entries {
            let source = input.join(&entry.path);
            let Some(name) = entry.path.file_name() else { continue };
            let below = entry.path.parent().unwrap_or(Path::new(""));
            // Beside its input a result lies in the same folder, whatever its name.
            let folder = match output {
                None => input.join(below),
                Some(_) => base.join(direction.rename_all(below)),
            };
            match entry.kind {
                EntryKind::File(bytes) => match action(request, &source, name) {
                    Some(action) => self.add_job(source, &folder, name, (action, bytes)),
                    None => self.skipped += 1,
                },
                EntryKind::Folder if output.is_some() => {
                    self.folders.push(folder.join(direction.rename(name)));
                }
                EntryKind::Link(target) if output.is_some() => {
                    let leads_out = leads_out(&root, below, &target);
                    let path = folder.join(direction.rename(name));
                    self.links.push(Link { source, path, target, leads_out });
                }
                EntryKind::Folder | EntryKind::Link(_) => {}
                EntryKind::Special(what) => {
                    let path = source.display().to_string();
                    self.failures.push((source, Error::Special { path, what }));
                }
            }
        }
        Ok(())
    }

    fn add_job(
        &mut self,
        source: PathBuf,
        folder: &Path,
        name: &OsStr,
        (action, mut bytes): (Action, u64),
    ) {
        let targets = match action {
            Action::Compress | Action::CompressAny => vec![folder.join(with_ending(name))],
            Action::Copy => vec![folder.join(name)],
            Action::Decompress => {
                let reader = match Reader::open(&source) {
                    Ok(reader) => reader,
                    Err(error) => return self.failures.push((source, error)),
                };
                bytes = reader.directory().raw_bytes();
                match (&reader.directory().originals[..], without_ending(name)) {
                    ([_], Some(name)) => vec![folder.join(name)],
                    (several, _) => several.iter().map(|one| folder.join(&one.name)).collect(),
                }
            }
        };
        self.jobs.push(Job { source, targets, action, bytes });
    }
}

/// What is done with a file in a folder; `None` if it is left alone.
fn action(request: &Request<'_>, source: &Path, name: &OsStr) -> Option<Action> {
    let has_ending = without_ending(name).is_some();
    match (request.direction, request.output) {
        (Direction::Compress, Some(_)) => Some(Action::CompressAny),
        (Direction::Compress, None) if has_ending && is_hw(source) => None,
        (Direction::Compress, None) => Some(Action::CompressAny),
        (Direction::Decompress, _) if has_ending => Some(Action::Decompress),
        (Direction::Decompress, Some(_)) => Some(Action::Copy),
        (Direction::Decompress, None) => None,
    }
}

/// Whether a file begins as a .hw file does. What cannot be read is told when it is worked on.
fn is_hw(path: &Path) -> bool {
    let start = InputFile::open(path).and_then(|file| file.start(8));
    start.is_ok_and(|start| is_hw_file(&start))
}

/// The name of a folder, also of one that is given as `.` or `..`.
fn name_of(folder: &Path) -> Option<OsString> {
    let named = folder.file_name().map(OsStr::to_owned);
    named.or_else(|| folder.canonicalize().ok()?.file_name().map(OsStr::to_owned))
}

/// Whether a link in the folder `below` a root leads out of this root.
fn leads_out(root: &Path, below: &Path, target: &Path) -> bool {
    use std::path::Component;
    if target.is_absolute() {
        return !Places::default().of(target).starts_with(root);
    }
    let mut depth = below.components().count();
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_come_back_and_none_meet() {
        let names = ["a", "a.hw", "a.hw.hw", ".hw", "b.c"].map(OsStr::new);
        let mut seen = HashSet::new();
        for name in names {
            let file = with_ending(name);
            assert_eq!(without_ending(&file), Some(name));
            let other = Direction::Compress.rename(name);
            assert_eq!(Direction::Decompress.rename(&other), name, "{name:?}");
            // A folder holds one thing of a name: its file or its folder.
            assert!(seen.insert(other), "{name:?}");
        }
        for name in names {
            let clash = names.into_iter().find(|other| {
                *other != name && Direction::Compress.rename(other) == with_ending(name)
            });
            assert_eq!(clash, None, "{name:?}");
        }
    }

    #[test]
    fn links_that_lead_out() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let out = |below: &str, target: &str| leads_out(&root, Path::new(below), Path::new(target));
        assert!(out("", "..") && out("a/b", "../../../x") && out("a", "/etc/passwd"));
        assert!(!out("a/b", "../../x") && !out("", "x/../y") && !out("", "."));
        let absolute = |path: &str| format!("{}/{path}", root.display());
        assert!(!out("a", &absolute("x")) && !out("", &absolute("")));
        assert!(out("a", &absolute("../x")) && out("", &format!("{}x", root.display())));
    }
}
