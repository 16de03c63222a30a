//! Blocks are bound to their places: sound blocks in other places fail their checksums.

use super::*;
use forge::{entries_of, message_of};
use huffwire::message::HEADER_BYTES;

/// Blocks with their rows of the table.
#[derive(Clone)]
struct Rows {
    head: Vec<u8>,
    blocks: Vec<Vec<u8>>,
    checks: Vec<[u8; 4]>,
}

impl Rows {
    fn of(message: &[u8]) -> Self {
        let entries = entries_of(message);
        let checks = &message[HEADER_BYTES + 4 * entries.len()..][..4 * entries.len()];
        let checks = checks.as_chunks().0.to_vec();
        let blocks = entries.into_iter().map(|entry| message[entry].to_vec()).collect();
        Self { head: message[..HEADER_BYTES].to_vec(), blocks, checks }
    }

    fn message(&self) -> Vec<u8> {
        let mut message = message_of(&self.head, None, &self.blocks);
        message[12..16].copy_from_slice(&self.head[12..16]);
        let table = HEADER_BYTES + 4 * self.blocks.len();
        message[table..][..4 * self.blocks.len()].copy_from_slice(self.checks.as_flattened());
        message
    }
}

fn rows(dtype: Dtype, bytes: &[u8]) -> Rows {
    let message = encoder(blocks_of(10)).encode_to_vec(dtype, bytes).unwrap();
    let rows = Rows::of(&message);
    assert!(rows.message() == message);
    rows
}

#[track_caller]
fn refused(rows: &Rows, bytes: usize) -> u64 {
    let error = decode(&rows.message(), &Expected::anything(), bytes).unwrap_err();
    let (index, error) = inside(error);
    assert!(matches!(error, Error::Checksum { what: "a block", .. }), "{error}");
    index
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn exchanged_blocks_are_refused(
        dtype in any_dtype(),
        units in 3000..6000usize,
        seed in any::<u64>(),
        places in any::<[prop::sample::Index; 2]>(),
    ) {
        let bytes = tensor(dtype, units, seed);
        let rows = rows(dtype, &bytes);
        // The last block may be shorter, and so lengths of others may be too long for its place.
        let [first, second] = places.map(|place| place.index(rows.blocks.len() - 1));
        prop_assume!(first != second);
        let mut exchanged = rows.clone();
        exchanged.blocks.swap(first, second);
        exchanged.checks.swap(first, second);
        prop_assert_eq!(refused(&exchanged, bytes.len()), first.min(second) as u64);
        // A block twice.
        let mut doubled = rows;
        doubled.blocks[first] = doubled.blocks[second].clone();
        doubled.checks[first] = doubled.checks[second];
        prop_assert_eq!(refused(&doubled, bytes.len()), first as u64);
    }

    /// A block from the same place of a tensor of another size or type.
    #[test]
    fn blocks_of_other_messages_are_refused(
        units in 1100..3000usize,
        more in 1..500usize,
        seed in any::<u64>(),
    ) {
        let mine = tensor(Dtype::Bf16, units, seed);
        let ours = rows(Dtype::Bf16, &mine);
        let longer = rows(Dtype::Bf16, &tensor(Dtype::Bf16, units + more, seed));
        let of_other_type = rows(Dtype::I16, &mine);
        for other in [longer, of_other_type] {
            for number in 0..2 {
                let mut spliced = ours.clone();
                spliced.blocks[number] = other.blocks[number].clone();
                spliced.checks[number] = other.checks[number];
                prop_assert_eq!(refused(&spliced, mine.len()), number as u64);
            }
        }
    }
}

/// Equal blocks, which nothing but their numbers tells apart.
#[test]
fn equal_blocks_are_exchanged_with_their_checksums_in_vain() {
    let rows = rows(Dtype::Bf16, &[7; 5000]);
    assert!(rows.blocks[0] == rows.blocks[1] && rows.checks[0] != rows.checks[1]);
    let mut exchanged = rows;
    exchanged.checks.swap(0, 1);
    assert_eq!(refused(&exchanged, 5000), 0);
}

/// Messages with one header are told apart by a context alone.
#[test]
fn blocks_of_a_message_with_the_same_header_need_a_context_to_be_told_apart() {
    let [first, second] = [1, 2].map(|seed| tensor(Dtype::Bf16, 1500, seed));
    let (mine, other) = (rows(Dtype::Bf16, &first), rows(Dtype::Bf16, &second));
    let mut spliced = mine;
    spliced.blocks[1] = other.blocks[1].clone();
    spliced.checks[1] = other.checks[1];
    let decoded = decode(&spliced.message(), &Expected::anything(), first.len()).unwrap();
    assert!(decoded[..1024] == first[..1024] && decoded[1024..2048] == second[1024..2048]);
    let message = |bytes: &[u8], context| {
        let tensor = Tensor::new(Dtype::Bf16, bytes).in_context(context);
        Rows::of(&encoder(blocks_of(10)).encode_tensor_to_vec(&tensor).unwrap())
    };
    let (mut spliced, other) = (message(&first, 1), message(&second, 2));
    spliced.blocks[1] = other.blocks[1].clone();
    spliced.checks[1] = other.checks[1];
    let expected = Expected::anything().context(1);
    let error = decode(&spliced.message(), &expected, first.len()).unwrap_err();
    assert!(matches!(inside(error), (1, Error::Checksum { .. })));
}
