//! Makes the tables of sparse deltas: prints `src/delta/sparse/tables.rs`.
//!
//! ```text
//! cargo run --release -p huffwire --example delta_tables > crates/huffwire/src/delta/sparse/tables.rs
//! ```
//!
//! A step of an optimizer adds about `N(0, sigma^2)` to a word, in units of the last place. Where the word lies between
//! two rounding boundaries is uniform. So the rounded difference is `k` with probability
//! `F(k + 1) - 2 F(k) + F(k - 1)`, where `F(t) = t Phi(t / sigma) + sigma phi(t / sigma)`. Levels are a quarter of an
//! octave apart: at level `x` the step has the mean magnitude `2^((x - 54) / 4)`, and `sigma` is `sqrt(pi / 2)` times
//! that.

/// The level at which a step has the mean magnitude 1.
const UNIT_LEVEL: i32 = 54;
/// Levels whose chance of a change is told apart: beyond them it is 15/16.
const HAZARD_LEVELS: i32 = 65;
/// Levels with a distribution of magnitudes of their own.
const ROWS: std::ops::Range<i32> = 45..74;
/// Symbols of magnitudes in a row.
const SYMBOLS: usize = 16;

fn main() {
    println!("//! The tables of sparse deltas. Made by `examples/delta_tables.rs`: do not edit.\n");
    println!("/// By level: how far a word that does not change moves the clock, in 1/8192 bits.");
    let hazards: Vec<f64> = (0..HAZARD_LEVELS).map(hazard).collect();
    list("HAZARDS", "u16", &hazards);
    println!("/// By level: the information that a word changes, in 1/8192 bits.");
    let costs: Vec<f64> = hazards
        .iter()
        .map(|hazard| (-(1.0 - (-hazard / 8192.0).exp2()).log2() * 8192.0).round())
        .collect();
    list("COSTS", "u32", &costs);
    println!("/// The first level with a row of its own. Below it all changes are by one.");
    println!("pub(super) const FIRST_ROW: usize = {};\n", ROWS.start);
    println!("/// By level: how often each magnitude occurs among 16384 changes.");
    println!("#[rustfmt::skip]");
    println!("pub(super) const ROWS: [[u16; {SYMBOLS}]; {}] = [", ROWS.len());
    for level in ROWS {
        let row: Vec<_> = (0..SYMBOLS).map(|symbol| weight(level, symbol).to_string()).collect();
        println!("    [{}],", row.join(", "));
    }
    println!("];");
}

fn list(name: &str, number: &str, values: &[f64]) {
    println!("#[rustfmt::skip]");
    println!("pub(super) const {name}: [{number}; {}] = [", values.len());
    for line in values.chunks(12) {
        let line: Vec<_> = line.iter().map(f64::to_string).collect();
        println!("    {},", line.join(", "));
    }
    println!("];\n");
}

fn sigma(level: i32) -> f64 {
    (f64::from(level - UNIT_LEVEL) / 4.0).exp2() * (std::f64::consts::PI / 2.0).sqrt()
}

fn hazard(level: i32) -> f64 {
    let unchanged = difference(level, 0);
    (-unchanged.log2() * 8192.0).round().clamp(1.0, 32767.0)
}

/// The probability of a rounded difference.
fn difference(level: i32, by: i32) -> f64 {
    let by = f64::from(by);
    let f = |t| integral(t, sigma(level));
    f(by + 1.0) - 2.0 * f(by) + f(by - 1.0)
}

fn integral(t: f64, sigma: f64) -> f64 {
    let z = t / sigma;
    let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    t * normal(z) + sigma * density
}

/// The cumulative distribution of the standard normal.
fn normal(z: f64) -> f64 {
    if z < 0.0 { upper(-z) } else { 1.0 - upper(z) }
}

/// Its upper tail, by the series near 0 and by the continued fraction further out.
fn upper(z: f64) -> f64 {
    let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for k in 1..200 {
            term *= z * z / f64::from(2 * k + 1);
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let fraction = (1..200).rev().fold(z, |rest, k| z + f64::from(k) / rest);
    density / fraction
}

/// How often a symbol of magnitudes (less 1) occurs among 16384 changes: 0 to 3 are themselves, then there are two
/// symbols an octave.
fn weight(level: i32, symbol: usize) -> i64 {
    let start = |symbol: usize| match symbol {
        ..4 => symbol as i32,
        _ => (2 + (symbol as i32 & 1)) << ((symbol - 4) / 2 + 1),
    };
    let magnitudes = start(symbol) + 1..start(symbol + 1) + 1;
    let share: f64 = magnitudes.map(|by| 2.0 * difference(level, by)).sum();
    (16384.0 * share / (1.0 - difference(level, 0))).round() as i64
}
