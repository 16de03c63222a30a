//! Blocks of code in documents.
//!
//! Rust is tested with rustdoc (`crates/huffwire-testing/src/documents.rs`), and Python of the guides runs in the tests
//! of the Python package; here all of it is at least read.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::page::{Block, Page};
use crate::manual;
use crate::shell::{ROOT, program};

/// Languages of blocks; nothing is a drawing or an output.
const LANGUAGES: &[&str] = &["", "json", "python", "rust", "sh", "text", "toml"];

/// Reads Python and TOML, which Python knows: pairs of a language and a content come in as JSON.
const READER: &str = "
import ast, json, sys, tomllib
for place, language, content in json.load(sys.stdin):
    try:
        (ast.parse if language == 'python' else tomllib.loads)(content)
    except (SyntaxError, ValueError) as error:
        print(f'{place}: {error}')
";

/// Checks the blocks of a page but those in Python.
pub(super) fn check(page: &Page, help: &[manual::Page], faults: &mut Vec<String>) -> Result<()> {
    for Block { line, language, content } in &page.blocks {
        let mut fault =
            |line: usize, what: String| faults.push(format!("{}:{line}: {what}", page.name()));
        match language.as_str() {
            "json" => {
                if let Err(error) = serde_json::from_str::<serde_json::Value>(content) {
                    fault(*line, error.to_string());
                }
            }
            "sh" => {
                let (_, complaint) = answer(program("sh").arg("-n"), content)?;
                if !complaint.is_empty() {
                    fault(*line, complaint);
                }
                for (offset, command) in commands(content) {
                    if let Some(what) = wrong(&command, help) {
                        fault(line + offset, what);
                    }
                }
            }
            known if LANGUAGES.contains(&known) => {}
            unknown => fault(*line, format!("a block of {unknown}, which nothing checks")),
        }
    }
    Ok(())
}

/// Checks the blocks of all pages that a program in Python can read.
pub(super) fn check_python(pages: &[Page], faults: &mut Vec<String>) -> Result<()> {
    let mut blocks = Vec::new();
    for page in pages {
        for Block { line, language, content } in &page.blocks {
            if language == "python" || language == "toml" {
                blocks.push((format!("{}:{line}", page.name()), language, content));
            }
        }
    }
    let blocks = serde_json::to_string(&blocks)?;
    let (answer, complaint) = answer(program("python3").args(["-c", READER]), &blocks)?;
    faults.extend(answer.lines().map(str::to_owned));
    anyhow::ensure!(complaint.is_empty(), "{complaint}");
    Ok(())
}

/// What a program that reads `input` says on its standard streams.
fn answer(command: &mut Command, input: &str) -> Result<(String, String)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("there is a pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok((text(&output.stdout), text(&output.stderr)))
}

/// The commands of a script as words, each with its line. It knows only as much of a shell as the documents need.
fn commands(script: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut start = 0;
    for (number, line) in script.lines().enumerate() {
        if words.is_empty() {
            start = number;
        }
        let (line, goes_on) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        for word in line.split_whitespace() {
            if word.starts_with('#') {
                break;
            }
            if matches!(word, "|" | "&&" | "||" | ";" | "&") {
                found.push((start, std::mem::take(&mut words)));
            } else {
                words.push(word.to_owned());
            }
        }
        if !goes_on {
            found.push((start, std::mem::take(&mut words)));
        }
    }
    found.retain(|(_, words)| !words.is_empty());
    found
}

/// What is wrong with a command.
fn wrong(words: &[String], help: &[manual::Page]) -> Option<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Variables come first.
    let words: Vec<&str> =
        words.into_iter().skip_while(|word| word.contains('=') && !word.starts_with('-')).collect();
    match words[..] {
        ["cargo", "xtask", name, ..] if !crate::knows(name) => {
            Some(format!("`cargo xtask {name}` is unknown"))
        }
        ["huffwire", ..] => wrong_huffwire(&words, help),
        ["python3" | "python", file, ..]
            if file.ends_with(".py") && !std::path::Path::new(ROOT).join(file).exists() =>
        {
            Some(format!("there is no `{file}`"))
        }
        ["cargo", "run", "--release", "--", ref rest @ ..] => {
            wrong_huffwire(&[&["huffwire"], rest].concat(), help)
        }
        _ => None,
    }
}

/// What is wrong with a command of the program: its name, or an option that it does not have.
fn wrong_huffwire(words: &[&str], help: &[manual::Page]) -> Option<String> {
    let page = (1..=words.len().min(3)).rev().find_map(|length| {
        let command = words[..length].join(" ");
        help.iter().find(|page| page.command == command)
    })?;
    let rest = &words[page.command.split(' ').count()..];
    let has_commands = page.text.contains("\nCommands:\n");
    if let Some(first) = rest.first().filter(|word| has_commands && !word.starts_with('-')) {
        return (*first != "help").then(|| format!("`{}` has no command `{first}`", page.command));
    }
    let known: Vec<&str> =
        page.text.split(|c: char| c.is_whitespace() || ",[]=<>`:;.()".contains(c)).collect();
    let options = rest.iter().take_while(|word| **word != "--");
    let mut options = options.filter(|word| word.starts_with('-') && word.len() > 1);
    let unknown = options.find(|word| {
        let name = word.split('=').next().unwrap_or(word);
        name.parse::<f64>().is_err() && !known.contains(&name)
    })?;
    Some(format!("`{}` has no option `{unknown}`", page.command))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn help() -> Vec<manual::Page> {
        let page = |command: &str, text: &str| manual::Page {
            command: command.to_owned(),
            text: text.to_owned(),
        };
        vec![
            page("huffwire", "Usage\n\nCommands:\n  codebooks\n\nOptions:\n  -h, --help"),
            page("huffwire codebooks", "Usage\n\nCommands:\n  show"),
            page("huffwire codebooks show", "Options:\n  -o, --output <OUT>\n      --json"),
        ]
    }

    fn faults(language: &str, content: &str) -> Vec<String> {
        let text = format!("Text\n\n```{language}\n{content}\n```\n");
        let page = Page::read(PathBuf::from("x.md"), text);
        let mut faults = Vec::new();
        check(&page, &help(), &mut faults).unwrap();
        check_python(&[page], &mut faults).unwrap();
        faults
    }

    #[test]
    fn commands_of_the_program_are_read() {
        assert!(faults("sh", "huffwire codebooks show a --json \\\n  -o -   # --no").is_empty());
        assert!(faults("sh", "huffwire codebooks show a --jso")[0].contains("no option `--jso`"));
        assert!(faults("sh", "cat x | huffwire codebooks shwo")[0].contains("no command `shwo`"));
        assert!(faults("sh", "huffwire --help && huffwire --halp")[0].starts_with("x.md:4: "));
    }

    #[test]
    fn other_commands_must_be_there() {
        assert!(faults("sh", "CI=true cargo xtask test").is_empty());
        assert!(faults("sh", "\ncargo xtask tset")[0].starts_with("x.md:5: `cargo xtask tset`"));
        assert!(faults("sh", "python3 benches/none.py")[0].contains("no `benches/none.py`"));
    }

    #[test]
    fn code_must_be_that_of_its_language() {
        for (language, good, bad) in [
            ("json", "{\"a\": 1}", "{a: 1}"),
            ("sh", "echo 'x'", "echo 'x"),
            ("python", "x = 1", "x = = 1"),
            ("toml", "x = 1", "x = y"),
        ] {
            assert!(faults(language, good).is_empty(), "{language}");
            assert!(!faults(language, bad).is_empty(), "{language}");
        }
        assert!(faults("cobol", "x")[0].contains("nothing checks"));
    }
}
