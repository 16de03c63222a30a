// The lane coder (docs/format.md, section 6) as fast as a GPU has it: 64 lanes in a warp, two of them a thread.
//
// Thread `t` has lanes `2 t` and `2 t + 1`. In a step each lane looks up its next code, drops its bits, and may take
// one word of the stream. Which lanes take one is told by two ballots, and the place of a lane's word by the bits of
// the ballots below it: words of a step lie in the stream in the order of their lanes.
//
// The stream is read from its end, in chunks that all threads fetch together, a chunk ahead of its use, into a ring
// in shared memory. The first bytes of the ring are there twice, so that a step reads on over its end.
//
// Nothing here stops at damaged data: lanes that take more than there is read zeros, and the ends tell afterwards
// (`end` is not `begin`, or a lane does not hold 16 bits). Every index into shared memory is masked.
#pragma once
#include "abi.cuh"
#include "primitives.cuh"

// Steps of which a ring holds all words, after `refill`.
#define STEPS_AT_ONCE 4

// `below` has the bits of the threads before this one. `two` is 2, in a way that compilers do not see: a product with
// it and a sum are one instruction, of a unit of the processor that has less to do than the one for shifts.
struct Warp {
  u32 lane;
  u32 below;
  u32 two;
};

template <u32 LIMIT> struct Ring;
template <u32 LIMIT> struct Lanes;

// ---- 8-bit codes: words are bytes.

template <> struct Ring<8> {
  static constexpr u32 CHUNK = 256, SIZE = 512, MIRROR = 64;
  const u8* base;  // a multiple of CHUNK; the numbers below count from there
  u32 begin;       // of the stream
  u32 end;         // of what nobody has taken
  u32 low;         // of what is in the ring
  uint2 next;      // this thread's part of the chunk below
};

// The chunk that ends where the stream does, or later: only words within the stream are read as such.
INLINE uint2 top_chunk(const Ring<8>& ring, u32 at, u32 lane) {
  uint2 word = {0, 0};
  const int from = (int)(at + 8 * lane);
  if (from + 8 <= (int)ring.begin || from >= (int)ring.end) return word;
  if (from + 8 <= (int)ring.end) return *(const uint2*)(ring.base + from);
  for (int i = 0; i < 8 && from + i < (int)ring.end; i++) {
    const u32 byte = (u32)ring.base[from + i] << (8 * (i & 3));
    if (i < 4) word.x |= byte; else word.y |= byte;
  }
  return word;
}

INLINE uint2 chunk(const Ring<8>& ring, u32 at, u32 lane) {
  uint2 word = {0, 0};
  const int from = (int)(at + 8 * lane);
  if (from + 8 > (int)ring.begin) word = *(const uint2*)(ring.base + from);
  return word;
}

// Sees to it that the ring holds what STEPS_AT_ONCE steps can take.
INLINE void refill(Ring<8>& ring, u32 shared, const Warp& warp) {
  if ((int)(ring.end - 64 * STEPS_AT_ONCE - ring.low) >= 0) return;
  // Other lanes may still read what the chunk goes over.
  __syncwarp();
  ring.low -= ring.CHUNK;
  const u32 slot = (ring.low & (ring.SIZE - 1)) + 8 * warp.lane;
  store_shared_64(shared + slot, ring.next);
  if (slot < ring.MIRROR) store_shared_64(shared + ring.SIZE + slot, ring.next);
  ring.next = chunk(ring, ring.low - ring.CHUNK, warp.lane);
  __syncwarp();
}

INLINE void start(Ring<8>& ring, const u8* stream, u32 size, u32 shared, const Warp& warp) {
  ring.begin = uniform((u32)((u64)stream & (ring.CHUNK - 1)));
  ring.base = stream - ring.begin;
  ring.end = ring.begin + size;
  ring.low = (ring.end + ring.CHUNK - 1) & ~(ring.CHUNK - 1);
  ring.next = top_chunk(ring, ring.low - ring.CHUNK, warp.lane);
  refill(ring, shared, warp);
}

// A lane's `n` unread bits lie in bits 8 to n + 7 of `value`, with used ones above them. `count` is n, but for its
// bits from 5 on, which are anything. A byte that is taken in a step is put in after the look-up of the next one:
// until then nobody needs it, and it has time to come.
template <> struct Lanes<8> {
  static constexpr u32 STATES = 192;
  u32 value[2], count[2], byte[2];
  bool pending[2];
};

INLINE bool start(Lanes<8>& lanes, const u8* states, const Warp& warp) {
  bool bad = false;
  UNROLL for (u32 k = 0; k < 2; k++) {
    const u8* at = states + 2 * warp.lane + k;
    u32 state = at[0] | at[64] << 8 | at[128] << 16;
    if (state < 65536) bad = true, state |= 65536;
    lanes.value[k] = state << 8;
    lanes.count[k] = (u32)(31 - __clz((int)state));
    lanes.byte[k] = 0;
    lanes.pending[k] = false;
  }
  return bad;
}

INLINE void put_pending(Lanes<8>& lanes) {
  UNROLL for (u32 k = 0; k < 2; k++)
    if (lanes.pending[k]) lanes.value[k] = __byte_perm(lanes.value[k], lanes.byte[k], 0x2140);
}

// The entries of the next codes of both lanes. `table` is an address in shared memory.
INLINE void look_up(Lanes<8>& lanes, u32 table, u32 (&entry)[2], const Warp& warp) {
  UNROLL for (u32 k = 0; k < 2; k++)
    entry[k] = load_shared_16((__funnelshift_r(lanes.value[k], 0, lanes.count[k]) & 0xff) * warp.two + table);
  put_pending(lanes);
}

// Drops the codes and takes bytes. With n from 16 to 23 and a length of at most 8, bit 3 of the difference tells
// whether it is below 16. Other bits of an entry are bits 6 and above, which no difference of these numbers reaches.
INLINE void drop(Lanes<8>& lanes, const u32 (&entry)[2], Ring<8>& ring, u32 shared, const Warp& warp, u32 seven) {
  UNROLL for (u32 k = 0; k < 2; k++) {
    lanes.count[k] = masked_or_16(lanes.count[k], seven) - entry[k];
    lanes.pending[k] = (lanes.count[k] & 8) != 0;
  }
  const u32 a = ballot_bits(lanes.count[0], 8), b = ballot_bits(lanes.count[1], 8);
  ring.end -= __popc(a) + __popc(b);
  const u32 at = (shared | (ring.end & (ring.SIZE - 1))) + __popc(a & warp.below) + __popc(b & warp.below);
  lanes.byte[0] = load_shared_8(at);
  lanes.byte[1] = load_shared_8(at + ((lanes.count[0] & 8) >> 3));
}

// The 16 bits that are left of a lane, once all is decoded. `bad` is set if there are others.
INLINE u32 rest_of_lane(const Lanes<8>& lanes, u32 k, bool& bad) {
  bad |= (lanes.count[k] & 7) != 0;
  return lanes.value[k] >> 8 & 0xffff;
}

INLINE u32 mask_of_counts(const Lanes<8>&) { return opaque(7); }

// ---- 12-bit codes: words of 16 bits, at any address. They are shifted into place when they are fetched.

template <> struct Ring<12> {
  static constexpr u32 CHUNK = 512, SIZE = 1024, MIRROR = 128;
  const u8* base;  // a multiple of 4, at most 3 bytes in front of the stream; other numbers count from the stream
  u32 begin;       // 0
  u32 skew;        // bytes between base and the stream
  u32 size;
  u32 end;
  u32 low;
  u32 next[4];
};

INLINE void fetch(Ring<12>& ring, u32 at, u32 lane) {
  u32 words[5] = {0, 0, 0, 0, 0};
  const int from = (int)(at + 16 * lane);
  const int inside = (int)(ring.size + ring.skew);  // behind the last byte, from base on
  if (from >= 0 && from + 20 <= inside) {
    UNROLL for (int k = 0; k < 5; k++) words[k] = *(const u32*)(ring.base + from + 4 * k);
  } else if (from >= 0) {
    UNROLL for (int k = 0; k < 5; k++)
      for (int i = 0; i < 4; i++)
        if (from + 4 * k + i < inside) words[k] |= (u32)ring.base[from + 4 * k + i] << (8 * i);
  }
  UNROLL for (int k = 0; k < 4; k++) ring.next[k] = __funnelshift_r(words[k], words[k + 1], 8 * ring.skew);
}

INLINE void refill(Ring<12>& ring, u32 shared, const Warp& warp) {
  if ((int)(ring.end - 128 * STEPS_AT_ONCE - ring.low) >= 0) return;
  // Other lanes may still read what the chunk goes over.
  __syncwarp();
  ring.low -= ring.CHUNK;
  const u32 slot = (ring.low & (ring.SIZE - 1)) + 16 * warp.lane;
  const uint2 a = {ring.next[0], ring.next[1]}, b = {ring.next[2], ring.next[3]};
  store_shared_64(shared + slot, a);
  store_shared_64(shared + slot + 8, b);
  if (slot < ring.MIRROR) {
    store_shared_64(shared + ring.SIZE + slot, a);
    store_shared_64(shared + ring.SIZE + slot + 8, b);
  }
  fetch(ring, ring.low - ring.CHUNK, warp.lane);
  __syncwarp();
}

INLINE void start(Ring<12>& ring, const u8* stream, u32 size, u32 shared, const Warp& warp) {
  ring.begin = 0;
  ring.skew = uniform((u32)((u64)stream & 3));
  ring.base = stream - ring.skew;
  ring.size = ring.end = size;
  ring.low = (size + ring.CHUNK - 1) & ~(ring.CHUNK - 1);
  fetch(ring, ring.low - ring.CHUNK, warp.lane);
  refill(ring, shared, warp);
}

// A lane's `n` unread bits are the lowest of `value`, with used ones above them.
template <> struct Lanes<12> {
  static constexpr u32 STATES = 256;
  u32 value[2], count[2];
};

INLINE bool start(Lanes<12>& lanes, const u8* states, const Warp& warp) {
  bool bad = false;
  UNROLL for (u32 k = 0; k < 2; k++) {
    u32 state = load_le32(states + 8 * warp.lane + 4 * k);
    if (state < 65536) bad = true, state |= 65536;
    lanes.value[k] = state;
    lanes.count[k] = (u32)(31 - __clz((int)state));
  }
  return bad;
}

INLINE void put_pending(Lanes<12>&) {}

INLINE void look_up(Lanes<12>& lanes, u32 table, u32 (&entry)[2], const Warp& warp) {
  UNROLL for (u32 k = 0; k < 2; k++)
    entry[k] = load_shared_16((__funnelshift_r(lanes.value[k], 0, lanes.count[k] - 12) & 0xfff) * warp.two + table);
}

// With n from 16 to 31 and a length of at most 12, bit 4 of the difference tells whether it is below 16.
INLINE void drop(Lanes<12>& lanes, const u32 (&entry)[2], Ring<12>& ring, u32 shared, const Warp& warp, u32 fifteen) {
  UNROLL for (u32 k = 0; k < 2; k++) lanes.count[k] -= entry[k];
  const bool takes[2] = {!(lanes.count[0] & 16), !(lanes.count[1] & 16)};
  const u32 a = ballot_bits(~lanes.count[0], 16), b = ballot_bits(~lanes.count[1], 16);
  ring.end -= 2 * (__popc(a) + __popc(b));
  const u32 at = (shared | (ring.end & (ring.SIZE - 1))) + 2 * (__popc(a & warp.below) + __popc(b & warp.below));
  const u32 word[2] = {load_shared_16(at), load_shared_16(at + ((~lanes.count[0] & 16) >> 3))};
  UNROLL for (u32 k = 0; k < 2; k++) {
    if (takes[k]) lanes.value[k] = __byte_perm(lanes.value[k], word[k], 0x1054);
    lanes.count[k] = masked_or_16(lanes.count[k], fifteen);
  }
}

INLINE u32 rest_of_lane(const Lanes<12>& lanes, u32 k, bool& bad) {
  bad |= (lanes.count[k] & 15) != 0;
  return lanes.value[k] & 0xffff;
}

INLINE u32 mask_of_counts(const Lanes<12>&) { return opaque(15); }
