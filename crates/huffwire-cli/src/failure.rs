//! How a failure reaches the user: one line, and an exit code.

use std::io::{self, ErrorKind, Write};

use anyhow::Result;
use huffwire_io::Error;
use serde::Serialize;

use crate::color;
use crate::report::Stream;

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

/// Prints a line about a failure to standard error.
pub(crate) fn print(message: &str) {
    // Nobody is left to hear that standard error is closed too.
    let (red, plain) = if color::is_on() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(io::stderr(), "{red}error:{plain} {message}");
}

/// The causes, outermost first, and what to type if the command line has a remedy. Some errors repeat
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
    let remedy = error.chain().find_map(|cause| remedy(cause.downcast_ref()?));
    if let Some(remedy) = remedy {
        line.push_str(&format!(" ({remedy})"));
    }
    line
}

/// What to type when a library that knows nothing of the command line has failed.
fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::UnknownFormat { .. } => {
            Some("pass the type, such as --dtype bf16, or --dtype u8 for bytes of any kind")
        }
        Error::InvalidFormat { format, .. } | Error::FileSize { format, .. }
            if *format != ".hw" =>
        {
            Some("to compress the file as mere bytes pass --dtype u8")
        }
        Error::RawSize { .. } => Some("see --dtype and --shape"),
        Error::CodebooksMissing { .. } | Error::OtherCodebooks { .. } => {
            Some("pass --codebooks FILE")
        }
        Error::NoSuchTensor { .. } => Some("huffwire inspect lists all tensors"),
        Error::Range { .. } => Some("see --range"),
        Error::NotAnArray { .. } => Some("pass --as raw"),
        Error::Exists { .. } => Some("pass --force to replace it"),
        Error::SameFile { .. } => Some("pass another -o"),
        Error::SameOutput { .. } => Some("give them in separate calls, each with an -o of its own"),
        Error::Nested { .. } => Some("pass an -o outside of it"),
        Error::IsFolder { .. } => Some("-r works on folders, in compress and decompress"),
        Error::NoEnding { .. } => Some("alone it is restored with -o OUT"),
        Error::Terminal => Some("pass -o FILE"),
        Error::Threads { .. } => Some("pass a smaller --threads"),
        _ => None,
    }
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
}
