//! Quantized values: the small integers that quantizers make of gradients.
//!
//! Values come in two widths, because nearly all quantizers have at most 255 different values, and one byte a
//! value is faster to read than four. An encoder writes the same bytes for either width.

/// Borrowed quantized values, of either width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values<'a> {
    /// Values of one byte.
    I8(&'a [i8]),
    /// Values of four bytes.
    I32(&'a [i32]),
}

/// A borrowed buffer for quantized values, of either width.
#[derive(Debug, PartialEq, Eq)]
pub enum ValuesMut<'a> {
    /// Values of one byte.
    I8(&'a mut [i8]),
    /// Values of four bytes.
    I32(&'a mut [i32]),
}

/// Owned quantized values, of either width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueBuf {
    /// Values of one byte.
    I8(Vec<i8>),
    /// Values of four bytes.
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
    /// Number of values.
    #[must_use]
    pub const fn len(&self) -> usize {
        with_values!(Values, self, values => values.len())
    }

    /// Whether there are no values.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of values that are 0.
    #[must_use]
    pub fn zeros(&self) -> usize {
        with_values!(Values, self, values => values.iter().filter(|value| **value == 0).count())
    }

    /// The value at `index`; 0 beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> i32 {
        match self {
            Self::I8(values) => values.get(index).map_or(0, |&value| value.into()),
            Self::I32(values) => values.get(index).copied().unwrap_or(0),
        }
    }

    /// A sample of the values: at most 32768 consecutive ones, at a random place. `None` if there are none.
    pub(super) fn sample(&self, place: u64) -> Option<ValueBuf> {
        const MOST: usize = 1 << 15;
        let count = self.len().min(MOST);
        let places = (self.len() - count + 1) as u128;
        let start = ((u128::from(place) * places) >> 64) as usize;
        (count > 0).then(|| self.slice(start, start + count).to_buf())
    }

    /// A copy of the values, of the same width.
    #[must_use]
    pub fn to_buf(&self) -> ValueBuf {
        match self {
            Self::I8(values) => ValueBuf::I8(values.to_vec()),
            Self::I32(values) => ValueBuf::I32(values.to_vec()),
        }
    }

    /// The values from index `from` up to index `to`. Both are cut to the number of values.
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
    /// Number of values that the buffer holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::I8(values) => values.len(),
            Self::I32(values) => values.len(),
        }
    }

    /// Whether the buffer holds no values.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for ValueBuf {
    /// No values.
    fn default() -> Self {
        Self::I8(Vec::new())
    }
}

impl ValueBuf {
    /// These values, in one byte each if all fit, else in four.
    #[must_use]
    pub fn new(values: Vec<i32>) -> Self {
        // `all` would look at one value after the other; this fold is vector code.
        if !values.iter().fold(false, |wide, &value| wide | (value != i32::from(value as i8))) {
            Self::I8(values.iter().map(|&value| value as i8).collect())
        } else {
            Self::I32(values)
        }
    }

    /// The values, borrowed.
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

/// The type of a value, for code that serves both widths.
pub(super) trait Value: Copy + PartialEq + Default + From<i8> + Into<i32> + 'static {
    /// These values as a buffer of either width.
    fn view_mut(values: &mut [Self]) -> ValuesMut<'_>;

    /// The value in this width; `None` if it does not fit.
    fn narrow(value: i32) -> Option<Self>;

    /// The number of a value, small for small magnitudes: 0, 1, 2, 3 for 0, -1, 1, -2, and so on; 255 for all values
    /// whose number is 255 or more.
    fn to_zigzag(self) -> u8;

    /// The value of a number. For 255 the result has no meaning.
    fn from_zigzag(number: u8) -> Self;

    /// A bit for each of 64 values: 1 where the value is not 0.
    fn others(values: &[Self; 64]) -> u64;

    /// A bit for each of 64 values: 1 where the value differs from the value before it. `before` is the value before
    /// the first one.
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
        // For -128 this is 255, as it must be.
        ((self << 1) ^ (self >> 7)) as u8
    }

    #[inline(always)]
    fn from_zigzag(number: u8) -> Self {
        (number >> 1) as Self ^ -((number & 1) as Self)
    }

    #[inline(always)]
    fn others(values: &[Self; 64]) -> u64 {
        // Where speed matters most, most values are 0.
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

/// A bit for each byte of a word: 1 where the byte is not 0.
#[inline(always)]
pub(super) const fn not_zero(word: u64) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let flags = (((word & LOW) + LOW) | word) & !LOW;
    // The product moves the top bits of the eight bytes into the top byte.
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
