//! Values of options.

use std::num::NonZeroUsize;
use std::ops::Bound;
use std::str::FromStr;

use clap::ValueEnum;
use huffwire::codebook::CodeLimit;
use huffwire::{Dtype, Level, Platform, SymbolRule};
use huffwire_io::{ByteCount, NotAByteCount};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Symbols {
    /// What suits the type: exponents of bf16, f16 and f32, magnitudes or values of smaller floats, bytes of all else.
    #[default]
    #[value(alias = "exponent")]
    Auto,
    /// Every byte, one codebook for all of them (Agrawal et al., arXiv 2601.10673).
    Bytes,
    /// Every byte, a codebook for each byte position of an element.
    BytePlanes,
}

impl From<Symbols> for SymbolRule {
    fn from(symbols: Symbols) -> Self {
        match symbols {
            Symbols::Auto => Self::Auto,
            Symbols::Bytes => Self::Bytes,
            Symbols::BytePlanes => Self::BytePlanes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LevelArg {
    /// Fast: code exponents and other compressible symbols with the codebooks of the set.
    #[default]
    Fast,
    /// Smallest: code everything that saves bytes, also with codebooks made for a block and stored in it.
    Max,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Fast => Self::Fast,
            LevelArg::Max => Self::Max,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Choose {
    /// Estimate the size under each codebook from a sample of the block and take the smallest. The sample
    /// is larger at level max.
    #[default]
    Sample,
    /// The same with the exact size of the whole block.
    Cheapest,
    /// Consider only the codebooks that are bound to the name of the tensor: those that `huffwire calibrate`
    /// made for it, else the built-in ones if the set has them.
    Named,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// The little-endian bytes alone.
    #[default]
    Raw,
    /// NumPy's .npy; bf16 as 2-byte void, smaller floats as bytes.
    Npy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ExportFormat {
    /// JSON, which import reads.
    #[default]
    Json,
    /// A C header with tables and functions to look codes up.
    C,
    /// Decoders in SystemVerilog.
    Systemverilog,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Kinds {
    /// Tensors whose names differ only in numbers: the layers of a network.
    #[default]
    Names,
    /// All tensors of an element type.
    One,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Codes {
    /// Up to 8 bits, with an escape code for rare symbols: fastest.
    #[value(name = "8")]
    Bits8,
    /// Up to 12 bits.
    #[value(name = "12")]
    Bits12,
    /// Up to 12 bits only where that saves noticeably more.
    #[default]
    Auto,
}

impl Codes {
    pub(crate) const fn limit(self) -> Option<CodeLimit> {
        match self {
            Self::Bits8 => Some(CodeLimit::Bits8),
            Self::Bits12 => Some(CodeLimit::Bits12),
            Self::Auto => None,
        }
    }
}

/// How the command line calls a value.
pub(crate) fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// An element type with the name that the user knows it by.
#[derive(Debug, Clone)]
pub(crate) struct NamedDtype {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
}

impl FromStr for NamedDtype {
    type Err = huffwire::UnknownDtype;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self { name: name.to_owned(), dtype: name.parse()? })
    }
}

/// A dimension of a shape.
pub(crate) fn dimension(text: &str) -> Result<u64, String> {
    let whole = text.trim().parse();
    whole.map_err(|_| {
        "dimensions are whole numbers with commas between them, such as 4096,4096".to_owned()
    })
}

/// Bytes of elements in a block, as a power of two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockSize {
    pub(crate) log2: u8,
}

impl FromStr for BlockSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(ByteCount(bytes @ 0x400..=0x10_0000)) if bytes.is_power_of_two() => {
                Ok(Self { log2: bytes.ilog2() as u8 })
            }
            _ => Err("a power of two from 1K to 1M is needed, such as 64K".to_owned()),
        }
    }
}

/// A number of bytes that is not 0.
pub(crate) fn positive_bytes(text: &str) -> Result<NonZeroUsize, String> {
    let ByteCount(bytes) = text.parse().map_err(|error: NotAByteCount| error.to_string())?;
    let bytes = usize::try_from(bytes).map_err(|_| "this machine cannot address so many bytes")?;
    NonZeroUsize::new(bytes).ok_or_else(|| "a number of bytes above 0 is needed".to_owned())
}

/// Platforms that the user wants measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlatformArg {
    /// All of this machine.
    All,
    /// This one.
    One(Platform),
}

impl FromStr for PlatformArg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == "all" {
            return Ok(Self::All);
        }
        name.parse().map(Self::One).map_err(|error: huffwire::Error| error.to_string())
    }
}

/// A range of elements; what is missing means from the first, or to the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ElementRange {
    start: Option<u64>,
    end: Option<u64>,
}

impl ElementRange {
    /// The first element, and the one after the last.
    pub(crate) fn bounds(self) -> (Bound<u64>, Bound<u64>) {
        let start = self.start.map_or(Bound::Unbounded, Bound::Included);
        (start, self.end.map_or(Bound::Unbounded, Bound::Excluded))
    }
}

impl FromStr for ElementRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bound = |digits: &str| match digits.trim() {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| format!("{digits:?} is no number")),
        };
        let (start, end) = text.split_once("..").ok_or("a range looks like 100..200")?;
        Ok(Self { start: bound(start)?, end: bound(end)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes() {
        let log2 = |text: &str| text.parse::<BlockSize>().ok().map(|size| size.log2);
        assert_eq!(log2("128K"), Some(17));
        assert_eq!(log2("64KiB"), Some(16));
        assert_eq!(log2("1m"), Some(20));
        assert_eq!(log2("1024"), Some(10));
        for text in ["", "K", "512", "2M", "100K", "-1K", "99999999999999999999M"] {
            assert_eq!(log2(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_of_bytes() {
        let bytes = |text: &str| positive_bytes(text).ok().map(NonZeroUsize::get);
        assert_eq!(bytes("3 MiB"), Some(3 << 20));
        for text in ["", "0", "0KiB", "1KB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn platforms() {
        assert_eq!("all".parse(), Ok(PlatformArg::All));
        assert_eq!("portable".parse(), Ok(PlatformArg::One(Platform::Portable)));
        assert!("abacus".parse::<PlatformArg>().unwrap_err().contains("portable"));
    }

    #[test]
    fn ranges() {
        let bounds = |text: &str| text.parse::<ElementRange>().unwrap().bounds();
        assert_eq!(bounds("2..5"), (Bound::Included(2), Bound::Excluded(5)));
        assert_eq!(bounds("..5"), (Bound::Unbounded, Bound::Excluded(5)));
        assert_eq!(bounds("5.."), (Bound::Included(5), Bound::Unbounded));
        assert!("5".parse::<ElementRange>().is_err());
        assert!("a..b".parse::<ElementRange>().is_err());
    }
}
