//! Whether messages have colours.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{ColorChoice, ValueEnum};

static IS_ON: AtomicBool = AtomicBool::new(false);

/// What `--color` says, before the command line is understood: help and errors in it may have colours, too.
pub(crate) fn choice(arguments: &[OsString]) -> ColorChoice {
    let mut choice = ColorChoice::Auto;
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--color") {
            // What follows is no option.
            None if argument == "--" => break,
            None => continue,
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('=').map(|value| value.to_owned().into()),
        };
        let known = value.and_then(|value| ColorChoice::from_str(&value, false).ok());
        choice = known.unwrap_or(choice);
    }
    choice
}

/// Turns colours of messages on or off.
pub(crate) fn set(choice: ColorChoice) {
    let is_on = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
            io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
        }
    };
    IS_ON.store(is_on, Ordering::Relaxed);
}

/// Whether messages on standard error have colours.
pub(crate) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_found_wherever_it_stands() {
        let choice =
            |arguments: &[&str]| choice(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(choice(&["huffwire", "compress", "--color=always", "x"]), ColorChoice::Always);
        assert_eq!(choice(&["huffwire", "--color", "never", "x"]), ColorChoice::Never);
        assert_eq!(choice(&["huffwire", "--", "--color=always"]), ColorChoice::Auto);
        assert_eq!(choice(&["huffwire", "--color", "pink"]), ColorChoice::Auto);
    }
}
