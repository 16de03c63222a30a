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
    let _ = on_interruption(end);
}

/// Removes what is not complete, and ends the program.
fn end() {
    huffwire_io::remove_partial_files();
    let (done, all) = *PROGRESS.lock().unwrap_or_else(PoisonError::into_inner);
    if all > 1 {
        // Nobody may be left to hear it.
        let _ = writeln!(io::stderr(), "\ninterrupted: {done} of {all} files are done");
    }
    std::process::exit(INTERRUPTED);
}

/// Does something in a thread of its own when the program is interrupted, or asked to end. Signals that whoever started
/// the program had turned off stay so: SIGHUP by `nohup`, SIGINT by a shell that starts it in the background.
#[cfg(unix)]
fn on_interruption(act: fn()) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use std::thread::Builder;
    use std::time::{Duration, Instant};

    /// Some programs, such as `timeout`, send the same signal twice: only one that comes so much later than the first says
    /// that ending takes too long.
    const PATIENCE: Duration = Duration::from_secs(1);

    let ignored = ignored_signals();
    let mut signals = Signals::new(
        [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored.contains(signal)),
    )?;
    let wait = move || {
        let mut signals = signals.forever();
        if signals.next().is_none() {
            return;
        }
        let first = Instant::now();
        // It may wait for a disk or for a reader that does not answer.
        let acting = Builder::new().name("ending".to_owned()).spawn(act);
        if acting.is_err() {
            act();
        }
        while signals.next().is_some() {
            if first.elapsed() >= PATIENCE {
                signal_hook::low_level::exit(INTERRUPTED);
            }
        }
    };
    Builder::new().name("interruptions".to_owned()).spawn(wait)?;
    Ok(())
}

/// The signals that were turned off when the program was started. The system tells them as a number with a bit for each
/// signal, in hexadecimal digits.
#[cfg(target_os = "linux")]
fn ignored_signals() -> Vec<i32> {
    // What cannot be read turns nothing off.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    (1..=64).filter(|signal| bits >> (signal - 1) & 1 == 1).collect()
}

/// Other systems do not tell.
#[cfg(all(unix, not(target_os = "linux")))]
fn ignored_signals() -> Vec<i32> {
    Vec::new()
}

/// Does something in a thread of its own when the program is interrupted, or asked to end.
#[cfg(not(unix))]
fn on_interruption(act: fn()) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(act)
}
