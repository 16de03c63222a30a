//! `huffwire quantize`.

mod compare;
mod report;
mod tensor;

use std::io;

use anyhow::{Context, Result, bail};
use huffwire::gradient::Random;
use huffwire::gradient::item::Options;
use huffwire::gradient::quantize::Quantizer;
use huffwire_io::{Input, Origin, Output, WriteOptions, Writer, Written};

use self::report::{KeptReport, Report, TensorReport};
use self::tensor::Tensor;
use crate::args::QuantizeArgs;
use crate::files;
use crate::floats;
use crate::progress;
use crate::report::Stream;

/// Quantizes, writes the output file if one is named, and reports.
pub(crate) fn run(args: &QuantizeArgs) -> Result<()> {
    let quantizer = args.quantizer.quantizer()?;
    let inputs = files::open_tensors(&args.input, &args.raw)?;
    if !tensor::all(&inputs).any(|tensor| tensor.is_float()) {
        bail!("{}: there is no tensor of f32, bf16 or f16 in it", args.input.display());
    }
    let origins: Vec<&Origin> = inputs.iter().map(|input| input.file.origin()).collect();
    let output = match args.output.output.as_deref() {
        Some(path) => files::create(path, args.output.force, &origins)?,
        // There is only to be a report, which tells the size of the file.
        None => Output::to_stream("nowhere", io::sink()),
    };
    let workers = files::workers(None)?;
    let writer = Writer::new(output, WriteOptions { workers, ..WriteOptions::default() })?;
    let (reports, written) = write(args, &quantizer, &inputs, writer)?;
    let kept = KeptReport::all(&written.directory);
    let parameters = (&quantizer, args.encoder.0, args.quantizer.seed);
    let report = Report::new(parameters, written.bytes, reports, kept);
    let to_stdout = args.output.output.as_deref().is_some_and(files::is_stdout);
    let stream = if to_stdout { Stream::Stderr } else { Stream::Stdout };
    if args.json {
        stream.print_json(&report)
    } else if args.quiet {
        Ok(())
    } else {
        stream.print(&report.to_string())
    }
}

/// Writes the file: the originals with all that is in them, floats quantized.
fn write(
    args: &QuantizeArgs,
    quantizer: &Quantizer,
    inputs: &[Input],
    mut writer: Writer,
) -> Result<(Vec<TensorReport>, Written)> {
    let compare = args.compare || args.json || args.output.output.is_none();
    let options = Options::default().encoder(args.encoder.0);
    let bar = progress::bytes(inputs.iter().map(|input| input.file.bytes()).sum(), args.quiet);
    let (mut reports, mut seeds) = (Vec::new(), 0..);
    for input in inputs {
        writer.begin_original(&input.name)?;
        for piece in &input.pieces {
            let tensor = Tensor::of(input, piece);
            // Tensors of equal seeds would be rounded the same way at the same places.
            let number = tensor.as_ref().and_then(|_| seeds.next());
            let Some(tensor) = tensor.filter(Tensor::is_float) else {
                writer.add_piece(input, piece, |bytes| bar.inc(bytes))?;
                continue;
            };
            let context = || tensor.label();
            let floats = tensor.floats()?;
            let seed = Random::new(args.quantizer.seed).bits(number.unwrap_or(0));
            let quantized = quantizer.quantize(&floats, seed).with_context(context)?;
            let near = quantized.dequantize().with_context(context)?;
            let (info, dtype) = (tensor.info.clone(), tensor.dtype());
            if let Some(index) = floats::first_beyond(dtype, &near) {
                bail!(
                    "{}: element {index} would come back as infinity: {} exceeds the range of {dtype}; choose \
                     another quantizer, or convert the tensor to f32 before",
                    tensor.label(),
                    near[index]
                );
            }
            let sizes = writer.add_values(info, dtype, &quantized, &options, |_| ())?;
            let mut report = TensorReport::new(&tensor, (&floats, &near), &quantized, sizes);
            if compare {
                let (encoders, left_out) = compare::all(&quantized).with_context(context)?;
                report.add_encoders(encoders, left_out);
            }
            reports.push(report);
            bar.inc(piece.bytes());
        }
    }
    bar.finish_and_clear();
    inputs.iter().try_for_each(|input| input.file.check_length())?;
    Ok((reports, writer.finish()?))
}
