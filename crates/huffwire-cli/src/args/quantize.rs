//! The command line of `quantize`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::{ValueEnum, ValueHint};
use huffwire::gradient::encode::EncoderKind;
use huffwire::gradient::quantize::{
    Keep, Linear, Natural, Norm, Qsgd, Quantizer, Sign, SignScale, Sparsify, TernGrad, WHOLE,
};

use super::{OutputArgs, RawArgs};

/// Quantize gradients (with loss) and compress the quantized values (without loss) into a .hw file.
///
/// Reads what compress reads: .safetensors, .npy, raw files (--dtype), sharded models by their index.
/// Tensors of f32 are quantized, those of bf16 and f16 are converted to f32 first, which changes no
/// value. Everything else is compressed without loss: tensors of other types, headers, indexes.
///
/// decompress, inspect and verify read the file as any other .hw file. decompress restores files of the
/// original layout. The floats in them are near the original ones; those of bf16 and f16 are rounded to the
/// nearest.
///
/// Without -o no file is written. The report then tells the size that the file would have, and the size and
/// speed of each encoder. Everything that is encoded is decoded again and compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  huffwire quantize gradients.safetensors --levels 4 --bucket 512          only a report
  huffwire quantize gradients.safetensors --levels 4 --bucket 512 --json   the same for programs
  huffwire quantize gradients.safetensors --quantizer topk --keep 0.01 -o gradients.hw
  huffwire decompress gradients.hw -o restored.safetensors

Speeds are those of one thread, elements a second in the median call; an element is a value, so f32
gradients of 4 GB have 1 G elements. The seed decides where stochastic rounding goes: equal seeds,
equal bytes, on every machine.")]
pub(crate) struct QuantizeArgs {
    /// File with gradients, or - for standard input (copied to TMPDIR first).
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) raw: RawArgs,
    #[command(flatten)]
    pub(crate) quantizer: QuantizerArgs,
    /// What codes the values: auto, huffman, rlh, sh, shs, run-lengths, elias-gamma,
    /// elias-delta, elias-omega, qsgd-elias, qsgd-elias-dense or bitmap. auto takes for each tensor the one that
    /// should be the smallest.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) encoder: EncoderArg,
    /// Measure every encoder. This is the default without -o and with --json.
    #[arg(long)]
    pub(crate) compare: bool,
    /// Report as one JSON object, on standard output unless the data goes there.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only errors, and JSON if --json is given.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The quantizer and its parameters.
#[derive(Debug, clap::Args)]
pub(crate) struct QuantizerArgs {
    /// How gradients become values.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) quantizer: QuantizerName,
    /// qsgd: levels above 0, 1 to 2^30 [default: 7].
    #[arg(long, value_name = "N")]
    pub(crate) levels: Option<u32>,
    /// qsgd: by what a bucket is divided [default: l2].
    #[arg(long, value_enum)]
    pub(crate) norm: Option<NormArg>,
    /// qsgd, terngrad, sign, int8: elements that share a scale, or all; for a scale a channel the
    /// elements of a channel [default: 512 for qsgd, else all].
    #[arg(long, value_name = "ELEMENTS")]
    pub(crate) bucket: Option<Bucket>,
    /// terngrad: standard deviations to clip at, or none [default: 2.5].
    #[arg(long, value_name = "DEVIATIONS")]
    pub(crate) clip: Option<Clip>,
    /// sign: what the signs stand for [default: mean].
    #[arg(long, value_enum)]
    pub(crate) scale: Option<ScaleArg>,
    /// topk, randomk: the share of elements that is kept, above 0 and at most 1 [default: 0.01].
    #[arg(long, value_name = "SHARE")]
    pub(crate) keep: Option<f64>,
    /// Seed of stochastic rounding and of randomk; each tensor has numbers of its own.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum QuantizerName {
    /// Levels between 0 and the norm of a bucket, stochastic (Alistarh et al. 2017).
    #[default]
    Qsgd,
    /// A sign or nothing, stochastic (Wen et al. 2017).
    Terngrad,
    /// The sign and a power of two, stochastic (Horváth et al. 2019).
    Natural,
    /// One bit an element (Seide et al. 2014, Bernstein et al. 2018).
    Sign,
    /// The largest elements, exactly.
    Topk,
    /// Any elements, exactly, times what makes their mean right.
    Randomk,
    /// The nearest of 255 multiples of a scale.
    Int8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NormArg {
    /// The Euclidean norm.
    L2,
    /// The largest magnitude.
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScaleArg {
    /// 1 and -1: signSGD.
    One,
    /// The mean magnitude of a bucket: EF-signSGD.
    Mean,
    /// The mean of what is not negative, and of what is: 1-bit SGD.
    Means,
}

impl QuantizerArgs {
    /// The quantizer; an error for parameters that it does not have.
    pub(crate) fn quantizer(&self) -> Result<Quantizer> {
        use QuantizerName::{Int8, Natural as Nat, Qsgd as Q, Randomk, Sign as S, Terngrad, Topk};
        let given: [(&str, bool, &[QuantizerName]); 6] = [
            ("--levels", self.levels.is_some(), &[Q]),
            ("--norm", self.norm.is_some(), &[Q]),
            ("--bucket", self.bucket.is_some(), &[Q, Terngrad, S, Int8]),
            ("--clip", self.clip.is_some(), &[Terngrad]),
            ("--scale", self.scale.is_some(), &[S]),
            ("--keep", self.keep.is_some(), &[Topk, Randomk]),
        ];
        for (flag, is_given, takers) in given {
            if is_given && !takers.contains(&self.quantizer) {
                let takers: Vec<String> = takers.iter().copied().map(super::name).collect();
                let quantizer = super::name(self.quantizer);
                bail!("{flag}: {quantizer} has no such parameter; it is for {}", takers.join(", "));
            }
        }
        let bucket = |default| self.bucket.map_or(default, |bucket| bucket.0);
        let (qsgd, terngrad, sign) = (Qsgd::default(), TernGrad::default(), Sign::default());
        let sparsify =
            |keep| Quantizer::Sparsify(Sparsify { keep, share: self.keep.unwrap_or(0.01) });
        let quantizer = match self.quantizer {
            Q => Quantizer::Qsgd(Qsgd {
                levels: self.levels.unwrap_or(qsgd.levels),
                bucket: bucket(qsgd.bucket),
                norm: match self.norm {
                    None | Some(NormArg::L2) => Norm::L2,
                    Some(NormArg::Max) => Norm::Max,
                },
            }),
            Terngrad => Quantizer::TernGrad(TernGrad {
                clip: self.clip.map_or(terngrad.clip, |clip| clip.0),
                bucket: bucket(WHOLE),
            }),
            Nat => Quantizer::Natural(Natural),
            S => Quantizer::Sign(Sign {
                scale: match self.scale {
                    None => sign.scale,
                    Some(ScaleArg::One) => SignScale::One,
                    Some(ScaleArg::Mean) => SignScale::Mean,
                    Some(ScaleArg::Means) => SignScale::Means,
                },
                bucket: bucket(WHOLE),
            }),
            Topk => sparsify(Keep::Top),
            Randomk => sparsify(Keep::Random),
            Int8 => Quantizer::Linear(Linear { bucket: bucket(WHOLE) }),
        };
        // An empty gradient is quantized by nothing but good parameters.
        quantizer.quantize(&[], 0)?;
        Ok(quantizer)
    }
}

/// An encoder by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EncoderArg(pub(crate) EncoderKind);

impl FromStr for EncoderArg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known: Vec<&str> = EncoderKind::all().map(EncoderKind::name).collect();
        let kind = EncoderKind::all().find(|kind| kind.name() == name);
        kind.map(Self).ok_or_else(|| format!("known are {}", known.join(", ")))
    }
}

/// Elements that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket(usize);

impl FromStr for Bucket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self(WHOLE)),
            text => text.parse().map(Self).map_err(|_| "a number of elements, or all".to_owned()),
        }
    }
}

/// Standard deviations to clip at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clip(Option<f32>);

impl FromStr for Clip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            text => {
                let clip = text.parse().map(|clip| Self(Some(clip)));
                clip.map_err(|_| "a number of standard deviations, or none".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, Command, FromArgMatches as _};

    fn quantizer(flags: &[&str]) -> Result<Quantizer> {
        let command = QuantizerArgs::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(flags)?;
        QuantizerArgs::from_arg_matches(&matches)?.quantizer()
    }

    #[test]
    fn flags_are_parameters() {
        let qsgd = Qsgd { levels: 4, bucket: WHOLE, norm: Norm::Max };
        let flags = ["--levels", "4", "--bucket", "all", "--norm", "max"];
        assert_eq!(quantizer(&flags).unwrap(), Quantizer::Qsgd(qsgd));
        let terngrad = TernGrad { clip: None, bucket: 64 };
        let flags = ["--quantizer", "terngrad", "--clip", "none", "--bucket", "64"];
        assert_eq!(quantizer(&flags).unwrap(), Quantizer::TernGrad(terngrad));
        for name in ["qsgd", "terngrad", "natural", "sign", "topk", "randomk", "int8"] {
            assert_eq!(quantizer(&["--quantizer", name]).unwrap().name(), name);
        }
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        for flags in [
            &["--levels", "0"][..],
            &["--levels", "1073741825"],
            &["--bucket", "0"],
            &["--bucket", "some"],
            &["--clip", "2"],
            &["--quantizer", "terngrad", "--clip", "0"],
            &["--quantizer", "terngrad", "--clip", "nan"],
            &["--quantizer", "topk", "--keep", "0"],
            &["--quantizer", "topk", "--keep", "1.5"],
            &["--quantizer", "natural", "--bucket", "64"],
            &["--quantizer", "int8", "--levels", "4"],
        ] {
            assert!(quantizer(flags).is_err(), "{flags:?}");
        }
    }
}
