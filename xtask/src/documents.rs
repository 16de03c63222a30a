//! The documents: their links and anchors lead somewhere, their code can be read by its language, the files that they
//! name are there, and the commands that they show are commands.

mod blocks;
mod page;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::manual;
use crate::needs;
use crate::shell::ROOT;
use crate::steps::Outcome;
use page::Page;

/// Folders whose Markdown files are documents, from the root of the repository.
const FOLDERS: &[&str] = &[
    "",
    "benches",
    "crates/huffwire",
    "crates/huffwire-analysis",
    "crates/huffwire-cli",
    "crates/huffwire-demo",
    "crates/huffwire-io",
    "crates/huffwire-testing",
    "docs",
    "fuzz",
    "python",
    "test_vectors",
];

/// The step `documents`.
pub(crate) fn check() -> Result<Outcome> {
    let help = manual::pages()?;
    manual::check(&help)?;
    let pages = pages()?;
    let mut faults = Vec::new();
    for page in &pages {
        links(page, &pages, &mut faults);
        files(page, &mut faults);
        blocks::check(page, &help, &mut faults)?;
    }
    summary(&pages, &mut faults)?;
    let python = needs::missing(&["python3"])?;
    if python.is_empty() {
        blocks::check_python(&pages, &mut faults)?;
    }
    if faults.is_empty() {
        println!("{} documents", pages.len());
        return Ok(Outcome::with(python));
    }
    for fault in &faults {
        println!("{fault}");
    }
    bail!("{} faults in documents", faults.len());
}

/// Every document.
fn pages() -> Result<Vec<Page>> {
    let mut pages = Vec::new();
    for folder in FOLDERS {
        let path = Path::new(ROOT).join(folder);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| format!("{}", path.display()))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for name in names.iter().filter(|name| name.ends_with(".md")) {
            let text = fs::read_to_string(path.join(name))?;
            pages.push(Page::read(Path::new(folder).join(name), text));
        }
    }
    Ok(pages)
}

/// Looks where the links of a page lead. Addresses of other hosts are not visited.
fn links(page: &Page, pages: &[Page], faults: &mut Vec<String>) {
    for (line, link) in &page.links {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let mut fault = |what: &str| faults.push(format!("{}:{line}: {link}: {what}", page.name()));
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() {
            page.path.clone()
        } else {
            let folder = page.path.parent().unwrap_or(Path::new(""));
            plain(&folder.join(file))
        };
        if !Path::new(ROOT).join(&target).exists() {
            fault("there is no such file");
        } else if !anchor.is_empty() {
            let linked = pages.iter().find(|page| page.path == target);
            if !linked.is_some_and(|linked| linked.anchors.contains(anchor)) {
                fault("the document has no such heading");
            }
        }
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Looks for the files that a page names.
fn files(page: &Page, faults: &mut Vec<String>) {
    for (line, code) in &page.code {
        if names_a_file(code) && !Path::new(ROOT).join(code).exists() {
            faults.push(format!("{}:{line}: there is no `{code}`", page.name()));
        }
    }
}

/// Whether code is a path from the root of the repository, and of nothing that is made.
fn names_a_file(code: &str) -> bool {
    let inner =
        ["benches/", "crates/", "docs/", "python/", "reference/", "test_vectors/", "xtask/"];
    inner.iter().any(|folder| code.starts_with(folder))
        && code.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}

/// Checks that the list of the book's pages has every page.
fn summary(pages: &[Page], faults: &mut Vec<String>) -> Result<()> {
    let summary = Path::new("docs/SUMMARY.md");
    let list = pages.iter().find(|page| page.path == summary);
    let list = list.context("docs/SUMMARY.md lists the pages of the book")?;
    let listed: BTreeSet<_> =
        list.links.iter().map(|(_, link)| Path::new("docs").join(link)).collect();
    for page in pages {
        let is_of_the_book = page.path.starts_with("docs") && page.path != summary;
        if is_of_the_book && !listed.contains(&page.path) {
            faults.push(format!("docs/SUMMARY.md: {} is not listed", page.name()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> Page {
        Page::read(PathBuf::from(path), text.to_owned())
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let pages = [
            page("README.md", "[a](docs/format.md) [b](docs/none.md) [c](CHANGELOG.md#the-end)"),
            page("CHANGELOG.md", "# The end\n\n[e](#the-end) [f](#start) <https://e.org/#no>"),
            page("docs/format.md", "![d](../README.md) [g](../xtask/) [h](figures/none.svg)"),
        ];
        let mut faults = Vec::new();
        for page in &pages {
            links(page, &pages, &mut faults);
        }
        assert_eq!(
            faults,
            [
                "README.md:1: docs/none.md: there is no such file",
                "CHANGELOG.md:3: #start: the document has no such heading",
                "docs/format.md:1: figures/none.svg: there is no such file",
            ]
        );
    }

    #[test]
    fn files_that_are_not_there_are_found() {
        let mut faults = Vec::new();
        let text = "`xtask/src/main.rs`, `xtask/src/none.rs`, `src/none.rs`, `docs/*.md`";
        files(&page("README.md", text), &mut faults);
        assert_eq!(faults, ["README.md:1: there is no `xtask/src/none.rs`"]);
    }

    #[test]
    fn pages_that_the_book_lacks_are_found() {
        let pages =
            [page("docs/SUMMARY.md", "- [a](a.md)"), page("docs/a.md", ""), page("docs/b.md", "")];
        let mut faults = Vec::new();
        summary(&pages, &mut faults).unwrap();
        assert_eq!(faults, ["docs/SUMMARY.md: docs/b.md is not listed"]);
    }

    /// Calls `visit` with each source file of a folder.
    fn sources(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, visit);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                visit(&path, &fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn all_places_of_unsafe_code_are_told() {
        let security = fs::read_to_string(Path::new(ROOT).join("SECURITY.md")).unwrap();
        let told: Vec<&str> =
            security.split('`').filter(|word| word.starts_with("crates/")).collect();
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(Path::new(ROOT).join("crates")).unwrap() {
            sources(&entry.unwrap().path().join("src"), &mut |path, text| {
                if text.contains("allow(unsafe_code)") {
                    let path = path.strip_prefix(ROOT).unwrap().to_str().unwrap();
                    let place = told.iter().find(|place| path.starts_with(**place));
                    found.insert(*place.unwrap_or_else(|| panic!("{path} is not told")));
                }
            });
        }
        assert_eq!(found, told.into_iter().collect());
    }
}
