// CRC-32C of an entry of a message (docs/format.md, section 8.2), by one warp.
//
// A CRC is a remainder of polynomials over bits: bit 31 of a number is the coefficient of x^0, bit 0 that of x^31.
// The remainder of a sum is the sum (the exclusive or) of the remainders, so 32 lanes can each take every 32nd word:
//
//   state = state * x^1024 + word        for each of its words; x^1024 moves a word 128 bytes on
//   CRC   = sum of state * x^(bits from the start of the lane's last word to the end of all bytes)
//
// `state * x^1024` is looked up, five bits of the state at a time: tables of 32 words have one word in each bank of
// shared memory, so lanes never wait for each other.
//
// Three more consequences of linearity:
// - Zeros in front change nothing. So all lanes have equally many words.
// - The initial value 0xffffffff is the same as four inverted bytes at the start.
// - The CRC of the entry and that of its place are added. So the 12 bytes of the place are added to the last 12 bytes
//   of the entry. The final inversions cancel out.
#pragma once
#include "primitives.cuh"

#define CRC_POLYNOMIAL 0x82f63b78u
#define CRC_PIECES 7   // of five bits in a word
#define CRC_POWERS 128

struct CrcTables {
  u32 step[CRC_PIECES * 32];  // (piece << 5 k) * x^1024
  u32 power[CRC_POWERS];      // x^(8 (i + 1))
};

// x * a
__device__ constexpr u32 crc_times_x(u32 a) { return a >> 1 ^ (a & 1 ? CRC_POLYNOMIAL : 0); }

// a * b
__device__ constexpr u32 crc_product(u32 a, u32 b) {
  u32 sum = 0;
  for (int i = 0; i < 32; i++) {
    sum ^= a >> (31 - i) & 1 ? b : 0;
    b = crc_times_x(b);
  }
  return sum;
}

__device__ constexpr CrcTables crc_make_tables() {
  CrcTables tables = {};
  u32 power = 0x80000000u;
  for (int i = 0; i < CRC_POWERS; i++) {
    for (int bit = 0; bit < 8; bit++) power = crc_times_x(power);
    tables.power[i] = power;
  }
  // Bit 0 of a word is x^31, and each higher bit has one x less.
  u32 bits[32] = {};
  bits[31] = tables.power[CRC_POWERS - 1];
  for (int i = 30; i >= 0; i--) bits[i] = crc_times_x(bits[i + 1]);
  for (int piece = 0; piece < CRC_PIECES; piece++)
    for (int i = 0; i < 32; i++)
      for (int bit = 0; bit < 5; bit++)
        if (i >> bit & 1 && 5 * piece + bit < 32) tables.step[32 * piece + i] ^= bits[5 * piece + bit];
  return tables;
}

__device__ const CrcTables crc_tables = crc_make_tables();

// Copies the tables into shared memory, by all threads of the CTA. A barrier must follow.
INLINE void crc_prepare(CrcTables& shared, u32 thread, u32 threads) {
  const u32* from = (const u32*)&crc_tables;
  for (u32 i = thread; i < sizeof(CrcTables) / 4; i += threads) ((u32*)&shared)[i] = from[i];
}

INLINE u32 crc_step(const CrcTables& tables, u32 state) {
  u32 next = 0;
  UNROLL for (int piece = 0; piece < CRC_PIECES; piece++) next ^= tables.step[32 * piece + (state >> (5 * piece) & 31)];
  return next;
}

// The state of a CRC after one more byte; begins with 0xffffffff, ends with an inversion. For few bytes.
INLINE u32 crc_byte(u32 state, u32 byte) {
  state ^= byte;
  for (int i = 0; i < 8; i++) state = crc_times_x(state);
  return state;
}

INLINE u32 crc_word(u32 state, u32 word) {
  state ^= word;
  for (int i = 0; i < 32; i++) state = crc_times_x(state);
  return state;
}

// CRC-32C of few bytes, by each lane alone.
INLINE u32 crc_of_few(const u8* bytes, u32 size) {
  u32 state = ~0u;
  for (u32 i = 0; i < size; i++) state = crc_byte(state, bytes[i]);
  return ~state;
}

// Word `i` of the words around `size` bytes whose first lies `skew` bytes behind the start of word 0. What does not
// belong to the bytes is 0, and is not read. The first four of the bytes are inverted.
INLINE u32 crc_edge_word(const u8* bytes, u32 size, u32 skew, u32 i) {
  u32 word = 0;
  UNROLL for (u32 k = 0; k < 4; k++) {
    u32 at = 4 * i + k - skew;  // above all sizes if in front of the bytes
    if (at < size) word |= (bytes[at] ^ (at < 4 ? 0xffu : 0)) << (8 * k);
  }
  return word;
}

// The checksum of entry `number` of a message, which has `size` bytes: at least 1, at most 2^21. All lanes get it.
// `header` is the checksum of the message's header.
INLINE u32 crc_of_entry(const CrcTables& tables, const u8* bytes, u32 size, u32 header, u32 number) {
  const u32 lane = threadIdx.x & 31;
  if (size < 8) {
    return crc_of_few(bytes, size) ^ ~crc_word(crc_word(crc_word(~0u, header), number), size);
  }
  const u32 skew = (u32)((u64)bytes & 3);
  const u32 words = (skew + size + 3) / 4, behind = 4 * words - skew - size;
  const u32 steps = (words + 31) / 32;
  // Word of this lane in step 0; words in front of the first one are 0.
  u32 i = lane - (32 * steps - words);
  u32 state = 0, step = 0;
  // Words 0 and 1, which are inverted, lie in the first two steps.
  for (; step < 2 && step < steps; step++, i += 32)
    state = crc_step(tables, state) ^ ((int)i < 0 ? 0 : crc_edge_word(bytes, size, skew, i));
  const u32* whole = (const u32*)(bytes - skew);
  UNROLL_4 for (; step + 1 < steps; step++, i += 32) state = crc_step(tables, state) ^ whole[i];
  if (step < steps) state = crc_step(tables, state) ^ crc_edge_word(bytes, size, skew, i);
  // The place: 12 bytes, the first four of them inverted, that end where the entry ends.
  const u32 from = lane == 28 ? 0 : lane == 29 ? ~header : lane == 30 ? number : lane == 31 ? size : 0;
  const u32 to = lane == 28 ? ~header : lane == 29 ? number : lane == 30 ? size : 0;
  state ^= __funnelshift_r(from, to, 8 * behind);
  return xor_of_lanes(crc_product(state, tables.power[4 * (32 - lane) - behind - 1]));
}
