// Decodes every block that the format allows, by one warp a block (docs/format.md, section 7).
//
// What is common has kernels of its own (decode_fast.cuh); this one takes the rest, and is written to be right first.
//
// A plane has a source, which tells its symbols one row of 64 after the other, and a sink, which puts them where they
// belong. Between them lies a short queue in shared memory: where zeros are coded apart, 64 units take fewer than 64
// symbols of a later plane.
//
// The elements are put together in the output: plane 0 is stored, and each later plane adds its bits. So a warp needs
// no memory of its own but for the 128 bytes that lanes carry. It also marks there which units were coded by the
// zero: until the last plane comes, the bits of that plane are all ones in such a unit, and zeros in every other one.
#pragma once
#include "abi.cuh"
#include "decode_books.cuh"
#include "decode_bulk.cuh"
#include "decode_layouts.cuh"
#include "decode_plan.cuh"
#include "primitives.cuh"

enum Source { IN_LANES, SINGLE_STREAM, CONSTANT, RAW };

// A plane as its header tells it.
struct Plane {
  u32 source;
  u32 symbol;    // of a constant; the base of a centred book
  u32 width;
  u32 shift;
  u32 centred;
  u32 limit;     // 8 or 12
  u32 table;     // of a book of the set: offset of its entries in the tables; 0: embedded
  u32 embedded;  // where in the block an embedded book begins
  u32 stream;    // bytes
  u32 escapes;
  u32 size;      // bytes of payload
  u32 carried;   // how many bytes its lanes carry
};

#define MOST_PLANES 8
#define QUEUE 256u               // symbols
#define CODED_BY_ZERO 0x100u     // beside a symbol

struct AnyScratch {
  u16 table[4096];
  u16 queue[QUEUE];
  u8 carried[128];
  Plane planes[MOST_PLANES];
};

// The payload of a block: a part of the block, and behind it what lanes carried (section 7.5).
struct Payload {
  const u8* bytes;
  const u8* carried;
  u32 here;  // bytes in the block
  u32 size;  // of all
};

INLINE u32 payload_byte(const Payload& payload, u32 at) {
  return at < payload.here ? payload.bytes[at] : payload.carried[at - payload.here];
}

INLINE u32 read_plane_header(Reader& reader, Plane& plane, u32 units, u32 count, const Plan* plan, const u8* tables,
                             u32* zeros) {
  const u32 mode = read_byte(reader);
  plane.table = plane.embedded = plane.stream = plane.escapes = plane.size = plane.carried = plane.symbol = 0;
  plane.limit = 8;
  if (mode == 0xff) {
    plane.source = RAW;
    plane.size = (u32)(((u64)count * plane.width + 7) / 8);
    return 0;
  }
  if (mode == 0xfe) {
    plane.source = CONSTANT;
    plane.symbol = read_byte(reader);
    return plane.symbol >> plane.width ? BAD_SYMBOL : 0;
  }
  if (mode >= 192 && mode < 0xfb) return NO_SUCH_BOOK;
  u32 width, has_escape, has_zero;
  plane.source = mode == 0xfb || mode == 0xfc ? SINGLE_STREAM : IN_LANES;
  if (mode >= 0xfc) {
    EmbeddedBook book;
    plane.embedded = reader.at;
    if (!read_book(reader, book)) return reader.cut ? BLOCK_CUT : BAD_BOOK;
    if (book.limit == 12 && count < 4096) return BOOK_DOES_NOT_FIT;
    plane.limit = book.limit;
    width = book.width;
    has_escape = escape_length(book) != 0;
    has_zero = zero_length(book) != 0;
  } else {
    const u32 number = mode == 0xfb ? read_byte(reader) : mode;
    if (number >= plan->books) return NO_SUCH_BOOK;
    const Tables* head = (const Tables*)tables;
    const Book& book = ((const Book*)((const Set*)(head + 1) + head->sets))[plan->first_book + number];
    plane.table = book.decode;
    plane.limit = book.limit;
    width = book.width;
    has_escape = book.has_escape;
    has_zero = book.has_zero;
  }
  if (width != (plane.centred ? 0 : plane.width)) return BOOK_DOES_NOT_FIT;
  bool bad = false;
  const bool lanes = plane.source == IN_LANES;
  if (plane.centred) plane.symbol = read_byte(reader);
  if (has_zero) {
    *zeros = lanes ? read_u32(reader) : read_varint(reader, bad);
    if (*zeros > units) return BAD_ZEROS;
  }
  plane.stream = lanes ? read_u32(reader) : read_varint(reader, bad);
  if (has_escape) plane.escapes = lanes ? read_u32(reader) : read_varint(reader, bad);
  if (bad) return BAD_HEADER;
  if (lanes && plane.limit == 12 && plane.stream % 2) return BAD_LANES;
  const u64 size = (u64)plane.stream + plane.escapes + (!lanes ? 0 : plane.limit == 12 ? 256 : 192);
  // What is more than any block has is too much, whatever it is.
  plane.size = size > 1u << 30 ? 1u << 30 : (u32)size;
  return 0;
}

// What the source of a plane remembers between rows.
struct Rows {
  u32 begin;      // of the plane's bytes in the payload
  u32 end;
  u32 made;       // symbols so far
  u32 count;      // of all symbols
  u32 left;       // lanes: bytes of the stream that nobody has taken; a single stream: bits that are taken
  u32 escapes;    // that are taken
  u32 zeros;      // symbols coded by the zero
  u32 value[2];   // unread bits of this thread's lanes, and their number
  u32 bits[2];
  const u16* table;
  bool bad_lanes, bad_symbol, bad_escapes, bad_stream;
};

// The symbol of an entry. `escape` is the place of the lane's escape among those of the plane.
INLINE u32 symbol_of(const Plane& plane, const Payload& payload, Rows& rows, u32 entry, u32 escape) {
  u32 symbol = entry >> 8;
  if (entry & ENTRY_ZERO) return CODED_BY_ZERO;
  if (entry & ENTRY_SPECIAL) {
    if (escape >= plane.escapes) {
      rows.bad_escapes = true;
      return 0;
    }
    symbol = payload_byte(payload, rows.end - plane.escapes + escape);
  } else if (plane.centred) {
    symbol = (symbol + plane.symbol) & 0xff;
  }
  if (symbol >> plane.width) rows.bad_symbol = true;
  return symbol & ((1u << plane.width) - 1);
}

INLINE void start_lanes(const Plane& plane, const Payload& payload, Rows& rows) {
  const u32 lane = threadIdx.x & 31;
  rows.left = plane.stream;
  for (u32 k = 0; k < 2; k++) {
    const u32 i = 2 * lane + k;
    u32 state = 0;
    for (u32 byte = 0; byte < 3 + (plane.limit == 12); byte++)
      state |= payload_byte(payload, rows.begin + (plane.limit == 12 ? 4 * i + byte : 64 * byte + i)) << (8 * byte);
    if (state < 1u << 16) {
      rows.bad_lanes = true;
      state = 1u << 16;
    }
    rows.bits[k] = 31 - __clz((int)state);
    rows.value[k] = state ^ 1u << rows.bits[k];
  }
}

// The next symbols of a plane in lanes, to the queue from `to` on. Thread `t` has lanes `2 t` and `2 t + 1`.
INLINE void row_of_lanes(const Plane& plane, const Payload& payload, Rows& rows, u16* queue, u32 to) {
  const u32 lane = threadIdx.x & 31, below = (1u << lane) - 1, active = rows.count - rows.made;
  const u32 word = plane.limit == 12 ? 2 : 1;
  u32 entry[2] = {0, 0};
  bool takes[2], escapes[2], zeros[2];
  for (u32 k = 0; k < 2; k++) {
    const bool acts = 2 * lane + k < active;
    if (acts) {
      entry[k] = rows.table[rows.value[k] >> (rows.bits[k] - plane.limit)];
      rows.bits[k] -= entry[k] & 15;
      rows.value[k] &= (1u << rows.bits[k]) - 1;
    }
    takes[k] = rows.bits[k] < 16;
    zeros[k] = entry[k] & ENTRY_ZERO;
    escapes[k] = (entry[k] & ENTRY_SPECIAL) && !zeros[k];
  }
  const u32 a = __ballot_sync(ALL_LANES, takes[0]), b = __ballot_sync(ALL_LANES, takes[1]);
  const u32 taken = word * (__popc(a) + __popc(b));
  if (taken > rows.left) {
    // The same in all lanes. What comes is of no use, but has to end.
    rows.bad_lanes = true;
    rows.left = taken;
  }
  rows.left -= taken;
  u32 from = rows.end - plane.escapes - plane.stream + rows.left + word * (__popc(a & below) + __popc(b & below));
  for (u32 k = 0; k < 2; k++) {
    if (!takes[k]) continue;
    // After an error words may be missing; a lane must not run dry.
    u32 next = 0;
    if (!rows.bad_lanes) next = payload_byte(payload, from) | (word == 2 ? payload_byte(payload, from + 1) << 8 : 0);
    from += word;
    rows.value[k] = rows.value[k] << (8 * word) | next;
    rows.bits[k] += 8 * word;
  }
  const u32 c = __ballot_sync(ALL_LANES, escapes[0]), d = __ballot_sync(ALL_LANES, escapes[1]);
  const u32 e = __ballot_sync(ALL_LANES, zeros[0]), f = __ballot_sync(ALL_LANES, zeros[1]);
  u32 escape = rows.escapes + __popc(c & below) + __popc(d & below);
  for (u32 k = 0; k < 2; k++) {
    if (2 * lane + k < active)
      queue[(to + 2 * lane + k) % QUEUE] = (u16)symbol_of(plane, payload, rows, entry[k], escape);
    escape += escapes[k];
  }
  rows.escapes += __popc(c) + __popc(d);
  rows.zeros += __popc(e) + __popc(f);
}

// All lanes do the same: a single stream has no parts.
INLINE void row_of_stream(const Plane& plane, const Payload& payload, Rows& rows, u16* queue, u32 to) {
  const u32 lane = threadIdx.x & 31, symbols = rows.count - rows.made < 64 ? rows.count - rows.made : 64;
  for (u32 i = 0; i < symbols; i++) {
    u32 window = 0;
    for (u32 k = 0; k < 3; k++) {
      const u32 at = rows.left / 8 + k;
      window = window << 8 | (at < plane.stream ? payload_byte(payload, rows.begin + at) : 0);
    }
    const u32 entry = rows.table[window << (8 + rows.left % 8) >> (32 - plane.limit)];
    if (rows.left + (entry & 15) > 8 * plane.stream) {
      rows.bad_stream = true;
    } else {
      rows.left += entry & 15;
    }
    const u32 symbol = symbol_of(plane, payload, rows, entry, rows.escapes);
    if (lane == i % 32) queue[(to + i) % QUEUE] = (u16)symbol;
    rows.zeros += (entry & ENTRY_ZERO) != 0;
    rows.escapes += (entry & ENTRY_SPECIAL) && !(entry & ENTRY_ZERO);
  }
}

INLINE void row_of_raw(const Plane& plane, const Payload& payload, Rows& rows, u16* queue, u32 to) {
  const u32 lane = threadIdx.x & 31;
  for (u32 i = lane; i < 64 && rows.made + i < rows.count; i += 32) {
    const u32 bit = i * plane.width, at = rows.begin + rows.made / 8 * plane.width + bit / 8;
    u32 bits = payload_byte(payload, at);
    if (at + 1 < rows.end) bits |= payload_byte(payload, at + 1) << 8;
    queue[(to + i) % QUEUE] = (u16)(bits >> bit % 8 & ((1u << plane.width) - 1));
  }
}

// Puts up to 64 more symbols into the queue.
INLINE void next_row(const Plane& plane, const Payload& payload, Rows& rows, u16* queue) {
  const u32 lane = threadIdx.x & 31, to = rows.made;
  __syncwarp();
  switch (plane.source) {
    case IN_LANES: row_of_lanes(plane, payload, rows, queue, to); break;
    case SINGLE_STREAM: row_of_stream(plane, payload, rows, queue, to); break;
    case RAW: row_of_raw(plane, payload, rows, queue, to); break;
    default: for (u32 i = lane; i < 64; i += 32) queue[(to + i) % QUEUE] = (u16)plane.symbol;
  }
  rows.made = rows.count - rows.made < 64 ? rows.count : rows.made + 64;
  __syncwarp();
}

// Checks what is left of a plane when all symbols are made, and keeps what lanes carried. Returns what is wrong, or
// 0.
INLINE u32 end_rows(const Plane& plane, const Payload& payload, Rows& rows, u8* carried) {
  const u32 lane = threadIdx.x & 31;
  bool bad_lanes = rows.bad_lanes, bad_padding = false, bad_stream = rows.bad_stream;
  __syncwarp();
  if (plane.source == IN_LANES) {
    bad_lanes |= rows.left != 0 || rows.bits[0] != 16 || rows.bits[1] != 16;
    for (u32 k = 0; k < 2; k++) {
      const u32 i = 2 * lane + k;
      for (u32 half = 0; half < 2; half++) {
        const u32 byte = rows.value[k] >> (8 * half) & 0xff;
        carried[64 * half + i] = (u8)byte;
        bad_lanes |= byte && 64 * half + i >= plane.carried;
      }
    }
  }
  if (plane.source == SINGLE_STREAM) {
    const u32 bytes = (rows.left + 7) / 8;
    bad_stream |= bytes != plane.stream;
    if (!bad_stream && rows.left % 8)
      bad_padding = payload_byte(payload, rows.begin + bytes - 1) << (rows.left % 8) & 0xff;
  }
  const u32 over = (rows.count % 8) * plane.width % 8;
  if (plane.source == RAW && over) bad_padding = payload_byte(payload, rows.end - 1) >> over;
  __syncwarp();
  if (any(bad_lanes)) return BAD_LANES;
  if (any(bad_stream)) return BAD_STREAM;
  if (any(rows.bad_escapes) || rows.escapes != plane.escapes) return BAD_ESCAPES;
  if (any(rows.bad_symbol)) return BAD_SYMBOL;
  if (any(bad_padding)) return BAD_PADDING;
  return 0;
}

// A word of the output.
INLINE u64 load_word(const u8* out, u32 i, u32 word) {
  switch (word) {
    case 1: return out[i];
    case 2: return ((const u16*)out)[i];
    case 4: return ((const u32*)out)[i];
    default: return ((const u64*)out)[i];
  }
}
INLINE void store_word(u8* out, u32 i, u32 word, u64 value) {
  switch (word) {
    case 1: out[i] = (u8)value; break;
    case 2: ((u16*)out)[i] = (u16)value; break;
    case 4: ((u32*)out)[i] = (u32)value; break;
    default: ((u64*)out)[i] = value;
  }
}

// The bits of a symbol where they lie in a word.
INLINE u64 bits_of(u32 symbol, u32 shift, const Layout& layout) {
  const u64 bits = (u64)symbol << shift;
  if (!layout.rotated) return bits;
  return (bits >> 1 | bits << (8 * layout.word - 1)) & ((1ull << 8 * layout.word) - 1);
}

// Puts up to 64 symbols of a packed type, four a unit, where they belong: from symbol `first` of the block on.
INLINE void put_packed(u8* out, u32 first, u32 symbols, const u16* queue, u32 from, const Plane& plane, bool add) {
  const u32 lane = threadIdx.x & 31;
  if (4 * lane >= symbols) return;
  u32 bits = 0;
  for (u32 k = 0; k < 4; k++) bits |= (u32)queue[(from + 4 * lane + k) % QUEUE] << (plane.shift + 6 * k);
  u8* at = out + 3 * (first / 4 + lane);
  for (u32 k = 0; k < 3; k++) at[k] = (u8)((add ? at[k] : 0) | bits >> (8 * k));
}

struct Words {
  u8* out;
  u32 count;
  Layout layout;
  bool zeros;  // some units are coded by the zero
  u64 mark;    // the bits of the last plane
};

// Decodes one plane into the output. Returns what is wrong, or 0.
INLINE u32 decode_plane(const Plane& plane, u32 number, u32 count, const Words& words, const Payload& payload,
                        const u8* tables, const u8* body, u32 size, u32 zeros, AnyScratch& scratch) {
  const u32 lane = threadIdx.x & 31, below = (1u << lane) - 1;
  Rows rows = {};
  rows.begin = payload.size - plane.size;
  rows.end = payload.size;
  rows.count = count;
  if (plane.table) rows.table = (const u16*)(tables + plane.table);
  if (plane.embedded) {
    Reader reader = {body, plane.embedded, size, false};
    EmbeddedBook book;
    read_book(reader, book);
    __syncwarp();
    fill_table(book, scratch.table);
    rows.table = scratch.table;
  }
  if (plane.source == IN_LANES) start_lanes(plane, payload, rows);
  const bool last = number + 1 == words.layout.planes, skips = words.zeros && number > 0;
  u32 used = 0;
  for (u32 first = 0; first < words.count; first += 64) {
    const u32 here = words.count - first < 64 ? words.count - first : 64;
    if (words.layout.word == 3) {
      next_row(plane, payload, rows, scratch.queue);
      put_packed(words.out, first, here, scratch.queue, used, plane, number > 0);
      used += here;
      continue;
    }
    u32 at[2];
    u64 value[2] = {0, 0};
    bool has[2];
    for (u32 k = 0; k < 2; k++) {
      const u32 i = first + 2 * lane + k;
      at[k] = words.layout.interleaved ? deinterleaved(i, words.count, words.layout.word) : i;
      has[k] = i < words.count;
      if (has[k] && number > 0) value[k] = load_word(words.out, at[k], words.layout.word);
      if (has[k] && skips && value[k] & words.mark) {
        has[k] = false;
        if (last) store_word(words.out, at[k], words.layout.word, 0);
      }
    }
    const u32 a = __ballot_sync(ALL_LANES, has[0]), b = __ballot_sync(ALL_LANES, has[1]);
    const u32 needed = __popc(a) + __popc(b);
    while (rows.made < used + needed && rows.made < rows.count) next_row(plane, payload, rows, scratch.queue);
    u32 from = used + __popc(a & below) + __popc(b & below);
    for (u32 k = 0; k < 2; k++) {
      if (!has[k]) continue;
      const u32 symbol = scratch.queue[from++ % QUEUE];
      value[k] |= bits_of(symbol & 0xff, plane.shift, words.layout);
      if (symbol & CODED_BY_ZERO) value[k] = words.layout.planes > 1 ? words.mark : 0;
      store_word(words.out, at[k], words.layout.word, value[k]);
    }
    used += needed;
  }
  const u32 problem = end_rows(plane, payload, rows, scratch.carried);
  if (problem) return problem;
  return number == 0 && rows.zeros != zeros ? BAD_ZEROS : 0;
}

// Decodes one block by one warp. Returns what is wrong, or 0; the same in all lanes.
INLINE u32 decode_any_block(const Block& block, const Plan* plan, const u8* tables, u8* out, AnyScratch& scratch) {
  const u32 lane = threadIdx.x & 31, unit = plan->unit;
  const u32 number = uniform(block.body[0]);
  if (number == 0) {
    if (block.size != 1 + block.units * unit) return BLOCK_CUT;
    copy_bytes(out, block.body + 1, block.units * unit, lane);
    return 0;
  }
  const Layout layout = layout_of(plan->type, number, unit);
  if (layout.planes == 0) return BAD_LAYOUT;
  const u32 count = layout.word == 1 ? block.units * unit : layout.word == 3 ? 4 * block.units : block.units;
  // All lanes read the same headers.
  Reader reader = {block.body, 1, block.size, false};
  u32 zeros = 0;
  bool constant = layout.word != 3;
  u64 word = 0;
  for (u32 p = 0; p < layout.planes; p++) {
    const PlaneShape shape = plane_of(plan->type, number, p);
    Plane plane;
    plane.width = shape.width;
    plane.shift = shape.shift;
    plane.centred = shape.centred;
    const u32 problem = read_plane_header(reader, plane, block.units, count - zeros, plan, tables, &zeros);
    if (reader.cut) return BLOCK_CUT;
    if (problem) return problem;
    if (lane == 0) scratch.planes[p] = plane;
    constant &= plane.source == CONSTANT;
    word |= bits_of(plane.symbol, plane.shift, layout);
  }
  if (constant) {
    if (reader.at != block.size) return BAD_PAYLOAD;
    fill_bytes(out, word, layout.word, block.units * unit, lane);
    return 0;
  }
  __syncwarp();
  u64 total = 0;
  for (u32 p = layout.planes; p-- > 0;) {
    if (scratch.planes[p].source == IN_LANES) {
      const u32 carried = total < 128 ? (u32)total : 128;
      total -= carried;
      if (lane == 0) scratch.planes[p].carried = carried;
    }
    total += scratch.planes[p].size;
  }
  __syncwarp();
  const u32 have = block.size - reader.at;
  if (total != have) return total > have ? BLOCK_CUT : BAD_PAYLOAD;
  Payload payload = {block.body + reader.at, scratch.carried, have, have};
  const PlaneShape last = plane_of(plan->type, number, layout.planes - 1);
  const Words words = {out, count, layout, zeros != 0, bits_of((1u << last.width) - 1, last.shift, layout)};
  for (u32 p = 0; p < layout.planes; p++) {
    const Plane& plane = scratch.planes[p];
    const u32 symbols = p == 0 ? count : count - zeros;
    const u32 problem =
        decode_plane(plane, p, symbols, words, payload, tables, block.body, block.size, zeros, scratch);
    if (problem) return problem;
    __syncwarp();
    payload.size -= plane.size;
    if (payload.size < payload.here) payload.here = payload.size;
    // Lanes have states of more than 128 bytes: nothing is left of what was carried before.
    if (plane.source == IN_LANES) payload.size += plane.carried;
  }
  return 0;
}

#define ANY_WARPS 4

// Decodes the blocks of the queue, or all of them.
extern "C" __global__ void __launch_bounds__(32 * ANY_WARPS) decode_any(const u8* message, const u8* tables, u8* out,
    Plan* plan, Status* status, u32 queued) {
  __shared__ AnyScratch scratches[ANY_WARPS];
  __shared__ CrcTables crc;
  const u32 warp = threadIdx.x / 32, blocks = queued ? plan->any_blocks : plan->blocks;
  if (blockIdx.x * ANY_WARPS >= blocks) return;
  crc_prepare(crc, threadIdx.x, blockDim.x);
  __syncthreads();
  for (u32 i = blockIdx.x * ANY_WARPS + warp; i < blocks; i += gridDim.x * ANY_WARPS) {
    const u32 number = queued ? queue_of_any(plan)[i] : i;
    const Block block = block_of(plan, message, number);
    u32 problem = BLOCK_CHECKSUM;
    // Blocks of the queue have been checked.
    if (queued || checksum_is_right(crc, plan, message, block))
      problem = decode_any_block(block, plan, tables, output_of(plan, out, number), scratches[warp]);
    if (problem && (threadIdx.x & 31) == 0) report(status, number, problem);
    __syncwarp();
  }
}
