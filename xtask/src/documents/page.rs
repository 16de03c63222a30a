//! A Markdown file, and what of it can be checked.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A document.
pub(super) struct Page {
    /// Its path from the root of the repository.
    pub(super) path: PathBuf,
    /// Where links lead, each with its line.
    pub(super) links: Vec<(usize, String)>,
    /// What links to a heading of the page have behind `#`.
    pub(super) anchors: BTreeSet<String>,
    /// Code within text, each with its line.
    pub(super) code: Vec<(usize, String)>,
    /// Blocks of code.
    pub(super) blocks: Vec<Block>,
}

/// A block of code.
#[derive(Debug, PartialEq)]
pub(super) struct Block {
    /// The number of its first line within the page.
    pub(super) line: usize,
    pub(super) language: String,
    pub(super) content: String,
}

impl Page {
    /// Takes a document apart.
    pub(super) fn read(path: PathBuf, text: String) -> Self {
        let mut page = Self {
            path,
            links: Vec::new(),
            anchors: BTreeSet::new(),
            code: Vec::new(),
            blocks: Vec::new(),
        };
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let mut heading: Option<String> = None;
        let mut block: Option<Block> = None;
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line(range.start), dest_url.into_string()));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let title = heading.take().unwrap_or_default();
                    page.add_anchor(&anchor(&title));
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let (language, fence) = match kind {
                        CodeBlockKind::Fenced(language) => (language.into_string(), 1),
                        CodeBlockKind::Indented => (String::new(), 0),
                    };
                    let line = line(range.start) + fence;
                    block = Some(Block { line, language, content: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(text) => {
                    if let Some(block) = &mut block {
                        block.content += &text;
                    } else if let Some(heading) = &mut heading {
                        *heading += &text;
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        *heading += &code;
                    }
                    page.code.push((line(range.start), code.into_string()));
                }
                _ => {}
            }
        }
        page
    }

    /// Its path as one types it.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Adds an anchor; the second heading of a name has a number.
    fn add_anchor(&mut self, anchor: &str) {
        let mut free = anchor.to_owned();
        let mut number = 0;
        while !self.anchors.insert(free.clone()) {
            number += 1;
            free = format!("{anchor}-{number}");
        }
    }
}

/// What a link to a heading has behind `#`, in the book and where else Markdown is shown.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart() {
        let text = "# A `b`, c!\n\nText `code`, [link](x.md#y).\n\n## 7.4 End\n\n```sh\necho 1\n```\n\n## 7.4 End\n";
        let page = Page::read(PathBuf::from("x.md"), text.to_owned());
        assert_eq!(page.anchors.iter().collect::<Vec<_>>(), ["74-end", "74-end-1", "a-b-c"]);
        assert_eq!(page.links, [(3, "x.md#y".to_owned())]);
        assert_eq!(page.code, [(1, "b".to_owned()), (3, "code".to_owned())]);
        let block = Block { line: 8, language: "sh".to_owned(), content: "echo 1\n".to_owned() };
        assert_eq!(page.blocks, [block]);
    }
}
