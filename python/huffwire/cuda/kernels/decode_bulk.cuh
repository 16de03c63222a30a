// Elements that need no decoding, by one warp: those of verbatim blocks, and those of blocks in which all units are
// equal.
//
// Eight bytes a thread are stored at a time, at multiples of eight. What lies in front of the first such place and
// behind the last one is stored byte by byte.
#pragma once
#include "primitives.cuh"

// Copies `size` bytes. `from` has any address, at least 3 bytes of the same memory in front of it, and other bytes
// than `to`.
INLINE void copy_bytes(u8* to, const u8* from, u32 size, u32 lane) {
  const u32 head = (u32)(0 - (u64)to) & 7;
  if (size < head + 16) {
    for (u32 i = lane; i < size; i += 32) to[i] = from[i];
    return;
  }
  // Words of the source are read whole, and shifted. The last one may reach up to 3 bytes behind its part.
  const u32 skew = (u32)((u64)(from + head) & 3), chunks = (size - head - 4) / 8;
  const u32* words = (const u32*)(from + head - skew);
  uint2* chunk = (uint2*)(to + head);
  UNROLL_4 for (u32 i = lane; i < chunks; i += 32) {
    const u32 a = load_32(words + 2 * i), b = load_32(words + 2 * i + 1), c = load_32(words + 2 * i + 2);
    const uint2 both = {__funnelshift_r(a, b, 8 * skew), __funnelshift_r(b, c, 8 * skew)};
    chunk[i] = both;
  }
  if (lane < head) to[lane] = from[lane];
  for (u32 i = head + 8 * chunks + lane; i < size; i += 32) to[i] = from[i];
}

// Fills `size` bytes with a word of 1, 2, 4 or 8 bytes.
INLINE void fill_bytes(u8* to, u64 word, u32 bytes, u32 size, u32 lane) {
  for (u32 width = bytes; width < 8; width *= 2) word |= word << (8 * width);
  const u32 head = (u32)(0 - (u64)to) & 7;
  const u64 moved = head ? word >> (8 * head) | word << (64 - 8 * head) : word;
  const uint2 both = {(u32)moved, (u32)(moved >> 32)};
  const u32 chunks = size > head ? (size - head) / 8 : 0;
  uint2* chunk = (uint2*)(to + head);
  for (u32 i = lane; i < chunks; i += 32) chunk[i] = both;
  if (lane < head && lane < size) to[lane] = (u8)(word >> (8 * lane));
  for (u32 i = head + 8 * chunks + lane; i < size; i += 32) to[i] = (u8)(word >> (8 * (i & 7)));
}
