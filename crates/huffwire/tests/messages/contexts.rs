//! Contexts: numbers that both ends know, and that are not sent.

use super::*;
use huffwire::message::Header;

fn message(tensor: &Tensor<'_>) -> Vec<u8> {
    encoder(blocks_of(10)).encode_tensor_to_vec(tensor).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn a_message_decodes_in_its_context_and_in_no_other(
        dtype in any_dtype(),
        units in 0..900usize,
        context in any::<u64>(),
        other in any::<u64>(),
        seed in any::<u64>(),
    ) {
        let bytes = tensor(dtype, units, seed);
        let message = message(&Tensor::new(dtype, &bytes).in_context(context));
        let expected = Expected::anything().context(context);
        let decoded = decode(&message, &expected, bytes.len());
        prop_assert_eq!(decoded.as_ref(), Ok(&bytes));
        let header = Header::read(&message, Some(context)).unwrap();
        prop_assert!(header.has_context);
        let next = context.wrapping_add(1);
        for wrong in [next, context.wrapping_sub(1), context ^ 1 << 63, !context, other] {
            if wrong == context {
                continue;
            }
            let error = decode(&message, &Expected::anything().context(wrong), bytes.len());
            let error = error.unwrap_err();
            prop_assert!(matches!(error, Error::Checksum { .. }), "{}", error);
            prop_assert!(error.to_string().contains("the message belongs to another context"));
            prop_assert_eq!(Header::read(&message, Some(wrong)), Err(error));
        }
    }

    /// Messages that differ in their context alone have no block in common, as far as checksums tell.
    #[test]
    fn a_block_of_another_context_is_refused(
        units in 600..1500usize,
        context in any::<u64>(),
        number in any::<prop::sample::Index>(),
    ) {
        let bytes = tensor(Dtype::Bf16, units, 3);
        let tensor = Tensor::new(Dtype::Bf16, &bytes);
        let next = context.wrapping_add(1);
        let here = message(&tensor.clone().in_context(context));
        let there = message(&tensor.in_context(next));
        let entries = forge::entries_of(&here);
        prop_assert_eq!(&entries, &forge::entries_of(&there));
        let number = number.index(entries.len());
        // The blocks are the same: it is the row of the table that is not.
        let mut spliced = here.clone();
        let row = huffwire::message::HEADER_BYTES + 4 * (entries.len() + number);
        spliced[row..row + 4].copy_from_slice(&there[row..row + 4]);
        let error = decode(&spliced, &Expected::anything().context(context), bytes.len());
        let (index, error) = inside(error.unwrap_err());
        prop_assert_eq!(index, number as u64);
        let is_checksum = matches!(error, Error::Checksum { what: "a block", .. });
        prop_assert!(is_checksum, "{}", error);
    }
}

#[test]
fn a_missing_context_and_one_too_many_are_told_apart() {
    let bytes = tensor(Dtype::F32, 500, 1);
    let tensor = Tensor::new(Dtype::F32, &bytes);
    let (plain, bound) = (message(&tensor), message(&tensor.in_context(0)));
    let anything = Expected::anything();
    assert_eq!(decode(&bound, &anything, bytes.len()), Err(Error::MissingContext));
    assert_eq!(Header::read(&bound, None), Err(Error::MissingContext));
    let unexpected = decode(&plain, &anything.context(0), bytes.len());
    assert_eq!(unexpected, Err(Error::UnexpectedContext));
    assert_eq!(Header::read(&plain, Some(0)), Err(Error::UnexpectedContext));
    let mut elements = vec![1.0f32; 500];
    let typed = Decoder::builtin().decode_into(&bound, &mut elements);
    assert_eq!(typed, Err(Error::MissingContext));
    assert!(elements.iter().all(|element| element.is_nan()));
}

/// The flag is covered by the header's checksum: to take it away is no way around the context.
#[test]
fn the_flag_of_the_context_is_protected() {
    let bytes = tensor(Dtype::F32, 500, 1);
    let tensor = Tensor::new(Dtype::F32, &bytes);
    let (mut plain, mut bound) = (message(&tensor), message(&tensor.in_context(5)));
    plain[1] ^= 2;
    bound[1] ^= 2;
    for (message, expected) in
        [(plain, Expected::anything().context(5)), (bound, Expected::anything())]
    {
        let error = decode(&message, &expected, bytes.len()).unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
    }
}

#[test]
fn a_context_costs_no_byte_and_changes_no_block() {
    let bytes = tensor(Dtype::Bf16, 3000, 2);
    let tensor = Tensor::new(Dtype::Bf16, &bytes);
    let (plain, bound) = (message(&tensor), message(&tensor.in_context(77)));
    assert_eq!(plain.len(), bound.len());
    let first = forge::entries_of(&plain)[0].start;
    assert!(plain[first..] == bound[first..]);
}
