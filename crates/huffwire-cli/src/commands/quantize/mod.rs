//! `huffwire quantize`.

mod compare;
mod gradient;
mod report;

use anyhow::{Context, Result, bail};
use huffwire::gradient::Random;

use self::gradient::Gradient;
use self::report::{Report, TensorReport};
use crate::args::QuantizeArgs;
use crate::input;
use crate::progress;
use crate::report::Stream;

/// Quantizes, and reports.
pub(crate) fn run(args: &QuantizeArgs) -> Result<()> {
    let quantizer = args.quantizer.quantizer()?;
    let originals = input::open(&args.input, &args.raw)?;
    let gradients = gradient::all(&originals)?;
    let bar = progress::bytes(gradients.iter().map(Gradient::bytes).sum(), args.quiet);
    let mut tensors = Vec::new();
    for (index, gradient) in gradients.iter().enumerate() {
        let context = || gradient.label();
        let values = gradient.read()?;
        // Tensors of equal seeds would be rounded the same way at the same places.
        let seed = Random::new(args.quantizer.seed).bits(index as u64);
        let quantized = quantizer.quantize(&values, seed).with_context(context)?;
        let mut report = TensorReport::new(gradient, &values, &quantized).with_context(context)?;
        let (encoders, left_out) = compare::all(&quantized).with_context(context)?;
        report.add_encoders(encoders, left_out);
        tensors.push(report);
        bar.inc(gradient.bytes());
    }
    bar.finish_and_clear();
    if tensors.is_empty() {
        bail!("{}: there is no tensor of f32, bf16 or f16 in it", args.input.display());
    }
    let report = Report::new(&quantizer, args.quantizer.seed, tensors);
    if args.json {
        Stream::Stdout.print_json(&report)
    } else if args.quiet {
        Ok(())
    } else {
        Stream::Stdout.print(&report.to_string())
    }
}
