//! What the demo tells, to a newcomer and to a program.

use std::fmt;

use serde::Serialize;

use super::measure::Row;
use crate::report::{Table, percent, size};

/// Everything the demo found; also what `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) calibrated_at_step: usize,
    pub(super) coded_at_step: usize,
    pub(super) loss: f32,
    pub(super) shards: usize,
    /// The demo fails if it is anything else.
    pub(super) round_trip: &'static str,
    pub(super) rows: Vec<Row>,
    pub(super) seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "A small language model was trained just now, in bf16. Codebooks were made from its tensors\n\
             at step {}, and the tensors at step {} were compressed with them: {} shards. Decompression\n\
             restored every bit. Saved, in percent of the size:\n",
            self.calibrated_at_step, self.coded_at_step, self.shards,
        )?;
        let headings =
            ["tensors", "symbols", "size", "Shannon", "Huffman", "fixed", "built-in", "KL (bits)"];
        let mut table = Table::new(headings).flush_left(1);
        for row in &self.rows {
            table.row([
                row.tensors.to_owned(),
                row.symbols.to_owned(),
                size(row.raw_bytes),
                percent(row.shannon_saving_percent),
                percent(row.huffman_saving_percent),
                percent(row.fixed_saving_percent),
                row.builtin_saving_percent.map_or_else(|| "-".to_owned(), percent),
                format!("{:.3}", row.mean_kl_bits),
            ]);
        }
        let auto = self.rows.iter().filter(|row| row.symbols == "auto");
        let gap = auto.map(|row| row.huffman_saving_percent - row.fixed_saving_percent);
        let gap = gap.fold(0.0, f64::max);
        write!(
            f,
            "{table}{COLUMNS}
Shards of a kind resemble each other, so a codebook fixed in advance comes within {gap:.1} points of a
codebook made for each shard. Part of the difference are headers, which matter less for larger
shards. No codebook is built or sent; the data only carry the codebook's number.
In the rows `auto` only the exponent of a value is coded, in the rows `bytes` every byte, as in
Agrawal et al. (arXiv 2601.10673). Coding only the exponent saves more, because sign and mantissa are
close to noise, and because a change in the scale of the values does not matter.

Next: huffwire compress MODEL.safetensors       your own tensors, with the built-in codebooks
      huffwire calibrate *.safetensors -o B     codebooks of your own, for --codebooks B

({:.1} s)
",
            self.seconds
        )
    }
}

const COLUMNS: &str = "
  Shannon   no code for these symbols can save more
  Huffman   a code made for each shard after counting it; sending the codebook not counted
  fixed     codebooks from the earlier step, which both ends hold; everything counted that is sent
  built-in  the codebooks inside huffwire, which were made without these tensors
  KL        how far the shards are from the average that made their codebook
";
