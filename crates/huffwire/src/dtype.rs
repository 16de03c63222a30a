//! Element types: sizes, names and numbers of the types of a tensor's elements.
//!
//! Each type has one row below. A new type needs its row, a file in `planes/` unless it is coded as another type
//! is, and a line in `docs/format.md`, section 2.

use std::fmt;
use std::str::FromStr;

/// Description of an element type.
struct Row {
    /// Name in the format's documents and in this program.
    name: &'static str,
    unit_bytes: usize,
    /// Bits that a value takes in memory.
    value_bits: usize,
    /// The type whose layouts and codebooks serve this one.
    coding: Dtype,
    /// Names in safetensors files, in NumPy (`dtype.str`) and in PyTorch (without `torch.`).
    safetensors: Option<&'static str>,
    numpy: Option<&'static str>,
    torch: Option<&'static str>,
    /// Other names that people use, in lower case.
    aliases: &'static [&'static str],
}

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal: $row:expr,)*) => {
        /// The type of a tensor's elements.
        ///
        /// A *unit* is the smallest run of bytes that is coded as a whole: 2 bytes for bf16, 1 byte for two
        /// e2m1 values, 3 bytes for four packed 6-bit values, one part of a complex number. Counts in the format
        /// are counts of units.
        ///
        /// Nothing here interprets values: every bit pattern (NaN payloads, infinities, subnormals, -0)
        /// survives a round trip.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Dtype {
            $($(#[$doc])* $variant = $number,)*
        }

        const ALL: &[Dtype] = &[$(Dtype::$variant),*];
        const ROWS: &[Row] = &[$($row),*];
    };
}

dtypes! {
    /// bfloat16: sign, 8 exponent bits, 7 mantissa bits.
    Bf16 = 1: Row {
        name: "bf16",
        unit_bytes: 2,
        value_bits: 16,
        coding: Dtype::Bf16,
        safetensors: Some("BF16"),
        numpy: None,
        torch: Some("bfloat16"),
        aliases: &["bfloat16"],
    },
    /// IEEE binary16: sign, 5 exponent bits, 10 mantissa bits.
    F16 = 2: Row {
        name: "f16",
        unit_bytes: 2,
        value_bits: 16,
        coding: Dtype::F16,
        safetensors: Some("F16"),
        numpy: Some("<f2"),
        torch: Some("float16"),
        aliases: &["float16", "fp16", "half"],
    },
    /// IEEE binary32: sign, 8 exponent bits, 23 mantissa bits.
    F32 = 3: Row {
        name: "f32",
        unit_bytes: 4,
        value_bits: 32,
        coding: Dtype::F32,
        safetensors: Some("F32"),
        numpy: Some("<f4"),
        torch: Some("float32"),
        aliases: &["float32", "fp32", "float"],
    },
    /// OCP 8-bit float with 4 exponent bits.
    E4m3 = 4: Row {
        name: "e4m3",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::E4m3,
        safetensors: Some("F8_E4M3"),
        numpy: None,
        torch: Some("float8_e4m3fn"),
        aliases: &["f8_e4m3", "fp8_e4m3", "float8_e4m3fn", "e4m3fn"],
    },
    /// OCP 8-bit float with 5 exponent bits.
    E5m2 = 5: Row {
        name: "e5m2",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::E5m2,
        safetensors: Some("F8_E5M2"),
        numpy: None,
        torch: Some("float8_e5m2"),
        aliases: &["f8_e5m2", "fp8_e5m2", "float8_e5m2"],
    },
    /// OCP 6-bit float with 3 exponent bits, one value per byte.
    E3m2 = 6: Row {
        name: "e3m2",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::E3m2,
        safetensors: None,
        numpy: None,
        torch: None,
        aliases: &["float6_e3m2fn"],
    },
    /// OCP 6-bit float with 2 exponent bits, one value per byte.
    E2m3 = 7: Row {
        name: "e2m3",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::E2m3,
        safetensors: None,
        numpy: None,
        torch: None,
        aliases: &["float6_e2m3fn"],
    },
    /// OCP 6-bit float with 3 exponent bits, four values in three little-endian bytes.
    E3m2Packed = 8: Row {
        name: "e3m2-packed",
        unit_bytes: 3,
        value_bits: 6,
        coding: Dtype::E3m2Packed,
        safetensors: Some("F6_E3M2"),
        numpy: None,
        torch: None,
        aliases: &["f6_e3m2"],
    },
    /// OCP 6-bit float with 2 exponent bits, four values in three little-endian bytes.
    E2m3Packed = 9: Row {
        name: "e2m3-packed",
        unit_bytes: 3,
        value_bits: 6,
        coding: Dtype::E2m3Packed,
        safetensors: Some("F6_E2M3"),
        numpy: None,
        torch: None,
        aliases: &["f6_e2m3"],
    },
    /// OCP 4-bit float, two values per byte.
    E2m1 = 10: Row {
        name: "e2m1",
        unit_bytes: 1,
        value_bits: 4,
        coding: Dtype::E2m1,
        safetensors: Some("F4"),
        numpy: None,
        torch: Some("float4_e2m1fn_x2"),
        aliases: &["f4", "f4_e2m1", "fp4", "e2m1x2", "float4_e2m1fn_x2"],
    },
    /// OCP 8-bit scale: an exponent and nothing else.
    E8m0 = 11: Row {
        name: "e8m0",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::E8m0,
        safetensors: Some("F8_E8M0"),
        numpy: None,
        torch: Some("float8_e8m0fnu"),
        aliases: &["f8_e8m0", "float8_e8m0fnu"],
    },
    /// Signed 8-bit integer.
    I8 = 12: Row {
        name: "i8",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::I8,
        safetensors: Some("I8"),
        numpy: Some("|i1"),
        torch: Some("int8"),
        aliases: &["int8"],
    },
    /// Unsigned 8-bit integer, raw bytes.
    U8 = 13: Row {
        name: "u8",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::U8,
        safetensors: Some("U8"),
        numpy: Some("|u1"),
        torch: Some("uint8"),
        aliases: &["uint8", "bytes"],
    },
    /// Any other 16 bits.
    Word16 = 14: Row {
        name: "word16",
        unit_bytes: 2,
        value_bits: 16,
        coding: Dtype::Word16,
        safetensors: None,
        numpy: None,
        torch: None,
        aliases: &[],
    },
    /// Any other 32 bits.
    Word32 = 15: Row {
        name: "word32",
        unit_bytes: 4,
        value_bits: 32,
        coding: Dtype::Word32,
        safetensors: None,
        numpy: None,
        torch: None,
        aliases: &[],
    },
    /// Any other 64 bits.
    Word64 = 16: Row {
        name: "word64",
        unit_bytes: 8,
        value_bits: 64,
        coding: Dtype::Word64,
        safetensors: None,
        numpy: None,
        torch: None,
        aliases: &[],
    },
    /// IEEE binary64.
    F64 = 17: Row {
        name: "f64",
        unit_bytes: 8,
        value_bits: 64,
        coding: Dtype::Word64,
        safetensors: Some("F64"),
        numpy: Some("<f8"),
        torch: Some("float64"),
        aliases: &["float64", "fp64", "double"],
    },
    /// Signed 16-bit integer.
    I16 = 18: Row {
        name: "i16",
        unit_bytes: 2,
        value_bits: 16,
        coding: Dtype::Word16,
        safetensors: Some("I16"),
        numpy: Some("<i2"),
        torch: Some("int16"),
        aliases: &["int16"],
    },
    /// Signed 32-bit integer.
    I32 = 19: Row {
        name: "i32",
        unit_bytes: 4,
        value_bits: 32,
        coding: Dtype::Word32,
        safetensors: Some("I32"),
        numpy: Some("<i4"),
        torch: Some("int32"),
        aliases: &["int32"],
    },
    /// Signed 64-bit integer.
    I64 = 20: Row {
        name: "i64",
        unit_bytes: 8,
        value_bits: 64,
        coding: Dtype::Word64,
        safetensors: Some("I64"),
        numpy: Some("<i8"),
        torch: Some("int64"),
        aliases: &["int64"],
    },
    /// Unsigned 16-bit integer.
    U16 = 21: Row {
        name: "u16",
        unit_bytes: 2,
        value_bits: 16,
        coding: Dtype::Word16,
        safetensors: Some("U16"),
        numpy: Some("<u2"),
        torch: Some("uint16"),
        aliases: &["uint16"],
    },
    /// Unsigned 32-bit integer.
    U32 = 22: Row {
        name: "u32",
        unit_bytes: 4,
        value_bits: 32,
        coding: Dtype::Word32,
        safetensors: Some("U32"),
        numpy: Some("<u4"),
        torch: Some("uint32"),
        aliases: &["uint32"],
    },
    /// Unsigned 64-bit integer.
    U64 = 23: Row {
        name: "u64",
        unit_bytes: 8,
        value_bits: 64,
        coding: Dtype::Word64,
        safetensors: Some("U64"),
        numpy: Some("<u8"),
        torch: Some("uint64"),
        aliases: &["uint64"],
    },
    /// Truth value, a byte each.
    Bool = 24: Row {
        name: "bool",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::U8,
        safetensors: Some("BOOL"),
        numpy: Some("|b1"),
        torch: Some("bool"),
        aliases: &[],
    },
    /// Pair of binary16, real part first.
    Complex32 = 25: Row {
        name: "complex32",
        unit_bytes: 2,
        value_bits: 32,
        coding: Dtype::F16,
        safetensors: None,
        numpy: None,
        torch: Some("complex32"),
        aliases: &["c32", "chalf"],
    },
    /// Pair of binary32, real part first.
    Complex64 = 26: Row {
        name: "complex64",
        unit_bytes: 4,
        value_bits: 64,
        coding: Dtype::F32,
        safetensors: Some("C64"),
        numpy: Some("<c8"),
        torch: Some("complex64"),
        aliases: &["c64", "cfloat"],
    },
    /// Pair of binary64, real part first.
    Complex128 = 27: Row {
        name: "complex128",
        unit_bytes: 8,
        value_bits: 128,
        coding: Dtype::Word64,
        safetensors: None,
        numpy: Some("<c16"),
        torch: Some("complex128"),
        aliases: &["c128", "cdouble"],
    },
    /// 8-bit float with 4 exponent bits, without infinities and -0.
    E4m3Fnuz = 28: Row {
        name: "e4m3fnuz",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::E4m3,
        safetensors: Some("F8_E4M3FNUZ"),
        numpy: None,
        torch: Some("float8_e4m3fnuz"),
        aliases: &["f8_e4m3fnuz", "float8_e4m3fnuz"],
    },
    /// 8-bit float with 5 exponent bits, without infinities and -0.
    E5m2Fnuz = 29: Row {
        name: "e5m2fnuz",
        unit_bytes: 1,
        value_bits: 8,
        coding: Dtype::E5m2,
        safetensors: Some("F8_E5M2FNUZ"),
        numpy: None,
        torch: Some("float8_e5m2fnuz"),
        aliases: &["f8_e5m2fnuz", "float8_e5m2fnuz"],
    },
}

impl Dtype {
    /// Every element type, in the order of their numbers in the format.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().copied()
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
        self.row().name
    }

    /// Bytes of one unit (see [`Dtype`]).
    #[must_use]
    pub const fn unit_bytes(self) -> usize {
        self.row().unit_bytes
    }

    /// Bits that one value takes in memory: 16 for bf16, 4 for e2m1, 6 for packed 6-bit types, 64 for complex64.
    #[must_use]
    pub const fn value_bits(self) -> usize {
        self.row().value_bits
    }

    /// How many values so many bytes hold; `None` when they hold no whole number of values, or end within a unit.
    ///
    /// ```
    /// use huffwire::Dtype;
    /// assert_eq!(Dtype::E3m2Packed.values_in(6), Some(8));
    /// assert_eq!(Dtype::E3m2Packed.values_in(4), None);
    /// assert_eq!(Dtype::Complex64.values_in(4), None);
    /// ```
    #[must_use]
    pub const fn values_in(self, bytes: u64) -> Option<u64> {
        let (unit, bits) = (self.unit_bytes() as u128, self.value_bits() as u128);
        let all = bytes as u128 * 8;
        if !(bytes as u128).is_multiple_of(unit) || !all.is_multiple_of(bits) {
            return None;
        }
        let values = all / bits;
        if values > u64::MAX as u128 { None } else { Some(values as u64) }
    }

    /// How many bytes so many values take; `None` when they are no whole number of units, or too many.
    #[must_use]
    pub const fn bytes_of(self, values: u64) -> Option<u64> {
        let bits = values as u128 * self.value_bits() as u128;
        if !bits.is_multiple_of(8 * self.unit_bytes() as u128) || bits / 8 > u64::MAX as u128 {
            return None;
        }
        Some((bits / 8) as u64)
    }

    /// The type as which this one is coded: its layouts and codebooks. Most types are coded as themselves, i32 as
    /// word32, complex64 as f32.
    #[must_use]
    pub const fn coding(self) -> Self {
        self.row().coding
    }

    /// The name in safetensors files (`BF16`), if the type has one there.
    #[must_use]
    pub const fn safetensors_name(self) -> Option<&'static str> {
        self.row().safetensors
    }

    /// The type with this name in safetensors files.
    #[must_use]
    pub fn from_safetensors_name(name: &str) -> Option<Self> {
        Self::all().find(|dtype| dtype.safetensors_name() == Some(name))
    }

    /// NumPy's `dtype.str` (`<f4`), if NumPy has the type.
    #[must_use]
    pub const fn numpy_name(self) -> Option<&'static str> {
        self.row().numpy
    }

    /// The type with this `dtype.str` in NumPy.
    #[must_use]
    pub fn from_numpy_name(name: &str) -> Option<Self> {
        Self::all().find(|dtype| dtype.numpy_name() == Some(name))
    }

    /// PyTorch's name without `torch.` (`bfloat16`), if PyTorch has the type.
    #[must_use]
    pub const fn torch_name(self) -> Option<&'static str> {
        self.row().torch
    }

    /// The type with this name in PyTorch, `torch.` left out.
    #[must_use]
    pub fn from_torch_name(name: &str) -> Option<Self> {
        Self::all().find(|dtype| dtype.torch_name() == Some(name))
    }

    const fn row(self) -> &'static Row {
        &ROWS[self as usize - 1]
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Error: the name is no element type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown element type {0:?}; known are {known}", known = known_names())]
pub struct UnknownDtype(String);

fn known_names() -> String {
    let name = |row: &Row| match row.aliases {
        [] => row.name.to_owned(),
        aliases => format!("{} ({})", row.name, aliases.join(", ")),
    };
    ROWS.iter().map(name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    /// Accepts the names of [`Dtype::name`] and the usual names of other tools
    /// (`float32`, `uint8`, `int64`, `fp8_e4m3`, ...), in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let lower = name.to_ascii_lowercase();
        let named = |row: &Row| row.name == lower || row.aliases.contains(&lower.as_str());
        let found = Self::all().find(|dtype| named(dtype.row()));
        found.ok_or_else(|| UnknownDtype(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rows_are_in_the_order_of_the_numbers() {
        for (index, dtype) in Dtype::all().enumerate() {
            assert_eq!(usize::from(dtype.number()), index + 1);
            assert_eq!(Dtype::from_number(dtype.number()), Some(dtype));
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        assert_eq!(Dtype::from_number(0), None);
        assert_eq!(Dtype::from_number(ALL.len() as u8 + 1), None);
    }

    #[test]
    fn no_name_means_two_types() {
        let mut seen = HashSet::new();
        for row in ROWS {
            for name in row.aliases.iter().chain([&row.name]) {
                assert!(seen.insert(*name), "{name}");
                assert_eq!(name.to_ascii_lowercase(), *name);
            }
        }
        for dtype in Dtype::all() {
            let same = |found: Option<Dtype>| found.is_none_or(|found| found == dtype);
            assert!(same(dtype.safetensors_name().and_then(Dtype::from_safetensors_name)));
            assert!(same(dtype.numpy_name().and_then(Dtype::from_numpy_name)));
            assert!(same(dtype.torch_name().and_then(Dtype::from_torch_name)));
        }
    }

    #[test]
    fn a_type_is_coded_as_one_with_the_same_unit() {
        for dtype in Dtype::all() {
            assert_eq!(dtype.coding().coding(), dtype.coding(), "{dtype}");
            assert_eq!(dtype.coding().unit_bytes(), dtype.unit_bytes(), "{dtype}");
        }
    }

    #[test]
    fn values_and_bytes_go_together() {
        for dtype in Dtype::all() {
            let bytes = 24 * 16;
            let values = dtype.values_in(bytes).unwrap();
            assert_eq!(dtype.bytes_of(values), Some(bytes), "{dtype}");
        }
        assert_eq!(Dtype::E2m1.bytes_of(3), None);
        assert_eq!(Dtype::E3m2Packed.bytes_of(2), None);
        assert_eq!(Dtype::Complex64.values_in(12), None);
        assert_eq!(Dtype::F64.bytes_of(u64::MAX), None);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "bf17".parse::<Dtype>().unwrap_err().to_string();
        assert!(error.contains("\"bf17\"") && error.contains("e4m3") && error.contains("float32"));
    }
}
