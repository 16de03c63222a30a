//! Arguments of `huffwire plan`.

use std::num::NonZeroUsize;
use std::str::FromStr;

use huffwire::link::Collective;

use super::{NamedDtype, positive_bytes};

/// Measure the codec on this machine, and tell whether coding pays on a link.
///
/// The codec is measured on one core, with weights of a normal distribution, for less than a second; --encode and --decode
/// replace its speeds, for another machine or a GPU. The times of
/// transfers are computed: those of the bytes on the link, and those of coding. Time that other programs take, and what
/// the library that sends takes beside, is not in them, unless --transport gloo or tcp is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire plan --link 25gbit --size 64MiB
  huffwire plan --link 1gbit --size 16MiB --ranks 4 --collective all_reduce --dtype f32
  huffwire plan --link 100gbit --size 1GiB --overlap --cores 4 --json
  huffwire plan --link 400gbit --size 1GiB --encode 500GB --decode 1TB")]
pub(crate) struct PlanArgs {
    /// What the slowest link does one way, such as 25gbit, 800mbit or 3GB (a second).
    #[arg(long, value_name = "SPEED")]
    pub(crate) link: Speed,
    /// Bytes of the whole tensor: the output of a gather, the input of other operations.
    #[arg(long, value_name = "BYTES", value_parser = positive_bytes)]
    pub(crate) size: NonZeroUsize,
    /// Time from the sending of a short message until it is received, such as 20us or 1ms.
    #[arg(long, value_name = "TIME", default_value = "20us")]
    pub(crate) latency: Latency,
    /// Coding and sending go on side by side, in pieces of 1 MiB, instead of one after the other.
    #[arg(long)]
    pub(crate) overlap: bool,
    /// The operation: send, broadcast, all_gather, reduce_scatter, all_reduce or all_to_all.
    #[arg(long, value_name = "NAME", default_value = "send")]
    pub(crate) collective: Collective,
    /// Ranks that take part, 2 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) ranks: u32,
    /// Cores of each rank that code, 1 to 1024.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) cores: u32,
    /// The element type: bf16, f16 or f32.
    #[arg(long, value_name = "TYPE", default_value = "bf16")]
    pub(crate) dtype: NamedDtype,
    /// Bytes of elements that the codec encodes in a second, such as 500GB, instead of what is measured.
    #[arg(long, value_name = "SPEED", requires = "decode")]
    pub(crate) encode: Option<Speed>,
    /// Bytes of elements that the codec decodes in a second, instead of what is measured.
    #[arg(long, value_name = "SPEED", requires = "encode")]
    pub(crate) decode: Option<Speed>,
    /// What carries the bytes.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) transport: TransportArg,
    /// Report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum TransportArg {
    /// One that costs nothing beside the link.
    #[default]
    Ideal,
    /// PyTorch's gloo: its own collectives, and pieces that huffwire's package for Python sends over it, side by side
    /// with coding.
    Gloo,
    /// The same, but for the pieces, which travel over TCP connections of the package's own.
    Tcp,
}

/// A speed in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Speed(pub(crate) f64);

/// A time in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency(pub(crate) f64);

/// The number at the start of a text, and its unit, in lower case unless it is `B`.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit.trim()))
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let speed = || {
            let (number, unit) = number_and_unit(text)?;
            let unit = unit.strip_suffix("/s").or(unit.strip_suffix("ps")).unwrap_or(unit);
            let (prefix, of) = match unit.strip_suffix('B') {
                Some(prefix) => (prefix.to_ascii_lowercase(), 1.0),
                None => {
                    let unit = unit.to_ascii_lowercase();
                    (unit.strip_suffix("bit")?.to_owned(), 1.0 / 8.0)
                }
            };
            let factor = match prefix.as_str() {
                "" => 1.0,
                "k" => 1e3,
                "m" => 1e6,
                "g" => 1e9,
                "t" => 1e12,
                _ => return None,
            };
            let speed = number * factor * of;
            (speed > 0.0 && speed < 1e15).then_some(Self(speed))
        };
        speed().ok_or_else(|| "a speed is needed, such as 25gbit, 800mbit or 3GB".to_owned())
    }
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let latency = || {
            let (number, unit) = number_and_unit(text)?;
            let in_a_second = match unit {
                "s" => 1.0,
                "ms" => 1e3,
                "us" | "µs" => 1e6,
                "ns" => 1e9,
                "" if number == 0.0 => 1.0,
                _ => return None,
            };
            let seconds = number / in_a_second;
            (seconds <= 3600.0).then_some(Self(seconds))
        };
        latency()
            .ok_or_else(|| "a time of at most an hour is needed, such as 20us or 1ms".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        let speed = |text: &str| text.parse::<Speed>().ok().map(|speed| speed.0);
        for (text, bytes) in [
            ("25gbit", 3.125e9),
            ("25 Gbit/s", 3.125e9),
            ("1.5Gbps", f64::NAN),
            ("800mbit", 1e8),
            ("3GB", 3e9),
            ("3 GB/s", 3e9),
            ("0.5tbit", 62.5e9),
            ("8bit", 1.0),
            ("100B", 100.0),
        ] {
            if bytes.is_nan() {
                assert_eq!(speed(text), None, "{text}");
            } else {
                assert_eq!(speed(text), Some(bytes), "{text}");
            }
        }
        for text in
            ["", "25", "gbit", "0gbit", "-1gbit", "25gb", "1e9bit", "1..5gbit", "9999999tbit"]
        {
            assert_eq!(speed(text), None, "{text}");
        }
    }

    #[test]
    fn latencies() {
        let latency = |text: &str| text.parse::<Latency>().ok().map(|latency| latency.0);
        assert_eq!(latency("20us"), Some(20e-6));
        assert_eq!(latency("1 ms"), Some(1e-3));
        assert_eq!(latency("0"), Some(0.0));
        for text in ["", "5", "us", "-1us", "2h", "9999999s"] {
            assert_eq!(latency(text), None, "{text}");
        }
    }
}
