//! How codebooks age over the steps of a run: figures and the section of the page.

use std::fmt::Write as _;

use super::svg::{Figure, escape, shortened};
use super::{figure, number_cell, table};
use crate::result::{Analysis, Codebooks, Course, RefreshCourse, Timeline};

const WIDTH: u32 = 360;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 352.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 140.0;
/// Kinds that have figures of their own.
const KINDS: usize = 8;
/// The most marks of refreshed codebooks in a figure.
const MARKS: usize = 200;

/// A line of a chart: its name, and a value for each step.
type Series<'a> = (&'a str, &'a [Option<f64>]);

/// A line chart over steps.
struct Chart<'a> {
    name: String,
    title: String,
    heading: String,
    steps: &'a [u64],
    series: Vec<Series<'a>>,
    /// Steps that are marked on the axis.
    marks: Vec<u64>,
}

/// All figures, in the order of the page.
pub(super) fn figures(analysis: &Analysis) -> Vec<Figure> {
    let Some(timeline) = &analysis.timeline else { return Vec::new() };
    let mut figures = of_all(timeline);
    for (number, kind) in largest(analysis, timeline).into_iter().enumerate() {
        let kind = &timeline.kinds[kind];
        let label = format!("{} ({}, {})", kind.name, kind.dtype, kind.symbols);
        let steps = steps(timeline);
        figures.extend(of_course(&format!("drift-{number}"), &label, &steps, &kind.course));
    }
    figures
}

fn steps(timeline: &Timeline) -> Vec<u64> {
    timeline.steps.iter().map(|step| step.step).collect()
}

/// The kinds with the most bytes, by the first symbol rule.
fn largest(analysis: &Analysis, timeline: &Timeline) -> Vec<usize> {
    let bytes = |kind: usize| {
        let course = &timeline.kinds[kind];
        let is_it = |kind: &&crate::result::KindResult| {
            (&kind.name, kind.model, &kind.dtype) == (&course.name, course.model, &course.dtype)
                && kind.converted_from.is_none()
        };
        analysis.kinds.iter().find(is_it).map_or(0, |kind| kind.bytes)
    };
    let first_rule = timeline.kinds.first().map(|kind| kind.symbols.clone()).unwrap_or_default();
    let of_rule = |kind: &usize| timeline.kinds[*kind].symbols == first_rule;
    let mut order: Vec<usize> = (0..timeline.kinds.len()).filter(of_rule).collect();
    order.sort_by_key(|kind| std::cmp::Reverse(bytes(*kind)));
    order.truncate(KINDS);
    order.sort_unstable();
    order
}

/// The figures of all tensors.
fn of_all(timeline: &Timeline) -> Vec<Figure> {
    let steps = steps(timeline);
    let mut figures = of_course("drift-all", "all tensors", &steps, &timeline.total);
    let estimates: Vec<Option<f64>> =
        timeline.steps.iter().map(|step| step.estimated_regret_percent).collect();
    let mut series: Vec<Series<'_>> =
        [Codebooks::Sampled, Codebooks::SampledRefreshed, Codebooks::BuiltInRefreshed]
            .into_iter()
            .filter_map(|codebooks| line(&timeline.total, codebooks))
            .collect();
    series.push(("sampled, estimated", &estimates));
    let marks = timeline.refresh.courses.iter().flat_map(refreshes).take(MARKS).collect();
    let chart = Chart {
        name: "drift-policy".to_owned(),
        title: "Regret of codebooks that the policy makes and replaces".to_owned(),
        heading: "regret with the refresh policy".to_owned(),
        steps: &steps,
        series,
        marks,
    };
    figures.push(chart.draw().caption(
        "Codebooks made from samples: kept, and replaced when the policy says so, beginning with those of the calibration and \
         with the built-in ones; and what the policy estimates from samples of each step. Triangles: steps at which codebooks were \
         replaced. Numbers: at the last step.",
    ));
    figures
}

fn refreshes(course: &RefreshCourse) -> impl Iterator<Item = u64> + '_ {
    course.judgements.iter().filter(|found| found.refreshed).map(|found| found.step)
}

/// The line of some codebooks, if they have a value in any step.
fn line(course: &Course, codebooks: Codebooks) -> Option<Series<'_>> {
    let curve = course.curves.iter().find(|curve| curve.codebooks == codebooks)?;
    let any = curve.regret_percent.iter().any(Option::is_some);
    any.then_some((codebooks.name(), &curve.regret_percent[..]))
}

/// Figures of what codebooks make of some tensors.
fn of_course(name: &str, label: &str, steps: &[u64], course: &Course) -> Vec<Figure> {
    let chart = |what: &str, heading: &str, all: &[Codebooks]| Chart {
        name: format!("{name}-{what}-{label}"),
        title: format!("Regret of codebooks over steps, {heading}: {label}"),
        heading: format!("{label}: {heading}"),
        steps,
        series: all.iter().filter_map(|codebooks| line(course, *codebooks)).collect(),
        marks: Vec::new(),
    };
    let books = [Codebooks::BuiltIn, Codebooks::Calibrated, Codebooks::Several, Codebooks::Sampled];
    let ageing = chart("books", "regret", &books).draw().caption(
        "What codebooks spend on symbols above one new codebook for each kind, made from the tensors of the step itself. \
         Below 0: several codebooks serve these tensors better than one. Numbers: at the last step.",
    );
    let mut figures = vec![ageing];
    let uncentred = line(course, Codebooks::Uncentred).map(|(_, values)| values);
    let calibrated = line(course, Codebooks::Calibrated).map(|(_, values)| values);
    // Symbols that are no exponents have no base.
    if uncentred.is_some() && uncentred != calibrated {
        let both = [Codebooks::Calibrated, Codebooks::Uncentred];
        figures.push(chart("base", "with and without a base", &both).draw().caption(
            "Calibrated codebooks hold exponents relative to a base that each block chooses; uncentred ones hold exponents as \
             they are. Numbers: at the last step.",
        ));
    }
    figures
}

impl Chart<'_> {
    fn draw(&self) -> Figure {
        let height = BOTTOM + 26.0 + 14.0 * self.series.len() as f64;
        let mut figure = Figure::new(&self.name, &self.title, WIDTH, height as u32);
        let values = || self.series.iter().flat_map(|(_, values)| values.iter().flatten().copied());
        let lowest = values().fold(0.0, f64::min);
        let highest = values().fold(lowest + 0.01, f64::max);
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value - lowest) / (highest - lowest);
        let first = self.steps.first().copied().unwrap_or(0);
        let last = self.steps.last().copied().unwrap_or(0);
        let span = (last - first).max(1) as f64;
        let x = |step: u64| {
            let share = (step.saturating_sub(first)) as f64 / span;
            LEFT + (RIGHT - LEFT) * share.clamp(0.0, 1.0)
        };
        figure.text(8.0, 12.0, "", shortened(&self.heading, 52));
        figure.text(LEFT - 4.0, TOP + 4.0, "soft end", format_args!("{highest:.2} %"));
        figure.text(LEFT - 4.0, BOTTOM + 4.0, "soft end", format_args!("{lowest:.2}"));
        figure.line("line", [(LEFT, y(0.0)), (RIGHT, y(0.0))]);
        figure.line("line", [(LEFT, TOP), (LEFT, BOTTOM)]);
        figure.text(LEFT, BOTTOM + 15.0, "soft", format_args!("step {first}"));
        figure.text(RIGHT, BOTTOM + 15.0, "soft end", last);
        for (number, (name, values)) in self.series.iter().enumerate() {
            let class = format!("s{}", number % 4);
            let points: Vec<(f64, f64)> = self
                .steps
                .iter()
                .zip(*values)
                .filter_map(|(step, value)| Some((x(*step), y((*value)?))))
                .collect();
            figure.line(&class, points);
            let row = BOTTOM + 30.0 + 14.0 * number as f64;
            figure.line(&class, [(LEFT, row - 4.0), (LEFT + 26.0, row - 4.0)]);
            let end = values.iter().rev().flatten().next();
            let end = end.map_or_else(String::new, |end| format!(": {end:.2} %"));
            figure.text(LEFT + 32.0, row, "", format_args!("{name}{end}"));
        }
        for mark in &self.marks {
            let at = x(*mark);
            figure.line("marked", [(at - 3.0, BOTTOM), (at, BOTTOM - 7.0), (at + 3.0, BOTTOM)]);
        }
        figure
    }
}

/// The section of the page.
pub(super) fn section(page: &mut String, analysis: &Analysis) {
    let Some(timeline) = &analysis.timeline else { return };
    put!(page, "<h2 id=\"drift\">Drift over steps</h2>");
    put!(page, "<p>{}</p>", escape(&verdict(timeline)));
    put!(page, "<div class=\"figures\">");
    for drawn in figures(analysis) {
        figure(page, &drawn);
    }
    put!(page, "</div>");
    regrets(page, timeline);
    judgements(page, timeline);
}

/// What became of the calibrated codebooks at the last step, in words.
fn verdict(timeline: &Timeline) -> String {
    let last = |codebooks: Codebooks| {
        let curve = timeline.total.curves.iter().find(|curve| curve.codebooks == codebooks)?;
        Some((curve.regret_percent.last().copied()??, curve.saving_percent.last().copied()??))
    };
    let at = timeline.calibrated_at.map_or_else(String::new, |at| format!(" at step {at}"));
    let end = timeline.steps.last().map_or(0, |step| step.step);
    let fresh = timeline.total.fresh_saving_percent.last().copied().flatten();
    let (Some(calibrated), Some(builtin), Some(fresh)) =
        (last(Codebooks::Calibrated), last(Codebooks::BuiltIn), fresh)
    else {
        return "The last step has no tensors that codebooks were calibrated on.".to_owned();
    };
    let replaced: usize =
        timeline.refresh.courses.iter().map(|course| refreshes(course).count()).sum();
    format!(
        "Codebooks calibrated{at} have a regret of {:.2} % at step {end}, the built-in ones of {:.2} %. Of the tensors, new \
         codebooks save {fresh:.2} % there, calibrated ones {:.2} %, the built-in ones {:.2} %. The policy replaced codebooks \
         {replaced} times.",
        calibrated.0, builtin.0, calibrated.1, builtin.1
    )
}

fn regrets(page: &mut String, timeline: &Timeline) {
    let mut headings = vec![("Step", false), ("New save %", false)];
    headings.extend(Codebooks::ALL.iter().map(|codebooks| (codebooks.name(), false)));
    headings.push(("sampled, estimated", false));
    let row = |(number, step): (usize, &crate::result::Step)| {
        let mut row = format!("<td>{}</td>", step.step);
        row += &number_cell(timeline.total.fresh_saving_percent[number], 2);
        for curve in &timeline.total.curves {
            row += &number_cell(curve.regret_percent[number], 3);
        }
        row + &number_cell(step.estimated_regret_percent, 3)
    };
    put!(page, "<details><summary>Regret of all tensors by step, in percent</summary>");
    let rows = timeline.steps.iter().enumerate().map(row);
    table(page, "Regret of all tensors by step, in percent", &headings, rows);
    put!(page, "</details>");
}

fn judgements(page: &mut String, timeline: &Timeline) {
    let headings = [
        ("Began with", true),
        ("Step", false),
        ("Regret found %", false),
        ("Replaced", true),
        ("Bytes expected to be saved", false),
        ("Bytes of the codebooks", false),
    ];
    let rows = timeline.refresh.courses.iter().flat_map(|course| {
        course.judgements.iter().map(|found| {
            let shipping = found.shipping_bytes.map(|bytes| bytes as f64);
            format!(
                "<td class=\"text\">{}</td><td>{}</td>{}<td class=\"text\">{}</td>{}{}",
                course.began_with.name(),
                found.step,
                number_cell(Some(found.regret_percent), 3),
                if found.refreshed { "yes" } else { "no" },
                number_cell(found.saved_bytes, 0),
                number_cell(shipping, 0)
            )
        })
    });
    let refresh = &timeline.refresh;
    put!(
        page,
        "<details><summary>Judgements of the policy: above {} % regret, at least {} messages apart, {} samples</summary>",
        refresh.regret_percent,
        refresh.every,
        refresh.samples
    );
    table(page, "Judgements of the policy", &headings, rows);
    put!(page, "</details>");
}
