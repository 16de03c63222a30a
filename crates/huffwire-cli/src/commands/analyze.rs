//! `huffwire analyze`.

mod plots;
mod timeline;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use huffwire_analysis::{Analysis, File, KindResult, analyze, bytes_to_read};
use huffwire_io::{Complete, Origin, ReadOptions};
use serde::Serialize;

use crate::args::AnalyzeArgs;
use crate::bases;
use crate::files::{self, is_dash};
use crate::progress;
use crate::report::{Stream, Table, percent, printable, size};
use plots::{Made, Plots};

/// The most kinds that are printed for people.
const PRINTED: usize = 100;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    analysis: &'a Analysis,
    /// Seconds that the analysis took, reading included.
    seconds: f64,
}

/// Analyzes the inputs, writes the report and the figures, and prints a table.
pub(crate) fn run(args: &AnalyzeArgs) -> Result<()> {
    let workers = files::workers(args.common.threads)?;
    let options = args.options();
    let inputs = open(&args.inputs, args)?;
    let calibrate_on = open(&args.calibrate_on, args)?;
    let origins: Vec<&Origin> =
        inputs.iter().chain(&calibrate_on).flat_map(File::origins).collect();
    // What cannot be written should be known before everything is read.
    let report = args.report.as_ref();
    let report = report.map(|path| files::create(path, args.force, &origins)).transpose()?;
    let plots = args.plots.as_ref();
    let plots = plots.map(|folder| Plots::prepare(folder, args.force, &origins)).transpose()?;
    let bytes = bytes_to_read(&inputs, &calibrate_on, &options);
    let bar = progress::bytes(bytes, args.common.quiet);
    let started = Instant::now();
    let mut count = |bytes| {
        bar.inc(bytes);
        Ok(())
    };
    let analysis = analyze(&inputs, &calibrate_on, &options, &workers, &mut count)?;
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let mut complete = Vec::new();
    if let Some(mut output) = report {
        output.write(analysis.html().as_bytes())?;
        complete.push(output.complete()?);
    }
    let folder = match plots {
        Some(plots) => Some(plots.write(&analysis, &mut complete)?),
        None => None,
    };
    Complete::publish_all(complete)?;
    folder.into_iter().for_each(Made::keep);
    let to_stdout = args.report.as_deref().is_some_and(files::is_stdout);
    let stream = if to_stdout { Stream::Stderr } else { Stream::Stdout };
    if args.common.json {
        stream.print_json_line(&Report { analysis: &analysis, seconds })
    } else if args.common.quiet {
        Ok(())
    } else {
        let speed = bytes as f64 / 1e9 / seconds.max(1e-9);
        let time = format!("{} read in {seconds:.2} s: {speed:.2} GB/s\n", size(bytes));
        stream.print(&(text(&analysis) + &time))
    }
}

fn open(paths: &[PathBuf], args: &AnalyzeArgs) -> Result<Vec<File<'static>>> {
    let file = |path: &PathBuf| {
        if is_dash(path) {
            return Ok(File::new("standard input", files::open_tensors(path, &args.raw)?));
        }
        // The threads of the analysis decode, each what it counts.
        let options = ReadOptions::default();
        let codebooks = args.codebooks.as_deref();
        let file = bases::open_tensors(path, &args.raw, codebooks, &args.base, options)?;
        Ok(File::new(&path.display().to_string(), file))
    };
    paths.iter().map(file).collect()
}

/// The report for people.
fn text(analysis: &Analysis) -> String {
    let mut table = Table::new([
        "kind", "type", "symbols", "shards", "size", "Shannon", "Huffman", "fixed", "built-in",
        "mean KL", "max KL",
    ])
    .flush_left(1)
    .flush_left(2);
    let cell = |saving: Option<f64>| saving.map_or_else(|| "-".to_owned(), percent);
    for kind in analysis.kinds.iter().take(PRINTED) {
        table.row([
            name(analysis, kind),
            dtype(kind),
            symbols(kind),
            kind.shards.to_string(),
            size(kind.bytes),
            percent(kind.shannon_saving_percent),
            percent(kind.huffman_saving_percent),
            cell(kind.fixed_saving_percent),
            cell(kind.builtin_saving_percent),
            format!("{:.4}", kind.mean_kl_bits),
            format!("{:.4}", kind.max_kl_bits),
        ]);
    }
    let mut text = format!("{table}\n");
    for kind in analysis.kinds.iter().take(PRINTED) {
        let (Some(fixed), Some(from)) = (kind.fixed_saving_percent, kind.fixed_from) else {
            continue;
        };
        let within = |over: Option<f64>| {
            over.map_or_else(|| "nothing".to_owned(), |over| format!("{over:.2} %"))
        };
        let families =
            [("quad", kind.quad_length_saving_percent), ("dual", kind.dual_length_saving_percent)];
        let families = families.into_iter().filter_map(|(name, saving)| {
            Some(format!("; a {name} length code saves {}", percent(saving?)))
        });
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} ({}, {}): a codebook from {from} saves {}, within {} of per-shard Huffman, {} of Shannon; \
             {:.3} % of the symbols take the escape{}",
            name(analysis, kind),
            dtype(kind),
            symbols(kind),
            percent(fixed),
            within(kind.over_huffman_percent),
            within(kind.over_shannon_percent),
            kind.escape_percent,
            families.collect::<String>(),
        );
    }
    if let Some(more) = analysis.kinds.len().checked_sub(PRINTED).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} kinds more; --json prints all of them");
    }
    let total = &analysis.total;
    let _ = writeln!(
        text,
        "\nall tensors, {}: the built-in codebooks save {}, fixed ones {}, Huffman codes for each shard {}, perfect \
         codes {}",
        size(total.bytes),
        percent(total.builtin_saving_percent),
        percent(total.fixed_saving_percent),
        percent(total.huffman_saving_percent),
        percent(total.shannon_saving_percent),
    );
    if let Some(timeline) = &analysis.timeline {
        text += &timeline::text(analysis, timeline);
    }
    for note in &analysis.notes {
        let _ = writeln!(text, "note: {}", printable(note));
    }
    text
}

/// The name of a kind, with its model where there are several.
fn name(analysis: &Analysis, kind: &KindResult) -> String {
    let name = printable(&kind.name);
    let several = analysis.files.iter().any(|file| file.model > 0);
    if several { format!("{name} (model {})", kind.model) } else { name }
}

fn dtype(kind: &KindResult) -> String {
    match &kind.converted_from {
        Some(source) => format!("{} from {source}", kind.dtype),
        None => kind.dtype.clone(),
    }
}

/// The symbol rule, and the layout that it stands for here.
fn symbols(kind: &KindResult) -> String {
    if kind.symbols == "auto" { kind.layout.clone() } else { kind.symbols.clone() }
}
