//! The figures of a report.

use std::collections::BTreeMap;

use super::svg::{Figure, shortened};
use crate::result::{Analysis, KindResult, PlaneResult, ShardResult};

/// The width of a figure: about that of a telephone, so that its text stays readable there.
const WIDTH: u32 = 360;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 352.0;
/// Rows of the figure of savings.
const ROWS: usize = 40;
/// Kinds that have figures of their own.
pub(super) const KINDS: usize = 24;
/// Colours of a heat map.
const COLOURS: usize = 6;
/// The most cells of a heat map.
const CELLS: usize = 16_384;

/// All figures, in the order of the report.
pub(super) fn all(analysis: &Analysis) -> Vec<Figure> {
    let mut figures = vec![summary(analysis), savings(analysis)];
    for (number, kind) in largest(analysis).into_iter().enumerate() {
        figures.extend(of_kind(number, kind));
    }
    figures
}

/// The kinds with the most bytes, in the order of the result.
pub(super) fn largest(analysis: &Analysis) -> Vec<&KindResult> {
    let mut order: Vec<usize> = (0..analysis.kinds.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(analysis.kinds[index].bytes));
    order.truncate(KINDS);
    order.sort_unstable();
    order.into_iter().map(|index| &analysis.kinds[index]).collect()
}

/// The figures of a kind.
pub(super) fn of_kind(number: usize, kind: &KindResult) -> Vec<Figure> {
    let mut figures = Vec::new();
    for plane in &kind.planes {
        figures.push(pmf(number, kind, plane));
        figures.push(code_lengths(number, kind, plane));
    }
    let saving = |shard: &ShardResult| shard.fixed_saving_percent;
    figures.extend(heat_map(number, kind, "saving with the fixed codebook", "%", saving));
    figures.extend(heat_map(number, kind, "KL divergence to the average", "bits", |shard| {
        Some(shard.kl_bits)
    }));
    figures
}

/// What a kind is called in figures.
pub(super) fn label(kind: &KindResult) -> String {
    let symbols = if kind.symbols == "auto" { &kind.layout } else { &kind.symbols };
    format!("{} ({}, {symbols})", kind.name, kind.dtype)
}

/// One bar: what all tensors become.
pub(super) fn summary(analysis: &Analysis) -> Figure {
    let total = &analysis.total;
    let rows = [
        ("built-in codebooks", total.builtin_saving_percent),
        ("codebooks fixed in advance", total.fixed_saving_percent),
        ("Huffman codes for each shard", total.huffman_saving_percent),
        ("limit of any code (Shannon)", total.shannon_saving_percent),
    ];
    let best = total.builtin_saving_percent.max(total.fixed_saving_percent);
    let title =
        format!("{best:.1} % of the bytes can be saved with codebooks that are fixed in advance");
    let mut figure = Figure::new("summary", &title, WIDTH, 96);
    let x = |percent: f64| 8.0 + (RIGHT - 8.0) * percent.clamp(0.0, 100.0) / 100.0;
    figure.rectangle("track", 8.0, 8.0, RIGHT - 8.0, 26.0);
    figure.rectangle("bar", 8.0, 8.0, x(best) - 8.0, 26.0);
    let limit = x(total.shannon_saving_percent);
    figure.line("marked", [(limit, 4.0), (limit, 38.0)]);
    for (row, (name, percent)) in rows.into_iter().enumerate() {
        let y = 52.0 + 13.0 * row as f64;
        figure.text(48.0, y, "end", format_args!("{percent:.2} %"));
        figure.text(56.0, y, "soft", name);
    }
    figure.caption("The bar is what is saved of all bytes; the line is the limit of any code for single symbols.")
}

/// A bar for each kind, type and symbol rule.
pub(super) fn savings(analysis: &Analysis) -> Figure {
    let kinds = &analysis.kinds[..analysis.kinds.len().min(ROWS)];
    let height = 30.0 * kinds.len() as f64 + 22.0;
    let title = format!("Savings of {} rows of kind, type and symbol rule", kinds.len());
    let mut figure = Figure::new("savings", &title, WIDTH, height as u32);
    let savings = |kind: &KindResult| {
        [
            Some(kind.shannon_saving_percent),
            Some(kind.huffman_saving_percent),
            kind.builtin_saving_percent,
            kind.fixed_saving_percent,
        ]
    };
    let most = kinds.iter().flat_map(savings).flatten().fold(10.0, f64::max);
    let x = |percent: f64| 8.0 + (RIGHT - 8.0) * (percent / most).clamp(0.0, 1.0);
    for (row, kind) in kinds.iter().enumerate() {
        let y = 30.0 * row as f64;
        figure.text(8.0, y + 12.0, "", shortened(&label(kind), 44));
        let best = kind.fixed_saving_percent.or(kind.builtin_saving_percent);
        let shown = best.unwrap_or(kind.huffman_saving_percent);
        figure.text(RIGHT, y + 12.0, "end", format_args!("{shown:.2} %"));
        figure.rectangle("track", 8.0, y + 16.0, RIGHT - 8.0, 9.0);
        figure.rectangle("bar", 8.0, y + 16.0, x(shown) - 8.0, 9.0);
        if let Some(builtin) = kind.builtin_saving_percent {
            figure.line("mark", [(x(builtin), y + 15.0), (x(builtin), y + 26.0)]);
        }
        let limit = x(kind.shannon_saving_percent);
        figure.line("marked", [(limit, y + 15.0), (limit, y + 26.0)]);
    }
    figure.text(8.0, height - 8.0, "soft", "0 %");
    figure.text(RIGHT, height - 8.0, "soft end", format_args!("{most:.0} %"));
    figure.caption(
        "Bars: the fixed codebook. Lines in the colour of the text: the best built-in codebook. Orange lines: the limit of any code \
         (Shannon).",
    )
}

/// The x axis of a plane: where symbols lie, and names for some of them.
fn symbol_axis(
    figure: &mut Figure,
    plane: &PlaneResult,
    bottom: f64,
) -> impl Fn(usize) -> f64 + use<> {
    let count = plane.pmf.len().max(1);
    let step = (RIGHT - LEFT) / count as f64;
    for share in [0.0, 0.5, 1.0] {
        let index = ((count - 1) as f64 * share).round();
        let x = LEFT + step * (index + 0.5);
        figure.text(x, bottom + 14.0, "soft middle", plane.first_symbol + index as i32);
    }
    move |index| LEFT + step * index as f64
}

fn plane_name(kind: &KindResult, plane: &PlaneResult) -> String {
    let several = kind.planes.len() > 1;
    if several { format!("plane {} of {}", plane.plane, label(kind)) } else { label(kind) }
}

/// The average PMF of a plane.
fn pmf(number: usize, kind: &KindResult, plane: &PlaneResult) -> Figure {
    let name = plane_name(kind, plane);
    let title = format!("PMF of {name}: entropy {:.3} bits", plane.entropy_bits);
    let file = format!("pmf-{number}-{}-{name}", plane.plane);
    let mut figure = Figure::new(&file, &title, WIDTH, 150);
    let (top, bottom) = (22.0, 126.0);
    let most = plane.pmf.iter().copied().fold(1e-9, f64::max);
    figure.text(LEFT, 12.0, "", shortened(&name, 50));
    figure.text(LEFT - 4.0, top + 8.0, "soft end", format_args!("{:.1} %", 100.0 * most));
    figure.text(LEFT - 4.0, bottom, "soft end", "0 %");
    let x = symbol_axis(&mut figure, plane, bottom);
    let bars = plane.pmf.iter().enumerate().filter(|(_, p)| **p > 0.0).map(|(index, p)| {
        let height = (bottom - top) * p / most;
        let width = (x(index + 1) - x(index)) * 0.85;
        [x(index), bottom - height, width, height]
    });
    figure.rectangles("bar", bars.filter(|bar| bar[3] > 0.05));
    figure.line("line", [(LEFT, bottom), (RIGHT, bottom)]);
    let symbols =
        if plane.centred { "exponents, counted from the mean of each shard" } else { "symbols" };
    let zeros = plane.zero_share.filter(|zeros| *zeros > 0.0);
    let zeros =
        zeros.map_or_else(String::new, |zeros| format!(" Exact zeros: {:.2} %.", 100.0 * zeros));
    figure.caption(format!(
        "How often {symbols} occur, averaged over {} shards. Entropy: {:.3} bits.{zeros}",
        kind.shards, plane.entropy_bits
    ))
}

/// Code lengths against ideal ones.
fn code_lengths(number: usize, kind: &KindResult, plane: &PlaneResult) -> Figure {
    let name = plane_name(kind, plane);
    let title = format!("Code lengths of {name}, against those of a perfect code");
    let file = format!("lengths-{number}-{}-{name}", plane.plane);
    let mut figure = Figure::new(&file, &title, WIDTH, 150);
    let (top, bottom) = (22.0, 126.0);
    let price = |index: usize| match plane.code_bits[index] {
        0 => f64::from(plane.escape_bits),
        bits => f64::from(bits),
    };
    let count = plane.pmf.len();
    let most = (0..count).map(price).fold(1.0, f64::max).max(16.0);
    let y = |bits: f64| bottom - (bottom - top) * bits.clamp(0.0, most) / most;
    figure.text(LEFT, 12.0, "", shortened(&name, 50));
    figure.text(LEFT - 4.0, top + 8.0, "soft end", format_args!("{most:.0}"));
    figure.text(LEFT - 4.0, bottom, "soft end", "0 bits");
    let x = symbol_axis(&mut figure, plane, bottom);
    let width = |index: usize| (x(index + 1) - x(index)) * 0.85;
    let with_code = (0..count).filter(|index| plane.code_bits[*index] > 0);
    let bars =
        with_code.map(|index| [x(index), y(price(index)), width(index), bottom - y(price(index))]);
    figure.rectangles("bar", bars);
    let escaped = (0..count).filter(|index| plane.code_bits[*index] == 0);
    let bars =
        escaped.map(|index| [x(index), y(price(index)), width(index), bottom - y(price(index))]);
    figure.rectangles("track", bars);
    let points = plane.pmf.iter().enumerate().filter(|(_, p)| **p > 0.0);
    figure.line("ideal", points.map(|(index, p)| (x(index) + width(index) / 2.0, y(-p.log2()))));
    figure.line("line", [(LEFT, bottom), (RIGHT, bottom)]);
    let escapes = if plane.escape_bits > 0 {
        format!("Pale bars take the escape, {} bits.", plane.escape_bits)
    } else {
        "No symbol takes an escape.".to_owned()
    };
    figure.caption(format!(
        "Bars: bits of the codes, the longest {} bits. Line: bits of a perfect code for the average. {escapes}",
        plane.longest
    ))
}

/// A map of layers by shards, files or tensors. `None` where there is nothing to compare.
fn heat_map(
    number: usize,
    kind: &KindResult,
    what: &str,
    unit: &str,
    value: impl Fn(&ShardResult) -> Option<f64>,
) -> Option<Figure> {
    let shards = kind.per_shard.as_ref()?;
    let is_cut = shards.iter().any(|shard| shard.shard > 0);
    let several_files = shards.iter().any(|shard| shard.file > 0);
    let columns = match (is_cut, several_files) {
        (true, _) => "shards",
        (false, true) => "files",
        (false, false) => "tensors of the layer",
    };
    let mut seen: BTreeMap<Option<u64>, u32> = BTreeMap::new();
    let mut cells: BTreeMap<(Option<u64>, u32), (f64, f64)> = BTreeMap::new();
    for shard in shards {
        let next = seen.entry(shard.layer).or_default();
        *next += 1;
        let column = match (is_cut, several_files) {
            (true, _) => shard.shard,
            (false, true) => shard.file,
            (false, false) => *next - 1,
        };
        let cell = cells.entry((shard.layer, column)).or_default();
        *cell = (cell.0 + value(shard)?, cell.1 + 1.0);
    }
    if cells.len() < 2 || cells.len() > CELLS {
        return None;
    }
    let means: Vec<(Option<u64>, u32, f64)> =
        cells.into_iter().map(|((layer, column), (sum, n))| (layer, column, sum / n)).collect();
    let lowest = means.iter().map(|cell| cell.2).fold(f64::INFINITY, f64::min);
    let highest = means.iter().map(|cell| cell.2).fold(f64::NEG_INFINITY, f64::max);
    let width = 1 + means.iter().map(|cell| cell.1).max().unwrap_or(0);
    let layers: Vec<Option<u64>> = seen.into_keys().collect();
    let name = label(kind);
    let title = format!(
        "Map of {} layers by {width} {columns} of {name}: {what}, from {lowest:.3} to {highest:.3} {unit}",
        layers.len()
    );
    let cell_height = (240.0 / layers.len() as f64).clamp(2.0, 14.0);
    let (top, bottom) = (22.0, 22.0 + cell_height * layers.len() as f64);
    let mut figure =
        Figure::new(&format!("map-{number}-{what}-{name}"), &title, WIDTH, bottom as u32 + 36);
    figure.text(LEFT, 12.0, "", shortened(&format!("{name}: {what}"), 50));
    let step = (RIGHT - LEFT) / f64::from(width);
    let mut by_colour: [Vec<[f64; 4]>; COLOURS] = Default::default();
    for (layer, column, mean) in means {
        let share = if highest > lowest { (mean - lowest) / (highest - lowest) } else { 0.5 };
        let colour = ((share * COLOURS as f64) as usize).min(COLOURS - 1);
        let row = layers.partition_point(|other| *other < layer) as f64;
        let (x, y) = (LEFT + step * f64::from(column), top + cell_height * row);
        by_colour[colour].push([x, y, step * 0.96, cell_height * 0.94]);
    }
    for (colour, cells) in by_colour.into_iter().enumerate() {
        figure.rectangles(&format!("h{colour}"), cells);
    }
    let layer_name =
        |layer: &Option<u64>| layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
    if let (Some(first), Some(last)) = (layers.first(), layers.last()) {
        figure.text(LEFT - 4.0, top + 9.0, "soft end", layer_name(first));
        if layers.len() > 1 {
            figure.text(LEFT - 4.0, bottom - 1.0, "soft end", layer_name(last));
        }
    }
    figure.text(LEFT, bottom + 13.0, "soft", "0");
    figure.text(RIGHT, bottom + 13.0, "soft end", width - 1);
    figure.text(f64::from(WIDTH) / 2.0, bottom + 13.0, "soft middle", columns);
    for colour in 0..COLOURS {
        figure.rectangle(
            &format!("h{colour}"),
            130.0 + 16.0 * colour as f64,
            bottom + 21.0,
            16.0,
            10.0,
        );
    }
    figure.text(126.0, bottom + 30.0, "soft end", format_args!("{lowest:.3}"));
    figure.text(230.0, bottom + 30.0, "soft", format_args!("{highest:.3} {unit}"));
    Some(figure.caption(format!(
        "Rows are layers, columns {columns}: {what}, from {lowest:.3} to {highest:.3} {unit}."
    )))
}
