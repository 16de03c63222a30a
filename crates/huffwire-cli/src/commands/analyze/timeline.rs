//! What `huffwire analyze --timeline` prints.

use std::fmt::Write as _;

use huffwire_analysis::{Analysis, Codebooks, Course, Timeline};

use super::PRINTED;
use crate::report::{Table, printable, size};

/// The most steps in a table; of more, some are shown.
const STEPS: usize = 24;

/// The tables for people: all tensors by step, then all kinds at the last step.
pub(super) fn text(analysis: &Analysis, timeline: &Timeline) -> String {
    let mut text = String::new();
    let at = timeline.calibrated_at.map_or_else(String::new, |step| format!(" at step {step}"));
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\nregret of codebooks, all tensors: what they spend above new ones made for the step; calibrated{at}"
    );
    let _ = writeln!(text, "{}", by_step(timeline));
    let _ = writeln!(text, "regret at the last step, by kind");
    let _ = writeln!(text, "{}", by_kind(analysis, timeline));
    for course in &timeline.refresh.courses {
        let refreshed: Vec<_> = course.judgements.iter().filter(|found| found.refreshed).collect();
        let began_with = course.began_with.name();
        let judged = course.judgements.len();
        if refreshed.is_empty() {
            let _ = writeln!(
                text,
                "the policy, beginning with {began_with} codebooks, replaced none in {judged} judgements"
            );
            continue;
        }
        let at: Vec<String> = refreshed
            .iter()
            .map(|found| {
                let bytes = found.shipping_bytes.unwrap_or(0) as u64;
                format!("step {} ({:.2} %, {})", found.step, found.regret_percent, size(bytes))
            })
            .collect();
        let _ = writeln!(
            text,
            "the policy, beginning with {began_with} codebooks, replaced them at {} of {judged} judgements: {}",
            refreshed.len(),
            at.join(", ")
        );
    }
    text
}

fn headings(first: [&str; 2]) -> Table {
    let others = Codebooks::ALL.iter().map(|codebooks| codebooks.name());
    Table::new(first.into_iter().chain(others))
}

fn cell(percent: Option<f64>) -> String {
    percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2} %"))
}

/// The cells of a step: what new codebooks save, and the regret of others.
fn cells(course: &Course, step: usize) -> Vec<String> {
    course.curves.iter().map(|curve| cell(curve.regret_percent[step])).collect()
}

fn by_step(timeline: &Timeline) -> Table {
    let mut table = headings(["step", "new save"]);
    let count = timeline.steps.len();
    let shown = (0..count).filter(|step| {
        // Evenly spread, the first and the last among them.
        count <= STEPS || step * (STEPS - 1) % (count - 1) < STEPS - 1
    });
    for step in shown {
        let mut row = vec![timeline.steps[step].step.to_string()];
        row.push(cell(timeline.total.fresh_saving_percent[step]));
        row.extend(cells(&timeline.total, step));
        table.row(row);
    }
    table
}

fn by_kind(analysis: &Analysis, timeline: &Timeline) -> Table {
    let mut table = headings(["kind", "symbols"]).flush_left(1);
    let several = analysis.files.iter().any(|file| file.model > 0);
    for kind in timeline.kinds.iter().take(PRINTED) {
        let mut name = printable(&kind.name);
        if several {
            let _ = write!(name, " (model {})", kind.model);
        }
        let mut row = vec![name, format!("{} {}", kind.dtype, kind.symbols)];
        let steps = 0..timeline.steps.len();
        let last = steps.rev().find(|step| kind.course.fresh_saving_percent[*step].is_some());
        row.extend(cells(&kind.course, last.unwrap_or(0)));
        table.row(row);
    }
    table
}
