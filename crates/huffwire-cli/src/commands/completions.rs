//! `huffwire completions`.

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{Args, CompletionsArgs};
use crate::report::Stream;

/// Prints the completion script.
pub(crate) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "huffwire", &mut script);
    Stream::Stdout.print(&String::from_utf8(script)?)
}
