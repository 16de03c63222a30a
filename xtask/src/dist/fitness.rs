//! Whether a checkout is fit for a release.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::shell::{ROOT, VERSION, output, program};

/// Where changes are told, from the root of the repository.
const CHANGELOG: &str = "CHANGELOG.md";

/// The heading of changes that no version has yet.
const UNRELEASED: &str = "Unreleased";

/// As many files are named when the checkout is not clean.
const NAMED: usize = 5;

/// Why no release can be made of this checkout; nothing if one can.
pub(super) fn faults() -> Result<Vec<String>> {
    let status = output(program("git").args(["status", "--porcelain"]));
    let of_files = match status {
        Ok(status) => of_status(&status),
        Err(error) => Some(format!("git does not tell whether the checkout is clean: {error:#}")),
    };
    let changelog = fs::read_to_string(Path::new(ROOT).join(CHANGELOG));
    let of_changes = of_changelog(&changelog.context(CHANGELOG)?, VERSION);
    Ok(of_files.into_iter().chain(of_changes).collect())
}

/// What is wrong with a checkout of which `git status --porcelain` says this.
fn of_status(status: &str) -> Option<String> {
    let mut files: Vec<&str> = status.lines().filter_map(|line| line.get(3..)).collect();
    let more = files.len().saturating_sub(NAMED);
    files.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named = files.join(", ");
    (!status.is_empty())
        .then(|| format!("these files are not as in the last commit: {named}{more}"))
}

/// What is wrong with a changelog, where this version is to be released.
fn of_changelog(text: &str, version: &str) -> Option<String> {
    let has_text = |heading| section(text, heading).is_some_and(|section| !section.is_empty());
    if !has_text(version) {
        return Some(format!("{CHANGELOG} tells nothing under the heading {version}"));
    }
    has_text(UNRELEASED)
        .then(|| format!("{CHANGELOG} tells of changes under the heading {UNRELEASED}"))
}

/// The text below a heading, which may go on behind these words.
fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    text.split("\n## ").skip(1).find_map(|section| {
        let (line, rest) = section.split_once('\n').unwrap_or((section, ""));
        let is_it = line.split(' ').next() == Some(heading);
        is_it.then(|| rest.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_checkout_is_needed() {
        assert_eq!(of_status(""), None);
        let fault = of_status(" M src/a.rs\n?? new file").unwrap();
        assert!(fault.ends_with("last commit: src/a.rs, new file"), "{fault}");
        let fault = of_status(&"?? x\n".repeat(7)).unwrap();
        assert!(fault.ends_with(": x, x, x, x, x and 2 more"), "{fault}");
    }

    #[test]
    fn the_changelog_tells_of_the_version() {
        let fault = |text: &str| of_changelog(&format!("# Changelog\n\n{text}"), "1.2.0");
        assert_eq!(fault("## Unreleased\n\n## 1.2.0 (2026-01-01)\n\n- All.\n"), None);
        assert_eq!(fault("## 1.2.0\n\n- All.\n\n## 1.1.0\n"), None);
        for (text, told) in [
            ("", "nothing under the heading 1.2.0"),
            ("## Unreleased\n\n- All.\n", "nothing under the heading 1.2.0"),
            ("## 1.2.0-rc.1\n\n- All.\n", "nothing under the heading 1.2.0"),
            ("## 1.2.0\n\n## 1.1.0\n\n- Old.\n", "nothing under the heading 1.2.0"),
            ("## Unreleased\n\n- More.\n\n## 1.2.0\n\n- All.\n", "under the heading Unreleased"),
        ] {
            let fault = fault(text).unwrap_or_default();
            assert!(fault.contains(told), "{text:?}: {fault:?}");
        }
    }

    /// Its headings are those that are looked for.
    #[test]
    fn this_changelog_has_a_section_to_come_or_one_of_this_version() {
        let text = fs::read_to_string(Path::new(ROOT).join(CHANGELOG)).unwrap();
        assert!([UNRELEASED, VERSION].iter().any(|heading| section(&text, heading).is_some()));
    }
}
