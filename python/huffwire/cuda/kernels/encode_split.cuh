// Raw planes of a block: bytes, or symbols of fewer bits packed without gaps. They are the planes from FIRST on: 1
// where plane 0 is coded, 0 where it is raw, too.
//
// Whole groups of 64 units are split by threads that take eight symbols each: `width` whole bytes of each plane,
// wherever they are (`split_groups`). All else goes group by group, two symbols a thread, in the order of the lane
// coder (`drop_groups`): the last units of a block, blocks whose exact zeros have no remainder, and those few where
// elements or planes lie at addresses that are no multiples of 8. A ballot tells where among the symbols that stay each
// of them lies. Symbols of fewer than eight bits are collected in shared memory until there are 64 of them, which are
// whole bytes again.
#pragma once
#include "encode_elements.cuh"
#include "encode_memory.cuh"

namespace encode {

// Where planes lie in memory, and which of them do not because they are constant.
struct RawPlanes {
  u8* at[MAX_PLANES];
  u32 constant;
};

INLINE bool is_raw(const RawPlanes& planes, u32 plane) { return !(planes.constant >> plane & 1); }

// Whether `split_groups` can read the elements and write the planes.
template <class Layout, u32 FIRST> INLINE bool are_aligned(const void* in, const RawPlanes& planes) {
  u32 low = (u32)(u64)in;
  UNROLL for (u32 plane = FIRST; plane < Layout::STORED; plane++)
    if (is_raw(planes, plane) && Layout::width(plane) == 8) low |= (u32)(u64)planes.at[plane];
  return (low & 7) == 0;
}

// Eight symbols, a byte each in two words.
struct Eight {
  u32 low, high;
};

// Four symbols of a byte each, put together: neighbours, then pairs of neighbours.
INLINE u32 packed_4(u32 width, u32 symbols) {
  // Bits 0, 8, 16 and 24 go to 28 to 31, and no sum of two bits carries.
  if (width == 1) return symbols * 0x10204080u >> 28;
  const u32 one = low_bits(width) * 0x10001u, two = low_bits(2 * width) * 0x10001u;
  const u32 pairs = select_bits(symbols, symbols >> (8 - width), one) & two;
  return select_bits(pairs, pairs >> (16 - 2 * width), low_bits(2 * width)) & low_bits(4 * width);
}

// Eight symbols as `width` bytes, fewer than 8.
INLINE u64 packed_8(u32 width, const Eight& symbols) {
  return packed_4(width, symbols.low) | (u64)packed_4(width, symbols.high) << 4 * width;
}

INLINE void store_8_symbols(u8* to, u32 width, const Eight& symbols) {
  if (width == 8) return store_words_2(to, symbols.low, symbols.high);
  const u64 all = packed_8(width, symbols);
  UNROLL for (u32 k = 0; k < 7; k++)
    if (k < width) to[k] = (u8)(all >> 8 * k);
}

// Symbols 8 i to 8 i + 7 of a group: the words of memory that their units lie in.
template <class T> struct EightUnits {
  u32 words[2 * T::BYTES];
};
template <class T> INLINE EightUnits<T> load_8_units(const typename T::Unit* group, u32 i) {
  constexpr u32 RUNS = T::BYTES;  // of 8 bytes
  constexpr u32 APART = RUNS == 1 ? 0 : 64 / RUNS;
  EightUnits<T> units;
  UNROLL for (u32 run = 0; run < RUNS; run++) {
    const uint2 v = load_words_2(group + run * APART + 8 / RUNS * i);
    units.words[2 * run] = v.x;
    units.words[2 * run + 1] = v.y;
  }
  return units;
}
template <class T> INLINE EightUnits<T> rotated_8(EightUnits<T> units) {
  UNROLL for (u32 k = 0; k < 2 * T::BYTES; k++) {
    const u32 x = units.words[k];
    if (T::BYTES == 2) units.words[k] = select_bits(x << 1, x >> 15, 0xfffefffeu);
    if (T::BYTES == 4) units.words[k] = __funnelshift_l(x, x, 1);
  }
  return units;
}

// Byte `byte` of each unit, in the order of symbols.
template <class T> INLINE Eight bytes_of(const EightUnits<T>& units, u32 byte) {
  const u32* w = units.words;
  if (T::BYTES == 1) return Eight{w[0], w[1]};
  if (T::BYTES == 2) {
    const u32 take = byte ? 0x7351 : 0x6240;
    return Eight{__byte_perm(w[0], w[2 % (2 * T::BYTES)], take), __byte_perm(w[1], w[3 % (2 * T::BYTES)], take)};
  }
  const u32 take = byte | (4 + byte) << 4;
  const auto gather = [&](u32 k) {
    constexpr u32 N = 2 * T::BYTES;
    const u32 first = __byte_perm(w[k], w[(k + 2) % N], take);
    const u32 second = __byte_perm(w[(k + 4) % N], w[(k + 6) % N], take);
    return __byte_perm(first, second, 0x5410);
  };
  return Eight{gather(0), gather(1)};
}

template <class Layout> INLINE Eight symbols_of(u32 plane, const EightUnits<typename Layout::Type>& units) {
  const u32 shift = Layout::shift(plane) & 7, mask = low_bits(Layout::width(plane)) * 0x1010101u;
  const Eight bytes = bytes_of<typename Layout::Type>(units, Layout::shift(plane) / 8);
  return Eight{bytes.low >> shift & mask, bytes.high >> shift & mask};
}

// Splits symbols 8 i to 8 i + 7 of the groups from `group` on. Everything is aligned.
template <class T, class Layout, u32 FIRST>
INLINE void split_8(const typename T::Unit* in, u32 group, u32 i, const RawPlanes& planes) {
  const EightUnits<T> units = load_8_units<T>(in + 64 * group + (i & ~7u) * 8, i & 7), turned = rotated_8<T>(units);
  UNROLL for (u32 plane = FIRST; plane < Layout::STORED; plane++) {
    if (!is_raw(planes, plane)) continue;
    const Eight symbols = symbols_of<Layout>(plane, Layout::rotates(plane) ? turned : units);
    const u32 width = Layout::width(plane);
    store_8_symbols(planes.at[plane] + 8 * group * width + i * width, width, symbols);
  }
}

// Splits `count` groups from `from` on.
template <class T, class Layout, u32 FIRST>
INLINE void split_groups(const typename T::Unit* in, u32 from, u32 count, const RawPlanes& planes) {
  for (u32 i = threadIdx.x & 31; i < 8 * count; i += 32) split_8<T, Layout, FIRST>(in, from, i, planes);
}

// The same for COUNT groups, a multiple of 4.
template <class T, class Layout, u32 FIRST, u32 COUNT>
INLINE void split_many_groups(const typename T::Unit* in, u32 from, const RawPlanes& planes) {
  const u32 lane = threadIdx.x & 31;
  UNROLL for (u32 k = 0; k < COUNT / 4; k++) split_8<T, Layout, FIRST>(in, from, 32 * k + lane, planes);
}

// The two units that a thread takes of a group with `count` units, 0 where there is none.
template <class T> INLINE void load_2_units(const typename T::Unit* group, u32 count, u32& x0, u32& x1) {
  const u32 lane = threadIdx.x & 31;
  const bool whole = count >= 64;
  const u32 first = whole ? T::first(lane) : 2 * lane, second = whole ? first + T::SECOND : first + 1;
  x0 = 2 * lane < count ? load_unit(group + first) : 0;
  x1 = 2 * lane + 1 < count ? load_unit(group + second) : 0;
}

// Symbols of fewer than eight bits on their way to memory.
struct Packer {
  u32 staged;  // address in shared memory, of STAGED bytes
  u32 count;   // symbols there, fewer than 64 between calls
  u8* to;
};
constexpr u32 STAGED = 128u;

// No block has more than one such plane that is stored, beside plane 0.
struct Packers {
  Packer symbols, others;
};

// Eight symbols of those staged become `width` bytes.
INLINE void pack_8(const Packer& packer, u32 width, u32 i, u32 count) {
  u32 symbols[8];
  UNROLL for (u32 k = 0; k < 8; k++) symbols[k] = 8 * i + k < count ? load_shared_8(packer.staged + 8 * i + k) : 0;
  const Eight eight = {symbols[0] | symbols[1] << 8 | symbols[2] << 16 | symbols[3] << 24,
                       symbols[4] | symbols[5] << 8 | symbols[6] << 16 | symbols[7] << 24};
  const u32 bytes = (at_most(8, count - 8 * i) * width + 7) / 8;
  const u64 all = packed_8(width, eight);
  for (u32 k = 0; k < bytes; k++) packer.to[i * width + k] = (u8)(all >> 8 * k);
}

// Packs what is staged if it is 64 symbols or more, or the last ones.
INLINE void pack_staged(Packer& packer, u32 width, bool last) {
  const u32 lane = threadIdx.x & 31;
  __syncwarp();
  const u32 count = at_most(64, packer.count);
  if (count == 64 || last) {
    if (8 * lane < count) pack_8(packer, width, lane, count);
    packer.to += 8 * width;
    packer.count -= count;
    __syncwarp();
    const u32 rest = 2 * lane < packer.count ? load_shared_16(packer.staged + 64 + 2 * lane) : 0;
    __syncwarp();
    if (2 * lane < packer.count) store_shared_16(packer.staged + 2 * lane, rest);
    __syncwarp();
  }
}

// Stores the remainder of a group of `count` units behind `before` symbols of other groups; without exact zeros if
// `drop`. Returns how many symbols were stored.
template <class T, class Layout, u32 FIRST>
INLINE u32 drop_group(const typename T::Unit* group, u32 count, bool drop, u32 before, const RawPlanes& planes,
                      Packers& packers) {
  const u32 lane = threadIdx.x & 31, below = (1u << lane) - 1;
  u32 x0, x1;
  load_2_units<T>(group, count, x0, x1);
  const bool stays0 = 2 * lane < count && !(drop && x0 == 0), stays1 = 2 * lane + 1 < count && !(drop && x1 == 0);
  const u32 a = __ballot_sync(ALL_LANES, stays0), b = __ballot_sync(ALL_LANES, stays1);
  const u32 stay = __popc(a) + __popc(b), place = __popc(a & below) + __popc(b & below);
  UNROLL for (u32 plane = FIRST; plane < Layout::STORED; plane++) {
    if (!is_raw(planes, plane)) continue;
    const u32 s0 = plane_symbol<Layout>(plane, x0), s1 = plane_symbol<Layout>(plane, x1);
    if (Layout::width(plane) == 8) {
      u8* to = planes.at[plane] + before + place;
      if (stays0) *to = (u8)s0;
      if (stays1) to[stays0] = (u8)s1;
    } else {
      Packer& packer = plane == 0 ? packers.symbols : packers.others;
      const u32 to = packer.staged + packer.count + place;
      if (stays0) store_shared_8(to, s0);
      if (stays1) store_shared_8(to + stays0, s1);
      packer.count += stay;
      pack_staged(packer, Layout::width(plane), false);
    }
  }
  return stay;
}

// Stores the units from group `from` on, group by group; without exact zeros if `drop`. `staged`: 2 STAGED bytes of
// shared memory.
template <class T, class Layout, u32 FIRST>
INLINE void drop_groups(const typename T::Unit* in, u32 from, u32 units, bool drop, const RawPlanes& planes,
                        u32 staged) {
  Packers packers = {{staged, 0, nullptr}, {staged + STAGED, 0, nullptr}};
  UNROLL for (u32 plane = FIRST; plane < Layout::STORED; plane++) {
    if (!is_raw(planes, plane) || Layout::width(plane) == 8) continue;
    (plane == 0 ? packers.symbols : packers.others).to = planes.at[plane] + 8 * Layout::width(plane) * from;
  }
  u32 before = 64 * from;
  for (u32 at = before; at < units; at += 64)
    before += drop_group<T, Layout, FIRST>(in + at, at_most(64, units - at), drop, before, planes, packers);
  UNROLL for (u32 plane = FIRST; plane < Layout::STORED; plane++) {
    if (!is_raw(planes, plane) || Layout::width(plane) == 8) continue;
    Packer& packer = plane == 0 ? packers.symbols : packers.others;
    if (packer.count) pack_staged(packer, Layout::width(plane), true);
  }
}

}  // namespace encode
