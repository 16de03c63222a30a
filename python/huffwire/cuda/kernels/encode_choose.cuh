// Which book, and which base, for a tensor or for each of its blocks: the cheapest for a sample of the symbols.
//
// The sample is runs of 64 units, spread evenly. A book costs the lengths of its codes, and 8 bits more for each
// escape. A book without a code for exact zeros also pays for the remainder that they would not have. That is how the
// encoder for processors counts, too. Price, number and base are compared as one number, so that of books that cost the
// same the one with the lowest number wins, everywhere.
#pragma once
#include "encode_block.cuh"

namespace encode {

constexpr u32 RUN = 64u;
// Of a tensor: at most so many runs, 16384 units.
constexpr u32 TENSOR_RUNS = 256u;
// Of a block: one unit in 64, but between 1024 and 8192 of them.
constexpr u32 BLOCK_RUNS_LEAST = 16u;
constexpr u32 BLOCK_RUNS_MOST = 128u;
constexpr u32 ESCAPE_BITS = 8u;

// Bases that are priced, around the one that the mean symbol suggests.
constexpr u32 TENSOR_BASES = 7u;
constexpr u32 BLOCK_BASES = 3u;

constexpr u32 CHOOSE_TENSOR_THREADS = 1024;
constexpr u32 CHOOSE_COPIES = 8u;

// Books that may be chosen: a bit for each number.
struct Candidates {
  u64 bits[3];
};

struct Priced {
  const u16* codes;
  u32 number, has_zero;
  u32 origin;  // the mean slot, if symbols are as frequent as the lengths of the codes say
};

struct PricedBooks {
  Priced books[RESIDENT_BOOKS];
  u32 count;
};

INLINE u32 origin_of(const u16* codes) {
  u32 mass = 0, moment = 0;
  UNROLL_4 for (u32 slot = 0; slot < 62; slot++) {
    const u32 entry = load_16(codes + slot), weight = entry & ENTRY_SPECIAL ? 0 : 256u >> (entry & 15);
    mass += weight;
    moment += weight * slot;
  }
  return mass ? (2 * moment + mass) / (2 * mass) : 0;
}

// Lists the candidates that can code plane 0, by all threads of a CTA. The books' order does not matter.
template <class T>
INLINE void list_books(PricedBooks& list, const BookSet& set, const Candidates& candidates) {
  if (threadIdx.x == 0) list.count = 0;
  __syncthreads();
  for (u32 number = threadIdx.x; number < RESIDENT_BOOKS; number += blockDim.x) {
    ChosenBook book;
    if (!(candidates.bits[number / 64] >> (number % 64) & 1) || !find_book<T>(set, number, book)) continue;
    const u32 origin = T::CENTRED ? origin_of(book.codes) : 0;
    list.books[atomicAdd(&list.count, 1u)] = Priced{book.codes, number, book.has_zero, origin};
  }
  __syncthreads();
}

// What was counted.
struct Counts {
  const u32* symbols;  // 256; exact zeros are left out where books may have a code for them
  u32 zeros;
  u32 total;   // of symbols
  u32 centre;  // the mean symbol
  u32 remainder_bits;
};

INLINE u32 bits_of(u32 entry) { return (entry & 15) + (entry & ENTRY_SPECIAL ? ESCAPE_BITS : 0); }

// Price, number of the book, and base, from the highest bit down.
template <class T> INLINE u64 price_of(const Priced& book, u32 base, const Counts& counts) {
  u32 bits = 0, inside = 0;
  UNROLL_4 for (u32 slot = 0; slot < (T::CENTRED ? 62 : T::SYMBOLS); slot++) {
    const u32 count = counts.symbols[(base + slot) & 0xff];
    inside += count;
    bits += count * bits_of(load_16(book.codes + slot));
  }
  if (T::CENTRED) {
    const u32 zero = at_most(62, (0 - base) & 0xff);
    bits += (counts.total - inside) * bits_of(load_16(book.codes + 62));
    bits += counts.zeros * (book.has_zero ? bits_of(load_16(book.codes + 63))
                                          : bits_of(load_16(book.codes + zero)) + counts.remainder_bits);
  }
  return (u64)bits << 16 | book.number << 8 | base;
}

// The least price that thread `i` of `threads` finds among books and bases.
template <class T>
INLINE u64 least_price(const PricedBooks& list, const Counts& counts, u32 bases, u32 i, u32 threads) {
  bases = T::CENTRED ? bases : 1;
  u64 least = ~0ull;
  for (; i < list.count * bases; i += threads) {
    const Priced& book = list.books[i / bases];
    const u32 base = T::CENTRED ? (counts.centre - book.origin + i % bases - bases / 2) & 0xff : 0;
    const u64 price = price_of<T>(book, base, counts);
    least = price < least ? price : least;
  }
  return least;
}

INLINE u32 choice_of(u64 least) {
  if (least == ~0ull) return NO_CHOICE;
  const u32 number = (u32)least >> 8 & 0xff, base = (u32)least & 0xff;
  return number | base << 8 | CHOICE_ZEROS_APART;
}

// Bits of remainder that a unit has, if units differ in the bits `differ`.
template <class Layout> INLINE u32 remainder_bits_in(u32 differ) {
  u32 bits = 0;
  UNROLL for (u32 plane = 1; plane < Layout::PLANES; plane++)
    if (differ & plane_bits<Layout>(plane)) bits += Layout::width(plane);
  return bits;
}
template <class T> INLINE u32 remainder_bits(u32 differ) {
  return with_layout<T>(!(differ & T::SIGN), [&](auto layout) { return remainder_bits_in<decltype(layout)>(differ); });
}

// What one thread counts.
struct Counting {
  u32* symbols;
  u32 first;  // a unit of the tensor
  u32 zeros, total, moment, differ;
};

template <class T> INLINE void count_unit(Counting& counting, u32 x) {
  counting.differ |= x ^ counting.first;
  if (T::CENTRED && x == 0) {
    counting.zeros++;
    return;
  }
  const u32 symbol = T::symbol(x);
  counting.total++;
  counting.moment += symbol;
  atomicAdd(counting.symbols + symbol, 1u);
}

// Counts the sample of so many runs, or all units if they are few: warp `warp` of `warps`.
template <class T>
INLINE void count_sample(Counting& counting, const typename T::Unit* in, u64 units, u32 runs, u32 warp, u32 warps) {
  const u32 lane = threadIdx.x & 31;
  const u64 groups = units / RUN;
  if (groups < 2 * runs) {
    for (u64 i = 32 * warp + lane; i < units; i += 32 * warps) count_unit<T>(counting, load_unit(in + i));
    return;
  }
  UNROLL_4 for (u32 run = warp; run < runs; run += warps) {
    // In the middle of the stretch that it stands for.
    const typename T::Unit* at = in + (2 * run + 1) * groups / (2 * runs) * RUN;
    const u32 x0 = load_unit(at + lane), x1 = load_unit(at + 32 + lane);
    count_unit<T>(counting, x0);
    count_unit<T>(counting, x1);
  }
}

INLINE u64 least_of_lanes(u64 x) {
  for (u32 by = 1; by < 32; by *= 2) {
    const u64 other = __shfl_sync(ALL_LANES, x, (threadIdx.x & 31) ^ by);
    x = other < x ? other : x;
  }
  return x;
}

INLINE u32 mean(u32 moment, u32 total) { return total ? (2 * moment + total) / (2 * total) : 0; }

// One choice for a tensor, by one CTA. Threads count into several histograms, so that they do not wait for each other.
struct ChooseTensorShared {
  u32 symbols[CHOOSE_COPIES][256];
  u32 zeros, total, moment, differ;
  u64 least;
  PricedBooks list;
};

template <class T>
INLINE void choose_tensor(ChooseTensorShared& shared, const u8* source, u64 units, const BookSet& set,
                          const Candidates& candidates, u32* choice) {
  const u32 thread = threadIdx.x, lane = thread & 31, warp = thread / 32, warps = blockDim.x / 32;
  const typename T::Unit* in = (const typename T::Unit*)source;
  for (u32 i = thread; i < CHOOSE_COPIES * 256; i += blockDim.x) shared.symbols[i / 256][i % 256] = 0;
  if (thread == 0) {
    shared.zeros = shared.total = shared.moment = shared.differ = 0;
    shared.least = ~0ull;
  }
  list_books<T>(shared.list, set, candidates);
  Counting counting = {shared.symbols[thread % CHOOSE_COPIES], load_unit(in), 0, 0, 0, 0};
  count_sample<T>(counting, in, units, TENSOR_RUNS, warp, warps);
  const u32 zeros = sum_of_lanes(counting.zeros), total = sum_of_lanes(counting.total);
  const u32 moment = sum_of_lanes(counting.moment), differ = or_of_lanes(counting.differ);
  if (lane == 0) {
    atomicAdd(&shared.zeros, zeros);
    atomicAdd(&shared.total, total);
    atomicAdd(&shared.moment, moment);
    atomicOr(&shared.differ, differ);
  }
  __syncthreads();
  for (u32 symbol = thread; symbol < 256; symbol += blockDim.x) {
    u32 sum = 0;
    for (u32 copy = 0; copy < CHOOSE_COPIES; copy++) sum += shared.symbols[copy][symbol];
    shared.symbols[0][symbol] = sum;
  }
  __syncthreads();
  const Counts counts = {shared.symbols[0], shared.zeros, shared.total, mean(shared.moment, shared.total),
                         remainder_bits<T>(shared.differ)};
  const u64 least = least_of_lanes(least_price<T>(shared.list, counts, TENSOR_BASES, thread, blockDim.x));
  if (lane == 0) atomicMin(&shared.least, least);
  __syncthreads();
  if (thread == 0) *choice = choice_of(shared.least);
}

// A choice for each block, by a warp each.
struct ChooseBlocksShared {
  u32 symbols[ENCODE_WARPS][256];
  PricedBooks list;
};

template <class T>
INLINE void choose_blocks(ChooseBlocksShared& shared, const u8* source, u64 units, u32 block_units, u32 blocks,
                          const BookSet& set, const Candidates& candidates, u32* choices) {
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x / 32, number = blockIdx.x * ENCODE_WARPS + warp;
  list_books<T>(shared.list, set, candidates);
  if (number >= blocks) return;
  const u64 from = (u64)number * block_units;
  const u32 here = units - from < block_units ? (u32)(units - from) : block_units;
  const typename T::Unit* in = (const typename T::Unit*)source + from;
  u32* symbols = shared.symbols[warp];
  for (u32 i = lane; i < 256; i += 32) symbols[i] = 0;
  __syncwarp();
  Counting counting = {symbols, load_unit(in), 0, 0, 0, 0};
  const u32 runs = at_most(BLOCK_RUNS_MOST, here / 64 / RUN);
  count_sample<T>(counting, in, here, runs < BLOCK_RUNS_LEAST ? BLOCK_RUNS_LEAST : runs, 0, 1);
  const u32 zeros = sum_of_lanes(counting.zeros), total = sum_of_lanes(counting.total);
  const u32 moment = sum_of_lanes(counting.moment), differ = or_of_lanes(counting.differ);
  __syncwarp();
  const Counts counts = {symbols, zeros, total, mean(moment, total), remainder_bits<T>(differ)};
  const u64 least = least_of_lanes(least_price<T>(shared.list, counts, BLOCK_BASES, lane, 32));
  if (lane == 0) choices[number] = choice_of(least);
}

}  // namespace encode

#define CHOOSE(suffix, T)                                                                                              \
  extern "C" __global__ void __launch_bounds__(encode::CHOOSE_TENSOR_THREADS)                                          \
      choose_tensor_##suffix(const u8* source, u64 units, const u8* tables, u32 set_id, u64 books0, u64 books1,        \
                             u64 books2, u32* choice) {                                                                \
    __shared__ encode::ChooseTensorShared shared;                                                                      \
    const encode::BookSet set = {tables, set_id};                                                                      \
    const encode::Candidates candidates = {{books0, books1, books2}};                                                  \
    encode::choose_tensor<encode::T>(shared, source, units, set, candidates, choice);                                  \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(32 * encode::ENCODE_WARPS)                                              \
      choose_blocks_##suffix(const u8* source, u64 units, u32 block_units, u32 blocks, const u8* tables, u32 set_id,   \
                             u64 books0, u64 books1, u64 books2, u32* choices) {                                       \
    __shared__ encode::ChooseBlocksShared shared;                                                                      \
    const encode::BookSet set = {tables, set_id};                                                                      \
    const encode::Candidates candidates = {{books0, books1, books2}};                                                  \
    encode::choose_blocks<encode::T>(shared, source, units, block_units, blocks, set, candidates, choices);            \
  }
CHOOSE(bf16, Bf16)
CHOOSE(f16, F16)
CHOOSE(f32, F32)
CHOOSE(f8, F8)
#undef CHOOSE
