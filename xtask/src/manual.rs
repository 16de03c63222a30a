//! What the program says about itself: its help as a page of the documents and as manual pages, its completions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell::{ROOT, cargo, output};

/// The page of the documents, from the root of the repository.
pub(crate) const FILE: &str = "docs/cli.md";

/// The folders of an archive with manual pages and with completions.
pub(crate) const MAN: &str = "man";
pub(crate) const COMPLETIONS: &str = "completions";

/// Shells that the program completes for, and what their files are called.
pub(crate) const SHELLS: &[(&str, &str)] =
    &[("bash", "huffwire.bash"), ("zsh", "_huffwire"), ("fish", "huffwire.fish")];

/// Files for the shell and for `man`.
pub(crate) struct Manual {
    pub(crate) pages: Vec<PathBuf>,
    pub(crate) completions: Vec<PathBuf>,
}

/// The help of one command.
#[derive(Debug, PartialEq)]
pub(crate) struct Page {
    /// The command as one types it: `huffwire codebooks show`.
    pub(crate) command: String,
    /// What `--help` prints.
    pub(crate) text: String,
}

/// The help of the program and of each of its commands, in the order of the help.
pub(crate) fn pages() -> Result<Vec<Page>> {
    let mut found = Vec::new();
    collect(&[], &mut found)?;
    Ok(found)
}

fn collect(words: &[String], found: &mut Vec<Page>) -> Result<()> {
    let text = huffwire(&[words, &["--help".to_owned()]].concat())?;
    let inner = commands(&text);
    let command = [&["huffwire".to_owned()], words].concat().join(" ");
    found.push(Page { command, text });
    for name in inner {
        collect(&[words, &[name]].concat(), found)?;
    }
    Ok(())
}

/// What the program of this checkout prints.
fn huffwire(arguments: &[String]) -> Result<String> {
    let mut command = cargo(&["run", "--quiet", "-p", "huffwire-cli", "--"]);
    // Lines are as wide in every terminal.
    command.args(arguments).env_remove("COLUMNS").env("NO_COLOR", "1");
    output(&mut command)
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = list.take_while(|line| !line.is_empty()).filter_map(|line| {
        // Lines that go on are further to the right.
        let name = line.strip_prefix("  ")?;
        (!name.starts_with(' ')).then(|| name.split(' ').next().map(str::to_owned))?
    });
    names.filter(|name| name != "help").collect()
}

/// Writes the page of the documents.
pub(crate) fn write(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "`cli` takes no arguments");
    let page = markdown(&pages()?);
    fs::write(Path::new(ROOT).join(FILE), page).with_context(|| format!("cannot write {FILE}"))
}

/// Checks the page of the documents.
pub(crate) fn check(pages: &[Page]) -> Result<()> {
    let kept = fs::read_to_string(Path::new(ROOT).join(FILE)).with_context(|| FILE.to_owned())?;
    let made = markdown(pages);
    ensure!(kept == made, "{FILE} is not what the program says: run `cargo xtask cli`");
    Ok(())
}

fn markdown(pages: &[Page]) -> String {
    let mut text = "\
# The command line

`huffwire help COMMAND` prints these texts. (`cargo xtask cli` writes this page from them.)
"
    .to_owned();
    for Page { command, text: help } in pages {
        text += &format!("\n## {command}\n\n```text\n{}\n```\n", trimmed(help));
    }
    text
}

/// Help without blanks at the ends of its lines.
fn trimmed(help: &str) -> String {
    help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Writes manual pages and completions into `folder`.
pub(crate) fn made(folder: &Path) -> Result<Manual> {
    fs::create_dir_all(folder)?;
    let mut completions = Vec::new();
    for (shell, file) in SHELLS {
        let script = huffwire(&["completions".to_owned(), (*shell).to_owned()])?;
        ensure!(script.contains("huffwire"), "there are no completions for {shell}");
        let file = folder.join(file);
        fs::write(&file, script + "\n")?;
        completions.push(file);
    }
    let man = folder.join(MAN);
    huffwire(&["man".to_owned(), "--output".to_owned(), man.display().to_string()])?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(&man)? {
        pages.push(entry?.path());
    }
    pages.sort();
    ensure!(pages.iter().any(|page| page.ends_with("huffwire.1")), "there is no huffwire.1");
    Ok(Manual { pages, completions })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "\
Compresses tensors.

Usage: huffwire <COMMAND>

Commands:
  demo        Train
  codebooks   List, show,
              export
  help        Print this

Options:
  -h, --help  Print help";

    #[test]
    fn commands_of_a_help_text_are_found() {
        assert_eq!(commands(HELP), ["demo", "codebooks"]);
        assert!(commands("Usage: huffwire demo\n\nOptions:\n  --x").is_empty());
    }

    #[test]
    fn a_page_has_all_help() {
        let page = Page { command: "huffwire".to_owned(), text: HELP.to_owned() };
        assert!(
            markdown(&[page]).contains("\n## huffwire\n\n```text\nCompresses tensors.\n\nUsage")
        );
    }
}
