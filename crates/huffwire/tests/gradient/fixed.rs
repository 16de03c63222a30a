//! Codebooks from earlier steps.

use std::sync::Arc;

use huffwire::gradient::encode::{
    Bitmap, BitmapBooks, Fixed, Huffman, Rlh, RunAlphabet, ValueEncoder,
};
use huffwire::gradient::{ValueBuf, Values};
use huffwire::refresh::{Limits, Refreshable, Refresher};
use huffwire::{CodebookSet, SetBuilder};

use crate::values::qsgd_like;

fn size(encoder: &dyn ValueEncoder, values: &[i8]) -> f64 {
    encoder.encode(Values::I8(values), &mut Vec::new()).unwrap().total as f64
}

#[test]
fn a_book_of_earlier_steps_is_nearly_as_good_as_a_fresh_one() {
    let steps: Vec<Vec<i8>> = (1..4).map(|seed| qsgd_like(200_000, 90.0, 4, seed)).collect();
    let earlier = || steps.iter().map(|step| Values::I8(step));
    let now = qsgd_like(200_000, 90.0, 4, 9);
    let pairs: [(RunAlphabet, Box<dyn ValueEncoder>); 2] =
        [(RunAlphabet::Values, Box::new(Huffman)), (RunAlphabet::Pairs, Box::new(Rlh))];
    for (alphabet, fresh) in pairs {
        let book = Fixed::train(alphabet, earlier()).unwrap();
        assert!(size(&book, &now) < size(&*fresh, &now) * 1.01);
        let regret = book.regret(&[now.clone().into()]).unwrap().share();
        assert!(regret < 0.01 && regret > -1e-9, "{regret}");
    }
    let books = BitmapBooks::train(earlier()).unwrap();
    let held = CodebookSet::from_bytes(&books.set().to_bytes()).unwrap();
    assert_eq!(held.id(), books.set().id());
    let held = BitmapBooks::from_set(held).unwrap();
    assert_eq!(held, books);
    assert!(size(&Bitmap::with_books(held.into()), &now) < size(&Bitmap::default(), &now));
}

#[test]
fn regret_is_what_it_says() {
    let (before, mut after) = (qsgd_like(100_000, 95.0, 4, 1), qsgd_like(100_000, 60.0, 4, 2));
    after.iter_mut().filter(|value| **value != 0).for_each(|value| *value += 2);
    for alphabet in [RunAlphabet::Values, RunAlphabet::Pairs, RunAlphabet::ZeroRuns(200)] {
        let old = Fixed::train(alphabet, [Values::I8(&before)]).unwrap();
        let regret = old.regret(&[after.clone().into()]).unwrap();
        // The bits are those that are written, 4 bytes of the id and 3 of the number apart.
        let written = size(&old, &after) - 7.0;
        assert!((regret.spent_bits as f64 / 8.0 - written).abs() <= 1.0, "{alphabet:?}");
        assert!(regret.share() > 0.01, "{alphabet:?}: {}", regret.share());

        assert_refreshed(old, &after);
    }
}

/// Books that lose more than a percent on some values are replaced.
fn assert_refreshed<B>(old: B, after: &[i8])
where
    B: for<'a> Refreshable<Message<'a> = Values<'a>, Sample = ValueBuf>,
{
    let limits = Limits { regret: 0.01, every: 30, interval: after.len() / 2, samples: 8 };
    let mut refresher = Refresher::new(old, limits);
    (0..29).for_each(|_| refresher.observe(&Values::I8(after)));
    assert!(!refresher.is_due() && refresher.judge().unwrap().is_none());
    refresher.observe(&Values::I8(after));
    let proposal = refresher.judge().unwrap().expect("books that pay");
    assert!(proposal.regret.share() > 0.01);
    refresher.switch(proposal.books);
    (0..30).for_each(|_| refresher.observe(&Values::I8(after)));
    assert!(refresher.judge().unwrap().is_none());
    assert!(refresher.regret().unwrap().share() < 0.01);
    // Nothing is sent, so nothing is sampled.
    (0..30).for_each(|_| refresher.observe(&Values::I8(&[])));
    assert!(!refresher.is_due());
}

#[test]
fn regret_of_bitmaps_is_what_it_says() {
    let (before, after) = (qsgd_like(300_000, 95.0, 4, 1), qsgd_like(300_000, 60.0, 4, 2));
    let books = BitmapBooks::train([Values::I8(&before)]).unwrap();
    let again = books.regret(&[qsgd_like(300_000, 95.0, 4, 3).into()]).unwrap();
    assert!(again.share().abs() < 0.02, "{}", again.share());
    let regret = books.regret(&[after.clone().into()]).unwrap();
    assert_refreshed(books.clone(), &after);
    let written = size(&Bitmap::with_books(books.into()), &after);
    // Lanes of each of the planes cost some bytes.
    assert!((written - regret.spent_bits as f64 / 8.0).abs() < 500.0);
    assert!(regret.share() > 0.05, "{}", regret.share());
    let zeros = BitmapBooks::train([Values::I8(&[0; 9])]).unwrap();
    assert_eq!(zeros.regret(&[vec![0i8; 0].into()]).unwrap().share(), 0.0);
}

/// Nothing but zeros is what training sends at times; books of that must not be bad at what comes then.
#[test]
fn books_of_zeros_code_zeros_in_no_space_and_the_others_in_little() {
    let books = Arc::new(BitmapBooks::train([Values::I8(&[0; 100_000])]).unwrap());
    let bitmap = Bitmap::with_books(books);
    assert!(size(&bitmap, &[0; 1_000_000]) < 32.0);
    let values = qsgd_like(1_000_000, 99.99, 4, 1);
    assert!(size(&bitmap, &values) < 2000.0, "{}", size(&bitmap, &values));
    // Nor must constant planes cost what a book of others takes for them.
    let books = BitmapBooks::train([Values::I8(&qsgd_like(100_000, 50.0, 4, 1))]).unwrap();
    let bitmap = Bitmap::with_books(books.into());
    assert!(size(&bitmap, &[0; 1_000_000]) < 32.0);
    assert!(size(&bitmap, &[-3; 1_000_000]) < 32.0);
}

#[test]
fn books_are_known_by_their_content() {
    let values = qsgd_like(5000, 80.0, 4, 1);
    let train = |values: &[i8]| Fixed::train(RunAlphabet::Pairs, [Values::I8(values)]).unwrap();
    let (a, b) = (train(&values), train(&values));
    assert_eq!((a.id(), a.to_bytes()), (b.id(), b.to_bytes()));
    assert_ne!(a.id(), train(&values[1000..]).id());
    assert_eq!(Fixed::from_bytes(&a.to_bytes()).unwrap().id(), a.id());
    let mut longer = a.to_bytes();
    longer.push(0);
    assert!(Fixed::from_bytes(&longer).is_err());
}

#[test]
fn a_set_without_books_for_bitmaps_is_refused() {
    let error = BitmapBooks::from_set(CodebookSet::builtin().as_ref().clone()).unwrap_err();
    assert!(error.to_string().contains("layers of a bitmap"), "{error}");
    let values = qsgd_like(5000, 80.0, 4, 1);
    let builtin = CodebookSet::builtin();
    // Nor is one that has other books beside them.
    let books = BitmapBooks::train([Values::I8(&values)]).unwrap();
    let mut builder = SetBuilder::new("all");
    builder.include(&builtin, |_| true).unwrap();
    builder.include(books.set(), |_| true).unwrap();
    assert!(BitmapBooks::from_set(builder.build()).is_err());
    assert_eq!(BitmapBooks::from_set(books.set().as_ref().clone()), Ok(books));
}
