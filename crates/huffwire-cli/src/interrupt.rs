//! Ctrl-C, or being asked to end: partial output is removed, as after an error.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 128 + 2;

/// How many of many files are at an end, and how many there are.
static PROGRESS: Mutex<(usize, usize)> = Mutex::new((0, 0));

/// Notes how far the work on many files has come, for the message of an interruption.
pub(crate) fn note_progress(done: usize, all: usize) {
    *PROGRESS.lock().unwrap_or_else(PoisonError::into_inner) = (done, all);
}

/// Makes an interruption remove all files and folders that are not complete.
pub(crate) fn remove_partial_files() {
    // Where signals cannot be handled, an interruption leaves a file behind: no reason to give up.
    let _ = on_interruption(|| {
        huffwire_io::remove_partial_files();
        let (done, all) = *PROGRESS.lock().unwrap_or_else(PoisonError::into_inner);
        if all > 1 {
            // Nobody may be left to hear it.
            let _ = writeln!(io::stderr(), "\ninterrupted: {done} of {all} files are done");
        }
        std::process::exit(INTERRUPTED);
    });
}

/// Does something in a thread of its own when the program is interrupted, or asked to end.
#[cfg(unix)]
fn on_interruption(act: impl FnOnce() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let wait = move || {
        if signals.forever().next().is_some() {
            act();
        }
    };
    std::thread::Builder::new().name("interruptions".to_owned()).spawn(wait)?;
    Ok(())
}

/// Does something in a thread of its own when the program is interrupted, or asked to end.
#[cfg(not(unix))]
fn on_interruption(act: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(act)
}
