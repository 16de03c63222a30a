//! `huffwire quantize`.

mod compare;
mod report;
mod tensor;
mod write;

use anyhow::{Context, Result, bail};
use huffwire::gradient::Random;

use self::report::{Report, TensorReport};
use self::tensor::Tensor;
use self::write::Target;
use crate::args::QuantizeArgs;
use crate::files::{self, is_dash};
use crate::progress;
use crate::report::Stream;

/// Quantizes, writes where that is asked for, and reports.
pub(crate) fn run(args: &QuantizeArgs) -> Result<()> {
    let quantizer = args.quantizer.quantizer()?;
    let inputs = files::open_tensors(&args.input, &args.raw)?;
    let tensors = tensor::all(&inputs)?;
    if !tensors.iter().any(Tensor::is_float) {
        bail!("{}: there is no tensor of f32, bf16 or f16 in it", args.input.display());
    }
    let mut target = Target::new(&args.output, &inputs)?;
    let compare = args.compare || args.json || args.output.output.is_none();
    let bar = progress::bytes(tensors.iter().map(Tensor::bytes).sum(), args.quiet);
    let (mut reports, mut kept) = (Vec::new(), Vec::new());
    for (index, tensor) in tensors.iter().enumerate() {
        let context = || tensor.label();
        if !tensor.is_float() {
            kept.push(target.keep(tensor).with_context(context)?);
            bar.inc(tensor.bytes());
            continue;
        }
        let floats = tensor.floats()?;
        // Tensors of equal seeds would be rounded the same way at the same places.
        let seed = Random::new(args.quantizer.seed).bits(index as u64);
        let quantized = quantizer.quantize(&floats, seed).with_context(context)?;
        let sizes = target.quantized(tensor, &quantized, args.encoder.0).with_context(context)?;
        let report = TensorReport::new(tensor, &floats, &quantized, sizes);
        let mut report = report.with_context(context)?;
        if compare {
            let (encoders, left_out) = compare::all(&quantized).with_context(context)?;
            report.add_encoders(encoders, left_out);
        }
        reports.push(report);
        bar.inc(tensor.bytes());
    }
    bar.finish_and_clear();
    inputs.iter().try_for_each(|input| input.file.check_length())?;
    let file_bytes = target.finish()?;
    let parameters = (&quantizer, args.encoder.0, args.quantizer.seed);
    let report = Report::new(parameters, file_bytes, reports, kept);
    let to_stdout = args.output.output.as_deref().is_some_and(is_dash);
    let stream = if to_stdout { Stream::Stderr } else { Stream::Stdout };
    if args.json {
        stream.print_json(&report)
    } else if args.quiet {
        Ok(())
    } else {
        stream.print(&report.to_string())
    }
}
