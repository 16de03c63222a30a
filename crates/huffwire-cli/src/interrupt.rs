//! Ctrl-C, or being asked to end: partial output is removed, as after an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

/// What is there and not complete.
#[derive(Debug)]
struct Made {
    /// Their names are random, so those that have since been completed and renamed can stay here.
    files: Vec<PathBuf>,
    /// Folders are only removed when they are empty, so those in which something was completed can stay here.
    folders: Vec<PathBuf>,
}

static MADE: Mutex<Made> = Mutex::new(Made { files: Vec::new(), folders: Vec::new() });

fn made() -> MutexGuard<'static, Made> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 128 + 2;

/// Makes an interruption remove all that was made with [`file`] and [`folder`].
pub(crate) fn remove_partial_files() {
    // Where signals cannot be handled, an interruption leaves a file behind: no reason to give up.
    let _ = ctrlc::set_handler(|| {
        // Never unlocked: nothing is made any more.
        let made = made();
        for path in &made.files {
            let _ = fs::remove_file(path);
        }
        for path in &made.folders {
            let _ = fs::remove_dir(path);
        }
        std::process::exit(INTERRUPTED);
    });
}

/// Makes a file that is not complete. No interruption comes between that and noting it down.
pub(crate) fn file(make: impl FnOnce() -> io::Result<NamedTempFile>) -> io::Result<NamedTempFile> {
    let mut made = made();
    let file = make()?;
    made.files.push(file.path().to_owned());
    Ok(file)
}

/// Makes a folder for files that are not complete.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    let mut made = made();
    fs::create_dir(path)?;
    made.folders.push(path.to_owned());
    Ok(())
}
