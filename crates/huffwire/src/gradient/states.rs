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
        if states.iter().all(|&state| i8::try_from(state).is_ok()) {
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
pub(super) trait State: Copy + Into<i32> {}

impl State for i8 {}
impl State for i32 {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_take_the_narrowest_width() {
        assert_eq!(StateBuf::new(vec![-128, 127]), StateBuf::I8(vec![-128, 127]));
        assert_eq!(StateBuf::new(vec![-129, 0]), StateBuf::I32(vec![-129, 0]));
    }
}
