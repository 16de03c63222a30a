//! Interleaving kernels in portable safe Rust: words of 64 bits as vectors of smaller ones, which compilers turn
//! into wider vectors.

/// The lower byte of each 16-bit word, and its lowest bit.
const LOW: u64 = 0x00ff_00ff_00ff_00ff;
const BIT: u64 = 0x0001_0001_0001_0001;

/// Rotates each 16-bit word to the left by one.
#[inline(always)]
const fn left(words: u64) -> u64 {
    words << 1 & !BIT | words >> 15 & BIT
}

/// Rotates each 16-bit word to the right by one.
#[inline(always)]
const fn right(words: u64) -> u64 {
    words >> 1 & !(BIT << 15) | words << 15 & BIT << 15
}

#[inline(always)]
pub(crate) fn split16(words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let (groups, rest) = words.as_chunks::<128>();
    let (low_groups, last_low) = low.as_chunks_mut::<64>();
    let (high_groups, last_high) = high.as_chunks_mut::<64>();
    for ((group, low), high) in groups.iter().zip(low_groups).zip(high_groups) {
        let (words, _) = group.as_chunks::<8>();
        let (low, _) = low.as_chunks_mut::<8>();
        let (high, _) = high.as_chunks_mut::<8>();
        for i in 0..8 {
            let (a, b) = (u64::from_le_bytes(words[i]), u64::from_le_bytes(words[8 + i]));
            let (a, b) = (left(a), left(b));
            low[i] = (a & LOW | (b & LOW) << 8).to_le_bytes();
            high[i] = (a >> 8 & LOW | b & !LOW).to_le_bytes();
        }
    }
    let words = rest.as_chunks::<2>().0.iter();
    for ((word, low), high) in words.zip(last_low).zip(last_high) {
        [*low, *high] = u16::from_le_bytes(*word).rotate_left(1).to_le_bytes();
    }
}

#[inline(always)]
pub(crate) fn merge16(low: &[u8], high: &[u8], words: &mut [u8]) {
    let (groups, rest) = words.as_chunks_mut::<128>();
    let (low_groups, last_low) = low.as_chunks::<64>();
    let (high_groups, last_high) = high.as_chunks::<64>();
    for ((group, low), high) in groups.iter_mut().zip(low_groups).zip(high_groups) {
        let (words, _) = group.as_chunks_mut::<8>();
        let (low, _) = low.as_chunks::<8>();
        let (high, _) = high.as_chunks::<8>();
        for i in 0..8 {
            let (low, high) = (u64::from_le_bytes(low[i]), u64::from_le_bytes(high[i]));
            words[i] = right(low & LOW | (high & LOW) << 8).to_le_bytes();
            words[8 + i] = right(low >> 8 & LOW | high & !LOW).to_le_bytes();
        }
    }
    let words = rest.as_chunks_mut::<2>().0.iter_mut();
    for ((word, low), high) in words.zip(last_low).zip(last_high) {
        *word = u16::from_le_bytes([*low, *high]).rotate_right(1).to_le_bytes();
    }
}

/// Four words of four bytes: their lowest bytes as one word, their second ones as another, and so on.
/// It is its own inverse.
#[inline(always)]
const fn transposed([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    // Pairs of bytes first, then single ones: two shifts and two selections per word.
    const LOW: u32 = 0x00ff_00ff;
    let (ac, ac_high) = (a & 0xffff | c << 16, a >> 16 | c & 0xffff_0000);
    let (bd, bd_high) = (b & 0xffff | d << 16, b >> 16 | d & 0xffff_0000);
    [
        ac & LOW | (bd & LOW) << 8,
        ac >> 8 & LOW | bd & !LOW,
        ac_high & LOW | (bd_high & LOW) << 8,
        ac_high >> 8 & LOW | bd_high & !LOW,
    ]
}

#[inline(always)]
pub(crate) fn split32(words: &[u8], [b0, b1, b2, b3]: [&mut [u8]; 4]) {
    let (groups, rest) = words.as_chunks::<256>();
    let (groups0, last0) = b0.as_chunks_mut::<64>();
    let (groups1, last1) = b1.as_chunks_mut::<64>();
    let (groups2, last2) = b2.as_chunks_mut::<64>();
    let (groups3, last3) = b3.as_chunks_mut::<64>();
    let places = groups0.iter_mut().zip(groups1).zip(groups2).zip(groups3);
    for (group, (((b0, b1), b2), b3)) in groups.iter().zip(places) {
        let (words, _) = group.as_chunks::<4>();
        let [b0, b1, b2, b3] = [b0, b1, b2, b3].map(|bytes| bytes.as_chunks_mut::<4>().0);
        for i in 0..16 {
            let stacks = [0, 16, 32, 48];
            let stacks = stacks.map(|at| u32::from_le_bytes(words[at + i]).rotate_left(1));
            [b0[i], b1[i], b2[i], b3[i]] = transposed(stacks).map(u32::to_le_bytes);
        }
    }
    let last = last0.iter_mut().zip(last1).zip(last2).zip(last3);
    for (word, (((b0, b1), b2), b3)) in rest.as_chunks::<4>().0.iter().zip(last) {
        [*b0, *b1, *b2, *b3] = u32::from_le_bytes(*word).rotate_left(1).to_le_bytes();
    }
}

#[inline(always)]
pub(crate) fn merge32([b0, b1, b2, b3]: [&[u8]; 4], words: &mut [u8]) {
    let (groups, rest) = words.as_chunks_mut::<256>();
    let (groups0, last0) = b0.as_chunks::<64>();
    let (groups1, last1) = b1.as_chunks::<64>();
    let (groups2, last2) = b2.as_chunks::<64>();
    let (groups3, last3) = b3.as_chunks::<64>();
    let places = groups0.iter().zip(groups1).zip(groups2).zip(groups3);
    for (group, (((b0, b1), b2), b3)) in groups.iter_mut().zip(places) {
        let (words, _) = group.as_chunks_mut::<4>();
        let [b0, b1, b2, b3] = [b0, b1, b2, b3].map(|bytes| bytes.as_chunks::<4>().0);
        for i in 0..16 {
            let stacks = transposed([b0[i], b1[i], b2[i], b3[i]].map(u32::from_le_bytes));
            for (stack, word) in stacks.into_iter().enumerate() {
                words[16 * stack + i] = word.rotate_right(1).to_le_bytes();
            }
        }
    }
    let last = last0.iter().zip(last1).zip(last2).zip(last3);
    for (word, (((b0, b1), b2), b3)) in rest.as_chunks_mut::<4>().0.iter_mut().zip(last) {
        *word = u32::from_le_bytes([*b0, *b1, *b2, *b3]).rotate_right(1).to_le_bytes();
    }
}
