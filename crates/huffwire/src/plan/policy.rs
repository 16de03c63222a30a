//! Policy of a sender for a tensor: the level, and the books that blocks may take.

use super::Candidates;
use crate::dtype::Dtype;
use crate::planes::{Layout, MAX_PLANES, Plane, Role, Scheme, SymbolRule};
use crate::set::CodebookSet;
use crate::stats::SampleSize;

/// Level: how much work the encoder does for the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Level {
    /// Code the symbol planes with resident books; sign and mantissa stay raw. A book is made from the data
    /// and embedded only where the set has none for the plane.
    #[default]
    Fast,
    /// Code every plane that gains from it, with a book made from the block itself and embedded in
    /// it wherever that is smaller than the best resident one.
    Max,
}

/// Choice of resident books for a block: which are considered, and on which part of the block they are priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Choice {
    /// The cheapest of all books that fit the plane, priced on a sample: one unit in 64, but at least
    /// 1024, in runs of 64 spread evenly over the block. [`Level::Max`] looks at one in 8, 4096 to 8192, and
    /// makes books for exponents from that; other planes that look as if they could be coded it counts on a
    /// quarter.
    #[default]
    Sample,
    /// The same, priced on the whole block.
    Cheapest,
    /// Only the books of the first binding that matches the tensor's name: one book per tensor kind, as
    /// Agrawal et al. (arXiv 2601.10673) do. The cheapest where several are bound, by a sample.
    Named,
    /// This book of the set, for every plane of its alphabet; other planes stay raw at
    /// [`Level::Fast`].
    Fixed(u8),
}

/// A layout that blocks of a tensor may have, and by plane the resident books that are considered.
#[derive(Debug, Clone)]
pub(crate) struct LayoutPolicy {
    pub(crate) scheme: &'static Scheme,
    pub(crate) candidates: [Candidates; MAX_PLANES],
}

/// Policy for a tensor: its layouts, their books, and how to choose between them.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    dtype: Dtype,
    level: Level,
    choice: Choice,
    layouts: Vec<LayoutPolicy>,
}

impl Policy {
    pub(crate) fn new(
        set: &CodebookSet,
        dtype: Dtype,
        tensor: &str,
        rule: SymbolRule,
        level: Level,
        choice: Choice,
    ) -> Self {
        let tensor = (choice == Choice::Named).then_some(tensor);
        let layout_policy = |layout| {
            let scheme: &'static Scheme = dtype.scheme(layout)?;
            let fits = |number: &u8, plane: &Plane| {
                set.book(*number).is_ok_and(|book| book.lengths().alphabet() == plane.alphabet())
            };
            let candidates = std::array::from_fn(|index| {
                let numbers = match (scheme.planes.get(index), choice) {
                    (None, _) => Vec::new(),
                    (Some(plane), Choice::Fixed(number)) => {
                        Some(number).filter(|number| fits(number, plane)).into_iter().collect()
                    }
                    // The exponents are those of the layout exponent, so its bindings serve both layouts.
                    (Some(plane), _) if layout == Layout::SignApart => {
                        let layout = Layout::Exponent;
                        let books = set.candidates(tensor, dtype, layout, index as u8);
                        books.filter(|number| fits(number, plane)).collect()
                    }
                    _ => set.candidates(tensor, dtype, layout, index as u8).collect(),
                };
                Candidates::new(set, numbers)
            });
            Some(LayoutPolicy { scheme, candidates })
        };
        let mut layouts: Vec<_> = dtype.layouts(rule).filter_map(layout_policy).collect();
        // Of several layouts, those without a book would have to make one: not at this level,
        // unless none has any.
        let has_book = |layout: &LayoutPolicy| layout.candidates.iter().any(|c| !c.is_empty());
        if level == Level::Fast && layouts.iter().any(has_book) {
            layouts.retain(has_book);
        }
        // Looked at first: where it fits there is no better one, and where it does not that is soon known.
        if layouts.iter().any(|layout| layout.scheme.layout == Layout::Exponent)
            && let Some(apart) = layout_policy(Layout::SignApart)
        {
            layouts.insert(0, apart);
        }
        Self { dtype, level, choice, layouts }
    }

    pub(crate) const fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub(crate) const fn level(&self) -> Level {
        self.level
    }

    pub(crate) fn layouts(&self) -> &[LayoutPolicy] {
        &self.layouts
    }

    /// What sample of a block is enough to choose by; `None` where the whole block has to be looked at.
    pub(crate) const fn sample(&self) -> Option<SampleSize> {
        match (self.level, self.choice) {
            (_, Choice::Cheapest) => None,
            (Level::Fast, _) => Some(SampleSize::CHOICE),
            (Level::Max, _) => Some(SampleSize::MAKING),
        }
    }

    /// Whether a plane may have a book of its own: at the fast level only where there would be none.
    pub(crate) fn embeds(&self, plane: &Plane, candidates: &Candidates) -> bool {
        let bookless = candidates.is_empty() && plane.role == Role::Symbols;
        self.level == Level::Max || (bookless && !matches!(self.choice, Choice::Fixed(_)))
    }
}
