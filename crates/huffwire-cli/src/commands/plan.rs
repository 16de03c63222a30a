//! `huffwire plan`: whether coding pays on a link.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use half::{bf16, f16};
use huffwire::gradient::Random;
use huffwire::link::{Codec, Link, Model, Overlap, Transport, Way};
use huffwire::{Decoder, Dtype, Encoder, Platform};
use serde::Serialize;

use crate::args::{PlanArgs, TransportArg};
use crate::floats::is_float;
use crate::report::{Stream, size};

/// Bytes of the tensor that the codec is measured with: more than a processor's nearest caches hold.
const MEASURED: usize = 8 << 20;
/// Bytes of the message whose time is taken for the part that does not depend on the size.
const SMALL: usize = 256;
/// How long each speed is measured.
const TIME: Duration = Duration::from_millis(120);

/// The report, as it is in JSON. Speeds are in bytes a second, sizes in bytes, times in seconds.
#[derive(Debug, Serialize)]
struct Report {
    dtype: String,
    size: u64,
    link: f64,
    latency: f64,
    collective: &'static str,
    ranks: u32,
    cores: u32,
    overlap: bool,
    transport: &'static str,
    platform: &'static str,
    measured: bool,
    encode: f64,
    decode: f64,
    left: f64,
    fixed: f64,
    plain_seconds: f64,
    coded_seconds: f64,
    pays: bool,
    pays_from_size: Option<u64>,
    pays_up_to_link: f64,
    cores_to_pay: Option<u32>,
    cores_to_keep_up: Option<u32>,
}

/// Measures, computes and reports.
pub(crate) fn run(args: &PlanArgs) -> Result<()> {
    let dtype = args.dtype.dtype;
    if !is_float(dtype) {
        bail!(
            "--dtype {}: the codec is measured with generated weights, which are bf16, f16 or f32; \
             `huffwire bench` measures it on tensors of a file",
            args.dtype.name
        );
    }
    let report = report(args, given(args, measure(dtype)?));
    if args.json {
        Stream::Stdout.print_json(&report)
    } else {
        Stream::Stdout.print(&text(&report))
    }
}

/// Speed and saving on weights of a normal distribution.
fn measure(dtype: Dtype) -> Result<Codec> {
    let tensor = weights(dtype);
    let (mut encoder, mut decoder) = (Encoder::builtin(), Decoder::builtin());
    let mut message = vec![0; encoder.bound(dtype, tensor.len() / dtype.unit_bytes())];
    let mut restored = vec![0; tensor.len()];
    let mut seconds = |bytes: usize| -> Result<(f64, f64, usize)> {
        let (tensor, restored) = (&tensor[..bytes], &mut restored[..bytes]);
        let mut length = encoder.encode(dtype, tensor, &mut message)?;
        let encode = median(|| {
            length = encoder.encode(dtype, tensor, &mut message)?;
            Ok(())
        })?;
        let decode = median(|| {
            decoder.decode(&message[..length], restored)?;
            Ok(())
        })?;
        Ok((encode, decode, length))
    };
    let (encode, decode, length) = seconds(MEASURED)?;
    let (small_encode, small_decode, _) = seconds(SMALL)?;
    Ok(Codec {
        encode: MEASURED as f64 / encode,
        decode: MEASURED as f64 / decode,
        left: length as f64 / MEASURED as f64,
        fixed: small_encode + small_decode,
    })
}

/// The codec with the speeds that the user names, if that is so. What its messages take beside is not known then.
fn given(args: &PlanArgs, codec: Codec) -> Codec {
    match (args.encode, args.decode) {
        (Some(encode), Some(decode)) => {
            Codec { encode: encode.0, decode: decode.0, fixed: 0.0, ..codec }
        }
        _ => codec,
    }
}

/// The tensor that is measured.
fn weights(dtype: Dtype) -> Vec<u8> {
    // A part of them, over and over: making them takes longer than coding them.
    let count = MEASURED / dtype.unit_bytes() / 16;
    let random = Random::new(1);
    let weight = |i: u64| {
        let radius = (-2.0 * (1.0 - random.uniform(2 * i)).ln()).sqrt();
        (0.02 * radius * (std::f64::consts::TAU * random.uniform(2 * i + 1)).cos()) as f32
    };
    let floats = (0..count as u64).map(weight);
    let part: Vec<u8> = match dtype {
        Dtype::Bf16 => floats.flat_map(|float| bf16::from_f32(float).to_le_bytes()).collect(),
        Dtype::F16 => floats.flat_map(|float| f16::from_f32(float).to_le_bytes()).collect(),
        _ => floats.flat_map(f32::to_le_bytes).collect(),
    };
    part.repeat(16)
}

/// The median of the seconds that some work takes, repeated for a while.
fn median(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < TIME || times.len() < 5 {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// What follows for the link of the user.
fn report(args: &PlanArgs, codec: Codec) -> Report {
    let link = Link::new(args.link.0, args.latency.0);
    let (transport, name) = match args.transport {
        TransportArg::Gloo => (Transport::gloo(), "gloo"),
        TransportArg::Tcp => (Transport::tcp(), "tcp"),
        TransportArg::Ideal if args.overlap => (Transport::overlapped(), "ideal"),
        TransportArg::Ideal => (Transport::serial(), "ideal"),
    };
    let model = Model::new(link, codec, args.collective, args.ranks);
    let model = Model { cores: args.cores, transport, ..model };
    let size = args.size.get() as u64;
    Report {
        dtype: args.dtype.dtype.to_string(),
        size,
        link: link.bytes_per_second,
        latency: link.latency,
        collective: args.collective.name(),
        ranks: args.ranks,
        cores: args.cores,
        overlap: transport.overlap != Overlap::None,
        transport: name,
        platform: Platform::detect().name(),
        measured: args.encode.is_none(),
        encode: codec.encode,
        decode: codec.decode,
        left: codec.left,
        fixed: codec.fixed,
        plain_seconds: model.seconds(Way::Plain, size),
        coded_seconds: model.seconds(Way::Coded, size),
        pays: model.pays(size),
        pays_from_size: model.break_even(),
        pays_up_to_link: model.fastest_link(size),
        cores_to_pay: model.cores_to_pay(size),
        cores_to_keep_up: model.cores_to_keep_up(size),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let gigabytes = |speed: f64| format!("{:.1} GB/s", speed / 1e9);
    let cores = |cores: Option<u32>| match cores {
        Some(1) => "1 core".to_owned(),
        Some(cores) => format!("{cores} cores"),
        None => "more than 1024 cores".to_owned(),
    };
    let mut line = |line: String| _ = writeln!(text, "{line}");
    let origin = if report.measured {
        format!("one core of this machine ({})", report.platform)
    } else {
        "with the speeds that were given".to_owned()
    };
    line(format!(
        "codec    {}, {origin}: encode {}, decode {}, {:.1} % saved",
        report.dtype,
        gigabytes(report.encode),
        gigabytes(report.decode),
        100.0 * (1.0 - report.left),
    ));
    line(format!(
        "link     {}, latency {}, {} of {} among {} ranks, {}",
        bits(report.link),
        time(report.latency),
        report.collective,
        size(report.size),
        report.ranks,
        if report.overlap { "coding and sending side by side" } else { "coding before sending" },
    ));
    let ratio = report.plain_seconds / report.coded_seconds;
    line(format!(
        "time     plain {}, coded {} on {}: {}",
        time(report.plain_seconds),
        time(report.coded_seconds),
        cores(Some(report.cores)),
        if report.pays {
            format!("coding pays, {ratio:.2} times as fast")
        } else {
            format!("coding does not pay, {:.2} times as slow", 1.0 / ratio)
        },
    ));
    line(match report.pays_from_size {
        Some(from) => format!("pays     from {} on", size(from)),
        None => "pays     at no size on this link".to_owned(),
    });
    if report.pays_up_to_link > 0.0 {
        line(format!("         at this size on links of up to {}", bits(report.pays_up_to_link)));
    }
    line(match report.cores_to_pay {
        Some(needed) => format!("cores    coding pays with {}", cores(Some(needed))),
        None => "cores    no number of cores makes coding pay at this size".to_owned(),
    });
    line(format!(
        "         it takes {} to code as fast as the link carries coded bytes",
        cores(report.cores_to_keep_up)
    ));
    text
}

/// A speed of a link: `25 Gbit/s`.
fn bits(bytes_per_second: f64) -> String {
    let bits = 8.0 * bytes_per_second;
    let (value, unit) = match bits {
        1e12.. => (bits / 1e12, "Tbit/s"),
        1e9.. => (bits / 1e9, "Gbit/s"),
        1e6.. => (bits / 1e6, "Mbit/s"),
        _ => (bits / 1e3, "kbit/s"),
    };
    format!("{} {unit}", digits(value))
}

/// A time: `18.3 ms`.
fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        1.0.. => (seconds, "s"),
        1e-3.. => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "µs"),
    };
    format!("{} {unit}", digits(value))
}

/// Three digits, without zeros behind the point.
fn digits(value: f64) -> String {
    let decimals = match value {
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_and_times_are_short() {
        assert_eq!(bits(3.125e9), "25 Gbit/s");
        assert_eq!(bits(1.78e9), "14.2 Gbit/s");
        assert_eq!(bits(1e8), "800 Mbit/s");
        assert_eq!(time(20e-6), "20 µs");
        assert_eq!(time(0.01834), "18.3 ms");
        assert_eq!(time(0.0), "0 µs");
        assert_eq!(time(537.0), "537 s");
    }
}
