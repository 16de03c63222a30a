//! Hashes of two tensors at once, while the next piece of both is fetched.
//!
//! This is XXH3 with 128 bits and seed 0, for contents that come piece by piece: the large inputs of the specification
//! (xxHash, `doc/xxhash_spec.md`), whose words stripe, block, secret and accumulator are used here. A crate does it for
//! [`ContentHash`], as fast as the cache is. Here a line of each of the next pieces is fetched for each line that is
//! hashed, so that the memory works while the processor does.

use crate::ids::ContentHash;
use crate::kernels::Kernels;
use crate::kernels::deltas::{self, Job};
use crate::kernels::platform::Platform;

/// Bytes that are accumulated at once, each eight of them by an accumulator of its own.
const STRIPE: usize = 64;

/// The key of a stripe begins so many bytes of the secret behind that of the stripe before it.
const KEY_STEP: usize = 8;

/// Bytes of as many stripes as the secret has keys for. The accumulators are scrambled after each block.
const BLOCK: usize = STRIPE * (SECRET.len() - STRIPE) / KEY_STEP;

/// Where the keys of other steps begin in the secret: those of scrambling, of the last stripe, and of the two halves of
/// the hash. The last three are no multiples of [`KEY_STEP`], so that these steps have keys that no stripe has.
const SCRAMBLE_KEY: usize = SECRET.len() - STRIPE;
const LAST_STRIPE_KEY: usize = SECRET.len() - STRIPE - 7;
const LOW_HALF_KEY: usize = 11;
const HIGH_HALF_KEY: usize = SECRET.len() - STRIPE - 11;

type Accumulators = [u64; 8];

/// The primes of the specification, from `PRIME32_1` and `PRIME64_1` on, and the one that `avalanche` multiplies with.
const PRIME_MX1: u64 = 0x1656_6791_9e37_79f9;
const PRIMES_32: [u64; 3] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d];
const PRIMES_64: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

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

/// Hasher of a base and of new elements.
#[derive(Debug)]
pub(super) struct PairHasher {
    platform: Platform,
    base: Accumulators,
    /// As long as nothing changes both have the same accumulators.
    new: Option<Accumulators>,
    /// Bytes of both that were hashed, and the last of them.
    done: usize,
    last: [[u8; STRIPE]; 2],
}

impl PairHasher {
    pub(super) const fn new(platform: Platform) -> Self {
        Self { platform, base: START, new: None, done: 0, last: [[0; STRIPE]; 2] }
    }

    /// Adds pieces of both, of as many whole KiB, behind which more will come. `changed` tells whether they differ. The
    /// next pieces are fetched meanwhile.
    pub(super) fn write(&mut self, base: &[u8], new: &[u8], changed: bool, next: [&[u8]; 2]) {
        debug_assert!(base.len() == new.len() && base.len().is_multiple_of(BLOCK));
        if changed && self.new.is_none() {
            self.new = Some(self.base);
        }
        match &mut self.new {
            Some(accumulators) => {
                let job = Accumulate {
                    accumulators: [&mut self.base, accumulators],
                    pieces: [base, new],
                    next,
                };
                deltas::run(self.platform, job);
            }
            None => {
                deltas::run(
                    self.platform,
                    Accumulate { accumulators: [&mut self.base], pieces: [base], next },
                );
            }
        }
        self.done += base.len();
        for (last, piece) in self.last.iter_mut().zip([base, new]) {
            *last = piece.last_chunk().copied().unwrap_or(*last);
        }
    }

    /// The hashes, given the last pieces of both: of any length but 0, unless there was none before.
    pub(super) fn finish(&self, base: &[u8], new: &[u8]) -> Hashes {
        let of_base = self.finish_one(self.base, &self.last[0], base);
        let result = if self.new.is_none() && base == new {
            of_base
        } else {
            self.finish_one(self.new.unwrap_or(self.base), &self.last[1], new)
        };
        Hashes { base: of_base, result }
    }

    fn finish_one(
        &self,
        mut accumulators: Accumulators,
        before: &[u8; STRIPE],
        piece: &[u8],
    ) -> ContentHash {
        if self.done == 0 {
            return ContentHash::of(piece);
        }
        debug_assert!(!piece.is_empty());
        // What is left is at most a block. Its last bytes are a stripe of their own, whatever was accumulated of them.
        let (blocks, rest) = piece.split_at((piece.len() - 1) / BLOCK * BLOCK);
        let job =
            Accumulate { accumulators: [&mut accumulators], pieces: [blocks], next: [&[]; 2] };
        deltas::run(self.platform, job);
        let stripes = &rest.as_chunks().0[..(rest.len() - 1) / STRIPE];
        for (number, stripe) in stripes.iter().enumerate() {
            accumulate(&mut accumulators, stripe, key(KEY_STEP * number));
        }
        // The last stripe may begin in the piece before.
        let own = &piece[piece.len().saturating_sub(STRIPE)..];
        let mut last = *before;
        last.copy_within(own.len().., 0);
        last[STRIPE - own.len()..].copy_from_slice(own);
        accumulate(&mut accumulators, &last, key(LAST_STRIPE_KEY));
        let length = (self.done + piece.len()) as u64;
        let low = merge(&accumulators, key(LOW_HALF_KEY), length.wrapping_mul(PRIMES_64[0]));
        let high = merge(&accumulators, key(HIGH_HALF_KEY), !length.wrapping_mul(PRIMES_64[1]));
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&low.to_le_bytes());
        hash[8..].copy_from_slice(&high.to_le_bytes());
        ContentHash(hash)
    }
}

/// Accumulates whole blocks of pieces.
struct Accumulate<'a, const N: usize> {
    accumulators: [&'a mut Accumulators; N],
    pieces: [&'a [u8]; N],
    next: [&'a [u8]; 2],
}

impl<const N: usize> Job for Accumulate<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernels: impl Kernels) {
        let mut all = self.accumulators.each_ref().map(|accumulators| **accumulators);
        for block in 0..self.pieces[0].len() / BLOCK {
            for number in 0..BLOCK / STRIPE {
                let at = block * BLOCK + number * STRIPE;
                for next in self.next {
                    if let Some(line) = next.get(at..at + STRIPE) {
                        kernels.fetch(line);
                    }
                }
                let key = key(KEY_STEP * number);
                for (accumulators, piece) in all.iter_mut().zip(self.pieces) {
                    if let Some(stripe) = piece[at..].first_chunk() {
                        accumulate(accumulators, stripe, key);
                    }
                }
            }
            for accumulators in &mut all {
                scramble(accumulators);
            }
        }
        for (place, accumulators) in self.accumulators.into_iter().zip(all) {
            *place = accumulators;
        }
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
fn words(bytes: &[u8; STRIPE]) -> Accumulators {
    let words = bytes.as_chunks::<8>().0;
    std::array::from_fn(|lane| u64::from_le_bytes(words[lane]))
}

#[inline(always)]
fn accumulate(accumulators: &mut Accumulators, stripe: &[u8; STRIPE], key: &[u8; STRIPE]) {
    let (values, keys) = (words(stripe), words(key));
    for lane in 0..8 {
        let keyed = values[lane] ^ keys[lane];
        let product = (keyed & 0xffff_ffff) * (keyed >> 32);
        accumulators[lane] =
            accumulators[lane].wrapping_add(values[lane ^ 1]).wrapping_add(product);
    }
}

#[inline(always)]
fn scramble(accumulators: &mut Accumulators) {
    for (lane, key) in accumulators.iter_mut().zip(words(key(SCRAMBLE_KEY))) {
        *lane = (*lane ^ *lane >> 47 ^ key).wrapping_mul(PRIMES_32[0]);
    }
}

/// Half of the hash: the products of pairs of accumulators are added to a sum, whose bits are mixed then.
fn merge(accumulators: &Accumulators, key: &[u8; STRIPE], mut sum: u64) -> u64 {
    let keys = words(key);
    for pair in (0..8).step_by(2) {
        let [a, b] = [pair, pair + 1].map(|lane| u128::from(accumulators[lane] ^ keys[lane]));
        let product = a * b;
        sum = sum.wrapping_add(product as u64 ^ (product >> 64) as u64);
    }
    sum = (sum ^ sum >> 37).wrapping_mul(PRIME_MX1);
    sum ^ sum >> 32
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
        for platform in Platform::available() {
            // In one piece, and what may be left behind others.
            let whole = [0, 1, 64, 240, 241, 300, 1023, 1024, 1025, 4095, 4096];
            let left =
                [1, 63, 64, 65, 128, 240, 241, 960, 961, 1023, 1024, 1025, 4095, 4096, 57_344];
            for length in whole.into_iter().chain(left.map(|left| PIECE + left)) {
                let base = noise(length, 7);
                let ends = [None, Some(0), Some(length / 2), length.checked_sub(1)];
                for changed in ends {
                    let mut new = base.clone();
                    if let Some(byte) = changed.and_then(|at| new.get_mut(at)) {
                        *byte ^= 4;
                    }
                    let mut hasher = PairHasher::new(platform);
                    let mut done = 0;
                    while length - done > PIECE {
                        let [a, b] = [&base, &new].map(|all| &all[done..done + PIECE]);
                        let next = [&base, &new].map(|all| &all[done + PIECE..]);
                        hasher.write(a, b, a != b, next);
                        done += PIECE;
                    }
                    let Hashes { base: of_base, result } =
                        hasher.finish(&base[done..], &new[done..]);
                    let expected = [&base, &new].map(|all| ContentHash::of(all));
                    assert_eq!([of_base, result], expected, "{platform}, {length}, {changed:?}");
                }
            }
        }
    }
}
