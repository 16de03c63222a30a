//! The report: one HTML page that needs nothing else, or its figures as SVG files.
//!
//! The page has one small script, which sorts tables; without it everything can still be read. Names of tensors come
//! from files and are escaped wherever they stand.

/// Writes to the page, which cannot fail.
macro_rules! put {
    ($page:expr, $($rest:tt)*) => {
        let _ = writeln!($page, $($rest)*);
    };
}

mod drift;
mod plots;
mod svg;

use std::fmt::Write as _;

use crate::options::Scaling;
use crate::result::{Analysis, KindResult, ShardResult};
use svg::{COLOURS, STYLE, escape};

pub use svg::Figure;

/// The most rows of the table of kinds, and of all tables of shards together.
const KIND_ROWS: usize = 2000;
const SHARD_ROWS: usize = 4000;

impl Analysis {
    /// All figures of the report, each of which has a name of its own.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = plots::all(self);
        figures.extend(drift::figures(self));
        figures
    }

    /// The report as a page of HTML.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = String::new();
        head(&mut page);
        summary(&mut page, self);
        kinds(&mut page, self);
        drift::section(&mut page, self);
        details(&mut page, self);
        shards(&mut page, self);
        about(&mut page, self);
        page.push_str("</main>\n<script>\n");
        page.push_str(include_str!("page.js"));
        page.push_str("</script>\n</body>\n</html>\n");
        page
    }
}

fn head(page: &mut String) {
    put!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n\
         <title>Compressibility report</title>\n<style>\n{COLOURS}{STYLE}{}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#kinds\">Skip to the table of kinds</a>\n<main>",
        include_str!("page.css")
    );
}

/// The first screen: a sentence and a bar.
fn summary(page: &mut String, analysis: &Analysis) {
    let total = &analysis.total;
    let (builtin, fixed) = (total.builtin_saving_percent, total.fixed_saving_percent);
    let saved = |percent: f64| size(total.bytes as f64 * percent / 100.0);
    let (best, other) = if fixed > builtin {
        let other = format!("The built-in codebooks save {builtin:.1} %.");
        ((fixed, "codebooks made from such tensors in advance"), other)
    } else {
        let other = format!("Codebooks made from such tensors in advance save {fixed:.1} %.");
        ((builtin, "the built-in codebooks"), other)
    };
    put!(page, "<h1>{} save {:.1} % of these tensors</h1>", capital(best.1), best.0);
    put!(
        page,
        "<p class=\"lead\">Of {} in {} shards, {} save {}. {other} Huffman codes made for each shard would save {:.1} %; \
         no code for single symbols can save more than {:.1} %.</p>",
        size(total.bytes as f64),
        total.shards,
        best.1,
        saved(best.0),
        total.huffman_saving_percent,
        total.shannon_saving_percent
    );
    figure(page, &plots::summary(analysis));
    for note in &analysis.notes {
        put!(page, "<p><strong>Note:</strong> {}.</p>", escape(note));
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A heading of a table: its text, and whether its cells are text.
type Heading<'a> = (&'a str, bool);

fn table(
    page: &mut String,
    name: &str,
    headings: &[Heading<'_>],
    rows: impl Iterator<Item = String>,
) {
    put!(
        page,
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table>\n<thead><tr>",
        escape(name)
    );
    for (heading, is_text) in headings {
        let class = if *is_text { " class=\"text\"" } else { "" };
        put!(page, "<th scope=\"col\"{class}><button type=\"button\">{heading}</button></th>");
    }
    put!(page, "</tr></thead>\n<tbody>");
    for row in rows {
        put!(page, "<tr>{row}</tr>");
    }
    put!(page, "</tbody>\n</table>\n</div>");
}

fn name_cell(text: &str) -> String {
    format!("<td class=\"text name\">{}</td>", escape(text))
}

fn text_cell(text: &str) -> String {
    format!("<td class=\"text\">{}</td>", escape(text))
}

fn number_cell(number: Option<f64>, decimals: usize) -> String {
    number.map_or_else(|| "<td>-</td>".to_owned(), |number| format!("<td>{number:.decimals$}</td>"))
}

fn kinds(page: &mut String, analysis: &Analysis) {
    put!(page, "<h2 id=\"kinds\">Savings by kind, type and symbol rule</h2>");
    figure(page, &plots::savings(analysis));
    let several_models = analysis.files.iter().any(|file| file.model > 0);
    let mut headings = vec![
        ("Kind", true),
        ("Type", true),
        ("Symbols", true),
        ("Shards", false),
        ("Values", false),
        ("Shannon %", false),
        ("Huffman %", false),
        ("Fixed %", false),
        ("Built-in %", false),
        ("Quad length %", false),
        ("Dual length %", false),
        ("Over Huffman %", false),
        ("Over Shannon %", false),
        ("Mean KL, bits", false),
        ("Max KL, bits", false),
        ("Escapes %", false),
        ("Fixed codebook from", true),
    ];
    if several_models {
        headings.push(("Model", false));
    }
    let row = |kind: &KindResult| {
        let mut row = name_cell(&kind.name);
        row += &text_cell(&type_name(kind));
        row += &text_cell(if kind.symbols == "auto" { &kind.layout } else { &kind.symbols });
        row += &format!("<td>{}</td><td>{}</td>", kind.shards, kind.values);
        row += &number_cell(Some(kind.shannon_saving_percent), 2);
        row += &number_cell(Some(kind.huffman_saving_percent), 2);
        row += &number_cell(kind.fixed_saving_percent, 2);
        row += &number_cell(kind.builtin_saving_percent, 2);
        row += &number_cell(kind.quad_length_saving_percent, 2);
        row += &number_cell(kind.dual_length_saving_percent, 2);
        row += &number_cell(kind.over_huffman_percent, 2);
        row += &number_cell(kind.over_shannon_percent, 2);
        row += &number_cell(Some(kind.mean_kl_bits), 4);
        row += &number_cell(Some(kind.max_kl_bits), 4);
        row += &number_cell(Some(kind.escape_percent), 3);
        row += &text_cell(kind.fixed_from.unwrap_or("-"));
        if several_models {
            row += &format!("<td>{}</td>", kind.model);
        }
        row
    };
    let shown = analysis.kinds.iter().take(KIND_ROWS);
    table(page, "Savings by kind, type and symbol rule", &headings, shown.map(row));
    more(page, analysis.kinds.len(), KIND_ROWS, "kinds");
}

/// Says what a table leaves out.
fn more(page: &mut String, all: usize, shown: usize, what: &str) {
    if all > shown {
        put!(
            page,
            "<p>{} {what} more are not in this table; the option --json prints all.</p>",
            all - shown
        );
    }
}

fn type_name(kind: &KindResult) -> String {
    let scaled = match kind.scaling {
        None => "",
        Some(Scaling::Tensor) => ", scaled by tensor",
        Some(Scaling::Block) => ", scaled in blocks of 32",
    };
    match &kind.converted_from {
        Some(source) => format!("{} from {source}{scaled}", kind.dtype),
        None => kind.dtype.clone(),
    }
}

/// Figures of the largest kinds.
fn details(page: &mut String, analysis: &Analysis) {
    put!(page, "<h2>Distributions and codes</h2>");
    if analysis.kinds.len() > plots::KINDS {
        put!(page, "<p>These are the {} kinds with the most bytes.</p>", plots::KINDS);
    }
    for (number, kind) in plots::largest(analysis).into_iter().enumerate() {
        put!(page, "<h3>{}</h3>\n<div class=\"figures\">", escape(&plots::label(kind)));
        for drawn in plots::of_kind(number, kind) {
            figure(page, &drawn);
        }
        put!(page, "</div>");
        for plane in kind.planes.iter().filter(|plane| !plane.escaped.is_empty()) {
            put!(
                page,
                "<p>Symbols of plane {} that take the escape: {}.</p>",
                plane.plane,
                ranges(&plane.escaped)
            );
        }
    }
}

/// Numbers in ascending order, neighbours as a range: `-30 to -12, 9`.
fn ranges(numbers: &[i32]) -> String {
    let mut parts: Vec<(i32, i32)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let part = |(first, last): (i32, i32)| {
        if first == last { first.to_string() } else { format!("{first} to {last}") }
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(", ")
}

fn figure(page: &mut String, figure: &Figure) {
    put!(
        page,
        "<figure>{}<figcaption>{}</figcaption></figure>",
        figure.inline(),
        escape(&figure.caption)
    );
}

/// Tables of shards.
fn shards(page: &mut String, analysis: &Analysis) {
    put!(page, "<h2>Shards</h2>");
    let headings = [
        ("Tensor", true),
        ("File", false),
        ("Layer", false),
        ("Shard", false),
        ("Values", false),
        ("Shannon %", false),
        ("Huffman %", false),
        ("Fixed %", false),
        ("Built-in %", false),
        ("KL, bits", false),
    ];
    let row = |shard: &ShardResult| {
        let layer = shard.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        let mut row = name_cell(&shard.tensor);
        row += &format!(
            "<td>{}</td><td>{layer}</td><td>{}</td><td>{}</td>",
            shard.file, shard.shard, shard.values
        );
        row += &number_cell(Some(shard.shannon_saving_percent), 2);
        row += &number_cell(Some(shard.huffman_saving_percent), 2);
        row += &number_cell(shard.fixed_saving_percent, 2);
        row += &number_cell(shard.builtin_saving_percent, 2);
        row + &number_cell(Some(shard.kl_bits), 4)
    };
    let mut left = SHARD_ROWS;
    let mut omitted = 0;
    for kind in &analysis.kinds {
        match &kind.per_shard {
            Some(shards) if shards.len() <= left => {
                left -= shards.len();
                let label = plots::label(kind);
                put!(
                    page,
                    "<details><summary>{}: {} shards</summary>",
                    escape(&label),
                    shards.len()
                );
                table(page, &format!("Shards of {label}"), &headings, shards.iter().map(row));
                put!(page, "</details>");
            }
            _ => omitted += 1,
        }
    }
    if omitted > 0 {
        put!(page, "<p>The shards of {omitted} kinds are too many for this page.</p>");
    }
}

fn about(page: &mut String, analysis: &Analysis) {
    put!(page, "<h2>Files and words</h2>\n<ol start=\"0\">");
    for file in analysis.files.iter().take(100) {
        put!(page, "<li>{}</li>", escape(&file.name));
    }
    put!(page, "</ol>");
    more(page, analysis.files.len(), 100, "files");
    if !analysis.calibrated_on.is_empty() {
        let names: Vec<String> =
            analysis.calibrated_on.iter().map(|file| escape(&file.name)).collect();
        put!(page, "<p>The fixed codebooks were made from: {}.</p>", names.join(", "));
    }
    put!(
        page,
        "<p>Savings are percent of the size of the tensors, means over shards. <b>Shannon</b>: a perfect code for the \
         symbols of each shard. <b>Huffman</b>: a Huffman code made for each shard, its codebook not counted. \
         <b>Fixed</b>: one codebook for the kind, made from other files, layers or shards than those that it codes, \
         or from the calibration files. <b>Quad length, Dual length</b>: codes for small decoders, made from the same \
         (arXiv 2602.17849, versions 2 and 1). <b>Built-in</b>: the best codebook of the built-in set for each shard. \
         <b>KL</b>: the divergence of a shard from the average of all, in bits a symbol. <b>Escape</b>: the code that \
         symbols without a code of their own share.</p>"
    );
}

/// A size: `17.7 MB`.
fn size(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 99.95);
    format!("{value:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_ranges() {
        assert_eq!(ranges(&[-3, -2, -1, 4, 6, 7]), "-3 to -1, 4, 6 to 7");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size(999.0), "999 B");
        assert_eq!(size(17_699_992.0), "17.7 MB");
        assert_eq!(size(999_999.0), "1.0 MB");
    }
}
