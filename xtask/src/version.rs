//! The version: it stands in the workspace's manifest, from which cargo and maturin take it, and in the citation.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{ROOT, VERSION, cargo, run};

/// What `cargo xtask version` understands.
pub(crate) const ARGUMENTS: &str = "X.Y.Z";

/// Files with the version.
const PLACES: &[&str] = &["Cargo.toml", "CITATION.cff"];

/// Writes a version wherever it stands.
pub(crate) fn write(arguments: &[String]) -> Result<()> {
    let [version] = arguments else { bail!("`version` needs {ARGUMENTS}") };
    let parts: Vec<&str> = version.split(['.', '-', '+']).collect();
    let numbers = parts.iter().take(3).filter(|part| part.parse::<u32>().is_ok()).count();
    ensure!(numbers == 3, "`{version}` is no version: {ARGUMENTS}");
    for file in PLACES {
        let path = Path::new(ROOT).join(file);
        let text = fs::read_to_string(&path).with_context(|| (*file).to_owned())?;
        fs::write(&path, replaced(file, &text, VERSION, version)?)?;
    }
    // Lock files name the crates of the workspace.
    run(&mut cargo(&["update", "--workspace"]))?;
    run(&mut cargo(&["update", "--workspace", "--manifest-path=fuzz/Cargo.toml"]))
}

/// The text of a file with another version.
fn replaced(file: &str, text: &str, old: &str, new: &str) -> Result<String> {
    let mut lines = Vec::new();
    let mut found = 0;
    for line in text.split('\n') {
        let is_ours = line.starts_with(&format!("version = \"{old}\""))
            || line.starts_with(&format!("version: {old}"))
            || (line.contains("path = \"crates/")
                && line.contains(&format!("version = \"{old}\"")));
        found += usize::from(is_ours);
        lines.push(if is_ours { line.replace(old, new) } else { line.to_owned() });
    }
    ensure!(found > 0, "{file} has no version {old}");
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_the_version_of_the_workspace() {
        for file in PLACES {
            let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
            let next = replaced(file, &text, VERSION, "93.7.1").unwrap();
            assert!(next.contains("93.7.1"));
            // A crate of ours with another version would be left behind.
            for line in next.lines().filter(|line| line.contains("path = \"crates/")) {
                assert!(line.contains("93.7.1"), "{file}: {line}");
            }
        }
    }

    #[test]
    fn crates_of_others_keep_their_versions() {
        let text =
            "version = \"0.1.0\"\na = { path = \"crates/a\", version = \"0.1.0\" }\nb = \"0.1.0\"";
        let next = replaced("x", text, "0.1.0", "0.2.0").unwrap();
        assert!(next.ends_with("b = \"0.1.0\"") && next.matches("0.2.0").count() == 2);
        assert!(replaced("x", text, "0.3.0", "0.2.0").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [&["1.2"][..], &[], &["1.2.x"], &["1.2.3", "4"]] {
            let words: Vec<String> = line.iter().map(ToString::to_string).collect();
            assert!(write(&words).is_err(), "{line:?}");
        }
    }
}
