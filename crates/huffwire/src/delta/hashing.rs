//! Hashes of two tensors at once, while the next piece of both is fetched; and which of their words differ, while they are
//! at hand.
//!
//! These are the hashes that a crate makes for [`ContentHash`], as fast as the cache is. On platforms whose kernels fetch,
//! a loop of this module makes them: for each line that it hashes it fetches one of each of the next pieces, so that
//! the memory works while the processor does. It is XXH3 with 128 bits and seed 0, for the large inputs of the
//! specification (xxHash, `doc/xxhash_spec.md`), whose words stripe, block, secret and accumulator are used here.

use crate::ids::{ContentHash, ContentHasher};
use crate::kernels::Kernels;
use crate::kernels::deltas::{self, Job, LINE};
use crate::kernels::platform::Platform;

/// Bytes that are accumulated at once, each eight of them by an accumulator of its own.
const STRIPE: usize = LINE;

/// The key of a stripe begins so many bytes of the secret behind that of the stripe before it.
const KEY_STEP: usize = 8;

/// Bytes of as many stripes as the secret has keys for. The accumulators are scrambled after each block.
const BLOCK: usize = STRIPE * STRIPES;
const STRIPES: usize = (SECRET.len() - STRIPE) / KEY_STEP;

/// Where the keys of other steps begin in the secret: those of scrambling, of the last stripe, and of the two halves of
/// the hash. The last three are no multiples of [`KEY_STEP`], so that these steps have keys that no stripe has.
const SCRAMBLE_KEY: usize = SECRET.len() - STRIPE;
const LAST_STRIPE_KEY: usize = SECRET.len() - STRIPE - 7;
const LOW_HALF_KEY: usize = 11;
const HIGH_HALF_KEY: usize = SECRET.len() - STRIPE - 11;

type Accumulators = [u64; 8];

/// The primes of the specification: `PRIME32_1` to `_3`, `PRIME64_1` to `_5`, and the one of its `avalanche`.
const PRIMES_32: [u64; 3] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d];
const PRIMES_64: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];
const PRIME_MX1: u64 = 0x1656_6791_9e37_79f9;

const START: Accumulators = [
    PRIMES_32[2],
    PRIMES_64[0],
    PRIMES_64[1],
    PRIMES_64[2],
    PRIMES_64[3],
    PRIMES_32[1],
    PRIMES_64[4],
    PRIMES_32[0],
];

/// The default secret.
#[rustfmt::skip]
const SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];

/// Hashes of the base of a block, and of its new elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hashes {
    pub(super) base: ContentHash,
    pub(super) result: ContentHash,
}

/// Hasher of a base and of new elements, which come piece by piece.
pub(super) struct PairHasher {
    hasher: Hasher,
    /// Bytes of each that are still to come.
    left: usize,
}

/// Who hashes.
#[expect(clippy::large_enum_variant, reason = "a block allocates nothing")]
enum Hasher {
    /// The loop of this module, where something is fetched meanwhile.
    Fetching(Fetching),
    /// The crate elsewhere: it has loops by hand for the instructions that it finds. As long as nothing changes both
    /// have the same hasher.
    Plain { base: ContentHasher, new: Option<ContentHasher> },
}

impl PairHasher {
    /// For a base and new elements of so many bytes.
    pub(super) fn new(platform: Platform, length: usize) -> Self {
        let hasher = if deltas::fetches(platform) {
            Hasher::Fetching(Fetching::new(platform))
        } else {
            Hasher::Plain { base: ContentHasher::new(), new: None }
        };
        Self { hasher, left: length }
    }

    /// Adds the next pieces of both, which have at least a byte and, but for the last ones, as many whole KiB. `changed`
    /// tells whether they differ. `next`, the pieces behind them, may be fetched meanwhile.
    pub(super) fn write(&mut self, [base, new]: [&[u8]; 2], changed: bool, next: [&[u8]; 2]) {
        debug_assert!(!base.is_empty() && base.len() == new.len() && base.len() <= self.left);
        debug_assert!(changed || base == new);
        self.left -= base.len();
        match &mut self.hasher {
            Hasher::Fetching(hasher) if self.left > 0 => hasher.write([base, new], changed, next),
            Hasher::Fetching(hasher) => hasher.write_last([base, new], changed),
            Hasher::Plain { base: of_base, new: of_new } => {
                if changed && of_new.is_none() {
                    *of_new = Some(of_base.clone());
                }
                of_base.write(base);
                if let Some(of_new) = of_new {
                    of_new.write(new);
                }
            }
        }
    }

    /// Adds the next pieces of both, as [`PairHasher::write`] does, of which it is not known whether they differ. For each
    /// line of them there is a number in `differing`, which gets a bit for each word of `B` bytes that differs.
    pub(super) fn compare<const B: usize>(
        &mut self,
        platform: Platform,
        pieces: [&[u8]; 2],
        next: [&[u8]; 2],
        differing: &mut [u64],
    ) {
        match &mut self.hasher {
            Hasher::Fetching(hasher) if self.left > pieces[0].len() => {
                self.left -= pieces[0].len();
                hasher.compare::<B>(pieces, next, differing);
            }
            _ => {
                deltas::compare::<B>(platform, pieces, differing);
                self.write(pieces, differing.iter().any(|bits| *bits != 0), next);
            }
        }
    }

    /// The hashes of both, of which nothing is left.
    pub(super) fn finish(&self) -> Hashes {
        debug_assert_eq!(self.left, 0);
        match &self.hasher {
            Hasher::Fetching(hasher) => hasher.hashes,
            Hasher::Plain { base, new } => {
                let base = base.finish();
                Hashes { base, result: new.as_ref().map_or(base, ContentHasher::finish) }
            }
        }
    }
}

/// The hasher that fetches.
struct Fetching {
    platform: Platform,
    base: Accumulators,
    /// As long as nothing changes both have the same accumulators.
    new: Option<Accumulators>,
    /// Bytes of both that were accumulated, and the last of them.
    done: usize,
    last: [[u8; STRIPE]; 2],
    /// Those of the whole once the last pieces were written, before that those of nothing.
    hashes: Hashes,
}

impl Fetching {
    fn new(platform: Platform) -> Self {
        let nothing = ContentHash::of(&[]);
        let hashes = Hashes { base: nothing, result: nothing };
        Self { platform, base: START, new: None, done: 0, last: [[0; STRIPE]; 2], hashes }
    }

    /// Adds pieces behind which there are others.
    fn write(&mut self, pieces: [&[u8]; 2], changed: bool, next: [&[u8]; 2]) {
        debug_assert!(pieces[0].len().is_multiple_of(BLOCK));
        if changed && self.new.is_none() {
            self.new = Some(self.base);
        }
        match &mut self.new {
            Some(new) => {
                let job = Accumulate { places: [&mut self.base, new], pieces, next };
                deltas::run(self.platform, job);
            }
            None => {
                let job = Accumulate { places: [&mut self.base], pieces: [pieces[0]], next };
                deltas::run(self.platform, job);
            }
        }
        self.note(pieces);
    }

    /// Adds pieces behind which there are others, and compares them.
    fn compare<const B: usize>(
        &mut self,
        pieces: [&[u8]; 2],
        next: [&[u8]; 2],
        differing: &mut [u64],
    ) {
        debug_assert!(pieces[0].len().is_multiple_of(BLOCK));
        let new = self.new.get_or_insert(self.base);
        let sums = [&mut self.base, new];
        deltas::run(self.platform, Compare::<B> { sums, pieces, next, differing });
        self.note(pieces);
    }

    /// Notes that pieces were accumulated.
    fn note(&mut self, pieces: [&[u8]; 2]) {
        self.done += pieces[0].len();
        for (last, piece) in self.last.iter_mut().zip(pieces) {
            *last = piece.last_chunk().copied().unwrap_or(*last);
        }
    }

    /// Adds the last pieces.
    fn write_last(&mut self, [base, new]: [&[u8]; 2], changed: bool) {
        let of_base = self.hash(self.base, &self.last[0], base);
        let result = if self.new.is_some() || changed {
            self.hash(self.new.unwrap_or(self.base), &self.last[1], new)
        } else {
            of_base
        };
        self.hashes = Hashes { base: of_base, result };
    }

    /// The hash of what was accumulated and ends with a stripe, and of a last piece.
    fn hash(&self, mut sums: Accumulators, before: &[u8; STRIPE], piece: &[u8]) -> ContentHash {
        if self.done == 0 {
            return ContentHash::of(piece);
        }
        // At most a block stays. Its last bytes are a stripe of their own, whatever was accumulated of them.
        let (blocks, rest) = piece.split_at((piece.len() - 1) / BLOCK * BLOCK);
        let job = Accumulate { places: [&mut sums], pieces: [blocks], next: [&[]; 2] };
        deltas::run(self.platform, job);
        let stripes = &rest.as_chunks().0[..(rest.len() - 1) / STRIPE];
        for (number, stripe) in stripes.iter().enumerate() {
            accumulate(&mut sums, stripe, key(KEY_STEP * number));
        }
        // The last stripe may begin in the piece before.
        let own = &piece[piece.len().saturating_sub(STRIPE)..];
        let mut last = *before;
        last.copy_within(own.len().., 0);
        last[STRIPE - own.len()..].copy_from_slice(own);
        accumulate(&mut sums, &last, key(LAST_STRIPE_KEY));
        let length = (self.done + piece.len()) as u64;
        let low = merge(&sums, key(LOW_HALF_KEY), length.wrapping_mul(PRIMES_64[0]));
        let high = merge(&sums, key(HIGH_HALF_KEY), !length.wrapping_mul(PRIMES_64[1]));
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&low.to_le_bytes());
        hash[8..].copy_from_slice(&high.to_le_bytes());
        ContentHash(hash)
    }
}

/// Accumulates whole blocks of pieces.
struct Accumulate<'a, const N: usize> {
    places: [&'a mut Accumulators; N],
    pieces: [&'a [u8]; N],
    next: [&'a [u8]; 2],
}

impl<const N: usize> Job for Accumulate<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernels: impl Kernels) {
        let Self { places, pieces, next } = self;
        accumulate_blocks(kernels, places, pieces, next, |_, _, _| ());
    }
}

/// Accumulates whole blocks of pieces, and compares them.
struct Compare<'a, const B: usize> {
    sums: [&'a mut Accumulators; 2],
    pieces: [&'a [u8]; 2],
    next: [&'a [u8]; 2],
    differing: &'a mut [u64],
}

impl<const B: usize> Job for Compare<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernels: impl Kernels) {
        let Self { sums, pieces, next, differing } = self;
        let differing = differing.as_chunks_mut::<STRIPES>().0;
        accumulate_blocks(
            kernels,
            sums,
            pieces,
            next,
            #[inline(always)]
            |block, number, [base, new]| {
                differing[block][number] = kernels.differing::<B>(base, new);
            },
        );
    }
}

/// Accumulates whole blocks of pieces, while what lies at the same places of the next ones is fetched. Each stripe is
/// handed to a function, with the number of its block and its own.
///
/// Blocks are arrays, so that the compiler has no bounds to check for each stripe.
#[inline(always)]
fn accumulate_blocks<const N: usize>(
    kernels: impl Kernels,
    places: [&mut Accumulators; N],
    pieces: [&[u8]; N],
    next: [&[u8]; 2],
    mut take_stripe: impl FnMut(usize, usize, [&[u8; STRIPE]; N]),
) {
    let mut all = places.each_ref().map(|sums| **sums);
    let pieces = pieces.map(|piece| piece.as_chunks::<STRIPE>().0.as_chunks::<STRIPES>().0);
    let next = next.map(|piece| piece.as_chunks::<STRIPE>().0.as_chunks::<STRIPES>().0);
    for block in 0..pieces[0].len() {
        let stripes = pieces.map(|piece| &piece[block]);
        let next = next.map(|piece| piece.get(block));
        for number in 0..STRIPES {
            for stripes in next.into_iter().flatten() {
                kernels.fetch(&stripes[number]);
            }
            let stripes = stripes.map(|stripes| &stripes[number]);
            let key = key(KEY_STEP * number);
            for (sums, stripe) in all.iter_mut().zip(stripes) {
                accumulate(sums, stripe, key);
            }
            take_stripe(block, number, stripes);
        }
        for sums in &mut all {
            scramble(sums);
        }
    }
    for (place, sums) in places.into_iter().zip(all) {
        *place = sums;
    }
}

/// The part of the secret that begins at a place.
#[inline(always)]
fn key(start: usize) -> &'static [u8; STRIPE] {
    const LAST: usize = SECRET.len() - STRIPE;
    const KEYS: [[u8; STRIPE]; LAST + 1] = {
        let mut keys = [[0; STRIPE]; LAST + 1];
        let mut start = 0;
        while start <= LAST {
            let mut at = 0;
            while at < STRIPE {
                keys[start][at] = SECRET[start + at];
                at += 1;
            }
            start += 1;
        }
        keys
    };
    static ALL: [[u8; STRIPE]; LAST + 1] = KEYS;
    &ALL[start]
}

#[inline(always)]
fn words(bytes: &[u8; STRIPE]) -> [u64; 8] {
    let words = bytes.as_chunks::<8>().0;
    std::array::from_fn(|number| u64::from_le_bytes(words[number]))
}

#[inline(always)]
fn accumulate(sums: &mut Accumulators, stripe: &[u8; STRIPE], key: &[u8; STRIPE]) {
    let (values, keys) = (words(stripe), words(key));
    for number in 0..8 {
        let keyed = values[number] ^ keys[number];
        let product = (keyed & 0xffff_ffff) * (keyed >> 32);
        sums[number] = sums[number].wrapping_add(values[number ^ 1]).wrapping_add(product);
    }
}

#[inline(always)]
fn scramble(sums: &mut Accumulators) {
    for (sum, key) in sums.iter_mut().zip(words(key(SCRAMBLE_KEY))) {
        *sum = (*sum ^ *sum >> 47 ^ key).wrapping_mul(PRIMES_32[0]);
    }
}

/// Half of the hash: the products of pairs of accumulators are added to a number, whose bits are mixed then.
fn merge(sums: &Accumulators, key: &[u8; STRIPE], mut half: u64) -> u64 {
    let keys = words(key);
    for pair in (0..8).step_by(2) {
        let [a, b] = [pair, pair + 1].map(|number| u128::from(sums[number] ^ keys[number]));
        let product = a * b;
        half = half.wrapping_add(product as u64 ^ (product >> 64) as u64);
    }
    half = (half ^ half >> 37).wrapping_mul(PRIME_MX1);
    half ^ half >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use huffwire_testing::noise;
    use twox_hash::xxhash3_128::SecretBuffer;

    #[test]
    fn the_secret_is_the_default_one() {
        assert_eq!(&SECRET, SecretBuffer::default().into_secret());
        assert_eq!(BLOCK, 1024);
    }

    #[test]
    fn hashes_are_those_of_the_contents() {
        const PIECE: usize = 4 * BLOCK;
        // In one piece, and what may be left behind others.
        let whole = [0, 1, 64, 240, 241, 300, 1023, 1024, 1025, 4095, 4096];
        let left = [1, 63, 64, 65, 128, 240, 241, 960, 961, 1023, 1024, 1025, 4095, 4096, 57_344];
        let lengths = || whole.into_iter().chain(left.map(|left| PIECE + left));
        for platform in Platform::available() {
            for length in lengths() {
                let base = noise(length, 7);
                let ends = [None, Some(0), Some(length / 2), length.checked_sub(1)];
                for changed in ends {
                    let mut new = base.clone();
                    if let Some(byte) = changed.and_then(|at| new.get_mut(at)) {
                        *byte ^= 4;
                    }
                    let expected = [&base, &new].map(|all| ContentHash::of(all));
                    for compares in [false, true] {
                        let (hashes, differing) =
                            hash_pieces(platform, PIECE, [&base, &new], compares);
                        let found = [hashes.base, hashes.result];
                        assert_eq!(found, expected, "{platform}, {length}, {changed:?}");
                        let found = differing.iter().position(|bits| *bits != 0);
                        let line = changed.filter(|at| *at < length).map(|at| at / STRIPE);
                        assert_eq!(found, line.filter(|_| compares), "{platform}, {length}");
                    }
                }
            }
        }
    }

    /// Hashes all, piece by piece, and with `compares` finds the bytes that differ.
    fn hash_pieces(
        platform: Platform,
        piece: usize,
        [base, new]: [&[u8]; 2],
        compares: bool,
    ) -> (Hashes, Vec<u64>) {
        let mut hasher = PairHasher::new(platform, base.len());
        let mut differing = vec![0; base.len().div_ceil(STRIPE)];
        let pieces = base.chunks(piece).zip(new.chunks(piece));
        for ((number, (a, b)), differing) in
            pieces.enumerate().zip(differing.chunks_mut(piece / STRIPE))
        {
            let end = number * piece + a.len();
            let next = [&base[end..], &new[end..]];
            if compares {
                hasher.compare::<1>(platform, [a, b], next, differing);
            } else {
                hasher.write([a, b], a != b, next);
            }
        }
        (hasher.finish(), differing)
    }
}
