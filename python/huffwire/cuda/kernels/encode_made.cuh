// Books that the encoder makes of the counts of a plane, for planes for which the set has none: what the encoder for
// processors embeds at its fast level, by one warp.
//
// Symbols are sorted by their counts. The frequent ones get codes of their own, all others share the escape; which
// code is how long is found by package-merge (Larmore and Hirschberg, 1990): level by level, from the longest codes to
// the shortest, pairs of neighbours of the last list become packages and are merged with the symbols. The first 2 n - 2
// items of the last list are the optimum, and the length of a code is the number of lists in which its symbol is among
// those taken. Merging is where lanes work side by side: an item's place is its number in its own list and the number
// of lighter items in the other one, found by bisection.
//
// All is done with whole numbers, where the encoder for processors has probabilities. Where a plane has a power of two of
// symbols, these are exact, and both make the same book; elsewhere rounding may decide between codes that cost the same.
#pragma once
#include "encode_lanes.cuh"
#include "encode_memory.cuh"

namespace encode {

constexpr u32 LONGEST_CODE = 12u;
constexpr u32 ESCAPED_BITS = 8u;

// Shared memory of a warp that makes a book.
struct MakeScratch {
  u32 counts[256];  // by symbol; once they are sorted, count << 8 | 255 - symbol, in ascending order
  u32 weights[256];
  u32 lists[2][512];
  u8 places[LONGEST_CODE][256];  // how many packages are lighter than a symbol, by level
};

// Sorts 256 numbers, by a bitonic network.
INLINE void sort_256(u32* numbers) {
  const u32 lane = threadIdx.x & 31;
  NO_UNROLL for (u32 size = 2; size <= 256; size *= 2) {
    NO_UNROLL for (u32 apart = size / 2; apart; apart /= 2) {
      __syncwarp();
      UNROLL for (u32 pair = lane; pair < 128; pair += 32) {
        const u32 a = 2 * pair - (pair & (apart - 1)), b = a + apart, x = numbers[a], y = numbers[b];
        const bool ascends = !(a & size);
        if ((x > y) == ascends) numbers[a] = y, numbers[b] = x;
      }
    }
  }
  __syncwarp();
}

// How many of the first `size` numbers of an ascending sequence are below `x`.
template <class At> INLINE u32 count_below(u32 size, u32 x, At at) {
  u32 from = 0;
  while (size) {
    const u32 half = size / 2;
    const bool below = at(from + half) < x;
    from += below ? half + 1 : 0;
    size = below ? size - half - 1 : half;
  }
  return from;
}

// The symbols of a plane, sorted.
struct Sorted {
  u32 used;   // symbols that occur
  u32 total;  // of all counts
};

INLINE Sorted sort_counts(MakeScratch& scratch) {
  const u32 lane = threadIdx.x & 31;
  Sorted sorted = {0, 0};
  // Other lanes may still look at counts.
  __syncwarp();
  UNROLL for (u32 symbol = lane; symbol < 256; symbol += 32) {
    const u32 count = scratch.counts[symbol];
    sorted.used += count != 0;
    sorted.total += count;
    scratch.counts[symbol] = count << 8 | (255 - symbol);
  }
  sorted.used = sum_of_lanes(sorted.used), sorted.total = sum_of_lanes(sorted.total);
  sort_256(scratch.counts);
  return sorted;
}

// Bytes that a code as short as the entropy would save of a plane. To be called before counts are sorted.
INLINE int bytes_to_gain(const u32* counts, u32 total, u32 width) {
  const float all = log2_of((float)total);
  float gain = 0;
  UNROLL for (u32 symbol = threadIdx.x & 31; symbol < 256; symbol += 32) {
    const float count = (float)counts[symbol];
    if (count > 0) gain += count * ((float)width - all + log2_of(count));
  }
  // Sixteenths of a bit, so that whole numbers are added up. 32 lanes have rounded towards zero.
  return ((int)sum_of_lanes((u32)(int)(16 * gain)) + 32) / 128;
}

// Bits of a Huffman code without a limit: every inner node of its tree adds its weight. All lanes do the same.
INLINE u32 huffman_bits(MakeScratch& scratch, const Sorted& sorted) {
  u32* inner = scratch.lists[0];
  const u32 first = 256 - sorted.used;
  u32 leaf = 0, taken = 0, made = 0, bits = 0;
  const auto lightest = [&]() {
    const u32 of_leaf = leaf < sorted.used ? scratch.counts[first + leaf] >> 8 : ~0u;
    const u32 of_inner = taken < made ? inner[taken] : ~0u;
    const bool is_leaf = of_leaf <= of_inner;
    leaf += is_leaf, taken += !is_leaf;
    return is_leaf ? of_leaf : of_inner;
  };
  __syncwarp();
  while (made + 1 < sorted.used) {
    const u32 a = lightest(), sum = a + lightest();
    same_for_all(inner[made], sum);
    made++;
    bits += sum;
  }
  __syncwarp();
  return bits;
}

// Lengths of codes: of items 32 k + lane, which are the symbols that have codes of their own, the rarest first, and the
// escape among them.
struct MadeCode {
  u8 length[8];
  u32 items;
  u32 escape;  // which item is the escape; `items` if none is
  u32 bits;    // of the plane, escaped symbols included
};

// Package-merge on the weights of `items` items: the lengths of their codes.
INLINE void merge_packages(MakeScratch& scratch, u32 limit, MadeCode& code) {
  const u32 lane = threadIdx.x & 31, items = code.items, *weights = scratch.weights;
  u32 size = 0;
  NO_UNROLL for (u32 level = 0; level < limit; level++) {
    const u32 packages = size / 2, *last = scratch.lists[level & 1];
    u32* next = scratch.lists[~level & 1];
    const auto package = [&](u32 i) { return last[2 * i] + last[2 * i + 1]; };
    // Where they weigh the same, symbols come before packages.
    NO_UNROLL for (u32 i = lane; i < items; i += 32) {
      const u32 lighter = count_below(packages, weights[i], package);
      scratch.places[level][i] = (u8)lighter;
      next[i + lighter] = weights[i];
    }
    NO_UNROLL for (u32 i = lane; i < packages; i += 32) {
      const u32 sum = package(i);
      next[i + count_below(items, sum + 1, [&](u32 k) { return weights[k]; })] = sum;
    }
    size = items + packages;
    __syncwarp();
  }
  u32 taken = 2 * items - 2;
  NO_UNROLL for (u32 level = limit; level--;) {
    u32 symbols = 0;
    UNROLL for (u32 k = 0; k < 8; k++) {
      const u32 i = 32 * k + lane;
      const bool is_taken = i < items && i + scratch.places[level][i] < taken;
      code.length[k] += is_taken;
      symbols += is_taken;
    }
    taken = 2 * (taken - sum_of_lanes(symbols));
  }
}

// Makes the code of at most `limit` bits for the sorted counts of a plane of `width` bits.
//
// A code of its own costs a symbol at most `limit` bits, and all others the code space 2^-limit; by the escape it costs
// some limit + 8 bits. They are equal near a probability of 2^-limit / 5; symbols of 2^-limit / 4 and more get a code.
INLINE MadeCode make_code(MakeScratch& scratch, const Sorted& sorted, u32 width, u32 limit) {
  const u32 lane = threadIdx.x & 31;
  const u32 least = (sorted.total + (4u << limit) - 1) >> (limit + 2);
  const u32 rare = count_below(256, least << 8, [&](u32 i) { return scratch.counts[i]; });
  const u32 direct = rare < 256 ? 256 - rare : 1, first = 256 - direct;
  const bool escapes = direct < 1u << width;
  u32 covered = 0;
  for (u32 i = lane; i < direct; i += 32) covered += scratch.counts[first + i] >> 8;
  const u32 escaped = sorted.total - sum_of_lanes(covered);
  // The escape comes behind what is as rare, even where it never occurs.
  u32 behind = 0;
  for (u32 i = lane; i < direct; i += 32) {
    const u32 count = scratch.counts[first + i] >> 8;
    const bool after = escapes && count > escaped;
    scratch.weights[i + after] = count;
    behind += after;
  }
  MadeCode code = {{}, direct + escapes, 0, 0};
  code.escape = escapes ? direct - sum_of_lanes(behind) : code.items;
  if (escapes && lane == 0) scratch.weights[code.escape] = escaped;
  __syncwarp();
  merge_packages(scratch, limit, code);
  UNROLL for (u32 k = 0; k < 8; k++)
    if (32 * k + lane < code.items) code.bits += scratch.weights[32 * k + lane] * code.length[k];
  code.bits = sum_of_lanes(code.bits) + (escapes ? escaped * ESCAPED_BITS : 0);
  return code;
}

// A book that was made, as it is embedded: docs/format.md, section 4.4.
struct MadeBook {
  u8 lengths[256];  // by symbol, 0 without a code
  u32 limit;
  u32 escape;       // length of its code, 0 without one
  u32 first, last;  // symbols with codes
  u32 escaped;      // how many symbols take the escape
};

INLINE u32 serialized_bytes(const MadeBook& book) { return 3 + (book.last - book.first + 4) / 2; }

// Writes down a code. `scratch` still has the counts that it was made of.
INLINE void keep_code(const MakeScratch& scratch, const MadeCode& code, u32 limit, MadeBook& book) {
  const u32 lane = threadIdx.x & 31, direct = code.items - (code.escape < code.items), all = 256 - direct;
  for (u32 symbol = lane; symbol < 256; symbol += 32) book.lengths[symbol] = 0;
  __syncwarp();
  u32 first = 255, last = 0, escape = 0;
  UNROLL for (u32 k = 0; k < 8; k++) {
    const u32 i = 32 * k + lane;
    if (i == code.escape) escape = code.length[k];
    if (i >= code.items || i == code.escape) continue;
    const u32 symbol = 255 - (scratch.counts[all + i - (i > code.escape)] & 0xff);
    book.lengths[symbol] = code.length[k];
    first = symbol < first ? symbol : first;
    last = symbol > last ? symbol : last;
  }
  escape = or_of_lanes(escape);
  first = least_of_lanes(first), last = 255 - least_of_lanes(255 - last);
  if (lane == 0) {
    book.limit = limit;
    book.escape = escape;
    book.first = first, book.last = last;
    book.escaped = escape ? scratch.weights[code.escape] : 0;
  }
  __syncwarp();
}

// Serializes a book, by a warp. `to` has room for `serialized_bytes`.
INLINE void serialize_book(const MadeBook& book, u32 width, u8* to) {
  const u32 lane = threadIdx.x & 31, slots = book.last - book.first + 1;
  if (lane == 0) {
    to[0] = (u8)(width << 4 | (book.limit > 8));
    to[1] = (u8)book.first;
    to[2] = (u8)book.last;
  }
  const auto nibble = [&](u32 i) {
    return i < slots ? (u32)book.lengths[book.first + i] : i == slots ? book.escape : 0u;
  };
  for (u32 i = lane; 2 * i < slots + 2; i += 32) to[3 + i] = (u8)(nibble(2 * i) | nibble(2 * i + 1) << 4);
}

// Makes the table of a book, numbering codes by length, then by symbol. The escape takes the place of the first symbol
// without a code.
template <class Codes> INLINE void make_table_of(const MadeBook& book, u32 table) {
  const u32 lane = threadIdx.x & 31, below = (1u << lane) - 1;
  u32 stand_in = 256;
  if (book.escape) {
    for (u32 symbol = lane; symbol < 256 && stand_in == 256; symbol += 32)
      if (!book.lengths[symbol]) stand_in = symbol;
    stand_in = least_of_lanes(stand_in);
  }
  u32 code = 0, of_escape = 0;
  NO_UNROLL for (u32 length = 1; length <= book.limit; length++, code *= 2) {
    NO_UNROLL for (u32 symbol = lane; symbol < 256; symbol += 32) {
      const u32 own = symbol == stand_in ? book.escape : book.lengths[symbol];
      const u32 here = __ballot_sync(ALL_LANES, own == length);
      const u32 entry = length | (code + __popc(here & below)) << 8;
      if (own == length && symbol == stand_in) of_escape = entry | ENTRY_SPECIAL;
      if (own == length && symbol != stand_in) Codes::store_entry(table, symbol, entry);
      code += __popc(here);
    }
  }
  of_escape = or_of_lanes(of_escape);
  for (u32 symbol = lane; symbol < 256; symbol += 32)
    if (!book.lengths[symbol]) Codes::store_entry(table, symbol, of_escape);
  __syncwarp();
}

}  // namespace encode
