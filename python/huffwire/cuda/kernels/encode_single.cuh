// Planes of few symbols as a single stream (docs/format.md, section 7.4): the codes one after the other, by one warp.
// Lanes would cost such a plane 64 to 192 bytes for their states.
#pragma once
#include "encode_lanes.cuh"

namespace encode {

// With fewer symbols a single stream is shorter than lanes, always. The encoder for processors has the same limit.
constexpr u32 SINGLE_BELOW = 2048u;

INLINE u32 varint_bytes(u32 x) { return x < 1u << 7 ? 1 : x < 1u << 14 ? 2 : x < 1u << 21 ? 3 : x < 1u << 28 ? 4 : 5; }

// The sum of `x` over the threads below this one; `total` becomes that over all.
INLINE u32 sum_below(u32 x, u32& total) {
  const u32 lane = threadIdx.x & 31;
  u32 sum = x;
  UNROLL for (u32 by = 1; by < 32; by *= 2) {
    const u32 other = __shfl_sync(ALL_LANES, sum, lane < by ? lane : lane - by);
    sum += lane < by ? 0 : other;
  }
  total = __shfl_sync(ALL_LANES, sum, 31);
  return sum - x;
}

// Puts a code behind `at` bits of words whose first bit is the highest one of a byte. They were 0.
INLINE void put_code(u32* words, u32 at, u32 entry) {
  const u32 length = entry & 15;
  if (!length) return;
  const u64 bits = (u64)(entry >> 8) << (64 - length - at % 32);
  atomicOr(words + at / 32, (u32)(bits >> 32));
  if ((u32)bits) atomicOr(words + at / 32 + 1, (u32)bits);
}

// Codes `count` symbols behind byte `at` of the slot. `step_of(number)` are those of a step of 64. Given up where stream
// and escapes would have more than `most` bytes.
template <class StepOf>
INLINE CodedPlane code_single(const Workplace& work, u32 at, u32 count, u32 most, StepOf step_of) {
  const u32 lane = threadIdx.x & 31, steps = (count + 63) / 64;
  u32 bits = 0, escapes = 0;
  NO_UNROLL for (u32 number = 0; number < steps; number++) {
    const Step step = step_of(number);
    bits += (step.e0 & 15) + (step.e1 & 15);
    escapes += (step.e0 & ENTRY_SPECIAL ? 1 : 0) + (step.e1 & ENTRY_SPECIAL ? 1 : 0);
  }
  bits = sum_of_lanes(bits), escapes = sum_of_lanes(escapes);
  const u32 stream = (bits + 7) / 8;
  if (stream + escapes > most) return CodedPlane{false, 0, 0, 0};

  // A step has at most 64 codes of 12 bits, behind fewer than 8 bits that fill no byte yet: 25 words.
  u8 *to = work.slot + at, *escaped = to + stream;
  u32 waiting = 0, rest = 0;
  NO_UNROLL for (u32 number = 0; number < steps; number++) {
    const Step step = step_of(number);
    __syncwarp();
    work.words[lane] = lane ? 0 : rest << 24;
    __syncwarp();
    u32 total, escaping;
    const u32 before = waiting + sum_below((step.e0 & 15) + (step.e1 & 15), total);
    put_code(work.words, before, step.e0);
    put_code(work.words, before + (step.e0 & 15), step.e1);
    const bool first = step.e0 & ENTRY_SPECIAL, second = step.e1 & ENTRY_SPECIAL;
    u8* escape = escaped + sum_below((u32)first + second, escaping);
    if (first) *escape++ = (u8)step.symbol0;
    if (second) *escape = (u8)step.symbol1;
    escaped += escaping;
    __syncwarp();
    const auto byte = [&](u32 i) { return work.words[i / 4] >> (24 - i % 4 * 8) & 0xff; };
    const u32 whole = (waiting + total) / 8;
    NO_UNROLL for (u32 i = lane; i < whole; i += 32) to[i] = (u8)byte(i);
    to += whole;
    rest = byte(whole);
    waiting = (waiting + total) % 8;
  }
  if (waiting && lane == 0) *to = (u8)rest;
  __syncwarp();
  return CodedPlane{true, stream, escapes, at + stream + escapes};
}

}  // namespace encode
