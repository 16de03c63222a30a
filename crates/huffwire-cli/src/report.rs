//! Text for people and JSON for programs.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use crate::standard::stdout_is_closed;

/// Where a report goes: to standard error when the data go to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Prints text that ends in a line break.
    pub(crate) fn print(self, text: &str) -> Result<()> {
        match self {
            Self::Stdout => {
                Self::require_stdout()?;
                let mut out = io::stdout().lock();
                let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                written.context("standard output")?;
            }
            Self::Stderr => io::stderr().lock().write_all(text.as_bytes())?,
        }
        Ok(())
    }

    /// Prints one JSON object, which begins with the version of all these objects.
    pub(crate) fn print_json(self, report: &impl Serialize) -> Result<()> {
        self.stream_json(report, PrettyFormatter::new())
    }

    /// Prints one JSON object like [`Stream::print_json`], on one line: for objects with long lists.
    pub(crate) fn print_json_line(self, report: &impl Serialize) -> Result<()> {
        self.stream_json(report, CompactFormatter)
    }

    /// Prints JSON piece by piece: it is never in memory as a whole.
    fn stream_json(self, report: &impl Serialize, formatter: impl Formatter) -> Result<()> {
        match self {
            Self::Stdout => {
                Self::require_stdout()?;
                write_json(io::stdout().lock(), report, formatter).context("standard output")
            }
            Self::Stderr => Ok(write_json(io::stderr().lock(), report, formatter)?),
        }
    }

    fn require_stdout() -> Result<()> {
        ensure!(!stdout_is_closed(), "standard output is closed: it cannot be written to");
        Ok(())
    }
}

/// Writes one JSON object and a line break.
fn write_json(
    out: impl Write,
    report: &impl Serialize,
    formatter: impl Formatter,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(JSON_BUFFER_BYTES, out);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    Versioned { schema_version: SCHEMA_VERSION, report }.serialize(&mut serializer)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Bytes of JSON that are written at a time.
const JSON_BUFFER_BYTES: usize = 1 << 16;

/// The version of the JSON that `docs/json.md` documents. Keys are added without a new one; it grows when a key goes, or
/// means something else.
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
struct Versioned<'a, T> {
    schema_version: u32,
    #[serde(flatten)]
    report: &'a T,
}

/// `1 file`, `2 files`, `3 links made again`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let (noun, rest) = what.split_once(' ').unwrap_or((what, ""));
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural} {rest}").trim_end().to_owned()
}

/// A size: `17.7 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", units[unit])
}

/// A percentage: `32.71 %`.
pub(crate) fn percent(value: f64) -> String {
    format!("{value:.2} %")
}

/// The saving in percent when `coded` bytes stand for `raw`.
pub(crate) fn saving(raw: u64, coded: u64) -> f64 {
    huffwire::stats::saving_percent(raw as f64, coded as f64)
}

/// Dimensions: `[2, 3]`.
pub(crate) fn shape(shape: &[u64]) -> String {
    let dimensions: Vec<String> = shape.iter().map(u64::to_string).collect();
    format!("[{}]", dimensions.join(", "))
}

/// A name from a file, made safe for a terminal.
pub(crate) fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Columns of text, the first flush left, the others flush right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    left: Vec<usize>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        Self { rows: vec![headings.into_iter().map(str::to_owned).collect()], left: vec![0] }
    }

    /// Sets another column flush left.
    pub(crate) fn flush_left(mut self, column: usize) -> Self {
        self.left.push(column);
        self
    }

    /// Adds a row. What comes from files is made safe for a terminal.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column > 0 { "  " } else { "" };
                if self.left.contains(&column) {
                    write!(line, "{gap}{cell:<width$}")?;
                } else {
                    write!(line, "{gap}{cell:>width$}")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(17_699_992), "17.7 MB");
        assert_eq!(size(999_999), "1.00 MB");
        assert_eq!(size(u64::MAX), "18447 PB");
    }

    #[test]
    fn json_is_written_piece_by_piece() {
        /// Remembers the sizes of what is written.
        #[derive(Default)]
        struct Sizes(Vec<usize>);
        impl Write for Sizes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.len());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        #[derive(Serialize)]
        struct Long {
            list: Vec<u32>,
        }
        let long = Long { list: vec![1_000_000; 100_000] };
        let mut sizes = Sizes::default();
        write_json(&mut sizes, &long, CompactFormatter).unwrap();
        let Sizes(sizes) = sizes;
        let expected = br#"{"schema_version":1,"list":[]}"#.len() + 8 * long.list.len();
        assert_eq!(sizes.iter().sum::<usize>(), expected);
        assert!(sizes.iter().all(|size| *size <= JSON_BUFFER_BYTES), "{sizes:?}");
        let (mut pretty, short) = (Vec::new(), Long { list: vec![7] });
        write_json(&mut pretty, &short, PrettyFormatter::new()).unwrap();
        let expected = "{\n  \"schema_version\": 1,\n  \"list\": [\n    7\n  ]\n}\n";
        assert_eq!(String::from_utf8(pretty).unwrap(), expected);
    }

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(["name", "n"]);
        table.row(["a".to_owned(), "10".to_owned()]);
        table.row(["long name".to_owned(), "7".to_owned()]);
        assert_eq!(table.to_string(), "name        n\na          10\nlong name   7\n");
    }
}
