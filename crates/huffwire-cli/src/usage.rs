//! Which codebooks and layouts blocks use, for programs.

use huffwire::CodebookSet;
use huffwire_io::Usage;
use serde::Serialize;

/// A layout.
#[derive(Debug, Serialize)]
pub(crate) struct LayoutCount {
    layout: &'static str,
    blocks: u64,
}

/// A codebook, or what stands in the place of one.
#[derive(Debug, Serialize)]
pub(crate) struct CodebookCount {
    /// `resident`, `embedded`, `constant` or `raw`.
    kind: &'static str,
    /// Number and id of a resident codebook.
    book: Option<u8>,
    id: Option<String>,
    blocks: u64,
}

/// The layouts of blocks, by name.
pub(crate) fn layouts(usage: &Usage) -> Vec<LayoutCount> {
    usage.layout_counts().map(|(layout, blocks)| LayoutCount { layout, blocks }).collect()
}

/// What blocks are coded with: resident codebooks by number, then the rest.
pub(crate) fn codebooks(usage: &Usage, set: &CodebookSet) -> Vec<CodebookCount> {
    let id = |book| Some(set.book(book).ok()?.lengths().id().to_string());
    let resident = usage.resident_counts();
    let resident = resident.map(|(book, blocks)| CodebookCount {
        kind: "resident",
        book: Some(book),
        id: id(book),
        blocks,
    });
    let others = usage.other_counts().into_iter().filter(|(_, blocks)| *blocks > 0);
    let others = others.map(|(kind, blocks)| CodebookCount { kind, book: None, id: None, blocks });
    resident.chain(others).collect()
}
