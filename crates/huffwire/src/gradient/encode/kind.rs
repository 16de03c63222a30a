//! Encoders by name and number.

use std::fmt;
use std::str::FromStr;

use super::{
    Auto, Bitmap, Elias, EliasCode, Huffman, QsgdElias, QsgdScheme, Rlh, RunLengths, Sh, Shs,
    ValueEncoder, bitmap,
};
use crate::error::Error;

/// An encoder by name and number, of those that messages may use: all but [`Fixed`](super::Fixed).
///
/// ```
/// use huffwire::gradient::encode::EncoderKind;
///
/// let kind: EncoderKind = "elias-omega".parse()?;
/// assert_eq!((kind, kind.name()), (EncoderKind::EliasOmega, "elias-omega"));
/// assert_eq!(EncoderKind::all().count(), 12);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum EncoderKind {
    /// [`Huffman`].
    Huffman = 1,
    /// [`Rlh`].
    Rlh = 2,
    /// [`Sh`].
    Sh = 3,
    /// [`Shs`].
    Shs = 4,
    /// [`RunLengths`].
    RunLengths = 5,
    /// [`Elias`] γ.
    EliasGamma = 6,
    /// [`Elias`] δ.
    EliasDelta = 7,
    /// [`Elias`] ω.
    EliasOmega = 8,
    /// [`QsgdElias`] with the sparse scheme.
    QsgdElias = 9,
    /// [`QsgdElias`] with the dense scheme.
    QsgdEliasDense = 10,
    /// [`Bitmap`].
    Bitmap = 11,
    /// [`Auto`].
    Auto = 12,
    /// [`Bitmap`] with the books of a set.
    BitmapFixed = 13,
}

const ALONE: [EncoderKind; 12] = [
    EncoderKind::Huffman,
    EncoderKind::Rlh,
    EncoderKind::Sh,
    EncoderKind::Shs,
    EncoderKind::RunLengths,
    EncoderKind::EliasGamma,
    EncoderKind::EliasDelta,
    EncoderKind::EliasOmega,
    EncoderKind::QsgdElias,
    EncoderKind::QsgdEliasDense,
    EncoderKind::Bitmap,
    EncoderKind::Auto,
];

impl EncoderKind {
    /// All encoders that need no books, in the order of their numbers: all but [`EncoderKind::BitmapFixed`].
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        ALONE.into_iter()
    }

    /// The number of the encoder in messages.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The encoder with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::all().chain([Self::BitmapFixed]).find(|kind| kind.number() == number)
    }

    /// The encoder's [`name`](ValueEncoder::name).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BitmapFixed => bitmap::NAME_WITH_BOOKS,
            _ => self.encoder((0, 0)).name(),
        }
    }

    /// The encoder itself. The lowest and the highest value are those of
    /// [`Quantizer::alphabet`](crate::gradient::quantize::Quantizer::alphabet). Only encoders that sample need them;
    /// decoders do not. For [`EncoderKind::BitmapFixed`] it is a bitmap without books: see [`Bitmap::with_books`].
    #[must_use]
    pub fn encoder(self, (lowest, highest): (i32, i32)) -> Box<dyn ValueEncoder> {
        match self {
            Self::Huffman => Box::new(Huffman),
            Self::Rlh => Box::new(Rlh),
            Self::Sh => Box::new(Sh::new(lowest, highest)),
            Self::Shs => Box::new(Shs::new(lowest, highest)),
            Self::RunLengths => Box::new(RunLengths),
            Self::EliasGamma => Box::new(Elias::new(EliasCode::Gamma)),
            Self::EliasDelta => Box::new(Elias::new(EliasCode::Delta)),
            Self::EliasOmega => Box::new(Elias::new(EliasCode::Omega)),
            Self::QsgdElias => Box::new(QsgdElias::new(QsgdScheme::Sparse)),
            Self::QsgdEliasDense => Box::new(QsgdElias::new(QsgdScheme::Dense)),
            Self::Bitmap | Self::BitmapFixed => Box::new(Bitmap::default()),
            Self::Auto => Box::new(Auto),
        }
    }
}

impl fmt::Display for EncoderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EncoderKind {
    type Err = Error;

    /// Accepts the names of [`EncoderKind::all`].
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::all().find(|kind| kind.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::all().map(Self::name).collect();
            Error::option(format!("unknown encoder {name:?}; known are {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_tell_kinds_apart() {
        for (index, kind) in EncoderKind::all().enumerate() {
            assert_eq!(usize::from(kind.number()), index + 1);
            assert_eq!(EncoderKind::from_number(kind.number()), Some(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let fixed = EncoderKind::from_number(13).unwrap();
        assert_eq!((fixed, fixed.name()), (EncoderKind::BitmapFixed, "bitmap-fixed"));
        assert!("bitmap-fixed".parse::<EncoderKind>().is_err(), "it needs books");
        assert_eq!((EncoderKind::from_number(0), EncoderKind::from_number(14)), (None, None));
        assert!("abacus".parse::<EncoderKind>().unwrap_err().to_string().contains("bitmap"));
    }
}
