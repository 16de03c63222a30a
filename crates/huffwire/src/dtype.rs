//! Element types: what a tensor is made of, before anything is known about its symbols.

use std::fmt;
use std::str::FromStr;

/// The type of a tensor's elements.
///
/// A *unit* is the smallest run of bytes that holds whole values: 2 bytes for bf16, 1 byte for two
/// e2m1 values, 3 bytes for four packed 6-bit values. Counts in the format are counts of units.
///
/// Nothing here interprets values: every bit pattern (NaN payloads, infinities, subnormals, -0)
/// survives a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Dtype {
    /// bfloat16: sign, 8 exponent bits, 7 mantissa bits.
    Bf16 = 1,
    /// IEEE binary16: sign, 5 exponent bits, 10 mantissa bits.
    F16 = 2,
    /// IEEE binary32: sign, 8 exponent bits, 23 mantissa bits.
    F32 = 3,
    /// OCP 8-bit float with 4 exponent bits.
    E4m3 = 4,
    /// OCP 8-bit float with 5 exponent bits.
    E5m2 = 5,
    /// OCP 6-bit float with 3 exponent bits, one value per byte.
    E3m2 = 6,
    /// OCP 6-bit float with 2 exponent bits, one value per byte.
    E2m3 = 7,
    /// OCP 6-bit float with 3 exponent bits, four values in three little-endian bytes.
    E3m2Packed = 8,
    /// OCP 6-bit float with 2 exponent bits, four values in three little-endian bytes.
    E2m3Packed = 9,
    /// OCP 4-bit float, two values per byte.
    E2m1 = 10,
    /// OCP 8-bit scale: an exponent and nothing else.
    E8m0 = 11,
    /// Signed 8-bit integer.
    I8 = 12,
    /// Unsigned 8-bit integer, booleans, raw bytes.
    U8 = 13,
    /// Any other 16-bit element (integers).
    Word16 = 14,
    /// Any other 32-bit element (integers).
    Word32 = 15,
    /// Any other 64-bit element (integers, f64, complex64).
    Word64 = 16,
}

/// Name (as `Display` and `FromStr` use it), and bytes of a unit, for every element type.
const TABLE: [(Dtype, &str, usize); 16] = [
    (Dtype::Bf16, "bf16", 2),
    (Dtype::F16, "f16", 2),
    (Dtype::F32, "f32", 4),
    (Dtype::E4m3, "e4m3", 1),
    (Dtype::E5m2, "e5m2", 1),
    (Dtype::E3m2, "e3m2", 1),
    (Dtype::E2m3, "e2m3", 1),
    (Dtype::E3m2Packed, "e3m2-packed", 3),
    (Dtype::E2m3Packed, "e2m3-packed", 3),
    (Dtype::E2m1, "e2m1", 1),
    (Dtype::E8m0, "e8m0", 1),
    (Dtype::I8, "i8", 1),
    (Dtype::U8, "u8", 1),
    (Dtype::Word16, "word16", 2),
    (Dtype::Word32, "word32", 4),
    (Dtype::Word64, "word64", 8),
];

impl Dtype {
    /// Every element type, in the order of their numbers in the format.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The number that stands for this type in the format.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The type with this number in the format, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::all().find(|dtype| dtype.number() == number)
    }

    /// The type's name: `bf16`, `e4m3`, `e2m3-packed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes of one unit (see [`Dtype`]).
    #[must_use]
    pub const fn unit_bytes(self) -> usize {
        self.row().2
    }

    /// Values held by one unit: 2 for e2m1, 4 for the packed 6-bit types, else 1.
    #[must_use]
    pub const fn values_per_unit(self) -> usize {
        match self {
            Self::E2m1 => 2,
            Self::E3m2Packed | Self::E2m3Packed => 4,
            _ => 1,
        }
    }

    const fn row(self) -> (Self, &'static str, usize) {
        TABLE[self as usize - 1]
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is no element type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown element type {0:?}; known are {known}", known = known_names())]
pub struct UnknownDtype(String);

fn known_names() -> String {
    TABLE.map(|row| row.1).join(", ")
}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    /// Accepts the names of [`Dtype::name`] and the usual names of other tools
    /// (`float32`, `uint8`, `int64`, `f64`, `bool`, `fp8_e4m3`, ...), in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let lower = name.to_ascii_lowercase();
        if let Some(row) = TABLE.iter().find(|row| row.1 == lower) {
            return Ok(row.0);
        }
        Ok(match lower.as_str() {
            "bfloat16" => Self::Bf16,
            "float16" | "fp16" | "half" => Self::F16,
            "float32" | "fp32" | "float" => Self::F32,
            "f8_e4m3" | "fp8_e4m3" | "float8_e4m3fn" | "e4m3fn" => Self::E4m3,
            "f8_e5m2" | "fp8_e5m2" | "float8_e5m2" => Self::E5m2,
            "f8_e8m0" | "float8_e8m0fnu" => Self::E8m0,
            "f6_e3m2" => Self::E3m2Packed,
            "f6_e2m3" => Self::E2m3Packed,
            "f4" | "f4_e2m1" | "fp4" => Self::E2m1,
            "int8" => Self::I8,
            "uint8" | "bool" | "bytes" => Self::U8,
            "i16" | "u16" | "int16" | "uint16" => Self::Word16,
            "i32" | "u32" | "int32" | "uint32" => Self::Word32,
            "i64" | "u64" | "int64" | "uint64" | "f64" | "float64" | "double" | "c64"
            | "complex64" => Self::Word64,
            _ => return Err(UnknownDtype(name.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_numbers() {
        for (index, dtype) in Dtype::all().enumerate() {
            assert_eq!(usize::from(dtype.number()), index + 1);
            assert_eq!(Dtype::from_number(dtype.number()), Some(dtype));
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        assert_eq!(Dtype::from_number(0), None);
        assert_eq!(Dtype::from_number(17), None);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "bf17".parse::<Dtype>().unwrap_err();
        assert!(error.to_string().contains("\"bf17\"") && error.to_string().contains("e4m3"));
    }
}
