//! Figures as SVG.
//!
//! They are written by hand instead of with a plotting library. A library such as plotters writes a colour into each
//! element, so that a figure cannot follow the reader's dark mode; it places text by the metrics of a font that the reader
//! may not have; and it writes a rectangle for each cell of a heat map. Here colours are classes, the cells of one colour
//! are one path, and all that is needed are rectangles, lines and text.

use std::fmt::{Display, Write as _};

/// Styles of all figures: colours, and what has which colour.
pub(super) const COLOURS: &str = include_str!("colours.css");
pub(super) const STYLE: &str = include_str!("figure.css");

/// A figure of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What its file is called, without an ending: small letters, digits and hyphens.
    pub name: String,
    /// What it shows, in one sentence, for those who do not see it, too.
    pub(crate) title: String,
    /// What stands below it.
    pub(crate) caption: String,
    width: u32,
    height: u32,
    content: String,
}

impl Figure {
    /// Names of the figures that every analysis has.
    pub const ALWAYS: [&str; 2] = ["summary", "savings"];

    pub(super) fn new(name: &str, title: &str, width: u32, height: u32) -> Self {
        let (name, title) = (slug(name), title.to_owned());
        Self { name, title, caption: String::new(), width, height, content: String::new() }
    }

    pub(super) fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }

    /// Writes text; `classes` say how it looks and where it is anchored.
    pub(super) fn text(&mut self, x: f64, y: f64, classes: &str, text: impl Display) {
        let text = escape(&text.to_string());
        self.put(format_args!(
            "<text x=\"{}\" y=\"{}\" class=\"{classes}\">{text}</text>",
            Number(x),
            Number(y)
        ));
    }

    pub(super) fn rectangle(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        self.put(format_args!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" class=\"{class}\"/>",
            Number(x),
            Number(y),
            Number(width.max(0.0)),
            Number(height.max(0.0))
        ));
    }

    /// Draws rectangles of one colour: x, y, width, height.
    pub(super) fn rectangles(&mut self, class: &str, all: impl IntoIterator<Item = [f64; 4]>) {
        let mut path = String::new();
        for [x, y, width, height] in all {
            let (x, y, width, height) = (Number(x), Number(y), Number(width), Number(height));
            let back = Number(-width.0);
            // Writing to a string cannot fail.
            let _ = write!(path, "M{x} {y}h{width}v{height}h{back}z");
        }
        self.path(class, &path);
    }

    /// Draws a line through points.
    pub(super) fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{} {}", Number(x), Number(y));
        }
        self.path(class, &path);
    }

    fn path(&mut self, class: &str, path: &str) {
        if !path.is_empty() {
            self.put(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
        }
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = self.content.write_fmt(element);
    }

    /// The figure within a page that has the styles.
    pub(super) fn inline(&self) -> String {
        let (width, height, content) = (self.width, self.height, &self.content);
        let title = escape(&self.title);
        format!(
            "<svg class=\"figure\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">{content}</svg>"
        )
    }

    /// The figure as a file of its own.
    #[must_use]
    pub fn svg(&self) -> String {
        let (width, height, content) = (self.width, self.height, &self.content);
        let (title, caption) = (escape(&self.title), escape(&self.caption));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" viewBox=\"0 0 {width} {height}\" \
             width=\"{}\" height=\"{}\" role=\"img\">\n<title>{title}</title>\n<desc>{caption}</desc>\n\
             <style>\n{COLOURS}{STYLE}svg {{ background: var(--ground); }}\n</style>\n{content}\n</svg>\n",
            2 * width,
            2 * height
        )
    }
}

/// A coordinate with at most two decimals.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hundredths = (self.0 * 100.0).round() / 100.0 + 0.0;
        write!(f, "{hundredths}")
    }
}

/// Text as it stands in HTML or XML, also within quotes. Control characters and the two noncharacters that XML forbids
/// (XML 1.0, section 2.2) are replaced.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The end of a long text, which tells tensors apart better than its start.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(count + 1 - most)).collect()
}

/// A text as a part of a file's name.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().take(120) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(
            escape("<a href='x'>&\"\u{1b}"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}"
        );
        for forbidden in
            ('\0'..=' ').filter(|c| *c != ' ').chain(['\u{7f}', '\u{fffe}', '\u{ffff}'])
        {
            assert_eq!(escape(&forbidden.to_string()), "\u{fffd}", "{forbidden:?}");
        }
        assert_eq!(escape("\u{fffd}\u{10ffff}ß…"), "\u{fffd}\u{10ffff}ß…");
        let mut figure = Figure::new("x", "</svg><script>", 10, 10);
        figure.text(0.0, 0.0, "", "<script>");
        assert!(!figure.svg().contains("<script>") && !figure.inline().contains("<script>"));
    }

    #[test]
    fn names_are_names_of_files() {
        assert_eq!(slug("pmf 3 layers.*.mlp/Up"), "pmf-3-layers-mlp-up");
        assert_eq!(slug("../"), "");
        assert_eq!(shortened("abcdef", 4), "…def");
        assert_eq!(shortened("abcd", 4), "abcd");
    }

    #[test]
    fn coordinates_are_short() {
        let mut figure = Figure::new("x", "x", 10, 10);
        figure.rectangles("h1", [[1.0 / 3.0, 2.0, 3.0, 4.0]]);
        figure.line("line", [(0.0, 1.0), (-0.0001, 2.5)]);
        assert!(figure.inline().contains("M0.33 2h3v4h-3z"));
        assert!(figure.inline().contains("M0 1L0 2.5"));
    }
}
