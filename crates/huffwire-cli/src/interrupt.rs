//! Ctrl-C, or being asked to end: partial output is removed, as after an error.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Files that were not complete when they were noted down. Their names are random, so those that
/// have since been completed and renamed can stay here.
static PARTIAL: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 128 + 2;

/// Makes an interruption remove all files noted down with [`partial`].
pub(crate) fn remove_partial_files() {
    // Where signals cannot be handled, an interruption leaves a file behind: no reason to give up.
    let _ = ctrlc::set_handler(|| {
        // Never unlocked: no file is noted down any more.
        let partial = PARTIAL.lock().unwrap_or_else(PoisonError::into_inner);
        for path in partial.iter() {
            let _ = std::fs::remove_file(path);
        }
        std::process::exit(INTERRUPTED);
    });
}

/// Notes down a file that is not complete.
pub(crate) fn partial(path: &Path) {
    PARTIAL.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
}
