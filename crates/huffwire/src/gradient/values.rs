//! Values: the small integers that quantizers make of gradients.
//!
//! Nearly all quantizers have at most 255 of them, and reading a byte an element instead of four is what
//! makes speed; so values come in two widths, and an encoder writes the same bytes for both.

/// Values that someone else holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values<'a> {
    /// Values of a byte.
    I8(&'a [i8]),
    /// Any values.
    I32(&'a [i32]),
}

/// Room for values.
#[derive(Debug, PartialEq, Eq)]
pub enum ValuesMut<'a> {
    /// Values of a byte.
    I8(&'a mut [i8]),
    /// Any values.
    I32(&'a mut [i32]),
}

/// Values, in the narrowest width that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueBuf {
    /// Values of a byte.
    I8(Vec<i8>),
    /// Any values.
    I32(Vec<i32>),
}

/// Evaluates an expression for the values of either width.
macro_rules! with_values {
    ($enum:ident, $values:expr, $name:ident => $body:expr) => {
        match $values {
            $crate::gradient::$enum::I8($name) => $body,
            $crate::gradient::$enum::I32($name) => $body,
        }
    };
}
pub(super) use with_values;

impl Values<'_> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        with_values!(Values, self, values => values.len())
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are 0.
    #[must_use]
    pub fn zeros(&self) -> usize {
        with_values!(Values, self, values => values.iter().filter(|value| **value == 0).count())
    }

    /// The value at an index; 0 beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> i32 {
        match self {
            Self::I8(values) => values.get(index).map_or(0, |&value| value.into()),
            Self::I32(values) => values.get(index).copied().unwrap_or(0),
        }
    }

    /// The values from one index up to another, both cut to what there is.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let to = to.min(self.len());
        let from = from.min(to);
        match self {
            Self::I8(values) => Self::I8(&values[from..to]),
            Self::I32(values) => Self::I32(&values[from..to]),
        }
    }
}

impl ValuesMut<'_> {
    /// How many there is room for.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::I8(values) => values.len(),
            Self::I32(values) => values.len(),
        }
    }

    /// Whether there is room for none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ValueBuf {
    /// A byte a value if that holds them, else four.
    #[must_use]
    pub fn new(values: Vec<i32>) -> Self {
        // Not `all`, which looks at one after the other.
        if !values.iter().fold(false, |wide, &value| wide | (value != i32::from(value as i8))) {
            Self::I8(values.iter().map(|&value| value as i8).collect())
        } else {
            Self::I32(values)
        }
    }

    /// The values.
    #[must_use]
    pub fn view(&self) -> Values<'_> {
        match self {
            Self::I8(values) => Values::I8(values),
            Self::I32(values) => Values::I32(values),
        }
    }
}

impl<'a> From<&'a [i8]> for Values<'a> {
    fn from(values: &'a [i8]) -> Self {
        Self::I8(values)
    }
}

impl<'a> From<&'a [i32]> for Values<'a> {
    fn from(values: &'a [i32]) -> Self {
        Self::I32(values)
    }
}

impl<'a> From<&'a mut [i8]> for ValuesMut<'a> {
    fn from(values: &'a mut [i8]) -> Self {
        Self::I8(values)
    }
}

impl<'a> From<&'a mut [i32]> for ValuesMut<'a> {
    fn from(values: &'a mut [i32]) -> Self {
        Self::I32(values)
    }
}

impl From<Vec<i8>> for ValueBuf {
    fn from(values: Vec<i8>) -> Self {
        Self::I8(values)
    }
}

impl From<Vec<i32>> for ValueBuf {
    fn from(values: Vec<i32>) -> Self {
        Self::I32(values)
    }
}

/// A width of values, for code that is the same for both.
pub(super) trait Value: Copy + PartialEq + Default + From<i8> + Into<i32> + 'static {
    /// Room for these, as room for values of some width.
    fn view_mut(values: &mut [Self]) -> ValuesMut<'_>;

    /// `None` for a value that needs more room.
    fn narrow(value: i32) -> Option<Self>;

    /// A number that is smaller for smaller magnitudes (0, -1, 1, -2, …); 255 for all that need more.
    fn to_zigzag(self) -> u8;

    /// The value of a number; anything for 255.
    fn from_zigzag(number: u8) -> Self;

    /// Which of 64 values are not 0, by bits.
    fn others(values: &[Self; 64]) -> u64;

    /// Which of 64 values are not as the one before them, by bits.
    fn changes(values: &[Self; 64], before: Self) -> u64;
}

impl Value for i8 {
    fn view_mut(values: &mut [Self]) -> ValuesMut<'_> {
        values.into()
    }

    #[inline]
    fn narrow(value: i32) -> Option<Self> {
        Self::try_from(value).ok()
    }

    #[inline(always)]
    fn to_zigzag(self) -> u8 {
        // -128 has 255 of its own accord.
        ((self << 1) ^ (self >> 7)) as u8
    }

    #[inline(always)]
    fn from_zigzag(number: u8) -> Self {
        (number >> 1) as Self ^ -((number & 1) as Self)
    }

    #[inline(always)]
    fn others(values: &[Self; 64]) -> u64 {
        // Most are zeros where this is worth its while.
        if values.iter().fold(0, |any, value| any | value) == 0 {
            return 0;
        }
        let words = values.as_chunks::<8>().0.iter().enumerate();
        words.fold(0, |all, (i, word)| all | u64::from(not_zero(word_of(word))) << (8 * i))
    }

    #[inline(always)]
    fn changes(values: &[Self; 64], before: Self) -> u64 {
        if values.iter().fold(before, |any, value| any | value) == 0 {
            return 0;
        }
        let mut last = u64::from(before as u8);
        let words = values.as_chunks::<8>().0.iter().enumerate();
        words.fold(0, |all, (i, word)| {
            let word = word_of(word);
            let change = word ^ (word << 8 | last);
            last = word >> 56;
            all | u64::from(not_zero(change)) << (8 * i)
        })
    }
}

#[inline(always)]
fn word_of(values: &[i8; 8]) -> u64 {
    u64::from_le_bytes(values.map(|value| value as u8))
}

impl Value for i32 {
    fn view_mut(values: &mut [Self]) -> ValuesMut<'_> {
        values.into()
    }

    #[inline]
    fn narrow(value: i32) -> Option<Self> {
        Some(value)
    }

    #[inline(always)]
    fn to_zigzag(self) -> u8 {
        (((self << 1) ^ (self >> 31)) as u32).min(255) as u8
    }

    #[inline(always)]
    fn from_zigzag(number: u8) -> Self {
        i8::from_zigzag(number).into()
    }

    #[inline(always)]
    fn others(values: &[Self; 64]) -> u64 {
        if values.iter().fold(0, |any, value| any | value) == 0 {
            return 0;
        }
        values.iter().enumerate().fold(0, |all, (i, value)| all | u64::from(*value != 0) << i)
    }

    #[inline(always)]
    fn changes(values: &[Self; 64], before: Self) -> u64 {
        if values.iter().fold(before, |any, value| any | value) == 0 {
            return 0;
        }
        let first = u64::from(values[0] != before);
        let pairs = values.windows(2).enumerate();
        pairs.fold(first, |all, (i, pair)| all | u64::from(pair[0] != pair[1]) << (i + 1))
    }
}

/// Which bytes of a word are not 0, a bit each.
#[inline(always)]
pub(super) const fn not_zero(word: u64) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let flags = (((word & LOW) + LOW) | word) & !LOW;
    // Moves the top bits of eight bytes together.
    ((flags >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_tell_where_values_differ() {
        for bits in [0, 1, 1 << 63, 0x8000_4000_0201_00ff, u64::MAX] {
            let narrow: [i8; 64] =
                std::array::from_fn(|i| if bits >> i & 1 == 1 { -128 } else { 0 });
            let wide = narrow.map(i32::from);
            assert_eq!((i8::others(&narrow), i32::others(&wide)), (bits, bits));
            for before in [0, -128] {
                let changes = bits ^ (bits << 1 | u64::from(before != 0));
                assert_eq!(i8::changes(&narrow, before), changes);
                assert_eq!(i32::changes(&wide, before.into()), changes);
            }
        }
    }

    #[test]
    fn bytes_are_values_and_back() {
        for value in -127..=127i8 {
            assert_eq!(i8::from_zigzag(value.to_zigzag()), value);
            assert_eq!(i32::from(value).to_zigzag(), value.to_zigzag());
        }
        assert_eq!(((-128i8).to_zigzag(), (-128i32).to_zigzag()), (255, 255));
        assert_eq!((i32::MAX.to_zigzag(), i32::MIN.to_zigzag()), (255, 255));
    }

    #[test]
    fn values_take_the_narrowest_width() {
        assert_eq!(ValueBuf::new(vec![-128, 127]), ValueBuf::I8(vec![-128, 127]));
        assert_eq!(ValueBuf::new(vec![-129, 0]), ValueBuf::I32(vec![-129, 0]));
    }
}
