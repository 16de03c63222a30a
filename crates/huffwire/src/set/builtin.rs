//! The built-in codebook set: a few shapes that serve tensors of all kinds without calibration.
//!
//! The books themselves are in `builtin_data.rs`, made from formulas by `examples/builtin.rs`; that
//! they are complete codes within their limits is checked by the compiler. Every released set stays
//! readable: data refer to it by its id.

use std::sync::{Arc, LazyLock};

use super::builtin_data as data;
use super::shape::Shape;
use super::{Binding, CodebookSet, SetBuilder};
use crate::codebook::Lengths;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::planes::Layout;

/// Books, the element types they are for (`None`: any), and the layout whose first plane they code.
type Group = (&'static [Shape], &'static [Option<Dtype>], Layout);

/// What each group of books is for.
const GROUPS: &[Group] = &[
    // Exponents look alike in all floats: no element type.
    (data::EXPONENTS, &[None], Layout::Exponent),
    (data::SCALES, &[Some(Dtype::E8m0)], Layout::Exponent),
    (data::E4M3, &[Some(Dtype::E4m3)], Layout::Magnitude),
    (data::E5M2, &[Some(Dtype::E5m2)], Layout::Magnitude),
    (data::E3M2, &[Some(Dtype::E3m2), Some(Dtype::E3m2Packed)], Layout::Magnitude),
    (data::E2M3, &[Some(Dtype::E2m3), Some(Dtype::E2m3Packed)], Layout::Magnitude),
    (data::E2M1, &[Some(Dtype::E2m1)], Layout::Bytes),
    (data::I8, &[Some(Dtype::I8)], Layout::Bytes),
];

static SET: LazyLock<Arc<CodebookSet>> = LazyLock::new(|| {
    // A group that cannot be added would be a mistake in the tables above, which the tests below
    // find; the program would then go on without these books, not crash.
    let mut builder = SetBuilder::new("builtin");
    for (shapes, elements, layout) in GROUPS {
        let _ = add_group(&mut builder, shapes, elements, *layout);
    }
    Arc::new(builder.build())
});

fn add_group(
    builder: &mut SetBuilder,
    shapes: &[Shape],
    elements: &[Option<Dtype>],
    layout: Layout,
) -> Result<()> {
    let mut books: Vec<u8> =
        shapes.iter().map(|shape| builder.add(shape.lengths)).collect::<Result<_>>()?;
    books.sort_unstable();
    books.dedup();
    for &dtype in elements {
        let books = books.clone();
        builder.bind(Binding { pattern: "*".into(), dtype, layout, plane: 0, books })?;
    }
    Ok(())
}

impl CodebookSet {
    /// The built-in set. See `docs/codebooks.md` for what it was made from and how well it fits.
    #[must_use]
    pub fn builtin() -> Arc<Self> {
        Arc::clone(&SET)
    }

    /// What a built-in book was made for: the parameters of its distribution.
    #[must_use]
    pub fn builtin_about(lengths: &Lengths) -> Option<&'static str> {
        let mut shapes = GROUPS.iter().flat_map(|group| group.0);
        shapes.find(|shape| shape.lengths == *lengths).map(|shape| shape.about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_in_the_set() {
        let mut builder = SetBuilder::new("builtin");
        for (shapes, elements, layout) in GROUPS {
            add_group(&mut builder, shapes, elements, *layout).unwrap();
        }
        let set = CodebookSet::builtin();
        assert_eq!(builder.build(), *set);
        for book in set.books() {
            assert!(CodebookSet::builtin_about(book.lengths()).is_some());
        }
        assert_eq!(CodebookSet::from_bytes(&set.to_bytes()).unwrap(), *set);
    }

    #[test]
    fn floats_of_all_sizes_have_books_and_they_are_narrow() {
        let set = CodebookSet::builtin();
        for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32, Dtype::E8m0] {
            let books: Vec<u8> = set.candidates(None, dtype, Layout::Exponent, 0).collect();
            assert!(!books.is_empty());
            assert!(books.iter().all(|&n| set.book(n).unwrap().lengths().is_narrow()));
        }
    }
}
