//! The licences of everything that is compiled into the program.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell::{cargo, output, run};
use crate::tools::{LICENSES, before_others};

/// Crates that bring sources in C, with a licence of their own: the crate, what it brings, and the file.
const IN_C: &[(&str, &str, &str)] = &[
    ("zstd-sys", "zstd", "zstd/LICENSE"),
    ("libmimalloc-sys", "mimalloc", "c_src/mimalloc/v3/LICENSE"),
];

/// The files with licences: of crates, and of sources in C.
pub(super) const FILES: [&str; 2] = ["THIRD-PARTY-LICENSES.yml", "THIRD-PARTY-LICENSES-C.txt"];

/// Writes the licences into `folder`, and returns the files.
pub(super) fn collect(folder: &Path) -> Result<Vec<PathBuf>> {
    let [file, other] = FILES.map(|name| folder.join(name));
    let tool = LICENSES.path()?;
    // It is a subcommand of cargo, which finds it where it was installed.
    let mut collect =
        cargo(&["bundle-licenses", "--prefer", "MIT", "--format", "yaml", "--output"]);
    collect.arg(&file).env("PATH", before_others(&tool)?).env("RUST_LOG", "error");
    run(&mut collect)?;
    let text = fs::read_to_string(&file)?;
    for (name, _, _) in IN_C {
        ensure!(text.contains(&format!("package_name: {name}\n")), "{name} is not in the list");
    }
    let without = without_text(&text);
    println!("crates that bring no text of their licence, only its name: {}", without.join(", "));

    fs::write(&other, of_sources_in_c()?)?;
    Ok(vec![file, other])
}

/// The crates of a list whose packages have no file with the licence.
fn without_text(list: &str) -> Vec<&str> {
    let mut name = "";
    let mut without = Vec::new();
    for line in list.lines() {
        if let Some(found) = line.strip_prefix("- package_name: ") {
            name = found;
        } else if line.trim() == "text: NOT FOUND" && without.last() != Some(&name) {
            without.push(name);
        }
    }
    without
}

/// The licences of sources in C, one after another.
fn of_sources_in_c() -> Result<String> {
    let metadata = output(&mut cargo(&["metadata", "--format-version=1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has packages")?;
    let mut text = String::new();
    for (name, what, file) in IN_C {
        let package = packages.iter().find(|package| package["name"] == **name);
        let manifest = package.and_then(|package| package["manifest_path"].as_str());
        let manifest = Path::new(manifest.with_context(|| format!("{name} is not compiled in"))?);
        let file = manifest.with_file_name(file);
        let licence = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        text += &format!("==== {what}\n\n{}\n\n", licence.trim_end());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_without_a_text_are_found() {
        let list = "- package_name: a\n  licenses:\n  - license: MIT\n    text: x\n\
            - package_name: b\n  - license: MIT\n    text: NOT FOUND\n  - license: Zlib\n    text: NOT FOUND\n";
        assert_eq!(without_text(list), ["b"]);
    }

    #[test]
    fn sources_in_c_have_licences() {
        let text = of_sources_in_c().unwrap();
        assert!(text.contains("==== zstd\n\nBSD License") && text.contains("==== mimalloc\n\nMIT"));
    }
}
