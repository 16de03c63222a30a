//! The fuzz body on every `cargo test`; `cargo xtask fuzz greeting` runs it for as long as one likes.

#![allow(clippy::panic)] // A panic says what does not hold.

mod fuzz_bodies;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_understood_or_refused(data in proptest::collection::vec(any::<u8>(), 0..80)) {
        fuzz_bodies::greeting(&data);
    }

    /// Versions, directions and statuses near the ones that there are.
    #[test]
    fn nearly_right_bytes_are_understood_or_refused(
        begin in proptest::collection::vec(any::<u8>(), 20),
        middle in proptest::collection::vec(0..3u8, 4),
        end in proptest::collection::vec(any::<u8>(), 12),
    ) {
        fuzz_bodies::greeting(&[begin, middle, end].concat());
    }
}
