// Memory as the encoder reads and writes it.
#pragma once
#include "primitives.cuh"

namespace encode {

#ifdef __CUDACC_RTC__

INLINE uint2 load_words_2(const void* at) {
  uint2 v;
  asm("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(at));
  return v;
}
INLINE void store_words_2(u8* at, u32 a, u32 b) { *(uint2*)at = make_uint2(a, b); }
INLINE void store_words_4(u8* at, u32 a, u32 b, u32 c, u32 d) { *(uint4*)at = make_uint4(a, b, c, d); }
INLINE u32 or_of_lanes(u32 x) { return __reduce_or_sync(ALL_LANES, x); }
INLINE u32 sum_of_lanes(u32 x) { return __reduce_add_sync(ALL_LANES, x); }
INLINE u32 least_of_lanes(u32 x) { return __reduce_min_sync(ALL_LANES, x); }

#else

INLINE uint2 load_words_2(const void* at) {
  if ((u64)at & 7) abort();
  uint2 v;
  memcpy(&v, at, 8);
  return v;
}
INLINE void store_words_2(u8* at, u32 a, u32 b) {
  if ((u64)at & 7) abort();
  u32 words[2] = {a, b};
  memcpy(at, words, 8);
}
INLINE void store_words_4(u8* at, u32 a, u32 b, u32 c, u32 d) {
  if ((u64)at & 15) abort();
  u32 words[4] = {a, b, c, d};
  memcpy(at, words, 16);
}
INLINE u32 or_of_lanes(u32 x) {
  for (u32 by = 1; by < 32; by *= 2) x |= __shfl_sync(ALL_LANES, x, (threadIdx.x & 31) ^ by);
  return x;
}
INLINE u32 sum_of_lanes(u32 x) {
  for (u32 by = 1; by < 32; by *= 2) x += __shfl_sync(ALL_LANES, x, (threadIdx.x & 31) ^ by);
  return x;
}
INLINE u32 least_of_lanes(u32 x) {
  for (u32 by = 1; by < 32; by *= 2) {
    const u32 other = __shfl_sync(ALL_LANES, x, (threadIdx.x & 31) ^ by);
    x = other < x ? other : x;
  }
  return x;
}

#endif

INLINE void store_le32(u8* at, u32 x) {
  UNROLL for (u32 k = 0; k < 4; k++) at[k] = (u8)(x >> 8 * k);
}

// Copies bytes by one warp; the two places do not overlap. Words of 16 bytes are stored where those of the target lie;
// what they are made of are the words of four bytes of the source around them. The margins are such that each of these
// words lies within the source.
INLINE void copy_by_warp(const u8* from, u8* to, u32 size) {
  const u32 lane = threadIdx.x & 31;
  u32 head = (u32)(0 - (u64)to) & 15;
  head += head < 3 ? 16 : 0;
  const u32 chunks = size < head + 3 + 16 ? 0 : (size - head - 3) / 16;
  head = chunks ? head : size;
  for (u32 i = lane; i < head; i += 32) to[i] = from[i];
  const u8* source = from + head;
  const u32 skew = (u32)((u64)source & 3);
  const u32* words = (const u32*)(source - skew);
  UNROLL_4 for (u32 i = lane; i < chunks; i += 32) {
    const u32* w = words + 4 * i;
    u32 a = w[0], b = w[1], c = w[2], d = w[3], e = skew ? w[4] : 0;
    store_words_4(to + head + 16 * i, __funnelshift_r(a, b, 8 * skew), __funnelshift_r(b, c, 8 * skew),
                  __funnelshift_r(c, d, 8 * skew), __funnelshift_r(d, e, 8 * skew));
  }
  for (u32 i = head + 16 * chunks + lane; i < size; i += 32) to[i] = from[i];
}

// Moves bytes by one warp to a lower address; the two places may overlap. All lanes have read before one of them
// writes.
INLINE void move_down(u8* to, const u8* from, u32 size) {
  constexpr u32 EACH = 4;
  for (u32 at = threadIdx.x & 31, start = 0; start < size; start += 32 * EACH, at += 32 * EACH) {
    u8 bytes[EACH];
    UNROLL for (u32 k = 0; k < EACH; k++) bytes[k] = at + 32 * k < size ? from[at + 32 * k] : 0;
    __syncwarp();
    UNROLL for (u32 k = 0; k < EACH; k++)
      if (at + 32 * k < size) to[at + 32 * k] = bytes[k];
    __syncwarp();
  }
}

}  // namespace encode
