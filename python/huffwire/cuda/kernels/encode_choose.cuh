// Which book, and which base, for a block: the cheapest for a sample of its units. The warp that codes a block chooses
// for it, so that a tensor may be joined from tensors of many sorts, and no kernel of one CTA has to look at it first.
// That takes some 1200 instructions (bf16, built-in books), where coding 32 KiB takes 13,000. docs/gpu.md has the sizes
// of messages.
//
// The sample is runs of 64 units, spread evenly. A book costs the lengths of its codes, and 8 bits more for each
// escape. A book without a code for exact zeros also pays for the remainder that they would not have. That is how the
// encoder for processors counts, too.
//
// A lane prices a book of its own: what all symbols would cost as escapes, less what the book's codes save. Savings are
// bytes, counts are pairs of 16 bits, and one instruction adds up two products of them.
#pragma once
#include "encode_books.cuh"
#include "encode_memory.cuh"

namespace encode {

constexpr u32 RUN = 64u;
// One unit in 16, but between 1024 and 8192 of them.
constexpr u32 RUNS_LEAST = 16u;
constexpr u32 RUNS_MOST = 128u;

// Bases that are priced, around the one that the mean symbol suggests.
constexpr u32 BASES = 3u;

// Counts of symbols, then pairs of them: word `i` has the counts of symbols `i` and `i + 1`. So a book with any base
// finds two counts in every other word from there on. The first words stand once more behind the last ones.
constexpr u32 COUNTS = 256u + 64u;

// Exact zeros are counted apart where books may have a code for them.
constexpr u32 ZEROS = 256u;

template <class T> INLINE void count_unit(u32* counts, u32 x) {
  atomicAdd(counts + (T::CENTRED && x == 0 ? ZEROS : T::symbol(x)), 1u);
}

// Counts the sample of a block, or all units if they are few. Returns the bits in which they differ from the first one.
template <class T> INLINE u32 count_sample(const typename T::Unit* in, u32 units, u32* counts) {
  const u32 lane = threadIdx.x & 31, first = load_unit(in), groups = units / RUN;
  const u32 wanted = at_most(RUNS_MOST, groups / 16), runs = wanted < RUNS_LEAST ? RUNS_LEAST : wanted;
  u32 differ = 0;
  if (groups < 2 * runs) {
    for (u32 i = lane; i < units; i += 32) {
      const u32 x = load_unit(in + i);
      differ |= x ^ first;
      count_unit<T>(counts, x);
    }
    return or_of_lanes(differ);
  }
  for (u32 from = 0; from < runs; from += 32) {
    // Each lane knows where one run starts: in the middle of the stretch that it stands for.
    const u32 start = (2 * (from + lane) + 1) * groups / (2 * runs) * RUN, here = at_most(32, runs - from);
    UNROLL_4 for (u32 run = 0; run < here; run++) {
      const typename T::Unit* at = in + (__shfl_sync(ALL_LANES, start, run) + lane);
      const u32 x0 = load_unit(at), x1 = load_unit(at + 32);
      differ |= (x0 ^ first) | (x1 ^ first);
      count_unit<T>(counts, x0);
      count_unit<T>(counts, x1);
    }
  }
  return or_of_lanes(differ);
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

// What was counted.
struct Counts {
  u32 total;   // of symbols
  u32 zeros;
  u32 centre;  // the mean symbol
  u32 remainder_bits;
};

// Makes pairs of counts. `differ`: the bits in which units differ.
template <class T> INLINE Counts pair_counts(u32* counts, u32 differ) {
  // Only bases move a window over the end of the symbols.
  constexpr u32 WORDS = T::CENTRED ? 8 : T::SYMBOLS / 32;
  const u32 lane = threadIdx.x & 31;
  u32 pairs[WORDS], total = 0, moment = 0;
  const u32 zeros = T::CENTRED ? counts[ZEROS] : 0;
  UNROLL for (u32 k = 0; k < WORDS; k++) {
    const u32 symbol = 32 * k + lane, count = counts[symbol];
    pairs[k] = count | counts[(symbol + 1) & 0xff] << 16;
    total += count;
    moment += count * symbol;
  }
  __syncwarp();
  UNROLL for (u32 k = 0; k < WORDS; k++) counts[32 * k + lane] = pairs[k];
  if (T::CENTRED) {
    counts[256 + lane] = pairs[0];
    counts[288 + lane] = pairs[1 % WORDS];
  }
  __syncwarp();
  total = sum_of_lanes(total), moment = sum_of_lanes(moment);
  return Counts{total, zeros, total ? (2 * moment + total) / (2 * total) : 0, remainder_bits<T>(differ)};
}

// Bits of an exact zero. `savings`: those of the book.
INLINE u32 bits_of_zero(const Book& book, const u32* savings, u32 base, u32 remainder_bits) {
  if (book.zero) return book.zero;
  const u32 slot = (0 - base) & 0xff;
  const u32 saved = slot < 62 ? load_32(savings + 32 * (slot / 4)) >> 8 * (slot & 3) & 0xff : 0;
  return book.outside - saved + remainder_bits;
}

// What a book costs with a base, and which they are: as one number, so that of those that cost the same the one with
// the lowest number wins, everywhere. At most 8192 units of at most 41 bits are less than 2^19 bits.
INLINE u32 offer_of(u32 bits, u32 number, u32 nth_base) { return bits << 10 | number << 2 | nth_base; }
constexpr u32 NO_OFFER = ~0u;

// The first base that is priced for a book.
template <class T> INLINE u32 first_base(const Book& book, const Counts& counts) {
  return T::CENTRED ? (counts.centre - book.origin - BASES / 2) & 0xff : 0;
}

// The least offer of the books that this lane prices.
template <class T>
INLINE u32 least_offer(const BookSet& set, const Candidates& candidates, const u32* pairs, const Counts& counts) {
  constexpr u32 TRIED = T::CENTRED ? BASES : 1, ROWS = (T::CENTRED ? 64 : T::SYMBOLS) / 4;
  const u32 lane = threadIdx.x & 31;
  u32 least = NO_OFFER;
  NO_UNROLL for (u32 chunk = 0; chunk < RESIDENT_BOOKS / 32; chunk++) {
    const u32 number = 32 * chunk + lane;
    if (!(candidates_of(candidates, chunk) >> lane & 1) || number >= set.count) continue;
    // A copy, so that it is read by one access.
    const Book book = set.books[number];
    if (!can_code<T>(book)) continue;
    const u32* savings = set.savings + 32 * SAVINGS_ROWS * chunk + lane;
    const u32 first = first_base<T>(book, counts);
    const u32* at = pairs + first;
    u32 saved[TRIED] = {};
    UNROLL for (u32 row = 0; row < ROWS; row++) {
      const u32 bytes = load_32(savings + 32 * row);
      UNROLL for (u32 i = 0; i < TRIED; i++) {
        saved[i] = sum_of_products_low(at[4 * row + i], bytes, saved[i]);
        saved[i] = sum_of_products_high(at[4 * row + i + 2], bytes, saved[i]);
      }
    }
    UNROLL for (u32 i = 0; i < TRIED; i++) {
      u32 bits = counts.total * book.outside - saved[i];
      if (counts.zeros) bits += counts.zeros * bits_of_zero(book, savings, first + i, counts.remainder_bits);
      least = at_most(least, offer_of(bits, number, i));
    }
  }
  return least;
}

// Chooses for a block. `counts`: shared memory, of COUNTS words, for the time of the call.
template <class T>
INLINE u32 choose(const typename T::Unit* in, u32 units, const BookSet& set, const Candidates& candidates,
                  u32* counts) {
  if (is_empty(candidates)) return NO_CHOICE;
  UNROLL for (u32 k = 0; k < COUNTS / 32; k++) counts[32 * k + (threadIdx.x & 31)] = 0;
  __syncwarp();
  const u32 differ = count_sample<T>(in, units, counts);
  __syncwarp();
  const Counts found = pair_counts<T>(counts, differ);
  const u32 least = least_of_lanes(least_offer<T>(set, candidates, counts, found));
  __syncwarp();
  if (least == NO_OFFER) return NO_CHOICE;
  const u32 number = least >> 2 & 0xff, base = (first_base<T>(set.books[number], found) + (least & 3)) & 0xff;
  return number | base << 8 | CHOICE_ZEROS_APART;
}

}  // namespace encode
