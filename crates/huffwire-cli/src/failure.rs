//! How a failure reaches the user: one line, and an exit code.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use anyhow::Result;
use huffwire_io::Error;
use serde::Serialize;

use crate::color;
use crate::report::{Stream, printable};

/// The exit code when all went well.
pub(crate) const SUCCESS: u8 = 0;
/// The exit code of an error in the input, the codebooks or the output.
pub(crate) const FAILURE: u8 = 1;
/// The exit code of an error in the command line.
pub(crate) const USAGE: u8 = 2;
/// What a shell reports for a program that a closed pipe ended.
const CLOSED_PIPE: u8 = 128 + 13;

/// Prints the error and returns the exit code that goes with it. Says nothing when whoever read the
/// output has closed it: they know.
///
/// A command that reports JSON reports its failure so, too, on the same stream; `code` is the exit code otherwise.
pub(crate) fn report(error: &anyhow::Error, json: Option<Stream>, code: u8) -> u8 {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed) {
        return CLOSED_PIPE;
    }
    let message = message(error);
    match json {
        Some(stream) => report_json(stream, message, code),
        None => print(&message),
    }
    code
}

/// What `--json` prints instead of a report.
#[derive(Debug, Serialize)]
struct Failure {
    ok: bool,
    error: String,
    exit_code: u8,
}

/// What was not done, of several things, and why.
#[derive(Debug, Serialize)]
pub(crate) struct FailureReport {
    /// A file or folder: an input, or one of the output that cannot be used.
    pub(crate) input: String,
    pub(crate) error: String,
}

impl FailureReport {
    pub(crate) fn new(path: &Path, error: &anyhow::Error) -> Self {
        Self { input: path.display().to_string(), error: message(error) }
    }
}

/// Prints a failure as JSON.
pub(crate) fn report_json(stream: Stream, error: String, exit_code: u8) {
    let failure = Failure { ok: false, error, exit_code };
    // Where the stream is closed, the other one may not be.
    if stream.print_json(&failure).is_err() {
        print(&failure.error);
    }
}

/// Why an input was kept that was to be removed.
pub(crate) fn why_kept(removal: &Option<Result<()>>) -> Option<String> {
    removal.as_ref()?.as_ref().err().map(message)
}

/// The exit code when an input was to be removed, or was not. `is_told` says that the report tells why it was kept.
pub(crate) fn of_removal(removal: Option<Result<()>>, is_told: bool) -> u8 {
    match removal {
        Some(Err(error)) => {
            if !is_told {
                print(&message(&error));
            }
            FAILURE
        }
        _ => SUCCESS,
    }
}

/// Prints a line about a failure to standard error. Names and types that it tells may come from hostile files.
pub(crate) fn print(message: &str) {
    // Nobody is left to hear that standard error is closed too.
    let (red, plain) = if color::is_on() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(io::stderr(), "{red}error:{plain} {}", printable(message));
}

/// The causes, outermost first, and what to type if the command line has a remedy, in place of what a library advises. Some errors repeat
/// their cause in their own message, which is not printed twice.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.ends_with(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    let remedy = error.chain().find_map(|cause| remedy(of_files(cause)?));
    match remedy {
        None => line,
        Some((theirs, ours)) if !theirs.is_empty() && line.contains(theirs) => {
            line.replacen(theirs, ours, 1)
        }
        Some((_, ours)) => format!("{line} ({ours})"),
    }
}

/// The error of files that a cause is, or stands for.
fn of_files<'e>(cause: &'e (dyn std::error::Error + 'static)) -> Option<&'e Error> {
    match cause.downcast_ref() {
        Some(huffwire_analysis::Error::File(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// What to type when a library that knows nothing of the command line has failed; and before it the words of the library
/// that it stands for, if the library has said what to do.
fn remedy(error: &Error) -> Option<(&'static str, &'static str)> {
    Some(match error {
        Error::UnknownFormat { .. } => (
            "A file of any other kind can be compressed as raw elements of a given type",
            "For a file of any other kind pass the type, such as --dtype bf16, or --dtype u8 for bytes",
        ),
        Error::InvalidFormat { format, .. } | Error::FileSize { format, .. }
            if *format != ".hw" =>
        {
            ("", "to compress the file as mere bytes pass --dtype u8")
        }
        Error::RawSize { .. } => ("", "see --dtype and --shape"),
        Error::CodebooksMissing { .. } | Error::OtherCodebooks { .. } => (
            "give the codebook file that it was compressed with",
            "pass the codebook file that it was compressed with: --codebooks FILE",
        ),
        Error::BaseMissing { .. } => (
            "give that base",
            "pass that base: --base OLD, which compress, decompress, verify, diff and analyze have",
        ),
        Error::NoSuchTensor { .. } => ("", "huffwire inspect lists all tensors"),
        Error::Range { .. } => ("", "see --range"),
        Error::NotAnArray { .. } => ("write the raw bytes instead", "pass --as raw"),
        Error::Exists { .. } => ("", "pass --force to replace it"),
        Error::SameFile { .. } => ("choose another output", "pass another -o"),
        Error::SameOutput { .. } => ("", "give them in separate calls, each with an -o of its own"),
        Error::Nested { .. } => ("", "pass an -o outside of it"),
        Error::IsFolder { .. } => {
            ("give a file", "give a file, or pass -r, which compress and decompress have")
        }
        Error::NoEnding { .. } => ("", "alone it is restored with -o OUT"),
        Error::Terminal => ("choose an output file", "pass -o FILE"),
        Error::Threads { .. } => ("ask for fewer", "pass a smaller --threads"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("checksum").context("block 3: checksum").context("x.hw");
        assert_eq!(message(&error), "x.hw: block 3: checksum");
    }

    #[test]
    fn a_remedy_is_told_once() {
        let path = || "x".to_owned();
        let wanted = huffwire::CodebookSet::builtin().id();
        let other = Error::OtherCodebooks { path: path(), wanted, given: path(), found: wanted };
        for error in [
            Error::UnknownFormat { path: path() },
            Error::CodebooksMissing { path: path(), wanted },
            other,
            Error::BaseMissing { path: path(), what: path() },
            Error::NotAnArray { bytes: 1, descr: path(), dimensions: 1 },
            Error::SameFile { path: path(), input: path() },
            Error::IsFolder { path: path() },
            Error::Terminal,
            Error::Threads { threads: 1, detail: path() },
        ] {
            let (theirs, ours) = remedy(&error).unwrap();
            assert!(!theirs.is_empty() && error.to_string().contains(theirs), "{error}");
            let message = message(&anyhow::Error::from(error).context("outside"));
            assert!(message.contains(ours) && !message.ends_with(')'), "{message}");
        }
        let message = message(&Error::Exists { path: path() }.into());
        assert!(
            message.ends_with("is not to be replaced (pass --force to replace it)"),
            "{message}"
        );
    }
}
