//! The chores of the huffwire repository; `cargo xtask help` lists them.

mod builtin;
mod cross;
mod deny;
mod dist;
mod documents;
mod fuzz;
mod kernels;
mod layers;
mod manual;
mod needs;
mod packages;
mod python;
mod shell;
mod site;
mod steps;
mod suite;
mod tools;
mod version;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// Something that a person asks for by name: `cargo xtask NAME ARGUMENTS`.
struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        arguments: suite::ARGUMENTS,
        about: "run every step below, up to the first that fails; --install brings what they need",
        run: suite::run,
    },
    Command {
        name: "fuzz",
        arguments: fuzz::ARGUMENTS,
        about: "fuzz one target, or each in turn; --seconds 0 never ends",
        run: fuzz::run,
    },
    Command {
        name: "python",
        arguments: python::ARGUMENTS,
        about: "the step below; --oldest tests the package alone, with the oldest torch and NumPy that it supports",
        run: python::command,
    },
    Command {
        name: "builtin",
        arguments: "",
        about: "make the built-in codebooks again and write them into the source",
        run: builtin::run,
    },
    Command {
        name: "cli",
        arguments: "",
        about: "write docs/cli.md again, from the help of the program",
        run: manual::write,
    },
    Command {
        name: "dist",
        arguments: dist::ARGUMENTS,
        about: "build what a release needs into target/dist: programs, wheels, packages, checksums; --list shows for what",
        run: dist::run,
    },
    Command {
        name: "version",
        arguments: version::ARGUMENTS,
        about: "write another version of everything wherever it stands",
        run: version::write,
    },
    Command {
        name: "docs-rs",
        arguments: "",
        about: "build the documentation as docs.rs does; needs `cargo +nightly xtask docs-rs`",
        run: packages::docs_rs,
    },
    Command { name: "help", arguments: "", about: "print this", run: help },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        return help(&[]);
    };
    let name = match name.as_str() {
        "-h" | "--help" => "help",
        name => name,
    };
    // A command may carry the name of a step: it is that step with arguments.
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        return (command.run)(rest);
    }
    let step = steps::find(name)?;
    if let Some(extra) = rest.first() {
        bail!("`{name}` takes no arguments, so not `{extra}`");
    }
    suite::run_one(step)
}

/// Whether there is a command or a step of this name.
fn knows(name: &str) -> bool {
    COMMANDS.iter().any(|command| command.name == name) || steps::find(name).is_ok()
}

fn help(_: &[String]) -> Result<()> {
    println!("Usage: cargo xtask COMMAND\n\nCommands:");
    for Command { name, arguments, about, .. } in COMMANDS {
        println!("  {name} {arguments}\n      {about}");
    }
    println!("\nSteps of `test`, each a command too:");
    for step in steps::ALL {
        println!("  {:<9} {}", step.name, step.about);
    }
    Ok(())
}
