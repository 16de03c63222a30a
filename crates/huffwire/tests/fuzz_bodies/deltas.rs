//! Any bytes as a delta: applied or refused, and a base whose delta is refused stays as it was.

use huffwire::{CodebookSet, CodedBlock, Decoder, Encoder, Error, Expected, POISON, Tensor, delta};

use super::forge::mend_message;
use super::{LARGEST, Recipe};

/// A message over a base of zeros; a recipe: type, options, base, new tensor, context, changes of the message, which is
/// mended; and the same changes of a block, which has no checksum and whose hashes they mostly leave alone.
pub fn deltas(data: &[u8]) {
    if let Ok(header) = huffwire::message::Header::read(data, None)
        && let Some(size) = header.raw_bytes().ok().filter(|size| *size <= LARGEST)
    {
        apply(data, None, &vec![0; size]);
    }

    let mut recipe = Recipe(data);
    let dtype = recipe.dtype();
    let options = recipe.options();
    let base = recipe.tensor(dtype);
    let mut new = recipe.tensor(dtype);
    // The new tensor is the base, but where the other one has odd bytes.
    new.resize(base.len(), 0);
    for (new, base) in new.iter_mut().zip(&base) {
        *new = if *new & 1 == 0 { *base } else { *new };
    }
    let context = recipe.context();
    let mut encoder = Encoder::new(CodebookSet::builtin(), options).expect("valid options");
    let tensor = Tensor::new(dtype, &new);
    let tensor = context.map_or(tensor.clone(), |context| tensor.in_context(context));
    let mut message = encoder.encode_tensor_delta_to_vec(&base, &tensor).expect("whole values");
    assert_eq!(apply(&message, context, &base), Some(new.clone()));
    let edits = recipe.0;
    recipe.edit(&mut message);
    mend_message(&mut message, context);
    apply(&message, context, &base);

    let mut block = Vec::new();
    encoder.encode_delta_block(&base, &tensor, &mut block).expect("whole units");
    // The changes begin behind the hashes.
    let mut payload = block.split_off(block.len().min(33));
    Recipe(edits).edit(&mut payload);
    block.extend_from_slice(&payload);
    let set = CodebookSet::builtin().id();
    let coded = CodedBlock { dtype, set, checksum: None, bytes: &block };
    let mut out = vec![0x11; base.len()];
    match Decoder::builtin().decode_delta_block(&coded, &base, &mut out) {
        Ok(_) => assert!(out == new),
        Err(error) => check_refused(&error, &out),
    }
}

/// What was filled with 0x11 is as it was, or poison from end to end; but never poison where only the base is wrong.
fn check_refused(error: &Error, out: &[u8]) {
    let is_all = |expected| out.iter().all(|byte| *byte == expected);
    let cause = match error {
        Error::InBlock { source, .. } => source,
        other => other,
    };
    let is_base = matches!(cause, Error::WrongBase { .. } | Error::BaseLength { .. });
    assert!(is_all(0x11) || (is_all(POISON) && !is_base), "{error}: {out:?}");
}

/// Applies a delta in every way; returns the result, if there is one.
fn apply(message: &[u8], context: Option<u64>, base: &[u8]) -> Option<Vec<u8>> {
    let anything = Expected::anything();
    let expected = context.map_or(anything, |context| anything.context(context));
    let mut decoder = Decoder::builtin();
    let mut in_place = base.to_vec();
    let applied = decoder.apply_expected_delta(message, &expected, &mut in_place);
    let mut copy = vec![0x11; base.len()];
    let copied = decoder.decode_expected_delta(base, message, &expected, &mut copy);
    let changes = decoder.delta_changes(message, &expected, base);
    assert_eq!(applied.is_ok(), copied.is_ok());
    assert_eq!(applied.is_ok(), changes.is_ok());
    if let Err(error) = copied {
        assert!(in_place == base);
        check_refused(&error, &copy);
        return None;
    }
    assert!(in_place == copy);
    let info = delta::Info::read(message, context).expect("it was decoded");
    assert_eq!(info.changes(), changes.map_or(0, |changes| changes.indices.len() as u64));
    Some(copy)
}
