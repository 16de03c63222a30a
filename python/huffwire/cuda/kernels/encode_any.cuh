// Encodes blocks of every type, by one warp a block: what has no kernel of its own (encode_block.cuh), or no book. It is
// written to be right first.
//
// A type has one layout here: byte positions of words, sign and magnitude of small floats, or bytes. Each plane is
// constant, raw, coded with a book of the set or, where the set has none for it, with one that is made of its counts
// and embedded. Prices, and the rules for making a book, are those of the encoder for processors at its fast level.
// That one looks at a sample first, and tries several layouts for small floats without a book; this one counts all.
//
// First all planes are counted and planned, which tells how long the header is. Then the payload is written behind
// it, the last plane first: lanes carry the end of what is there (docs/format.md, section 7.5). The header comes last.
#pragma once
#include "encode_block.cuh"
#include "encode_made.cuh"

namespace encode {

constexpr u32 ANY_WARPS = 4u;
constexpr u32 ANY_PLANES = 8u;
constexpr u32 LONG_CODES_FROM = 4096u;  // symbols, by the format
constexpr u32 LEAST_GAIN = 64u;         // bytes that an ideal code must save before a book is made

// How elements become planes. The elements of a block are one row of bits. Symbol `i` of a plane has `width` of them,
// and begins `i * step` bits behind symbol 0.
struct AnyLayout {
  u32 number;
  u32 unit_bytes;
  u32 symbols;   // of a unit, in each plane
  u32 planes;
  u32 step;
  u32 width;     // of plane 0
  u32 unused;    // bits that must be 0 in every byte
};

INLINE AnyLayout positions_of(u32 bytes) { return AnyLayout{5, bytes, 1, bytes, 8 * bytes, 8, 0}; }
INLINE AnyLayout magnitude_of(u32 width, u32 unused) { return AnyLayout{2, 1, 1, 2, 8, width, unused}; }
INLINE AnyLayout bytes_layout() { return AnyLayout{4, 1, 1, 1, 8, 8, 0}; }

// By the number of the type that elements are coded as.
INLINE AnyLayout layout_of(u32 type) {
  switch (type) {
    case 1: case 2: case 14: return positions_of(2);
    case 3: case 15: return positions_of(4);
    case 16: return positions_of(8);
    case 4: case 5: return magnitude_of(7, 0);
    case 6: case 7: return magnitude_of(5, 0xc0);
    // Four values of six bits in three bytes.
    case 8: case 9: return AnyLayout{2, 3, 4, 2, 6, 5, 0};
    default: return bytes_layout();
  }
}

// The same where the set has no book for plane 0, so that one is made: then with the sign, which costs nothing more.
INLINE AnyLayout bookless_layout_of(u32 type) {
  switch (type) {
    case 4: case 5: return bytes_layout();
    case 6: case 7: return AnyLayout{3, 1, 1, 1, 8, 6, 0xc0};
    case 8: case 9: return AnyLayout{3, 3, 4, 1, 6, 6, 0};
    default: return layout_of(type);
  }
}

// Whether planes behind plane 0 are remainder, which is not coded.
INLINE bool has_remainder(const AnyLayout& layout) { return layout.number == 2; }

// The symbols of a plane, where they lie among the elements.
struct PlaneView {
  const u8* in;
  u32 step, offset, width, count;
};

INLINE PlaneView view_of(const AnyLayout& layout, const u8* in, u32 units, u32 plane) {
  const bool sign = has_remainder(layout) && plane;
  const u32 width = sign ? 1 : layout.width, offset = sign ? layout.width : plane * layout.width;
  return PlaneView{in, layout.step, offset, width, units * layout.symbols};
}

INLINE u32 symbol_at(const PlaneView& plane, u32 i) {
  const u32 bit = i * plane.step + plane.offset, shift = bit & 7;
  const u8* at = plane.in + bit / 8;
  const u32 byte = load_8(at), next = shift + plane.width > 8 ? load_8(at + 1) : 0;
  return (byte | next << 8) >> shift & low_bits(plane.width);
}

INLINE u32 raw_bytes(const PlaneView& plane) { return (plane.count * plane.width + 7) / 8; }

// How a plane is going to be stored. Coded planes of few symbols are single streams, all others are in lanes.
enum Storage { RAW_PLANE, CONSTANT_PLANE, BOOK_OF_SET, MADE_BOOK };
struct PlanePlan {
  u32 storage;
  u32 symbol_or_book;  // of a constant plane; its number in the set
  u32 header;  // bytes of its header
  u32 stream, escapes;
};
INLINE bool is_single(const PlaneView& plane) { return plane.count < SINGLE_BELOW; }

// Memory of a warp. Tables lie at multiples of their size.
struct alignas(1024) AnyShared {
  union {
    MakeScratch making;
    struct {
      u8 table[1024];
      u8 buffer[2 * CHUNK];
    } coding;
  };
  MadeBook books[ANY_PLANES];
  PlanePlan plans[ANY_PLANES];
};
static_assert(ANY_WARPS * sizeof(AnyShared) <= 48 * 1024, "a kernel has 48 KiB of shared memory, if it asks for no more");

// Counts a plane. Symbols that follow one another in a lane are counted together: many planes are nearly constant, and
// lanes that add to one place wait for each other.
INLINE void count_plane(const PlaneView& plane, u32* counts) {
  const u32 lane = threadIdx.x & 31;
  UNROLL for (u32 symbol = lane; symbol < 256; symbol += 32) counts[symbol] = 0;
  __syncwarp();
  u32 last = 0, run = 0;
  for (u32 i = lane; i < plane.count; i += 32) {
    const u32 symbol = symbol_at(plane, i);
    if (symbol != last && run) {
      atomicAdd(counts + last, run);
      run = 0;
    }
    last = symbol;
    run++;
  }
  if (run) atomicAdd(counts + last, run);
  __syncwarp();
}

// What a coded plane takes: bytes of its header, and of header and payload together. `book`: bytes of the header,
// beside the mode, that tell the book.
struct Price {
  u32 header, stored;
};
INLINE Price price_of(const PlaneView& plane, u32 book, bool has_escape, u32 limit, u32 bits, u32 escapes,
                      u32 carried) {
  const bool single = is_single(plane);
  const u32 code_bits = bits - ESCAPED_BITS * escapes, stream = single ? (code_bits + 7) / 8 : code_bits / 8;
  const u32 states = single ? 0 : (limit > 8 ? 256 : 192) - carried;
  const u32 header = 1 + book + number_bytes(single, stream) + (has_escape ? number_bytes(single, escapes) : 0);
  return Price{header, header + states + stream + escapes};
}

template <class Codes> INLINE u32 bits_by(const u8* codes, u32 width, const u32* counts) {
  u32 bits = 0;
  NO_UNROLL for (u32 symbol = 0; symbol < 1u << width; symbol++) {
    const u32 entry = Codes::load_entry(codes, symbol);
    bits += counts[symbol] * ((entry & 15) + (entry & ENTRY_SPECIAL ? ESCAPED_BITS : 0));
  }
  return bits;
}
INLINE u32 bits_by_book(const BookSet& set, const Book& book, const u32* counts) {
  const u8* codes = set.tables + book.encode;
  return book.limit > 8 ? bits_by<LongCodes>(codes, book.width, counts) : bits_by<ShortCodes>(codes, book.width, counts);
}

INLINE bool codes_plane(const Book& book, const PlaneView& plane) { return book.encode && book.width == plane.width; }

// The book of the set that codes the counts with the fewest bits, the lowest number of several; a lane for each book.
// NO_CHOICE if none fits.
INLINE u32 cheapest_book(const BookSet& set, const Candidates& candidates, const PlaneView& plane, const u32* counts) {
  const u32 lane = threadIdx.x & 31;
  u32 least = ~0u, best = NO_CHOICE;
  NO_UNROLL for (u32 number = lane; number < set.count; number += 32) {
    if (!(candidates_of(candidates, number / 32) >> lane & 1) || !codes_plane(set.books[number], plane)) continue;
    const u32 bits = bits_by_book(set, set.books[number], counts);
    if (bits < least) least = bits, best = number;
  }
  const u32 of_all = least_of_lanes(least);
  return least_of_lanes(least == of_all ? best : NO_CHOICE);
}

// How many symbols a book of the set has no code for.
INLINE u32 escapes_by_book(const BookSet& set, const Book& book, const u32* counts) {
  const u8* codes = set.tables + book.encode;
  u32 escapes = 0;
  for (u32 symbol = threadIdx.x & 31; symbol < 1u << book.width; symbol += 32) {
    const u32 entry = book.limit > 8 ? LongCodes::load_entry(codes, symbol) : ShortCodes::load_entry(codes, symbol);
    escapes += entry & ENTRY_SPECIAL ? counts[symbol] : 0;
  }
  return sum_of_lanes(escapes);
}

// Makes the best book for counts, which it sorts. Returns the bits of the plane, NO_BOOK where even an ideal code would
// not pay.
constexpr u32 NO_BOOK = ~0u;
INLINE u32 make_book(const PlaneView& plane, u32 remainder_bits, u32 carried, MakeScratch& scratch, MadeBook& made) {
  const u32 states = is_single(plane) ? 0 : 192 - carried;
  if (bytes_to_gain(scratch.counts, plane.count, plane.width) < (int)(states + LEAST_GAIN)) return NO_BOOK;
  const Sorted sorted = sort_counts(scratch);
  const MadeCode code = make_code(scratch, sorted, plane.width, 8);
  keep_code(scratch, code, 8, made);
  if (plane.count < LONG_CODES_FROM) return code.bits;
  // Codes of up to 12 bits are decoded more slowly: they must save four in a thousand, and their longer states.
  const u32 lost = code.bits - huffman_bits(scratch, sorted);
  if ((u64)250 * lost <= code.bits + (u64)remainder_bits * plane.count) return code.bits;
  const MadeCode longer = make_code(scratch, sorted, plane.width, 12);
  if (longer.bits + 8 * 64 >= code.bits) return code.bits;
  keep_code(scratch, longer, 12, made);
  return longer.bits;
}

// What planes are planned with.
struct Planning {
  BookSet set;
  u32 type;
  const u32* choice;  // null, or which of the books that are bound to plane 0
};

struct Planned {
  PlanePlan plan;
  u32 stored;  // bytes that the plane takes
};

INLINE Planned as_raw(const PlaneView& plane) { return Planned{{RAW_PLANE, 0, 1, 0, 0}, 1 + raw_bytes(plane)}; }
INLINE Planned by_book(u32 storage, u32 number, const Price& price) {
  return Planned{{storage, number, price.header, 0, 0}, price.stored};
}

// A plane for which the set has books: the one that was chosen beforehand, or the cheapest.
INLINE Planned plan_by_set(const Planning& planning, const PlaneView& plane, u32 number, const Candidates& candidates,
                           u32 carried, const u32* counts) {
  const BookSet& set = planning.set;
  const bool is_given = planning.choice && number == 0;
  const u32 choice = is_given ? *planning.choice : cheapest_book(set, candidates, plane, counts);
  if (choice == NO_CHOICE) return as_raw(plane);
  const u32 chosen = choice_book(choice);
  if (chosen >= set.count || !codes_plane(set.books[chosen], plane)) return as_raw(plane);
  const Book book = set.books[chosen];
  const u32 bits = bits_by_book(set, book, counts), escapes = escapes_by_book(set, book, counts);
  const Price price = price_of(plane, is_single(plane), book.has_escape, book.limit, bits, escapes, carried);
  return by_book(BOOK_OF_SET, chosen, price);
}

// A plane for which the set has none.
INLINE Planned plan_by_itself(const PlaneView& plane, u32 remainder_bits, u32 carried, MakeScratch& scratch,
                              MadeBook& made) {
  const u32 bits = make_book(plane, remainder_bits, carried, scratch, made);
  if (bits == NO_BOOK) return as_raw(plane);
  const Price price =
      price_of(plane, serialized_bytes(made), made.escape, made.limit, bits, made.escaped, carried);
  return by_book(MADE_BOOK, 0, price);
}

// Plans a plane, behind which `behind` bytes of payload lie if the planes there are raw. Returns the bytes that it takes.
// Lanes may carry fewer than is counted here, where a plane behind is constant.
INLINE u32 plan_plane(const Planning& planning, const PlaneView& plane, u32 number, bool is_remainder,
                      u32 remainder_bits, u32 behind, AnyShared& shared) {
  const u32 carried = at_most(CARRIED_BYTES, behind), first = symbol_at(plane, 0);
  u32* counts = shared.making.counts;
  count_plane(plane, counts);
  Planned best = as_raw(plane);
  if (counts[first] == plane.count) {
    best = Planned{{CONSTANT_PLANE, first, 2, 0, 0}, 2};
  } else if (!is_remainder) {
    const Candidates candidates = candidates_in(planning.set, planning.type, number);
    const Planned coded =
        is_empty(candidates)
            ? plan_by_itself(plane, remainder_bits, carried, shared.making, shared.books[number])
            : plan_by_set(planning, plane, number, candidates, carried, counts);
    if (coded.stored < best.stored) best = coded;
  }
  __syncwarp();
  if ((threadIdx.x & 31) == 0) shared.plans[number] = best.plan;
  __syncwarp();
  return best.stored;
}

// Packs the symbols of a raw plane.
INLINE void pack_raw(const PlaneView& plane, u8* to) {
  for (u32 k = threadIdx.x & 31; k < raw_bytes(plane); k += 32) {
    u32 i = 8 * k / plane.width, filled = plane.width - (8 * k - i * plane.width);
    u32 byte = symbol_at(plane, i) >> (plane.width - filled);
    for (i++; filled < 8 && i < plane.count; i++, filled += plane.width) byte |= symbol_at(plane, i) << filled;
    to[k] = (u8)byte;
  }
  __syncwarp();
}

template <class Codes> INLINE Step step_of_plane(const PlaneView& plane, u32 table, u32 number) {
  const u32 i = 64 * number + 2 * (threadIdx.x & 31);
  const bool first = i < plane.count, second = i + 1 < plane.count;
  const u32 s0 = first ? symbol_at(plane, i) : 0, s1 = second ? symbol_at(plane, i + 1) : 0;
  return Step{first ? Codes::entry(table, 2 * s0) : 0, second ? Codes::entry(table, 2 * s1) : 0, s0, s1};
}

// Codes a plane behind a payload that lies in the slot from `payload` to `end`.
template <class Codes>
INLINE CodedPlane code_by_table(const PlaneView& plane, u32 payload, u32 end, const Workplace& work) {
  const auto step_of = [&](u32 number) { return step_of_plane<Codes>(plane, work.table, number); };
  if (is_single(plane)) return code_single(work, end, plane.count, raw_bytes(plane), step_of);
  return code_plane<Codes>(work, payload, end, [&](Lanes& lanes, Stream& stream) {
    const Masks masks = {opaque((1u << (threadIdx.x & 31)) - 1), opaque(Codes::KEPT)};
    for (u32 number = (plane.count + 63) / 64; number--;) {
      if (!has_room(stream)) return false;
      code_whole_step<Codes>(lanes, stream, masks, step_of(number));
    }
    return true;
  });
}

// The same, with the book of its plan.
template <class Codes>
INLINE CodedPlane code_by_plan(const BookSet& set, const PlanePlan& plan, const MadeBook& made, const PlaneView& plane,
                               u32 payload, u32 end, const Workplace& work) {
  if (plan.storage == MADE_BOOK) {
    make_table_of<Codes>(made, work.table);
  } else {
    const u8* codes = set.tables + set.books[plan.symbol_or_book].encode;
    for (u32 symbol = threadIdx.x & 31; symbol < 256; symbol += 32)
      Codes::store_entry(work.table, symbol, Codes::load_entry(codes, symbol));
    __syncwarp();
  }
  return code_by_table<Codes>(plane, payload, end, work);
}

// Writes the header of a plane.
INLINE void write_plane_header(const BookSet& set, const PlanePlan& plan, const MadeBook& made, const PlaneView& plane,
                               u8* to) {
  const bool is_made = plan.storage == MADE_BOOK, single = is_single(plane);
  if (is_made) serialize_book(made, plane.width, to + 1);
  if (threadIdx.x & 31) return;
  HeaderWriter out = {to};
  if (plan.storage == RAW_PLANE) return out.byte(MODE_RAW);
  if (plan.storage == CONSTANT_PLANE) {
    out.byte(MODE_CONSTANT);
    return out.byte(plan.symbol_or_book);
  }
  if (is_made) {
    out.byte(single ? MODE_SINGLE_EMBEDDED : MODE_EMBEDDED);
    out.at += serialized_bytes(made);
  } else {
    if (single) out.byte(MODE_SINGLE);
    out.byte(plan.symbol_or_book);
  }
  const bool has_escape = is_made ? made.escape != 0 : set.books[plan.symbol_or_book].has_escape;
  out.number(single, plan.stream);
  if (has_escape) out.number(single, plan.escapes);
}

// Whether no bit is set that the layout does not have.
INLINE bool layout_fits(const AnyLayout& layout, const u8* in, u32 bytes) {
  if (!layout.unused) return true;
  u32 used = 0;
  for (u32 i = threadIdx.x & 31; i < bytes; i += 32) used |= load_8(in + i);
  return !(or_of_lanes(used) & layout.unused);
}

// Encodes a block. `bookless`: the set has no book for plane 0.
INLINE Coded encode_any_block(const u8* in, u32 units, AnyLayout layout, bool bookless, const Planning& planning,
                              AnyShared& shared, const Workplace& work) {
  const u32 lane = threadIdx.x & 31, bytes = units * layout.unit_bytes, bound = 1 + bytes;
  const Coded verbatim = {bound, VERBATIM};
  if (!layout_fits(layout, in, bytes)) {
    if (!bookless) return verbatim;
    layout = bytes_layout();
  }
  // From the last plane, as lanes carry what lies behind.
  u32 stored = 1, header = 1, behind = 0, remainder_bits = 0;
  NO_UNROLL for (u32 number = layout.planes; number--;) {
    const PlaneView plane = view_of(layout, in, units, number);
    const bool is_remainder = number && has_remainder(layout);
    stored += plan_plane(planning, plane, number, is_remainder, remainder_bits, behind, shared);
    header += shared.plans[number].header;
    const bool left_out = is_remainder && shared.plans[number].storage == CONSTANT_PLANE;
    behind += left_out ? 0 : raw_bytes(plane);
    remainder_bits += is_remainder && !left_out ? plane.width : 0;
  }
  if (stored >= bound) return verbatim;
  // So that the stream of a lone plane begins at a multiple of 8.
  const u32 payload = (header + 7) / 8 * 8, start = payload - header;
  u32 end = payload;
  NO_UNROLL for (u32 number = layout.planes; number--;) {
    const PlaneView plane = view_of(layout, in, units, number);
    const PlanePlan plan = shared.plans[number];
    if (plan.storage == CONSTANT_PLANE) continue;
    if (plan.storage == RAW_PLANE) {
      pack_raw(plane, work.slot + end);
      end += raw_bytes(plane);
      continue;
    }
    const MadeBook& made = shared.books[number];
    const u32 limit = plan.storage == MADE_BOOK ? made.limit : planning.set.books[plan.symbol_or_book].limit;
    const CodedPlane coded = limit > 8
                                 ? code_by_plan<LongCodes>(planning.set, plan, made, plane, payload, end, work)
                                 : code_by_plan<ShortCodes>(planning.set, plan, made, plane, payload, end, work);
    if (!coded.fits) return verbatim;
    end = coded.end;
    if (lane == 0) shared.plans[number].stream = coded.stream, shared.plans[number].escapes = coded.escapes;
    __syncwarp();
  }
  const u32 length = end - start;
  if (length >= bound) return verbatim;
  if (lane == 0) work.slot[start] = (u8)layout.number;
  u8* to = work.slot + start + 1;
  NO_UNROLL for (u32 number = 0; number < layout.planes; number++) {
    const PlanePlan plan = shared.plans[number];
    write_plane_header(planning.set, plan, shared.books[number], view_of(layout, in, units, number), to);
    to += plan.header;
  }
  return Coded{length, start};
}

}  // namespace encode

extern "C" __global__ void __launch_bounds__(32 * encode::ANY_WARPS)
    encode_blocks_any(const u8* source, u64 units, u32 block_units, u32 blocks, const u8* tables, u32 set_id, u32 type,
                      const u32* choices, u32 choice_stride, u8* slots, u32 slot_bytes, encode::Coded* results) {
  using namespace encode;
  __shared__ AnyShared shared[ANY_WARPS];
  SHARED_BEGINS_AT(shared);
  const u32 warp = threadIdx.x / 32, number = blockIdx.x * ANY_WARPS + warp;
  if (number >= blocks) return;
  const BookSet set = find_set(tables, set_id);
  const bool bookless = is_empty(candidates_in(set, type, 0));
  const AnyLayout layout = bookless ? bookless_layout_of(type) : layout_of(type);
  const u64 from = (u64)number * block_units;
  const u32 here = uniform(units - from < block_units ? (u32)(units - from) : block_units);
  const u32* choice = choices ? choices + (u64)number * choice_stride : nullptr;
  const Planning planning = {set, type, choice};
  const u32 table = uniform(shared_address(shared[warp].coding.table));
  const Workplace work = {slots + (u64)number * slot_bytes, slot_bytes, table,
                          table + (u32)sizeof(shared->coding.table), (u32*)shared[warp].coding.buffer};
  const u8* in = source + from * layout.unit_bytes;
  const Coded result = encode_any_block(in, here, layout, bookless, planning, shared[warp], work);
  if ((threadIdx.x & 31) == 0) results[number] = result;
}
