//! Makes the built-in codebooks: prints `src/set/builtin_data.rs`.
//!
//! ```text
//! cargo run --release -p huffwire --example builtin > crates/huffwire/src/set/builtin_data.rs
//! ```
//!
//! The books are made from formulas, not from anybody's tensors. Values of trained networks look
//! like a *scale mixture of normals*: `x = s g`, `g` standard normal, `log2 s` normal with a spread of
//! `tau` octaves. Weights of one matrix share a scale (tau near 0); gradients mix the scales of tokens
//! and channels (tau 0.5 to 1); gated activations are products of such values (tau over 1).
//! The exponent of such an x has a distribution that depends on tau, and on where the scale falls
//! between two powers of two (the *phase*, 0 to 1): everything else is a shift, which the base of
//! a block takes care of. Small floats have no room for a shift: for them the scale is one of the
//! parameters, expressed as the distance from the largest value of the type to the standard
//! deviation.

use huffwire::codebook::fit::{self, Effort};
use huffwire::codebook::{Alphabet, CodeLimit};
use huffwire::stats::Pmf;

/// Steps of the numerical integration per octave.
const FINE: usize = 64;
/// Octaves below and above the scale that are integrated over.
const BELOW: usize = 40;
const ABOVE: usize = 16;

fn main() -> Result<(), huffwire::Error> {
    println!("//! The built-in codebooks. Made by `examples/builtin.rs`: do not edit.\n");
    println!("use super::shape::{{Shape, centred, plain}};\nuse crate::codebook::CodeLimit;");
    exponents()?;
    scales()?;
    for (name, about, format) in [
        ("E4M3", "Magnitudes of e4m3", Small { exponent_bits: 4, mantissa_bits: 3, max_code: 126 }),
        ("E5M2", "Magnitudes of e5m2", Small { exponent_bits: 5, mantissa_bits: 2, max_code: 123 }),
        ("E3M2", "Magnitudes of e3m2", Small { exponent_bits: 3, mantissa_bits: 2, max_code: 31 }),
        ("E2M3", "Magnitudes of e2m3", Small { exponent_bits: 2, mantissa_bits: 3, max_code: 31 }),
    ] {
        magnitudes(name, about, format)?;
    }
    pairs_of_e2m1()?;
    integers()
}

/// Density of `log2 |x|` for a standard deviation of 1 and a spread of `tau` octaves, on a grid of
/// `FINE` points per octave that begins `BELOW` octaves under 1. Sums to 1.
fn log_magnitudes(tau: f64) -> Vec<f64> {
    let octave = |index: usize| (index as f64 + 0.5) / FINE as f64 - BELOW as f64;
    // d/du of P(|g| < 2^u) = 2 ln2 2^u phi(2^u), up to the constant that scaling removes.
    let normal: Vec<f64> = (0..(BELOW + ABOVE) * FINE)
        .map(|index| {
            let x = octave(index).exp2();
            x * (-x * x / 2.0).exp()
        })
        .collect();
    let reach = (4.0 * tau * FINE as f64) as isize;
    let kernel: Vec<(isize, f64)> = (-reach..=reach)
        .map(|d| {
            let z = if tau > 0.0 { d as f64 / (tau * FINE as f64) } else { 0.0 };
            (d, (-z * z / 2.0).exp())
        })
        .collect();
    let mut density = vec![0.0; normal.len()];
    for (index, &p) in normal.iter().enumerate() {
        for &(d, k) in &kernel {
            if let Some(cell) = density.get_mut((index as isize + d).max(0) as usize) {
                *cell += p * k;
            }
        }
    }
    let total: f64 = density.iter().sum();
    density.iter().map(|p| p / total).collect()
}

/// PMF of exponents (around 128) with the scale `phase` of an octave above a power of two, and at
/// index 256 the probability of exact zeros. One part in a thousand is smeared evenly over the 40
/// exponents around the middle, so that the unforeseen stays affordable.
fn exponent_pmf(density: &[f64], phase: f64, zeros: f64) -> Option<Pmf> {
    let mut weights = vec![0.0; 257];
    for (index, p) in density.iter().enumerate() {
        let octave = (index as f64 + 0.5) / FINE as f64 - BELOW as f64 + phase;
        weights[(128.0 + octave.floor()) as usize] += p * (1.0 - zeros) * 0.999;
    }
    for weight in &mut weights[102..142] {
        *weight += 0.001 / 40.0 * (1.0 - zeros);
    }
    weights[256] = zeros;
    Pmf::from_weights(&weights)
}

fn exponents() -> Result<(), huffwire::Error> {
    open("EXPONENTS", "Exponents of any float: spread of scales, phase, share of exact zeros");
    let dense: &[(f64, &[f64])] = &[
        (0.0, &[0.0, 0.25, 0.5, 0.75]),
        (0.4, &[0.0, 0.25, 0.5, 0.75]),
        (0.8, &[0.0, 0.33, 0.67]),
        (1.2, &[0.0, 0.5]),
        (1.8, &[0.0]),
        (3.0, &[0.0]),
    ];
    let sparse: &[(f64, &[f64])] = &[(0.2, &[0.0, 0.33, 0.67]), (0.8, &[0.0, 0.5]), (1.5, &[0.0])];
    let families = [(0.0, dense), (0.03, sparse), (0.12, sparse), (0.25, sparse), (0.6, sparse)];
    for (zeros, family) in families {
        for &(tau, phases) in family {
            let density = log_magnitudes(tau);
            for &phase in phases {
                let Some(pmf) = exponent_pmf(&density, phase, zeros) else {
                    continue;
                };
                let built = fit::centred(&pmf, CodeLimit::Bits8, Effort::Exhaustive)?;
                entry(&format!("tau {tau}, phase {phase}, zeros {zeros}"), &built);
            }
        }
    }
    close();
    Ok(())
}

/// Shared scales of blocks of 32 values: the exponent of the largest magnitude among them.
fn scales() -> Result<(), huffwire::Error> {
    open("SCALES", "Shared block scales (e8m0): spread of scales, phase");
    for (tau, phases) in [(0.0, [0.0, 0.5].as_slice()), (0.5, &[0.0, 0.5]), (1.2, &[0.0])] {
        // Within a block the scale is one; between blocks it varies by tau.
        let within = log_magnitudes(0.0);
        let mut below = 0.0;
        let mut largest = Vec::with_capacity(within.len());
        for p in &within {
            let with = below + p;
            largest.push(f64::powi(with, 32) - f64::powi(below, 32));
            below = with;
        }
        for &phase in phases {
            let Some(narrow) = exponent_pmf(&largest, phase, 0.0) else {
                continue;
            };
            let mut weights = vec![0.0; 257];
            for (exponent, p) in narrow.probabilities().iter().take(256).enumerate() {
                for shift in -8i32..=8 {
                    let z = f64::from(shift) / f64::max(tau, 0.05);
                    let at = (exponent as i32 + shift).rem_euclid(256) as usize;
                    weights[at] += p * (-z * z / 2.0).exp();
                }
            }
            let Some(pmf) = Pmf::from_weights(&weights) else {
                continue;
            };
            let built = fit::centred(&pmf, CodeLimit::Bits8, Effort::Exhaustive)?;
            entry(&format!("tau {tau}, phase {phase}"), &built);
        }
    }
    close();
    Ok(())
}

/// A small float without infinities among the codes in use.
#[derive(Clone, Copy)]
struct Small {
    exponent_bits: u32,
    mantissa_bits: u32,
    /// The code of the largest finite magnitude.
    max_code: u32,
}

impl Small {
    fn value(self, code: u32) -> f64 {
        let (exponent, mantissa) = (code >> self.mantissa_bits, code % (1 << self.mantissa_bits));
        let bias = (1 << (self.exponent_bits - 1)) - 1;
        let one = f64::from(1u32 << self.mantissa_bits);
        let fraction = f64::from(mantissa) / one;
        if exponent == 0 {
            fraction * f64::exp2(f64::from(1 - bias))
        } else {
            (1.0 + fraction) * f64::exp2(f64::from(exponent as i32 - bias))
        }
    }

    /// PMF of the magnitude codes of values of that density, scaled by `sigma`, rounded to nearest.
    fn pmf(self, density: &[f64], sigma: f64) -> Vec<f64> {
        let codes = 1 << (self.exponent_bits + self.mantissa_bits);
        let mut weights = vec![0.0; codes];
        let mut code = 0;
        for (index, p) in density.iter().enumerate() {
            // The grid ascends, so the nearest code only moves up.
            let x = ((index as f64 + 0.5) / FINE as f64 - BELOW as f64).exp2() * sigma;
            while code < self.max_code && x > (self.value(code) + self.value(code + 1)) / 2.0 {
                code += 1;
            }
            weights[code as usize] += p;
        }
        weights
    }
}

/// Octaves from the standard deviation up to the largest value of the type, with the spreads that
/// such headroom suggests: much headroom means heavy tails, or a scale kept from another step.
fn headrooms(steps: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = (f64, f64)> {
    steps.flat_map(|half| {
        let headroom = f64::from(half) / 2.0;
        let taus: &[f64] = if half <= 6 { &[0.1, 0.8] } else { &[0.8] };
        taus.iter().map(move |&tau| (headroom, tau))
    })
}

fn magnitudes(name: &str, about: &str, format: Small) -> Result<(), huffwire::Error> {
    open(name, &format!("{about}: octaves between deviation and largest value, spread of scales"));
    let width = format.exponent_bits + format.mantissa_bits;
    let steps = match width {
        7 if format.mantissa_bits == 3 => 2..=16,
        7 => 3..=20,
        _ => 1..=6,
    };
    for (headroom, tau) in headrooms(steps) {
        if format.mantissa_bits == 2 && width == 7 && headroom.fract() > 0.0 {
            continue;
        }
        let sigma = format.value(format.max_code) / headroom.exp2();
        let weights = format.pmf(&log_magnitudes(tau), sigma);
        let Some(pmf) = Pmf::from_weights(&weights) else {
            continue;
        };
        let pmf = pmf.smoothed(0.002);
        let built = fit::plain(&pmf, width as u8, CodeLimit::Bits8, Effort::Exhaustive)?;
        entry(&format!("headroom {headroom}, tau {tau}"), &built);
    }
    close();
    Ok(())
}

fn pairs_of_e2m1() -> Result<(), huffwire::Error> {
    open("E2M1", "Bytes of two e2m1 values: octaves between deviation and largest value");
    let format = Small { exponent_bits: 2, mantissa_bits: 1, max_code: 7 };
    for headroom in [0.75, 1.25, 1.75, 2.5, 3.5] {
        let magnitudes = format.pmf(&log_magnitudes(0.2), 6.0 / f64::exp2(headroom));
        let value = |nibble: usize| magnitudes[nibble & 7] / 2.0;
        let weights: Vec<f64> = (0..256).map(|byte| value(byte & 15) * value(byte >> 4)).collect();
        let Some(pmf) = Pmf::from_weights(&weights) else {
            continue;
        };
        let pmf = pmf.smoothed(0.002);
        let built = fit::plain(&pmf, 8, CodeLimit::Bits8, Effort::Exhaustive)?;
        entry(&format!("headroom {headroom}"), &built);
    }
    close();
    Ok(())
}

fn integers() -> Result<(), huffwire::Error> {
    open("I8", "Signed 8-bit integers: octaves between deviation and 127, spread of scales");
    for (headroom, tau) in [(1.5, 0.0), (2.0, 0.2), (2.5, 0.4), (3.0, 0.6), (4.0, 0.8), (5.0, 0.8)]
    {
        let sigma = 127.0 / f64::exp2(headroom);
        let mut weights = vec![0.0; 256];
        for (index, p) in log_magnitudes(tau).iter().enumerate() {
            let x = ((index as f64 + 0.5) / FINE as f64 - BELOW as f64).exp2() * sigma;
            let level = (x.round() as usize).min(127);
            weights[level] += p / 2.0;
            weights[(256 - level) % 256] += p / 2.0;
        }
        let Some(pmf) = Pmf::from_weights(&weights) else {
            continue;
        };
        let pmf = pmf.smoothed(0.002);
        let built = fit::plain(&pmf, 8, CodeLimit::Bits12, Effort::Exhaustive)?;
        entry(&format!("headroom {headroom}, tau {tau}"), &built);
    }
    close();
    Ok(())
}

fn open(name: &str, about: &str) {
    println!("\n/// {about}.\n#[rustfmt::skip]\npub(super) const {name}: &[Shape] = &[");
}

fn close() {
    println!("];");
}

fn entry(about: &str, built: &fit::Fitted) {
    let ordinary = built.lengths.ordinary_lengths();
    let first = ordinary.iter().position(|&l| l > 0).unwrap_or(0);
    let last = ordinary.iter().rposition(|&l| l > 0).unwrap_or(0);
    let digits: Vec<String> = ordinary[first..=last].iter().map(u8::to_string).collect();
    let (digits, escape) = (digits.join(","), built.lengths.escape());
    let limit = built.lengths.limit();
    let code = match built.lengths.alphabet() {
        Alphabet::Centred => {
            format!("centred({first}, &[{digits}], {escape}, {})", built.lengths.zero())
        }
        Alphabet::Plain { width } => {
            format!("plain({width}, CodeLimit::{limit:?}, {first}, &[{digits}], {escape})")
        }
    };
    let overhead = built.overhead_percent();
    println!(
        "    // {about}: {:.3} bits, {overhead:.2} % over unrestricted Huffman.\n    Shape {{ \
         about: \"{about}\", lengths: {code} }},",
        built.bits
    );
}
