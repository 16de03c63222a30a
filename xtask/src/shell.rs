//! Running other programs so that a reader of the log can repeat each of them.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The root of the repository, where every program is run.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// `program`, to be run at the root of the repository.
pub(crate) fn program(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(ROOT);
    command
}

/// The cargo that runs us, so that `cargo +nightly xtask` stays on nightly.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Shows `command`, runs it with its output going straight through, and fails
/// when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed: {status}");
    Ok(())
}

/// What `command` writes on its standard output, without the last line break.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(output.status.success(), "`{shown}` failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// The target of this machine, as rustc calls it.
pub(crate) fn host() -> Result<String> {
    let version = output(program("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// The version of the workspace, which is that of every crate.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `command` as one would type it: `NAME=value program argument`.
fn show(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        // A variable without a value is one taken away; nobody types that.
        if let Some(value) = value {
            let value = if name == "PATH" { added_to_path(value) } else { quoted(value) };
            let _ = write!(line, "{}={value} ", name.to_string_lossy());
        }
    }
    let program = Path::new(command.get_program());
    line += &quoted(program.file_name().unwrap_or(program.as_os_str()));
    for argument in command.get_args() {
        let _ = write!(line, " {}", quoted(argument));
    }
    line
}

/// A value of `PATH`: what stands before the folders that are searched anyway.
fn added_to_path(value: &OsStr) -> String {
    let all = value.to_string_lossy();
    let ours = env::var_os("PATH").unwrap_or_default();
    match all.strip_suffix(&*ours.to_string_lossy()) {
        Some(added) => format!("{added}$PATH"),
        None => quoted(value),
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$;&".contains(c)) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["doc", "--cfg", "a b"]).env("FLAGS", "-D it's");
        assert_eq!(show(&command), r"FLAGS='-D it'\''s' cargo doc --cfg 'a b'");
    }

    #[test]
    fn the_folders_of_path_are_not_repeated() {
        let path = format!("/a:{}", env::var("PATH").unwrap());
        let command = |path: &str| show(Command::new("cargo").env("PATH", path));
        assert_eq!(command(&path), "PATH=/a:$PATH cargo");
        assert_eq!(command("/c d"), "PATH='/c d' cargo");
    }

    #[test]
    fn the_root_is_a_workspace() {
        assert!(Path::new(ROOT).join("Cargo.lock").exists());
    }
}
