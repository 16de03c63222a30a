//! States: the small integers that quantizers make of gradients.
//!
//! Nearly all quantizers have at most 255 of them, and reading a byte an element instead of four is what
//! makes speed; so states come in two widths, and an encoder writes the same bytes for both.

/// States that someone else holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States<'a> {
    /// States of a byte.
    I8(&'a [i8]),
    /// Any states.
    I32(&'a [i32]),
}

/// Room for states.
#[derive(Debug, PartialEq, Eq)]
pub enum StatesMut<'a> {
    /// States of a byte.
    I8(&'a mut [i8]),
    /// Any states.
    I32(&'a mut [i32]),
}

/// States, in the narrowest width that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateBuf {
    /// States of a byte.
    I8(Vec<i8>),
    /// Any states.
    I32(Vec<i32>),
}

/// Evaluates an expression for the states of either width.
macro_rules! with_states {
    ($enum:ident, $states:expr, $name:ident => $body:expr) => {
        match $states {
            $crate::gradient::$enum::I8($name) => $body,
            $crate::gradient::$enum::I32($name) => $body,
        }
    };
}
pub(super) use with_states;

impl States<'_> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        with_states!(States, self, states => states.len())
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are 0.
    #[must_use]
    pub fn zeros(&self) -> usize {
        with_states!(States, self, states => states.iter().filter(|state| **state == 0).count())
    }

    /// The state at an index; 0 beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> i32 {
        match self {
            Self::I8(states) => states.get(index).map_or(0, |&state| state.into()),
            Self::I32(states) => states.get(index).copied().unwrap_or(0),
        }
    }

    /// The states from one index up to another, both cut to what there is.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let to = to.min(self.len());
        let from = from.min(to);
        match self {
            Self::I8(states) => Self::I8(&states[from..to]),
            Self::I32(states) => Self::I32(&states[from..to]),
        }
    }
}

impl StatesMut<'_> {
    /// How many there is room for.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::I8(states) => states.len(),
            Self::I32(states) => states.len(),
        }
    }

    /// Whether there is room for none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl StateBuf {
    /// A byte a state if that holds them, else four.
    #[must_use]
    pub fn new(states: Vec<i32>) -> Self {
        // Not `all`, which looks at one after the other.
        if !states.iter().fold(false, |wide, &state| wide | (state != i32::from(state as i8))) {
            Self::I8(states.iter().map(|&state| state as i8).collect())
        } else {
            Self::I32(states)
        }
    }

    /// The states.
    #[must_use]
    pub fn view(&self) -> States<'_> {
        match self {
            Self::I8(states) => States::I8(states),
            Self::I32(states) => States::I32(states),
        }
    }
}

impl<'a> From<&'a [i8]> for States<'a> {
    fn from(states: &'a [i8]) -> Self {
        Self::I8(states)
    }
}

impl<'a> From<&'a [i32]> for States<'a> {
    fn from(states: &'a [i32]) -> Self {
        Self::I32(states)
    }
}

impl<'a> From<&'a mut [i8]> for StatesMut<'a> {
    fn from(states: &'a mut [i8]) -> Self {
        Self::I8(states)
    }
}

impl<'a> From<&'a mut [i32]> for StatesMut<'a> {
    fn from(states: &'a mut [i32]) -> Self {
        Self::I32(states)
    }
}

impl From<Vec<i8>> for StateBuf {
    fn from(states: Vec<i8>) -> Self {
        Self::I8(states)
    }
}

impl From<Vec<i32>> for StateBuf {
    fn from(states: Vec<i32>) -> Self {
        Self::I32(states)
    }
}

/// A width of states, for code that is the same for both.
pub(super) trait State: Copy + PartialEq + Default + From<i8> + Into<i32> + 'static {
    /// Room for these, as room for states of some width.
    fn view_mut(states: &mut [Self]) -> StatesMut<'_>;

    /// `None` for a state that needs more room.
    fn narrow(state: i32) -> Option<Self>;

    /// A number that is smaller for smaller magnitudes (0, -1, 1, -2, …); 255 for all that need more.
    fn to_zigzag(self) -> u8;

    /// The state of a number; anything for 255.
    fn from_zigzag(number: u8) -> Self;

    /// Which of 64 states are not 0, by bits.
    fn others(states: &[Self; 64]) -> u64;

    /// Which of 64 states are not as the one before them, by bits.
    fn changes(states: &[Self; 64], before: Self) -> u64;
}

impl State for i8 {
    fn view_mut(states: &mut [Self]) -> StatesMut<'_> {
        states.into()
    }

    #[inline]
    fn narrow(state: i32) -> Option<Self> {
        Self::try_from(state).ok()
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
    fn others(states: &[Self; 64]) -> u64 {
        // Most are zeros where this is worth its while.
        if states.iter().fold(0, |any, state| any | state) == 0 {
            return 0;
        }
        let words = states.as_chunks::<8>().0.iter().enumerate();
        words.fold(0, |all, (i, word)| all | u64::from(not_zero(word_of(word))) << (8 * i))
    }

    #[inline(always)]
    fn changes(states: &[Self; 64], before: Self) -> u64 {
        if states.iter().fold(before, |any, state| any | state) == 0 {
            return 0;
        }
        let mut last = u64::from(before as u8);
        let words = states.as_chunks::<8>().0.iter().enumerate();
        words.fold(0, |all, (i, word)| {
            let word = word_of(word);
            let change = word ^ (word << 8 | last);
            last = word >> 56;
            all | u64::from(not_zero(change)) << (8 * i)
        })
    }
}

#[inline(always)]
fn word_of(states: &[i8; 8]) -> u64 {
    u64::from_le_bytes(states.map(|state| state as u8))
}

impl State for i32 {
    fn view_mut(states: &mut [Self]) -> StatesMut<'_> {
        states.into()
    }

    #[inline]
    fn narrow(state: i32) -> Option<Self> {
        Some(state)
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
    fn others(states: &[Self; 64]) -> u64 {
        if states.iter().fold(0, |any, state| any | state) == 0 {
            return 0;
        }
        states.iter().enumerate().fold(0, |all, (i, state)| all | u64::from(*state != 0) << i)
    }

    #[inline(always)]
    fn changes(states: &[Self; 64], before: Self) -> u64 {
        if states.iter().fold(before, |any, state| any | state) == 0 {
            return 0;
        }
        let first = u64::from(states[0] != before);
        let pairs = states.windows(2).enumerate();
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
    fn bits_tell_where_states_differ() {
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
    fn bytes_are_states_and_back() {
        for state in -127..=127i8 {
            assert_eq!(i8::from_zigzag(state.to_zigzag()), state);
            assert_eq!(i32::from(state).to_zigzag(), state.to_zigzag());
        }
        assert_eq!(((-128i8).to_zigzag(), (-128i32).to_zigzag()), (255, 255));
        assert_eq!((i32::MAX.to_zigzag(), i32::MIN.to_zigzag()), (255, 255));
    }

    #[test]
    fn states_take_the_narrowest_width() {
        assert_eq!(StateBuf::new(vec![-128, 127]), StateBuf::I8(vec![-128, 127]));
        assert_eq!(StateBuf::new(vec![-129, 0]), StateBuf::I32(vec![-129, 0]));
    }
}
