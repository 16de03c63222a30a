//! Shares of threads: how many blocks a thread takes at a time.

/// Most bytes in a batch, unless a block is larger: once coded it is in the L2 cache when it moves to
/// its place.
pub(crate) const BATCH_BYTES: usize = 512 << 10;

/// Fewer bytes stay on the calling thread: half of them would not make up for waking another.
const SHARED_BYTES: usize = 1 << 20;

/// Batches for each thread, if there are enough blocks: so no thread waits long at the end.
const BATCHES_PER_THREAD: usize = 2;

/// Share of each thread: how blocks of equal size are put into batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// How many threads work.
    pub(crate) threads: usize,
    /// Blocks in a batch: an even number, since two are decoded at a time, unless blocks are large.
    pub(crate) blocks: usize,
}

impl Share {
    /// The share of so many threads in so many bytes. One thread takes all.
    pub(crate) fn new(threads: usize, block_bytes: usize, bytes: usize) -> Self {
        let blocks = bytes.div_ceil(block_bytes);
        let alone = Self { threads: 1, blocks: blocks.max(1) };
        if threads < 2 || bytes < SHARED_BYTES {
            return alone;
        }
        let even = blocks.div_ceil(BATCHES_PER_THREAD * threads).next_multiple_of(2);
        let batch = even.min((BATCH_BYTES / block_bytes).max(1));
        let threads = threads.min(blocks.div_ceil(batch));
        if threads > 1 { Self { threads, blocks: batch } } else { alone }
    }

    /// How many blocks are decoded at a time where memory must not grow on a claim: as many as keep so many threads
    /// busy.
    pub(crate) fn at_a_time(threads: usize, block_bytes: usize) -> usize {
        (threads * BATCHES_PER_THREAD * BATCH_BYTES).div_ceil(block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_are_not_shared_and_batches_are_even() {
        assert_eq!(Share::new(8, 1 << 17, SHARED_BYTES - 1).threads, 1);
        assert_eq!(Share::new(1, 1 << 17, 1 << 30).threads, 1);
        for (threads, bytes, expected) in
            [(2, 8, (2, 2)), (2, 9, (2, 4)), (8, 9, (5, 2)), (8, 800, (8, 4))]
        {
            let share = Share::new(threads, 1 << 17, bytes << 17);
            assert_eq!((share.threads, share.blocks), expected, "{threads}, {bytes}");
        }
        let large = Share::new(3, 1 << 20, 5 << 20);
        assert_eq!((large.threads, large.blocks), (3, 1));
    }
}
