//! Conversion between `f32` and bf16, the format in which the tensors are dumped.

/// Rounds `value` to the nearest bf16, ties to even, and returns the bit pattern.
pub(crate) fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        // A payload that sits only in the lower half would be cut to zero, which spells infinity,
        // and a full one would carry into the sign: the quiet bit rules out both.
        return (bits >> 16) as u16 | 0x0040;
    }
    let half_or_just_below = 0x7FFF + ((bits >> 16) & 1);
    ((bits + half_or_just_below) >> 16) as u16
}

/// The value that a bf16 bit pattern stands for; every bf16 is also an `f32`.
pub(crate) fn to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounds `value` to the nearest `f32` that bf16 can hold.
pub(crate) fn round(value: f32) -> f32 {
    to_f32(from_f32(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            let value = to_f32(bits);
            if value.is_nan() {
                assert!(to_f32(from_f32(value)).is_nan());
            } else {
                assert_eq!(from_f32(value), bits);
            }
        }
    }

    #[test]
    fn ties_go_to_the_even_neighbour() {
        for (value, rounded) in [
            (0x3F80_8000, 0x3F80), // a tie whose lower neighbour is even
            (0x3F81_8000, 0x3F82), // a tie whose upper neighbour is even
            (0x3F80_8001, 0x3F81), // just above a tie
            (0x3F80_7FFF, 0x3F80), // just below a tie
            (0xBF81_8000, 0xBF82), // ties are symmetric about zero
        ] {
            assert_eq!(from_f32(f32::from_bits(value)), rounded);
        }
    }

    #[test]
    fn the_ends_of_the_range_keep_their_meaning() {
        assert_eq!(from_f32(f32::MAX), 0x7F80); // nearest is infinity
        assert_eq!(from_f32(f32::NEG_INFINITY), 0xFF80);
        assert_eq!(from_f32(-0.0), 0x8000);
        assert_eq!(from_f32(f32::from_bits(1)), 0); // the smallest subnormal
    }

    #[test]
    fn a_nan_stays_a_nan_of_the_same_sign() {
        for bits in [0x7F80_0001, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_FFFF_u32] {
            let rounded = from_f32(f32::from_bits(bits));
            assert!(to_f32(rounded).is_nan());
            assert_eq!(rounded >> 15, (bits >> 31) as u16);
        }
    }
}
