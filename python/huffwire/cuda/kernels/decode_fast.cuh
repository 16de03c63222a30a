// Decodes common blocks, by one warp a block: plane 0 in lanes, all other planes raw or constant.
// Everything else goes to the queue of `decode_any`.
//
// The lanes carry the last 128 bytes of the plane that lies at the end of the payload, the first one that is not
// constant (section 7.5): the *lent* plane. Its last symbols are known only when all lanes are through. So a block
// has three parts:
//
//   1. steps in groups, whose symbols of all planes lie in the block. This is where time goes.
//   2. single steps: what does not fill a group, and the steps whose bits of the lent plane are carried. Those bits
//      stay zeros in the output.
//   3. a second look at the units without their bits of the lent plane, which are added.
//
// With zeros coded apart, other planes have no symbols of such units. Where a unit's symbols lie is then told by
// ballots of who is no zero, as in the stream. In part 3 zeros must be known again: part 2 leaves them all ones in
// the bits of the lent plane.
//
// A header is only looked at, not checked: whatever is not as expected is left to `decode_any`, which tells what is
// wrong.
#pragma once
#include "abi.cuh"
#include "decode_books.cuh"
#include "decode_lanes.cuh"
#include "decode_plan.cuh"
#include "decode_types.cuh"
#include "primitives.cuh"

#define CARRIED 128u
#define FAST_WARPS 4  // of a CTA

INLINE u32 ones(u32 width) { return (1u << width) - 1; }

// What there is to know of a block. It lies in shared memory: the innermost loops need all registers for themselves.
template <class Type> struct FastHeader {
  u64 at;        // where the block begins in the message
  u64 out;       // and its elements in the output
  u32 units;
  u32 count;     // of symbols of the other planes
  u32 table;     // offset of the book's entries in the tables; 0: the block embeds its book
  u32 base;
  u32 zeros;     // how many units are coded apart
  u32 stream;    // bytes
  u32 escapes;
  u32 states;    // this and other places are offsets from the start of the block
  u32 plane[Type::PLANES];
  // Bit p: plane p is raw, not constant.
  u32 raw;
  u32 constant[Type::PLANES];
  u32 lent;        // the number of the lent plane
  u32 lent_size;   // in bytes, of which lanes carry the last 128; 0: there is no such plane
  u32 lent_symbols;  // how many symbols of the lent plane lie in the block; without such a plane all do
  u32 sign;        // of all units, in its place in a unit
  u32 number;      // of the block
  u32 turn;        // when it is this block's turn: its place among those that the kernel decodes
  bool has_zero;
};

template <class Type> INLINE bool is_raw(const FastHeader<Type>& header, u32 plane) {
  return !Type::CONSTANTS || (header.raw >> plane & 1);
}
template <class Type> INLINE u32 lent_of(const FastHeader<Type>& header) { return Type::PLANES == 1 ? 0 : header.lent; }
template <class Type> INLINE bool has_lent(const FastHeader<Type>& header) {
  return !Type::CONSTANTS || header.lent_size;
}

// Addresses in shared memory are put together by `|`: rings lie at multiples of their size.
template <class Type, u32 LIMIT> struct __attribute__((aligned(LIMIT == 8 ? 512 : 1024))) FastScratch {
  u16 table[1 << LIMIT];
  u8 ring[Ring<LIMIT>::SIZE + Ring<LIMIT>::MIRROR];
  u8 carried[CARRIED];
  FastHeader<Type> header;
};

// What a header is for: this kernel, the one of 12-bit codes, the one of layout sign-apart, or decode_any.
enum Way { HERE, TO_LONG, TO_APART, TO_ANY };

// All lanes read the same, and write the same.
template <class Type, u32 LIMIT>
INLINE Way look_at_header(const Block& block, const Plan* plan, const u8* message, const u8* tables,
                          FastHeader<Type>& header) {
  const u8* body = block.body;
  // No header that is looked at here is longer.
  if (block.size < 64 + Lanes<8>::STATES) return TO_ANY;
  if (body[0] != Type::LAYOUT) return body[0] == SIGN_APART && Type::LAYOUT == EXPONENT ? TO_APART : TO_ANY;
  const u32 mode = uniform(body[1]);
  u32 at = 2, base = 0, zeros = 0, escapes = 0, table = 0;
  Book book;
  if (mode < plan->books) {
    const Tables* head = (const Tables*)tables;
    book = ((const Book*)((const Set*)(head + 1) + head->sets))[plan->first_book + mode];
    table = book.decode;
  } else if (mode == EMBEDDED_IN_LANES && LIMIT == 8) {
    Reader reader = {body, at, block.size, false};
    EmbeddedBook embedded;
    if (!read_book(reader, embedded) || embedded.limit != 8) return TO_ANY;
    at = reader.at;
    if (block.size < at + Lanes<8>::STATES) return TO_ANY;
    book.width = (u8)embedded.width;
    book.limit = 8;
    book.has_escape = escape_length(embedded) != 0;
    book.has_zero = zero_length(embedded) != 0;
  } else {
    return TO_ANY;
  }
  if (book.width != (Type::CENTRED ? 0 : Type::WIDTH)) return TO_ANY;
  if (book.limit != LIMIT) return book.limit == 12 && !Type::SIGN ? TO_LONG : TO_ANY;
  if (Type::CENTRED) base = uniform(body[at++]);
  if (book.has_zero) zeros = uniform(load_le32(body + at)), at += 4;
  const u32 stream = uniform(load_le32(body + at));
  at += 4;
  if (book.has_escape) escapes = uniform(load_le32(body + at)), at += 4;
  if (zeros > block.units || stream > block.size || escapes > block.size) return TO_ANY;
  if (LIMIT == 12 && stream % 2) return TO_ANY;
  const u32 count = block.units - zeros;
  u32 size[Type::PLANES], total = 0, raw = 0, lent = 0, lent_size = 0;
  UNROLL for (u32 p = 0; p < Type::PLANES; p++) {
    const u32 other = uniform(body[at++]);
    u32 constant = 0;
    size[p] = 0;
    if (other == 0xff) {
      size[p] = (count * Type::width(p) + 7) / 8;
      if (!raw) {
        lent = p;
        lent_size = size[p];
      }
      raw |= 1u << p;
    } else {
      if (!Type::CONSTANTS || other != 0xfe) return TO_ANY;
      constant = uniform(body[at++]);
      if (constant >> Type::width(p)) return TO_ANY;
    }
    same_for_all(header.constant[p], constant);
    total += size[p];
  }
  if (Type::SIGN) {
    if (body[at] != 0xfe || body[at + 1] > 1) return TO_ANY;
    same_for_all(header.sign, (u32)body[at + 1] << (8 * sizeof(typename Type::Word) - 1));
    at += 2;
  }
  if (raw && lent_size < CARRIED) return TO_ANY;
  const u32 stored = raw ? total - CARRIED : total;
  const u32 behind = Lanes<LIMIT>::STATES + stream + escapes;
  if (block.size != at + stored + behind) return TO_ANY;
  // In groups a constant plane's bytes are fetched, too, from the states, and masked out.
  if (raw != ones(Type::PLANES) && behind < 8 * 8 * 2 * Type::GROUP) return TO_ANY;
  same_for_all(header.at, (u64)(body - message));
  same_for_all(header.units, block.units);
  same_for_all(header.count, count);
  same_for_all(header.table, table);
  same_for_all(header.base, base);
  same_for_all(header.zeros, zeros);
  same_for_all(header.stream, stream);
  same_for_all(header.escapes, escapes);
  same_for_all(header.states, at + stored);
  // The last plane lies first.
  UNROLL for (u32 p = Type::PLANES; p-- > 0;) {
    same_for_all(header.plane[p], at);
    at += size[p];
  }
  same_for_all(header.raw, raw);
  same_for_all(header.lent, lent);
  same_for_all(header.lent_size, lent_size);
  same_for_all(header.lent_symbols, raw ? 8 * (lent_size - CARRIED) / Type::width(lent) : ~0u >> 1);
  same_for_all(header.has_zero, book.has_zero);
  return HERE;
}

// A symbol of a raw plane. It may lie in two bytes, and there always is another byte behind those of the plane.
INLINE u32 raw_symbol(const u8* plane, u32 width, u32 i) {
  if (width == 8) return plane[i];
  const u32 bit = i * width;
  if (8 % width == 0) return plane[bit / 8] >> bit % 8 & ones(width);
  return (plane[bit / 8] | plane[bit / 8 + 1] << 8) >> bit % 8 & ones(width);
}

// A unit from what the layout sees.
template <class Type> INLINE typename Type::Word unit_of(u32 x) {
  constexpr u32 bits = 8 * sizeof(typename Type::Word);
  return (typename Type::Word)(Type::ROTATED ? x >> 1 | x << (bits - 1) : x);
}
template <class Type> INLINE u32 seen_of(u32 unit) {
  constexpr u32 bits = 8 * sizeof(typename Type::Word);
  return Type::ROTATED ? unit << 1 | unit >> (bits - 1) : unit;
}
template <class Type> INLINE u32 place_of(u32 i, u32 units) {
  return Type::INTERLEAVED ? deinterleaved(i, units, sizeof(typename Type::Word)) : i;
}

// One block while it is decoded.
template <class Type, u32 LIMIT> struct Fast {
  const FastHeader<Type>& header;
  const u8* message;
  u8* output;
  Warp warp;
  Lanes<LIMIT> lanes;
  Ring<LIMIT> ring;
  u32 table, shared_ring;  // addresses in shared memory
  u32 mask;                // of counts of bits
  u32 seen;                // escapes
  u32 passed;              // symbols of other planes
  u32 late_step, late_passed;  // where part 3 begins
  u32 symbols;             // all of plane 0, or'ed in bits 8 to 15

  __device__ Fast(const FastHeader<Type>& header, const u8* message, u8* output)
      : header(header), message(message), output(output) {}
};

template <class Type, u32 LIMIT> INLINE const u8* body_of(const Fast<Type, LIMIT>& fast) {
  return fast.message + fast.header.at;
}
template <class Type, u32 LIMIT> INLINE typename Type::Word* out_of(const Fast<Type, LIMIT>& fast) {
  return (typename Type::Word*)(fast.output + fast.header.out);
}

// Two entries of a table with the base added to their symbols. What is special keeps its symbol, 0.
INLINE u32 with_base(u32 two, u32 base) {
  // The sum of the lower symbol may carry, but not into the upper symbol: that one is a byte further up.
  const u32 sum = ((two & 0xff00ff00u) >> 8) + base * 0x00010001u;
  const u32 special = (two & 0x00800080u) >> 7;
  return select_bits(two, select_bits(sum << 8, two, 0xff00ff00u), special * 0xffffu);
}

// The table of the block's book, the base added, goes to shared memory.
template <class Type, u32 LIMIT>
INLINE void load_table(const Fast<Type, LIMIT>& fast, const u8* tables, FastScratch<Type, LIMIT>& scratch) {
  const FastHeader<Type>& header = fast.header;
  const u32* from = (const u32*)(tables + header.table);
  if (LIMIT == 8 && header.table == 0) {
    // A book that the header's check found to be valid.
    Reader reader = {body_of(fast), 2, ~0u, false};
    EmbeddedBook book;
    read_book(reader, book);
    fill_table(book, scratch.table);
    from = (const u32*)scratch.table;
  }
  for (u32 i = fast.warp.lane; i < (1u << LIMIT) / 2; i += 32)
    store_shared_32(fast.table + 4 * i, with_base(from[i], header.base));
}

// Who is coded by an escape takes the next bytes of the escapes, by the order of the lanes.
template <class Type, u32 LIMIT> INLINE void take_escapes(Fast<Type, LIMIT>& fast, u32 (&entry)[2]) {
  const u8* escapes = body_of(fast) + fast.header.states + Lanes<LIMIT>::STATES + fast.header.stream;
  const bool first = (entry[0] & (ENTRY_SPECIAL | ENTRY_ZERO)) == ENTRY_SPECIAL;
  const bool second = (entry[1] & (ENTRY_SPECIAL | ENTRY_ZERO)) == ENTRY_SPECIAL;
  const u32 a = __ballot_sync(ALL_LANES, first), b = __ballot_sync(ALL_LANES, second);
  const u32 at = fast.seen + __popc(a & fast.warp.below) + __popc(b & fast.warp.below);
  if (first && at < fast.header.escapes) entry[0] |= (u32)escapes[at] << 8;
  if (second && at + first < fast.header.escapes) entry[1] |= (u32)escapes[at + first] << 8;
  if (Type::WIDTH < 8) fast.symbols |= entry[0] | entry[1];
  fast.seen += __popc(a) + __popc(b);
}

// Part 2: step `step`.
template <class Type, u32 LIMIT> INLINE void single_step(Fast<Type, LIMIT>& fast, u32 step) {
  const u32 lane = fast.warp.lane, active = fast.header.units - 64 * step;
  refill(fast.ring, fast.shared_ring, fast.warp);
  u32 entry[2];
  look_up(fast.lanes, fast.table, entry, fast.warp);
  bool acts[2], has[2];
  UNROLL for (u32 k = 0; k < 2; k++) {
    acts[k] = 2 * lane + k < active;
    if (!acts[k]) entry[k] = 0;
  }
  drop(fast.lanes, entry, fast.ring, fast.shared_ring, fast.warp, fast.mask);
  take_escapes(fast, entry);
  UNROLL for (u32 k = 0; k < 2; k++) has[k] = acts[k] && !(entry[k] & ENTRY_ZERO);
  const u32 a = __ballot_sync(ALL_LANES, has[0]), b = __ballot_sync(ALL_LANES, has[1]);
  u32 i = fast.passed + __popc(a & fast.warp.below) + __popc(b & fast.warp.below);
  const u32 after = fast.passed + __popc(a) + __popc(b);
  if (after > fast.header.lent_symbols && step < fast.late_step) {
    fast.late_step = step;
    fast.late_passed = fast.passed;
  }
  const bool late = step >= fast.late_step;
  UNROLL for (u32 k = 0; k < 2; k++) {
    u32 x = 0;
    if (has[k]) {
      x = (entry[k] >> 8 & 0xff) << Type::SHIFT;
      UNROLL for (u32 p = 0; p < Type::PLANES; p++) {
        u32 bits = fast.header.constant[p];
        if (is_raw(fast.header, p)) {
          const bool there = i < fast.header.count && !(late && p == lent_of(fast.header));
          bits = there ? raw_symbol(body_of(fast) + fast.header.plane[p], Type::width(p), i) : 0;
        }
        x |= bits << Type::shift(p);
      }
      i++;
    } else if (late) {
      x = ones(Type::width(lent_of(fast.header))) << Type::shift(lent_of(fast.header));
    }
    if (Type::SIGN && has[k]) x |= fast.header.sign;
    if (acts[k]) out_of(fast)[place_of<Type>(64 * step + 2 * lane + k, fast.header.units)] = unit_of<Type>(x);
  }
  fast.passed = after;
}

// Part 3: the bits of the lent plane of the last units, from the block and from what lanes carried.
template <class Type, u32 LIMIT> INLINE void second_look(Fast<Type, LIMIT>& fast, const u8* carried) {
  const u32 lane = fast.warp.lane, lent = lent_of(fast.header);
  const u32 width = Type::width(lent), shift = Type::shift(lent), stored = fast.header.lent_size - CARRIED;
  const u8* plane = body_of(fast) + fast.header.states - stored;
  u32 passed = fast.late_passed;
  for (u32 step = fast.late_step; step < (fast.header.units + 63) / 64; step++) {
    u32 at[2], x[2];
    bool has[2];
    UNROLL for (u32 k = 0; k < 2; k++) {
      const u32 i = 64 * step + 2 * lane + k;
      at[k] = place_of<Type>(i, fast.header.units);
      x[k] = i < fast.header.units ? seen_of<Type>(out_of(fast)[at[k]]) : ~0u;
      has[k] = (x[k] >> shift & ones(width)) == 0;
    }
    const u32 a = __ballot_sync(ALL_LANES, has[0]), b = __ballot_sync(ALL_LANES, has[1]);
    u32 i = passed + __popc(a & fast.warp.below) + __popc(b & fast.warp.below);
    UNROLL for (u32 k = 0; k < 2; k++) {
      if (64 * step + 2 * lane + k >= fast.header.units) continue;
      u32 bits = 0;
      if (has[k] && i < fast.header.count) {
        const u32 bit = i * width, byte = bit / 8;
        bits = byte < stored ? plane[byte] : carried[byte - stored];
        if (bit % 8 + width > 8) bits |= (u32)(byte + 1 < stored ? plane[byte + 1] : carried[byte + 1 - stored]) << 8;
        bits = bits >> bit % 8 & ones(width);
      }
      i += has[k];
      out_of(fast)[at[k]] = unit_of<Type>(has[k] ? x[k] | bits << shift : 0);
    }
    passed += __popc(a) + __popc(b);
  }
}

// ---- Part 1.

// The bytes in which this thread's bits of the other planes lie, for GROUP steps.
template <class Type> struct Group { Bits<Type::PLANES> step[Type::GROUP]; };

// Where this thread's bits of a plane begin: a pointer, the bit in its byte, and by how much a group moves the
// pointer. A constant plane keeps nothing of a byte, and adds its two symbols: a byte each, or side by side if they
// are shorter.
template <class Type> struct Cursors {
  const u8* at[Type::PLANES];
  u32 bit[Type::PLANES];
  u32 advance[Type::PLANES];
  u32 keep[Type::PLANES];
  u32 constant[Type::PLANES];
  u32 sign[2];
};

template <class Type> INLINE Cursors<Type> cursors_of(const FastHeader<Type>& header, const u8* body, u32 lane) {
  Cursors<Type> cursors;
  cursors.sign[0] = cursors.sign[1] = Type::SIGN ? header.sign : 0;
  UNROLL for (u32 p = 0; p < Type::PLANES; p++) {
    const u32 bit = 2 * lane * Type::width(p);
    const bool raw = is_raw(header, p);
    cursors.at[p] = body + (raw ? header.plane[p] : header.states) + bit / 8;
    cursors.bit[p] = bit % 8;
    cursors.advance[p] = raw ? 8 * Type::width(p) * Type::GROUP : 0;
    const u32 constant = header.constant[p];
    cursors.keep[p] = raw ? 0xff : 0;
    cursors.constant[p] = Type::width(p) == 8 ? constant : (constant | constant << Type::width(p)) << bit % 8;
  }
  return cursors;
}

template <class Type> INLINE void fetch(const Cursors<Type>& cursors, u32 groups, Group<Type>& group) {
  UNROLL for (u32 k = 0; k < Type::GROUP; k++) {
    UNROLL for (u32 p = 0; p < Type::PLANES; p++) {
      const u8* at = cursors.at[p] + 8 * Type::width(p) * (groups * Type::GROUP + k);
      UNROLL for (u32 i = 0; i < 3; i++)
        group.step[k].byte[p][i] = i < bytes_of_two(Type::width(p)) ? load_8(at + i) : 0;
    }
  }
}

// Constant planes: what was fetched does not count.
template <class Type> INLINE void put_constants(const Cursors<Type>& cursors, Bits<Type::PLANES>& bits) {
  if constexpr (Type::CONSTANTS) {
    UNROLL for (u32 p = 0; p < Type::PLANES; p++) {
      UNROLL for (u32 i = 0; i < bytes_of_two(Type::width(p)); i++) {
        const u32 constant = cursors.constant[p] >> (Type::width(p) == 8 ? 0 : 8 * i) & 0xff;
        bits.byte[p][i] = (bits.byte[p][i] & cursors.keep[p]) | constant;
      }
    }
  }
}

template <class Type> INLINE void store_units(typename Type::Word* out, const u32 (&unit)[2]) {
  out[0] = (typename Type::Word)unit[0];
  out[Type::SECOND] = (typename Type::Word)unit[1];
}

template <class Type, u32 LIMIT>
INLINE void group_of_steps(Fast<Type, LIMIT>& fast, Group<Type>& group, const Cursors<Type>& cursors,
                           typename Type::Word* out) {
  u32 entry[Type::GROUP][2], special = 0;
  refill(fast.ring, fast.shared_ring, fast.warp);
  UNROLL for (u32 k = 0; k < Type::GROUP; k++) {
    look_up(fast.lanes, fast.table, entry[k], fast.warp);
    drop(fast.lanes, entry[k], fast.ring, fast.shared_ring, fast.warp, fast.mask);
    special |= entry[k][0] | entry[k][1];
  }
  if (any_bits(special, ENTRY_SPECIAL)) {
    UNROLL for (u32 k = 0; k < Type::GROUP; k++) take_escapes(fast, entry[k]);
  }
  if (Type::CENTRED && Type::WIDTH < 8) fast.symbols |= special;
  UNROLL for (u32 k = 0; k < Type::GROUP; k++) {
    put_constants(cursors, group.step[k]);
    if constexpr (Type::INTERLEAVED) {
      u32 unit[2];
      Type::units(entry[k], group.step[k], cursors.bit, cursors.sign, unit);
      store_units<Type>(out + 64 * k, unit);
    } else {
      Type::put(out + 64 * k, entry[k], group.step[k], cursors.bit, cursors.sign);
    }
  }
}

// Steps without zeros, as long as two groups are full; the bits of the other planes come a group ahead of their use.
// Returns how many steps were made.
template <class Type, u32 LIMIT> INLINE u32 steps_without_zeros(Fast<Type, LIMIT>& fast, u32 full) {
  constexpr u32 GROUP = Type::GROUP;
  if (full < 2 * GROUP) return 0;
  Cursors<Type> cursors = cursors_of(fast.header, body_of(fast), fast.warp.lane);
  typename Type::Word* out = out_of(fast) + Type::first_place(fast.warp.lane);
  Group<Type> a, b;
  u32 step = 0;
  fetch(cursors, 0, a);
  for (; step + 2 * GROUP <= full; step += 2 * GROUP) {
    fetch(cursors, 1, b);
    group_of_steps(fast, a, cursors, out);
    UNROLL for (u32 p = 0; p < Type::PLANES; p++) cursors.at[p] += 2 * cursors.advance[p];
    if (step + 3 * GROUP <= full) fetch(cursors, 0, a);
    group_of_steps(fast, b, cursors, out + 64 * GROUP);
    out += 128 * GROUP;
  }
  return step;
}

// The symbols of a raw plane that two units in a row have, as the bytes of a plane would: side by side, but a byte each
// if they have eight bits. `first`: the number of the first unit's symbol. `zero` is not 0 if that unit is an exact zero:
// then this is the symbol of the second one, and what the first one gets does not matter. A symbol behind the last one
// may be read: lanes' states follow.
INLINE void take_two(const u8* plane, u32 width, u32 first, u32 zero, u32 (&byte)[3]) {
  byte[0] = byte[1] = byte[2] = 0;
  if (width == 8) {
    const u8* at = plane + first;
    const u32 next = at[1];
    byte[0] = at[0];
    byte[1] = zero ? byte[0] : next;
    return;
  }
  // Wherever in a byte they begin, both lie in two bytes, or in three.
  const u32 bit = first * width, bytes = (2 * width + 14) / 8;
  const u8* at = plane + bit / 8;
  u32 two = at[0] | at[1] << 8;
  if (bytes > 2) two |= at[2] << 16;
  two >>= bit % 8;
  if (zero) two <<= width;
  byte[0] = two;
}

// Steps with zeros coded apart, as long as all that GROUP steps could take of the lent plane lies in the block.
// `ALL_RAW`: no plane is constant.
template <class Type, u32 LIMIT, bool ALL_RAW>
INLINE u32 steps_with_zeros(Fast<Type, LIMIT>& fast, u32 whole, u32 lent_symbols) {
  constexpr u32 GROUP = 4;
  u32 step = 0;
  typename Type::Word* out = out_of(fast) + Type::first_place(fast.warp.lane);
  const u32 sign = Type::SIGN ? fast.header.sign : 0;
  const u8* plane[Type::PLANES];
  UNROLL for (u32 p = 0; p < Type::PLANES; p++) plane[p] = body_of(fast) + fast.header.plane[p];
  for (; step + GROUP <= whole && fast.passed + 64 * GROUP <= lent_symbols; step += GROUP, out += 64 * GROUP) {
    u32 entry[GROUP][2], first[GROUP], escapes = 0;
    refill(fast.ring, fast.shared_ring, fast.warp);
    UNROLL for (u32 k = 0; k < GROUP; k++) {
      look_up(fast.lanes, fast.table, entry[k], fast.warp);
      drop(fast.lanes, entry[k], fast.ring, fast.shared_ring, fast.warp, fast.mask);
      // Bit 7: special, but no zero.
      escapes |= (entry[k][0] ^ entry[k][0] << 1) | (entry[k][1] ^ entry[k][1] << 1);
    }
    UNROLL for (u32 k = 0; k < GROUP; k++) {
      const u32 a = ballot_bits(~entry[k][0], ENTRY_ZERO), b = ballot_bits(~entry[k][1], ENTRY_ZERO);
      first[k] = fast.passed + __popc(a & fast.warp.below) + __popc(b & fast.warp.below);
      fast.passed += __popc(a) + __popc(b);
    }
    if (any_bits(escapes, ENTRY_SPECIAL)) {
      UNROLL for (u32 k = 0; k < GROUP; k++) take_escapes(fast, entry[k]);
    }
    if (Type::CENTRED && Type::WIDTH < 8) {
      UNROLL for (u32 k = 0; k < GROUP; k++) fast.symbols |= entry[k][0] | entry[k][1];
    }
    Bits<Type::PLANES> bits[GROUP];
    UNROLL for (u32 k = 0; k < GROUP; k++) {
      UNROLL for (u32 p = 0; p < Type::PLANES; p++) {
        const u32 width = Type::width(p), constant = ALL_RAW ? 0 : fast.header.constant[p];
        u32(&byte)[3] = bits[k].byte[p];
        if (ALL_RAW || is_raw(fast.header, p)) {
          take_two(plane[p], width, first[k], entry[k][0] & ENTRY_ZERO, byte);
        } else {
          byte[0] = width == 8 ? constant : constant | constant << width;
          byte[1] = width == 8 ? constant : 0;
          byte[2] = 0;
        }
      }
    }
    UNROLL for (u32 k = 0; k < GROUP; k++) {
      const u32 at[Type::PLANES] = {}, signs[2] = {sign, sign};
      u32 unit[2];
      Type::units(entry[k], bits[k], at, signs, unit);
      UNROLL for (u32 i = 0; i < 2; i++) unit[i] = entry[k][i] & ENTRY_ZERO ? 0 : unit[i];
      store_units<Type>(out + 64 * k, unit);
    }
  }
  return step;
}

// All of part 1. Returns how many steps were made.
template <class Type, u32 LIMIT> INLINE u32 whole_steps(Fast<Type, LIMIT>& fast) {
  const FastHeader<Type>& header = fast.header;
  const u32 whole = header.units / 64;
  if constexpr (Type::CENTRED) {
    if (header.has_zero) {
      const u32 symbols = has_lent(header) ? header.lent_symbols : header.count;
      const bool all_raw = !Type::CONSTANTS || header.raw == ones(Type::PLANES);
      return all_raw ? steps_with_zeros<Type, LIMIT, true>(fast, whole, symbols)
                     : steps_with_zeros<Type, LIMIT, false>(fast, whole, symbols);
    }
  }
  const u32 step = steps_without_zeros(fast, header.lent_symbols / 64 < whole ? header.lent_symbols / 64 : whole);
  fast.passed = 64 * step;
  return step;
}

// Decodes a block whose header was looked at. Returns what is wrong, or 0.
template <class Type, u32 LIMIT>
INLINE u32 decode_fast_block(Fast<Type, LIMIT>& fast, const u8* tables, FastScratch<Type, LIMIT>& scratch) {
  const u32 lane = fast.warp.lane;
  const FastHeader<Type>& header = fast.header;
  fast.table = shared_address(scratch.table);
  fast.shared_ring = fast.table + sizeof(scratch.table);
  fast.mask = mask_of_counts(fast.lanes);
  fast.seen = fast.passed = fast.symbols = 0;
  load_table(fast, tables, scratch);
  if (any(start(fast.lanes, body_of(fast) + header.states, fast.warp))) return BAD_LANES;
  start(fast.ring, body_of(fast) + header.states + Lanes<LIMIT>::STATES, header.stream, fast.shared_ring, fast.warp);
  __syncwarp();
  fast.late_step = ~0u;
  fast.late_passed = 0;
  u32 step = whole_steps(fast);
  for (; 64 * step < header.units; step++) single_step(fast, step);
  put_pending(fast.lanes);
  // What the lanes carried.
  bool bad = fast.ring.end != fast.ring.begin;
  __syncwarp();
  UNROLL for (u32 k = 0; k < 2; k++) {
    const u32 rest = rest_of_lane(fast.lanes, k, bad);
    bad |= !has_lent(header) && rest;
    scratch.carried[2 * lane + k] = (u8)rest;
    scratch.carried[64 + 2 * lane + k] = (u8)(rest >> 8);
  }
  __syncwarp();
  if (any(bad)) return BAD_LANES;
  if (fast.seen != header.escapes) return BAD_ESCAPES;
  if (fast.passed != fast.header.count) return BAD_ZEROS;
  if (any(fast.symbols >> 8 & 0xff & (0xffu << Type::WIDTH))) return BAD_SYMBOL;
  // Bits behind the last symbols; bytes have none.
  bool padding = false;
  UNROLL for (u32 p = 0; p < Type::PLANES; p++) {
    const u32 over = fast.header.count * Type::width(p) % 8, last = (fast.header.count * Type::width(p) + 7) / 8 - 1;
    if (!is_raw(header, p) || !over) continue;
    padding |= (p == lent_of(header) ? scratch.carried[CARRIED - 1] : body_of(fast)[header.plane[p] + last]) >> over;
  }
  if (padding) return BAD_PADDING;
  if (has_lent(header)) second_look(fast, scratch.carried);
  return 0;
}

// Which blocks a kernel decodes: all but what it passes on, or what another kernel passed on.
enum Share { ALL, OF_LONG, OF_APART };

template <class Type, u32 LIMIT> INLINE constexpr Share share_of() {
  return LIMIT == 12 ? OF_LONG : Type::SIGN ? OF_APART : ALL;
}

INLINE u32 number_of(const Plan* plan, Share share) {
  // Read anew for each block: it need not keep a register.
  const volatile Plan& now = *plan;
  return share == ALL ? now.blocks : share == OF_LONG ? now.long_blocks : now.apart_blocks;
}

INLINE void pass_on(Plan* plan, Way way, u32 number) {
  switch (way) {
    case TO_LONG: queue_of_long(plan)[atomicAdd(&plan->long_blocks, 1u)] = number; break;
    case TO_APART: queue_of_apart(plan)[atomicAdd(&plan->apart_blocks, 1u)] = number; break;
    default: queue_of_any(plan)[atomicAdd(&plan->any_blocks, 1u)] = number;
  }
}

// A kernel's work. Checksums are checked by the kernel that sees all blocks.
template <class Type, u32 LIMIT>
INLINE void decode_blocks(const u8* message, const u8* tables, u8* out, Plan* plan, Status* status,
                          FastScratch<Type, LIMIT>* scratches, CrcTables& crc) {
  constexpr Share SHARE = share_of<Type, LIMIT>();
  if (blockIdx.x * FAST_WARPS >= number_of(plan, SHARE)) return;
  if (SHARE == ALL) {
    crc_prepare(crc, threadIdx.x, blockDim.x);
    __syncthreads();
  }
  FastScratch<Type, LIMIT>& scratch = scratches[threadIdx.x / 32];
  Fast<Type, LIMIT> fast(scratch.header, message, out);
  fast.warp.lane = threadIdx.x & 31;
  fast.warp.below = opaque((1u << fast.warp.lane) - 1);
  fast.warp.two = opaque(2);
  FastHeader<Type>& header = scratch.header;
  u32 turn = blockIdx.x * FAST_WARPS + threadIdx.x / 32;
  while (turn < number_of(plan, SHARE)) {
    const u32 number = SHARE == ALL ? turn : SHARE == OF_LONG ? queue_of_long(plan)[turn] : queue_of_apart(plan)[turn];
    same_for_all(header.number, number);
    same_for_all(header.turn, turn);
    const Block block = block_of(plan, message, number);
    u32 problem = 0;
    if (SHARE == ALL && !checksum_is_right(crc, plan, message, block)) {
      problem = BLOCK_CHECKSUM;
    } else {
      const Way way = look_at_header<Type, LIMIT>(block, plan, message, tables, header);
      if (way == HERE) {
        same_for_all(header.out, (u64)(output_of(plan, out, header.number) - out));
        __syncwarp();
        problem = decode_fast_block(fast, tables, scratch);
      } else if (fast.warp.lane == 0) {
        pass_on(plan, way, header.number);
      }
    }
    if (problem && fast.warp.lane == 0) report(status, header.number, problem);
    turn = header.turn + gridDim.x * FAST_WARPS;
    __syncwarp();
  }
}

// Registers of a kernel are limited by how many CTAs a multiprocessor must have room for. More CTAs would spill.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define MOST_CTAS 7
#else
#define MOST_CTAS 8
#endif

#define FAST_KERNEL(name, type, limit, ctas)                                                                       \
  extern "C" __global__ void __launch_bounds__(32 * FAST_WARPS, ctas) name(const u8* message, const u8* tables,    \
      u8* out, Plan* plan, Status* status) {                                                                       \
    __shared__ FastScratch<type, limit> scratches[FAST_WARPS];                                                     \
    __shared__ CrcTables crc;                                                                                      \
    SHARED_BEGINS_AT(scratches);                                                                                   \
    decode_blocks<type, limit>(message, tables, out, plan, status, scratches, crc);                                \
  }

FAST_KERNEL(decode_bf16, Bf16Units, 8, MOST_CTAS)
FAST_KERNEL(decode_bf16_long, Bf16Units, 12, 5)
FAST_KERNEL(decode_bf16_apart, Bf16ApartUnits, 8, MOST_CTAS)
FAST_KERNEL(decode_f16, F16Units, 8, 5)
FAST_KERNEL(decode_f16_long, F16Units, 12, 5)
FAST_KERNEL(decode_f16_apart, F16ApartUnits, 8, 5)
FAST_KERNEL(decode_f32, F32Units, 8, 4)
FAST_KERNEL(decode_f32_long, F32Units, 12, 4)
FAST_KERNEL(decode_f32_apart, F32ApartUnits, 8, 4)
FAST_KERNEL(decode_f8, F8Units, 8, MOST_CTAS)
FAST_KERNEL(decode_f8_long, F8Units, 12, 5)
