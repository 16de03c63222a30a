//! The built-in codebooks: made by an example program of the library, kept as a source file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{ROOT, cargo, output};
use crate::steps::Outcome;

/// The file that the books are kept in, from the root of the repository.
const FILE: &str = "crates/huffwire/src/set/builtin_data.rs";

/// Makes the books again and writes them into the source.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(extra) = arguments.first() {
        bail!("`builtin` takes no arguments, so not `{extra}`");
    }
    fs::write(Path::new(ROOT).join(FILE), made()?).with_context(|| format!("cannot write {FILE}"))
}

/// Whether the source holds what the program makes.
pub(crate) fn check() -> Result<Outcome> {
    let kept = fs::read_to_string(Path::new(ROOT).join(FILE))?;
    ensure!(made()? == kept, "{FILE} is not what its program makes: run `cargo xtask builtin`");
    Ok(Outcome::Passed)
}

fn made() -> Result<String> {
    let arguments = ["run", "--quiet", "--release", "-p", "huffwire", "--example", "builtin"];
    Ok(output(&mut cargo(&arguments))? + "\n")
}
