//! What came out, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::candidate::Candidate;
use super::cpu;
use super::rivals::{COPY, NON_TEMPORAL};
use super::timing::median;
use super::working_set::WorkingSet;
use crate::report::{Table, percent, saving, size};

/// What `--json` prints. Speeds are in 10^9 bytes of elements per second.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    cpu: String,
    /// An estimate; `None` on processors that it cannot be made for.
    clock_ghz: Option<f64>,
    /// The faster copy.
    memcpy_gbps: f64,
    memcpy: Copies,
    working_set_bytes: usize,
    /// `None` if each tensor is a message.
    message_bytes: Option<usize>,
    messages: usize,
    rounds: usize,
    results: Vec<Row>,
}

/// The speed of each copy, in the better direction.
#[derive(Debug, Serialize)]
struct Copies {
    copy_gbps: f64,
    non_temporal_gbps: Option<f64>,
}

/// A candidate.
#[derive(Debug, Serialize)]
struct Row {
    codec: &'static str,
    symbols: Option<String>,
    level: Option<String>,
    platform: Option<&'static str>,
    threads: u16,
    checksums: bool,
    encode_gbps: f64,
    decode_gbps: f64,
    /// The slowest round and the fastest.
    encode_spread: [f64; 2],
    decode_spread: [f64; 2],
    saving_percent: f64,
    coded_bytes: usize,
}

impl Report {
    pub(super) fn new(
        candidates: &[Candidate],
        set: &WorkingSet,
        message_bytes: Option<usize>,
        rounds: usize,
        clock_ghz: Option<f64>,
    ) -> Self {
        let bytes = set.bytes();
        let results: Vec<Row> = candidates.iter().map(|candidate| row(candidate, bytes)).collect();
        let speed = |codec: &str| {
            let row = results.iter().find(|row| row.codec == codec)?;
            Some(row.encode_gbps.max(row.decode_gbps))
        };
        let copy_gbps = speed(COPY).unwrap_or(0.0);
        let non_temporal_gbps = speed(NON_TEMPORAL);
        Self {
            cpu: cpu::name(),
            clock_ghz,
            memcpy_gbps: non_temporal_gbps.map_or(copy_gbps, |other| other.max(copy_gbps)),
            memcpy: Copies { copy_gbps, non_temporal_gbps },
            working_set_bytes: bytes,
            message_bytes,
            messages: set.messages.len(),
            rounds,
            results,
        }
    }
}

fn row(candidate: &Candidate, bytes: usize) -> Row {
    let (label, samples) = (&candidate.label, &candidate.samples);
    let gbps = |seconds: f64| bytes as f64 / seconds.max(1e-12) / 1e9;
    let middle = |seconds: &[f64]| median(seconds).map_or(0.0, gbps);
    let spread = |seconds: &[f64]| {
        let slowest = seconds.iter().copied().fold(0.0, f64::max);
        let fastest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        [gbps(slowest), gbps(fastest)]
    };
    let coded_bytes = samples.coded_bytes();
    Row {
        codec: label.codec,
        symbols: label.symbols.clone(),
        level: label.level.clone(),
        platform: label.platform,
        threads: label.threads,
        checksums: label.checksums,
        encode_gbps: middle(&samples.encode),
        decode_gbps: middle(&samples.decode),
        encode_spread: spread(&samples.encode),
        decode_spread: spread(&samples.decode),
        saving_percent: saving(bytes as u64, coded_bytes as u64),
        coded_bytes,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cpu)?;
        if let Some(ghz) = self.clock_ghz {
            write!(f, ", about {ghz:.2} GHz (estimated)")?;
        }
        let messages = match (self.messages, self.message_bytes) {
            (1, _) => "1 message".to_owned(),
            (count, Some(bytes)) => format!("{count} messages of up to {bytes} bytes"),
            (count, None) => format!("{count} messages, one for each tensor"),
        };
        let rounds = if self.rounds == 1 { "round" } else { "rounds" };
        writeln!(
            f,
            "\n{} in {messages}; median of {} {rounds} [slowest, fastest]\n\
             GB/s are 10^9 bytes of tensors per second; x is the share of memcpy, {} GB/s\n",
            size(self.working_set_bytes as u64),
            self.rounds,
            speed(self.memcpy_gbps),
        )?;
        let headings = [
            "codec",
            "symbols",
            "level",
            "platform",
            "threads",
            "encode GB/s",
            "spread",
            "x",
            "decode GB/s",
            "spread",
            "x",
            "saved",
        ];
        let mut table = Table::new(headings).flush_left(1).flush_left(2).flush_left(3);
        let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
        let spread = |[low, high]: [f64; 2]| format!("[{}, {}]", speed(low), speed(high));
        let share = |gbps: f64| format!("{:.3}", gbps / self.memcpy_gbps.max(1e-12));
        for row in &self.results {
            table.row([
                row.codec.to_owned(),
                text(row.symbols.as_deref()),
                text(row.level.as_deref()),
                text(row.platform),
                row.threads.to_string(),
                speed(row.encode_gbps),
                spread(row.encode_spread),
                share(row.encode_gbps),
                speed(row.decode_gbps),
                spread(row.decode_spread),
                share(row.decode_gbps),
                percent(row.saving_percent),
            ]);
        }
        write!(f, "{table}")?;
        if self.results.iter().any(|row| row.codec == "zstd-huffman") {
            writeln!(
                f,
                "\nzstd-huffman: zstd that all but looks for no matches, its Huffman coder forced on"
            )?;
        }
        Ok(())
    }
}

/// Three digits: `0.472`, `6.01`, `42.0`.
fn speed(gbps: f64) -> String {
    let decimals = if gbps < 0.9995 { 3 } else { 1 + usize::from(gbps < 9.995) };
    format!("{gbps:.decimals$}")
}
