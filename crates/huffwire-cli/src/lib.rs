//! The `huffwire` program: compresses tensor files without losing a bit, and shows with what.
//!
//! The program is a function here, [`run`]. The binary `huffwire` calls it, and so does the Python package.
//!
//! Each command is a file in `commands`. The work on files is done by the library `huffwire-io`; the
//! program adds the command line, progress bars, reports for people and for programs, and exit codes.

mod args;
mod bases;
mod books;
mod color;
mod commands;
mod delta_report;
mod demo;
mod failure;
mod files;
mod floats;
mod interrupt;
mod progress;
mod report;
mod standard;
mod usage;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::error::{ContextKind, ContextValue};
use clap::{ColorChoice, CommandFactory, FromArgMatches};
use huffwire::Platform;

use args::Args;
use report::Stream;

/// Runs the program with these arguments, of which the first is the name that it was called by, and returns its
/// exit code.
///
/// `stdout_is_closed` says that there was no standard output when the process was started (`>&-`). There must be
/// something in its place by now, such as `/dev/null`; nothing is written to it.
///
/// It is meant to be called once, by a process that does nothing else: it handles signals of the whole process,
/// and ends the process when it is interrupted.
pub fn run(arguments: impl IntoIterator<Item = OsString>, stdout_is_closed: bool) -> u8 {
    interrupt::remove_partial_files();
    standard::survive_the_limit_of_file_sizes();
    standard::remember_stdout(stdout_is_closed);
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let choice = color::choice(&arguments);
    color::set(choice);
    let code = match parse(&arguments, choice) {
        Ok(args) => {
            // The library takes a wrong HUFFWIRE_PLATFORM for "portable"; whoever sets one wants to know.
            let platform = Platform::from_environment().context("HUFFWIRE_PLATFORM");
            let done = platform.and_then(|_| commands::run(&args));
            let (json, code) = (args.command.json(), args.command.failure_code());
            done.unwrap_or_else(|error| failure::report(&error, json, code))
        }
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(failure::FAILURE);
            if code != failure::SUCCESS && asks_for_json(&arguments) {
                // Without colours, and without the hints after it.
                let message = error.render().to_string();
                let message = message.lines().next().unwrap_or_default();
                let message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
                failure::report_json(stream_of(&arguments), message, code);
            } else {
                // Nobody is left to hear that the stream is closed.
                let _ = error.print();
            }
            code
        }
    };
    // Not every process does so at its end.
    let _ = io::stdout().flush();
    code
}

/// Understands the command line.
fn parse(arguments: &[OsString], color: ColorChoice) -> Result<Args, clap::Error> {
    let matches = Args::command().color(color).try_get_matches_from(arguments);
    let parsed = matches.and_then(|matches| Args::from_arg_matches(&matches));
    parsed.map_err(|mut error| {
        // Of several commands that resemble what was typed the last one does so most.
        let similar = error.get(ContextKind::SuggestedSubcommand).cloned();
        if let Some(ContextValue::Strings(names)) = similar
            && let Some(name) = names.last()
        {
            let best = ContextValue::Strings(vec![name.clone()]);
            error.insert(ContextKind::SuggestedSubcommand, best);
        }
        error
    })
}

/// Whether a command line that cannot be understood has `--json`.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let options = arguments.iter().take_while(|argument| *argument != "--");
    options.into_iter().any(|argument| argument == "--json")
}

/// Where the failure of a command line that cannot be understood is reported: as far as its words tell, not among data.
fn stream_of(arguments: &[OsString]) -> Stream {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let is_output = |word: &&str| matches!(*word, "-o" | "--output" | "--report");
    let next = words.iter().position(is_output).and_then(|at| words.get(at + 1).copied());
    let joined = words.iter().find_map(|word| {
        let long = ["--output=", "--report="].iter().find_map(|option| word.strip_prefix(option));
        long.or_else(|| word.strip_prefix("-o").filter(|o| !o.is_empty()))
    });
    let to_stdout = match next.or(joined) {
        Some(output) => files::is_stdout(Path::new(output)),
        None => {
            let restores = words.contains(&"decompress");
            let is_tensor = words.iter().any(|word| word.starts_with("--tensor"));
            let from_stdin = (restores || words.contains(&"compress")) && words.contains(&"-");
            from_stdin || restores && is_tensor
        }
    };
    if to_stdout { Stream::Stderr } else { Stream::Stdout }
}
