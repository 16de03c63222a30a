//! `huffwire codebooks`: list, show, export, import.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use huffwire::codebook::{Alphabet, ZERO_SLOT};
use huffwire::{Codebook, CodebookSet};
use huffwire_analysis::export::{c_header, system_verilog};
use huffwire_io::Origin;
use serde::Serialize;

use crate::args::{CodebooksCommand, ExportFormat};
use crate::books::{self, Books};
use crate::files::{self, is_dash};
use crate::report::{Stream, Table, printable};

/// Runs a subcommand.
pub(crate) fn run(command: &CodebooksCommand) -> Result<()> {
    match command {
        CodebooksCommand::List { file, json } => {
            let set = books::load_or_builtin(file.as_deref())?.set;
            if *json { Stream::Stdout.print_json(&Set::of(&set)) } else { list(&set) }
        }
        CodebooksCommand::Show { what, json } => show(what, *json),
        CodebooksCommand::Export { file, format, output } => {
            let Books { set, origin } = books::load_or_builtin(file.as_deref())?;
            let text = match format {
                ExportFormat::Json => set.to_json() + "\n",
                ExportFormat::C => c_header(&set),
                ExportFormat::Systemverilog => system_verilog(&set),
            };
            match &output.output {
                // Text may go to a terminal, other than what `Output` is for.
                None => Stream::Stdout.print(&text),
                Some(path) if is_dash(path) => Stream::Stdout.print(&text),
                Some(path) => write(path, output.force, text.as_bytes(), origin.as_ref()),
            }
        }
        CodebooksCommand::Import { input, output, force } => {
            let file = files::open(input)?;
            books::check_kind(&file)?;
            let origin = file.origin().clone();
            let set = huffwire_io::read_codebooks(file)?;
            write(output, *force, &set.to_bytes(), Some(&origin))
        }
    }
}

fn write(path: &Path, force: bool, bytes: &[u8], input: Option<&Origin>) -> Result<()> {
    let mut output = files::create(path, force, input.as_slice())?;
    output.write(bytes)?;
    Ok(output.finish()?)
}

/// A set, for JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Set {
    id: String,
    name: String,
    books: Vec<Book>,
    bindings: Vec<Binding>,
}

/// A book, without its codes.
#[derive(Debug, Serialize)]
struct Book {
    number: usize,
    id: String,
    alphabet: &'static str,
    /// Bits of a symbol.
    width: u8,
    narrow: bool,
    max_code_bits: u8,
    /// Symbols with a code of their own.
    coded_symbols: usize,
    /// 0: every symbol has a code of its own.
    escape_bits: u8,
    /// 0: an exact zero has no code of its own.
    zero_bits: u8,
    about: Option<&'static str>,
}

/// What books are for.
#[derive(Debug, Serialize)]
struct Binding {
    pattern: String,
    dtype: Option<&'static str>,
    layout: &'static str,
    plane: u8,
    books: Vec<u8>,
}

impl Set {
    /// Describes a set.
    pub(crate) fn of(set: &CodebookSet) -> Self {
        let bindings = set.bindings().iter().map(|binding| Binding {
            pattern: binding.pattern.clone(),
            dtype: binding.dtype.map(|dtype| dtype.name()),
            layout: binding.layout.name(),
            plane: binding.plane,
            books: binding.books.clone(),
        });
        Self {
            id: set.id().to_string(),
            name: set.name().to_owned(),
            books: set.books().iter().enumerate().map(|(n, book)| Book::of(n, book)).collect(),
            bindings: bindings.collect(),
        }
    }
}

impl Book {
    fn of(number: usize, book: &Codebook) -> Self {
        let lengths = book.lengths();
        let (alphabet, width) = match lengths.alphabet() {
            Alphabet::Centred => ("centred", 8),
            Alphabet::Plain { width } => ("plain", width),
        };
        Self {
            number,
            id: lengths.id().to_string(),
            alphabet,
            width,
            narrow: lengths.is_narrow(),
            max_code_bits: lengths.limit().bits(),
            coded_symbols: lengths.ordinary_lengths().iter().filter(|&&length| length > 0).count(),
            escape_bits: lengths.escape(),
            zero_bits: lengths.zero(),
            about: CodebookSet::builtin_about(lengths),
        }
    }
}

fn list(set: &CodebookSet) -> Result<()> {
    Stream::Stdout.print(&listing(set))
}

/// The books of a set and what they are for, for people.
pub(crate) fn listing(set: &CodebookSet) -> String {
    let described = Set::of(set);
    let headings =
        ["book", "id", "alphabet", "kernel", "max bits", "symbols", "escape", "zero", "made for"];
    let mut table = Table::new(headings).flush_left(1).flush_left(2).flush_left(3).flush_left(8);
    let or_dash = |bits: u8| if bits == 0 { "-".to_owned() } else { bits.to_string() };
    for book in described.books {
        table.row([
            format!("#{}", book.number),
            book.id,
            format!("{} {}", book.alphabet, book.width),
            if book.narrow { "narrow" } else { "wide" }.to_owned(),
            book.max_code_bits.to_string(),
            book.coded_symbols.to_string(),
            or_dash(book.escape_bits),
            or_dash(book.zero_bits),
            book.about.unwrap_or("").to_owned(),
        ]);
    }
    let mut bindings = Table::new(["tensors", "type", "symbols", "books"]);
    for column in 1..4 {
        bindings = bindings.flush_left(column);
    }
    for binding in described.bindings {
        bindings.row([
            printable(&binding.pattern),
            binding.dtype.unwrap_or("any").to_owned(),
            format!("{} {}", binding.layout, binding.plane),
            ranges(&binding.books),
        ]);
    }
    let (id, name) = (described.id, printable(&described.name));
    format!("set {id} ({name})\n\n{table}\n{bindings}")
}

/// `#0-#5, #9`.
fn ranges(books: &[u8]) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for &book in books {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(book) => *last = book,
            _ => runs.push((book, book)),
        }
    }
    let runs = runs.into_iter().map(|(first, last)| match first == last {
        true => format!("#{first}"),
        false => format!("#{first}-#{last}"),
    });
    runs.collect::<Vec<_>>().join(", ")
}

/// A code of a book.
#[derive(Debug, Serialize)]
struct Code {
    /// The symbol; in a centred alphabet the distance above the base of the block.
    symbol: String,
    bits: u8,
    code: String,
}

/// A book with its codes.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    book: Book,
    codes: Vec<Code>,
}

/// What `show --json` prints.
#[derive(Debug, Serialize)]
struct AllShown {
    codebooks: Vec<Shown>,
}

fn show(what: &[PathBuf], json: bool) -> Result<()> {
    let as_number = |path: &Path| path.to_str().and_then(|text| text.parse::<u8>().ok());
    let (file, number) = match what {
        [] => (None, None),
        // A file of that name would come first.
        [one] => match as_number(one) {
            Some(number) if !one.exists() => (None, Some(number)),
            _ => (Some(one), None),
        },
        [file, number, ..] => match as_number(number) {
            Some(number) => (Some(file), Some(number)),
            None => bail!("{}: a number is needed here, that of a codebook", number.display()),
        },
    };
    let set = books::load_or_builtin(file.map(PathBuf::as_path))?.set;
    let numbers = match number {
        Some(number) => vec![number],
        None => (0..set.books().len() as u8).collect(),
    };
    let mut all = Vec::new();
    for number in numbers {
        let held = set.books().len();
        let Ok(book) = set.book(number) else {
            bail!("there is no codebook #{number}: the set holds {held}, counted from 0");
        };
        all.push(Shown { book: Book::of(number.into(), book), codes: codes(book) });
    }
    if json {
        return Stream::Stdout.print_json(&AllShown { codebooks: all });
    }
    Stream::Stdout.print(&all.iter().map(text).collect::<Vec<_>>().join("\n"))
}

/// All codes, shortest first.
fn codes(book: &Codebook) -> Vec<Code> {
    let lengths = book.lengths();
    let name = |slot: usize| match lengths.alphabet() {
        Alphabet::Centred => format!("base + {slot}"),
        Alphabet::Plain { .. } => slot.to_string(),
    };
    let code = |symbol: String, slot: usize, bits: u8| Code {
        symbol,
        bits,
        code: book.code_string(slot as u8),
    };
    let direct = lengths.ordinary_lengths().iter().enumerate().filter(|(_, bits)| **bits > 0);
    let mut codes: Vec<Code> = direct.map(|(slot, &bits)| code(name(slot), slot, bits)).collect();
    if lengths.zero() > 0 {
        codes.push(code("exact zero".to_owned(), ZERO_SLOT, lengths.zero()));
    }
    if let Some(slot) = lengths.escape_slot() {
        codes.push(code("escape".to_owned(), slot.into(), lengths.escape()));
    }
    codes.sort_by(|a, b| a.bits.cmp(&b.bits).then_with(|| a.code.cmp(&b.code)));
    codes
}

fn text(shown: &Shown) -> String {
    let Shown { book, codes } = shown;
    let mut table = Table::new(["symbol", "bits", "code"]).flush_left(2);
    for code in codes {
        table.row([code.symbol.clone(), code.bits.to_string(), code.code.clone()]);
    }
    let about = book.about.map(|about| format!(", made for {about}")).unwrap_or_default();
    let rest = match book.escape_bits {
        0 => "every symbol has a code of its own",
        _ => "all other symbols: the escape and 8 raw bits",
    };
    format!(
        "codebook #{} {} ({} alphabet of {}-bit symbols, {}, codes of at most {} bits{about})\n\
         {table}{rest}\n",
        book.number,
        book.id,
        book.alphabet,
        book.width,
        if book.narrow { "narrow" } else { "wide" },
        book.max_code_bits,
    )
}
