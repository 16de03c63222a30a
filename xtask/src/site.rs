//! The documents as a site, made by mdBook in `target/site/book`, and whether it fits the screens of its readers.

mod screens;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::needs;
use crate::shell::{ROOT, program, run};
use crate::steps::Outcome;
use crate::tools::MDBOOK;

/// The folder of everything that is made, from the root of the repository.
const FOLDER: &str = "target/site";

/// The step `site`.
pub(crate) fn check() -> Result<Outcome> {
    let tool = match MDBOOK.path() {
        Ok(tool) => tool,
        Err(error) => return Ok(Outcome::with(vec![MDBOOK.gap(&error)])),
    };
    let pages = build(&tool)?;
    let missing = needs::missing(&["chromium"])?;
    if missing.is_empty() {
        screens::check(&Path::new(ROOT).join(FOLDER), &pages)?;
    }
    Ok(Outcome::with(missing))
}

/// Makes the site, checks its links, and returns its pages.
fn build(mdbook: &Path) -> Result<Vec<PathBuf>> {
    let folder = Path::new(ROOT).join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let source = folder.join("source");
    stage(&Path::new(ROOT).join("docs"), &source)?;
    run(program(mdbook).arg("build").arg(&source).arg("--dest-dir").arg(folder.join("book")))?;

    let mut pages = Vec::new();
    for entry in fs::read_dir(folder.join("book"))? {
        let path = entry?.path();
        let is_page = path.extension().is_some_and(|extension| extension == "html");
        // These two are made by mdBook: for errors of a server, and all chapters for a printer.
        let is_special = path.ends_with("404.html") || path.ends_with("print.html");
        if is_page && !is_special {
            pages.push(path);
        }
    }
    pages.sort();
    let mut faults = Vec::new();
    for page in &pages {
        let html = fs::read_to_string(page)?;
        faults.extend(dead_links(page, &html)?);
    }
    ensure!(!pages.is_empty(), "the site has no pages");
    if faults.is_empty() {
        println!("{} pages in {FOLDER}/book", pages.len());
        return Ok(pages);
    }
    bail!("links of the site lead nowhere:\n{}", faults.join("\n"));
}

/// Copies the documents for mdBook. Links that leave their folder become plain text: a site may be anywhere, and the
/// rest of the repository is not beside it.
fn stage(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        match kind {
            // Drawings.
            _ if entry.file_name() == "figures" => stage(&path, &place)?,
            "md" => fs::write(place, without_outside_links(&fs::read_to_string(&path)?))?,
            "svg" | "toml" | "css" => {
                fs::copy(&path, place)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A document in which links to `../` are their texts alone.
fn without_outside_links(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(middle) = rest.find("](../") {
        let (before, after) = rest.split_at(middle);
        let (Some(open), Some(close)) = (before.rfind('['), after.find(')')) else { break };
        kept += &before[..open];
        kept += &before[open + 1..];
        rest = &after[close + 1..];
    }
    kept + rest
}

/// The links of a page to files of the site that are not there, and to parts of pages that are not there.
fn dead_links(page: &Path, html: &str) -> Result<Vec<String>> {
    let folder = page.parent().context("a page is in a folder")?;
    let mut dead = Vec::new();
    for attribute in ["href=\"", "src=\""] {
        for link in html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
            if link.contains("://") || link.starts_with("mailto:") || link.starts_with("data:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.to_owned() } else { folder.join(file) };
            let found = target.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&target)?.contains(&format!("id=\"{anchor}\"")));
            if !found {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    Ok(dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_leave_the_documents_become_text() {
        let text = "[a](b.md), [`README.md`](../README.md) and [c](../c/) [d](e.md#f)";
        let staged = without_outside_links(text);
        assert_eq!(staged, "[a](b.md), `README.md` and c [d](e.md#f)");
    }

    #[test]
    fn dead_links_are_found() {
        let folder = std::env::temp_dir().join(format!("huffwire-site-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let page = folder.join("a.html");
        let html = r##"<h1 id="top"></h1><a href="#top"><a href="a.html#end"><img src="b.png"><a href="https://e.org">"##;
        fs::write(&page, html).unwrap();
        let dead = dead_links(&page, html).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(dead.len(), 2, "{dead:?}");
        assert!(dead[0].ends_with("a.html#end") && dead[1].ends_with("b.png"));
    }
}
