//! Hashes of two tensors at once, while the next piece of both is fetched.
//!
//! This is XXH3 with 128 bits and seed 0, as xxHash 0.8 defines it, for contents that come piece by piece. A crate does
//! it for [`ContentHash`], as fast as the cache is. Here a line of each of the next pieces is fetched for each line that
//! is hashed, so that the memory works while the processor does.

use crate::ids::ContentHash;
use crate::kernels::Kernels;
use crate::kernels::deltas::{self, Job};
use crate::kernels::platform::Platform;

/// Bytes that are mixed into the lanes at once, and those after which the lanes are scrambled.
const STRIPE: usize = 64;
const BLOCK: usize = 1 << 10;

/// Contents up to so many bytes are hashed in other ways.
const SHORT: usize = 240;

type Lanes = [u64; 8];

const PRIMES_32: [u64; 3] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d];
const PRIMES_64: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

const START: Lanes = [
    PRIMES_32[2],
    PRIMES_64[0],
    PRIMES_64[1],
    PRIMES_64[2],
    PRIMES_64[3],
    PRIMES_32[1],
    PRIMES_64[4],
    PRIMES_32[0],
];

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
    base: Lanes,
    /// As long as nothing changes both have the same lanes.
    new: Option<Lanes>,
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
            Some(lanes) => {
                let job = Mix { lanes: [&mut self.base, lanes], pieces: [base, new], next };
                deltas::run(self.platform, job);
            }
            None => {
                deltas::run(self.platform, Mix { lanes: [&mut self.base], pieces: [base], next });
            }
        }
        self.done += base.len();
        for (last, piece) in self.last.iter_mut().zip([base, new]) {
            *last = piece.last_chunk().copied().unwrap_or(*last);
        }
    }

    /// The hashes, given the last pieces of both, of any length but 0, unless there is nothing else.
    pub(super) fn finish(&self, base: &[u8], new: &[u8]) -> Hashes {
        let of_base = self.finish_one(self.base, &self.last[0], base);
        let result = if self.new.is_none() && base == new {
            of_base
        } else {
            self.finish_one(self.new.unwrap_or(self.base), &self.last[1], new)
        };
        Hashes { base: of_base, result }
    }

    fn finish_one(&self, mut lanes: Lanes, before: &[u8; STRIPE], piece: &[u8]) -> ContentHash {
        let length = self.done + piece.len();
        if length <= SHORT {
            return ContentHash::of(piece);
        }
        let (blocks, rest) = piece.split_at((piece.len() - 1) / BLOCK * BLOCK);
        let job = Mix { lanes: [&mut lanes], pieces: [blocks], next: [&[]; 2] };
        deltas::run(self.platform, job);
        let stripes = &rest.as_chunks().0[..(rest.len() - 1) / STRIPE];
        for (number, stripe) in stripes.iter().enumerate() {
            mix(&mut lanes, stripe, key(8 * number));
        }
        // The last bytes, which may begin in the piece before.
        let mut end = *before;
        let own = &piece[piece.len().saturating_sub(STRIPE)..];
        end.rotate_left(own.len() % STRIPE);
        end[STRIPE - own.len()..].copy_from_slice(own);
        mix(&mut lanes, &end, key(SECRET.len() - STRIPE - 7));
        let length = length as u64;
        let low = merge(&lanes, 11, length.wrapping_mul(PRIMES_64[0]));
        let high = merge(&lanes, 192 - 64 - 11, !length.wrapping_mul(PRIMES_64[1]));
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&low.to_le_bytes());
        hash[8..].copy_from_slice(&high.to_le_bytes());
        ContentHash(hash)
    }
}

/// Mixes whole blocks of pieces into their lanes.
struct Mix<'a, const N: usize> {
    lanes: [&'a mut Lanes; N],
    pieces: [&'a [u8]; N],
    next: [&'a [u8]; 2],
}

impl<const N: usize> Job for Mix<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernels: impl Kernels) {
        let mut all = self.lanes.each_ref().map(|lanes| **lanes);
        for block in 0..self.pieces[0].len() / BLOCK {
            for number in 0..BLOCK / STRIPE {
                let at = block * BLOCK + number * STRIPE;
                for next in self.next {
                    if let Some(line) = next.get(at..at + STRIPE) {
                        kernels.fetch(line);
                    }
                }
                let key = key(8 * number);
                for (lanes, piece) in all.iter_mut().zip(self.pieces) {
                    if let Some(stripe) = piece[at..].first_chunk() {
                        mix(lanes, stripe, key);
                    }
                }
            }
            for lanes in &mut all {
                scramble(lanes);
            }
        }
        for (place, lanes) in self.lanes.into_iter().zip(all) {
            *place = lanes;
        }
    }
}

/// A part of the secret.
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
fn words(bytes: &[u8; STRIPE]) -> Lanes {
    let words = bytes.as_chunks::<8>().0;
    std::array::from_fn(|lane| u64::from_le_bytes(words[lane]))
}

#[inline(always)]
fn mix(lanes: &mut Lanes, stripe: &[u8; STRIPE], key: &[u8; STRIPE]) {
    let (values, keys) = (words(stripe), words(key));
    for lane in 0..8 {
        let keyed = values[lane] ^ keys[lane];
        let product = (keyed & 0xffff_ffff) * (keyed >> 32);
        lanes[lane] = lanes[lane].wrapping_add(values[lane ^ 1]).wrapping_add(product);
    }
}

#[inline(always)]
fn scramble(lanes: &mut Lanes) {
    for (lane, key) in lanes.iter_mut().zip(words(key(SECRET.len() - STRIPE))) {
        *lane = (*lane ^ *lane >> 47 ^ key).wrapping_mul(PRIMES_32[0]);
    }
}

/// Half of the hash.
fn merge(lanes: &Lanes, start: usize, mut sum: u64) -> u64 {
    let keys = words(key(start));
    for pair in (0..8).step_by(2) {
        let [a, b] = [pair, pair + 1].map(|lane| u128::from(lanes[lane] ^ keys[lane]));
        let product = a * b;
        sum = sum.wrapping_add(product as u64 ^ (product >> 64) as u64);
    }
    sum = (sum ^ sum >> 37).wrapping_mul(0x1656_6791_9e37_79f9);
    sum ^ sum >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use huffwire_testing::noise;

    #[test]
    fn hashes_are_those_of_the_contents() {
        const PIECE: usize = 4 * BLOCK;
        for platform in Platform::available() {
            for length in
                [0, 1, 240, 241, 300, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 20_000, 65_536]
            {
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
