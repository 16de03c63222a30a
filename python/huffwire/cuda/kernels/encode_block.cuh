// A block, by one warp: which layout and which planes are constant, the remainder, the codes.
//
// A block is made in a slot of its own, which has room for the longest block that is worth it; whatever would be longer
// is given up where the room ends, and becomes verbatim. In a slot
//
//   header | raw planes, the last one first | states | stream ->     <- escapes
//
// lie such that the header ends at byte HEADER_END: its size is known beforehand, and so are those of the raw planes,
// for which exact zeros are counted if the book sets them apart. Lanes carry the end of the raw planes, and their
// states overwrite it. Blocks of few units have no states, and their escapes follow the stream at once.
// `encode_message.cuh` puts the blocks together.
#pragma once
#include "encode_choose.cuh"
#include "encode_single.cuh"

namespace encode {

constexpr u32 ENCODE_WARPS = 8;
constexpr u32 HEADER_END = 32u;

// What became of a block.
struct Coded {
  u32 length;
  u32 start;  // where the block begins in its slot
};
constexpr u32 VERBATIM = 0xffffffffu;  // as `start`: the block is a 0 and its elements

// Of a warp: first for the choice of a book, then for the codes. Tables lie at multiples of their size.
template <class T> union alignas(T::LONG_CODES ? 1024 : 512) EncodeShared {
  u32 counts[COUNTS];
  struct {
    u8 table[T::LONG_CODES ? 1024 : 512];
    u8 buffer[2 * CHUNK];
  } coding;
};

// The bits in which units of a block differ from its first one. It is found by all of them only if some plane may be
// constant: the first units whose planes all vary end the search.
template <class T> INLINE u32 differing_bits(const typename T::Unit* in, u32 units) {
  typedef typename LayoutsOf<T>::Usual Usual;
  typedef typename LayoutsOf<T>::OneSign OneSign;
  const u32 lane = threadIdx.x & 31, first = load_unit(in);
  u32 differ = 0, all = 0;
  for (u32 from = 0; from < units; from += 256) {
    UNROLL for (u32 k = 0; k < 8; k++) {
      const u32 i = from + 32 * k + lane;
      if (i < units) differ |= load_unit(in + i) ^ first;
    }
    all = or_of_lanes(differ);
    if (!constant_planes<Usual>(all) && !constant_planes<OneSign>(all)) break;
  }
  return all;
}

template <class T> INLINE u32 count_zeros(const typename T::Unit* in, u32 units) {
  const u32 lane = threadIdx.x & 31;
  u32 zeros = 0;
  UNROLL_4 for (u32 i = lane; i < units; i += 32) zeros += load_unit(in + i) == 0;
  return sum_of_lanes(zeros);
}

// Entries by symbol instead of slot.
template <class T, class Codes> INLINE void make_table(const ChosenBook& book, u32 table) {
  for (u32 symbol = threadIdx.x & 31; symbol < 256; symbol += 32) {
    const u32 slot = T::CENTRED ? (symbol - book.base) & 0xff : symbol;
    Codes::store_entry(table, symbol, Codes::load_entry(book.codes, T::CENTRED ? at_most(62, slot) : slot));
  }
}

// Fields of a header, written by one thread.
struct HeaderWriter {
  u8* at;
  __device__ __forceinline__ void byte(u32 x) { *at++ = (u8)x; }
  __device__ __forceinline__ void word(u32 x) { store_le32(at, x); at += 4; }
  // A number in the header of a plane: as a varint if it is a single stream.
  __device__ __forceinline__ void number(bool single, u32 x) {
    if (!single) return word(x);
    for (; x > 127; x >>= 7) byte(x | 128);
    byte(x);
  }
};
INLINE u32 number_bytes(bool single, u32 x) { return single ? varint_bytes(x) : 4; }

constexpr u32 MODE_SINGLE = 0xfbu, MODE_SINGLE_EMBEDDED = 0xfcu;
constexpr u32 MODE_EMBEDDED = 0xfdu, MODE_CONSTANT = 0xfeu, MODE_RAW = 0xffu;

// Headers of planes that are raw or constant. `x`: any unit.
template <class Layout> INLINE u32 header_of_raw(u32 constant, u32 first) {
  u32 size = 0;
  for (u32 plane = first; plane < Layout::PLANES; plane++) size += 1 + (constant >> plane & 1);
  return size;
}
template <class Layout> INLINE void write_header_of_raw(HeaderWriter& out, u32 constant, u32 first, u32 x) {
  for (u32 plane = first; plane < Layout::PLANES; plane++) {
    const bool raw = !(constant >> plane & 1);
    out.byte(raw ? MODE_RAW : MODE_CONSTANT);
    if (!raw) out.byte(plane_symbol<Layout>(plane, x));
  }
}

// Places the raw planes, `count` symbols each, behind HEADER_END. Returns where they end.
template <class Layout, u32 FIRST> INLINE u32 place_raw(RawPlanes& planes, u8* slot, u32 count) {
  u32 end = HEADER_END;
  UNROLL for (u32 plane = Layout::STORED; plane-- > FIRST;) {
    planes.at[plane] = slot + end;
    if (is_raw(planes, plane)) end += (count * Layout::width(plane) + 7) / 8;
  }
  return end;
}

// Which layout a block has, and which of its planes are constant.
struct Form {
  bool one_sign;
  u32 constant;
};

// Splits all units from group `from` on; without exact zeros if `drop`.
template <class T, class Layout, u32 FIRST>
INLINE void split_from_group(const typename T::Unit* in, u32 from, u32 units, bool drop, const RawPlanes& planes,
                             u32 staged) {
  if (FIRST == Layout::STORED) return;
  const u32 groups = !drop && are_aligned<Layout, FIRST>(in, planes) ? units / 64 : from;
  split_groups<T, Layout, FIRST>(in, from, groups - from, planes);
  drop_groups<T, Layout, FIRST>(in, groups, units, drop, planes, staged);
}

// A block whose planes are all raw or constant.
template <class T>
INLINE Coded write_uncoded(const typename T::Unit* in, u32 units, const Form& form, const Workplace& work) {
  return with_layout<T>(form.one_sign, [&](auto layout) {
    typedef decltype(layout) Layout;
    RawPlanes planes;
    planes.constant = form.constant;
    const u32 header = 1 + header_of_raw<Layout>(form.constant, 0);
    const u32 end = place_raw<Layout, 0>(planes, work.slot, units);
    split_from_group<T, Layout, 0>(in, 0, units, false, planes, work.buffer);
    if ((threadIdx.x & 31) == 0) {
      HeaderWriter out = {work.slot + HEADER_END - header};
      out.byte(Layout::NUMBER);
      write_header_of_raw<Layout>(out, form.constant, 0, load_unit(in));
    }
    return Coded{header + end - HEADER_END, HEADER_END - header};
  });
}

// Bytes of a block's header if its plane 0 is coded.
template <class T>
INLINE u32 header_of_coded(const Form& form, const ChosenBook& book, bool single, u32 zeros, u32 stream, u32 escapes) {
  u32 size = 2 + single + T::CENTRED + number_bytes(single, stream);
  if (book.has_zero) size += number_bytes(single, zeros);
  if (book.has_escape) size += number_bytes(single, escapes);
  return size + with_layout<T>(form.one_sign, [&](auto layout) {
    return header_of_raw<decltype(layout)>(form.constant, 1);
  });
}

// Writes the header of such a block, whose payload is there. Verbatim where it would have `limit` bytes or more.
template <class T>
INLINE Coded finish_coded(const typename T::Unit* in, const Form& form, const ChosenBook& book, bool single, u32 zeros,
                          const CodedPlane& coded, u32 limit, const Workplace& work) {
  const u32 header = header_of_coded<T>(form, book, single, zeros, coded.stream, coded.escapes);
  const u32 length = header + coded.end - HEADER_END;
  if (!coded.fits || length >= limit) return Coded{limit, VERBATIM};
  if ((threadIdx.x & 31) == 0) {
    HeaderWriter out = {work.slot + HEADER_END - header};
    with_layout<T>(form.one_sign, [&](auto layout) {
      typedef decltype(layout) Layout;
      out.byte(Layout::NUMBER);
      if (single) out.byte(MODE_SINGLE);
      out.byte(book.number);
      if (T::CENTRED) out.byte(book.base);
      if (book.has_zero) out.number(single, zeros);
      out.number(single, coded.stream);
      if (book.has_escape) out.number(single, coded.escapes);
      write_header_of_raw<Layout>(out, form.constant, 1, load_unit(in));
    });
  }
  return Coded{length, HEADER_END - header};
}

// A block whose plane 0 is coded in lanes. Verbatim where that would have `limit` bytes or more.
template <class T, class Codes>
INLINE Coded write_coded(const typename T::Unit* in, u32 units, const Form& form, const ChosenBook& book, u32 limit,
                         const Workplace& work) {
  const u32 zeros = T::CENTRED && book.zeros_apart ? uniform(count_zeros<T>(in, units)) : 0;
  RawPlanes planes;
  planes.constant = form.constant;
  u32 raw_end = 0;
  with_layout<T>(form.one_sign, [&](auto layout) {
    raw_end = place_raw<decltype(layout), 1>(planes, work.slot, units - zeros);
  });
  const u32 uncoded = raw_end - at_most(CARRIED_BYTES, raw_end - HEADER_END) + Codes::STATES_BYTES - HEADER_END;
  if (header_of_coded<T>(form, book, false, zeros, 0, 0) + uncoded >= limit) return Coded{limit, VERBATIM};

  // Groups in front of this one are split while they are coded. All others must be before the lanes begin, since lanes
  // carry the end of the planes: no plane has the bits of more than 1024 units in CARRIED_BYTES bytes.
  u32 split_later = 0;
  with_layout<T>(form.one_sign, [&](auto layout) {
    typedef decltype(layout) Layout;
    constexpr u32 AT_ONCE = 2 * Codes::STEPS, CARRYING = 1024 / 64;
    const u32 whole = units / 64 / AT_ONCE * AT_ONCE;
    if (!zeros && whole > CARRYING && are_aligned<Layout, 1>(in, planes)) split_later = whole - CARRYING;
    split_from_group<T, Layout, 1>(in, split_later, units, zeros != 0, planes, work.buffer);
  });
  make_table<T, Codes>(book, work.table);
  const Coding coding = {work.table, book.has_zero ? load_16((const u16*)book.codes + 63) : 0};
  const auto split = [&](u32 group) {
    if (group >= split_later) return;
    with_layout<T>(form.one_sign, [&](auto layout) {
      split_many_groups<T, decltype(layout), 1, 2 * Codes::STEPS>(in, group, planes);
    });
  };
  const auto nothing = [](u32) {};
  const CodedPlane coded = code_plane<Codes>(work, HEADER_END, raw_end, [&](Lanes& lanes, Stream& stream) {
    return zeros ? code_units<T, Codes, true>(in, units, coding, lanes, stream, nothing)
                 : code_units<T, Codes, false>(in, units, coding, lanes, stream, split);
  });
  return finish_coded<T>(in, form, book, false, zeros, coded, limit, work);
}

// A block of few units whose plane 0 is coded. As `write_coded`.
template <class T, class Codes>
INLINE Coded write_single(const typename T::Unit* in, u32 units, const Form& form, const ChosenBook& book, u32 limit,
                          const Workplace& work) {
  const u32 zeros = T::CENTRED && book.zeros_apart ? uniform(count_zeros<T>(in, units)) : 0;
  RawPlanes planes;
  planes.constant = form.constant;
  u32 raw_end = 0;
  with_layout<T>(form.one_sign, [&](auto layout) {
    typedef decltype(layout) Layout;
    raw_end = place_raw<Layout, 1>(planes, work.slot, units - zeros);
    split_from_group<T, Layout, 1>(in, 0, units, zeros != 0, planes, work.buffer);
  });
  make_table<T, Codes>(book, work.table);
  __syncwarp();
  const Coding coding = {work.table, book.has_zero ? load_16((const u16*)book.codes + 63) : 0};
  const u32 uncoded = raw_end - HEADER_END, most = limit > uncoded ? limit - uncoded : 0;
  const CodedPlane coded = code_single(work, raw_end, units, most, [&](u32 number) {
    return zeros ? step_of<T, Codes, true>(in, units, coding, number)
                 : step_of<T, Codes, false>(in, units, coding, number);
  });
  return finish_coded<T>(in, form, book, true, zeros, coded, limit, work);
}

// The same, by the codes that the book has.
template <class T, class Codes>
INLINE Coded write_by_codes(const typename T::Unit* in, u32 units, const Form& form, const ChosenBook& book, u32 limit,
                            const Workplace& work) {
  return units < SINGLE_BELOW ? write_single<T, Codes>(in, units, form, book, limit, work)
                              : write_coded<T, Codes>(in, units, form, book, limit, work);
}
template <class T>
INLINE Coded write_by_book(const typename T::Unit* in, u32 units, const Form& form, const ChosenBook& book, u32 limit,
                           const Workplace& work) {
  if constexpr (T::LONG_CODES)
    if (book.is_long) return write_by_codes<T, LongCodes>(in, units, form, book, limit, work);
  return write_by_codes<T, ShortCodes>(in, units, form, book, limit, work);
}

// Encodes a block. `book`: null if there is none.
template <class T>
INLINE Coded encode_block(const typename T::Unit* in, u32 units, const ChosenBook* book, const Workplace& work) {
  const u32 bound = 1 + units * T::BYTES;
  const u32 differ = differing_bits<T>(in, units);
  Form form = {!(differ & T::SIGN) && units >= APART_FROM, 0};
  u32 uncoded = 0;
  with_layout<T>(form.one_sign, [&](auto layout) {
    typedef decltype(layout) Layout;
    form.constant = constant_planes<Layout>(differ);
    RawPlanes planes;
    planes.constant = form.constant;
    uncoded = 1 + header_of_raw<Layout>(form.constant, 0) + place_raw<Layout, 0>(planes, work.slot, units) - HEADER_END;
  });
  const u32 limit = at_most(bound, uncoded);
  if (book && !(form.constant & 1)) {
    const Coded coded = write_by_book<T>(in, units, form, *book, limit, work);
    if (coded.length < limit) return coded;
    // What was given up was written by other threads than what takes its place.
    __syncwarp();
  }
  if (uncoded < bound) return write_uncoded<T>(in, units, form, work);
  return Coded{bound, VERBATIM};
}

// All blocks of a tensor, a warp each. `choices`: null if each block chooses for itself; else one for each block if
// `choice_stride` is 1, one for all if it is 0.
template <class T>
INLINE void encode_blocks(EncodeShared<T>* shared, const u8* source, u64 units, u32 block_units, u32 blocks,
                          const BookSet& set, const Candidates& candidates, const u32* choices, u32 choice_stride,
                          u8* slots, u32 slot_bytes, Coded* results) {
  const u32 warp = threadIdx.x / 32, number = blockIdx.x * ENCODE_WARPS + warp;
  if (number >= blocks) return;
  const u64 from = (u64)number * block_units;
  const typename T::Unit* in = (const typename T::Unit*)source + from;
  const u32 here = uniform(units - from < block_units ? (u32)(units - from) : block_units);
  const u32 choice = choices ? choices[(u64)number * choice_stride]
                             : uniform(choose<T>(in, here, set, candidates, shared[warp].counts));
  ChosenBook book = {nullptr, 0, 0, false, false, false, false};
  const bool has_book = find_book<T>(set, choice, book);
  const u32 table = uniform(shared_address(shared[warp].coding.table));
  const u32 buffer = table + (u32)sizeof(shared->coding.table);
  const Workplace work = {slots + (u64)number * slot_bytes, slot_bytes, table, buffer,
                          (u32*)shared[warp].coding.buffer};
  const Coded result = encode_block<T>(in, here, has_book ? &book : nullptr, work);
  if ((threadIdx.x & 31) == 0) results[number] = result;
}

}  // namespace encode

#define ENCODE_BLOCKS(name, T)                                                                                         \
  extern "C" __global__ void __launch_bounds__(32 * encode::ENCODE_WARPS, 4)                                           \
      name(const u8* source, u64 units, u32 block_units, u32 blocks, const u8* tables, u32 set_id, u32 type,           \
           const u32* choices, u32 choice_stride, u8* slots, u32 slot_bytes, encode::Coded* results) {                 \
    __shared__ encode::EncodeShared<encode::T> shared[encode::ENCODE_WARPS];                                           \
    SHARED_BEGINS_AT(shared);                                                                                          \
    const encode::BookSet set = encode::find_set(tables, set_id);                                                      \
    const encode::Candidates candidates = encode::candidates_in(set, type, 0);                                         \
    encode::encode_blocks<encode::T>(shared, source, units, block_units, blocks, set, candidates, choices,             \
                                     choice_stride, slots, slot_bytes, results);                                       \
  }
ENCODE_BLOCKS(encode_blocks_bf16, Bf16)
ENCODE_BLOCKS(encode_blocks_f16, F16)
ENCODE_BLOCKS(encode_blocks_f32, F32)
ENCODE_BLOCKS(encode_blocks_f8, F8)
ENCODE_BLOCKS(encode_blocks_e8m0, E8m0)
ENCODE_BLOCKS(encode_blocks_bytes, Bytes)
#undef ENCODE_BLOCKS
