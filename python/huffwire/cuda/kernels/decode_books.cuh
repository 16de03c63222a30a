// Codebooks that a block embeds (docs/format.md, sections 4.2 to 4.4): read, checked, and made to a table for
// decoding.
#pragma once
#include "abi.cuh"
#include "primitives.cuh"

// Bytes of a block, read from the front. A read behind the end gives 0 and is remembered.
struct Reader {
  const u8* bytes;
  u32 at;
  u32 size;
  bool cut;
};

INLINE u32 read_byte(Reader& reader) {
  if (reader.at >= reader.size) {
    reader.cut = true;
    return 0;
  }
  return reader.bytes[reader.at++];
}

INLINE u32 read_u32(Reader& reader) {
  u32 value = 0;
  for (u32 i = 0; i < 4; i++) value |= read_byte(reader) << (8 * i);
  return value;
}

// A varint; numbers of more than 32 bits become the largest of 32. `bad` is set if it breaks a rule of section 1.
INLINE u32 read_varint(Reader& reader, bool& bad) {
  u64 value = 0;
  for (u32 i = 0; i < 10; i++) {
    const u32 byte = read_byte(reader);
    value |= (u64)(byte & 127) << (7 * i);
    if (!(byte & 128)) {
      bad |= (byte == 0 && i > 0) || (i == 9 && byte > 1);
      return value > ~0u ? ~0u : (u32)value;
    }
  }
  bad = true;
  return 0;
}

#define EMBEDDED_IN_LANES 0xfdu  // the mode of a plane

// A serialized codebook.
struct EmbeddedBook {
  const u8* block;
  u32 nibbles;  // where in the block they begin
  u32 width;  // 0: centred
  u32 limit;  // 8 or 12
  u32 first, last;
};

INLINE u32 nibble_of(const EmbeddedBook& book, u32 i) { return book.block[book.nibbles + i / 2] >> (i % 2 * 4) & 15; }
INLINE u32 escape_length(const EmbeddedBook& book) { return nibble_of(book, book.last - book.first + 1); }
INLINE u32 zero_length(const EmbeddedBook& book) { return nibble_of(book, book.last - book.first + 2); }
// Length of the code of an ordinary slot.
INLINE u32 slot_length(const EmbeddedBook& book, u32 slot) {
  return slot < book.first || slot > book.last ? 0 : nibble_of(book, slot - book.first);
}
INLINE u32 ordinary_slots(const EmbeddedBook& book) { return book.width ? 1u << book.width : 62; }

// Reads a book and checks its form and rules. Returns false if it breaks one, or if the bytes end.
INLINE bool read_book(Reader& reader, EmbeddedBook& book) {
  const u32 kind = read_byte(reader);
  book.width = kind >> 4;
  book.limit = kind & 15 ? 12 : 8;
  book.first = read_byte(reader);
  book.last = read_byte(reader);
  if (reader.cut || book.width > 8 || (kind & 15) > 1 || book.first > book.last || book.last >= ordinary_slots(book))
    return false;
  const u32 slots = book.last - book.first + 1, bytes = (slots + 3) / 2;
  book.block = reader.bytes;
  book.nibbles = reader.at;
  if (reader.size - reader.at < bytes) {
    reader.cut = true;
    return false;
  }
  reader.at += bytes;
  if (nibble_of(book, 0) == 0 || nibble_of(book, slots - 1) == 0) return false;
  if (slots % 2 && book.block[book.nibbles + bytes - 1] >> 4) return false;
  // Sums in units of 2^-12, of all codes and of those of over 6 bits.
  u32 sum = 0, long_sum = 0, coded = 0;
  NO_UNROLL for (u32 i = 0; i < slots + 2; i++) {
    const u32 length = nibble_of(book, i);
    if (length > book.limit) return false;
    if (length == 0) continue;
    sum += 4096 >> length;
    if (length > 6) long_sum += 4096 >> length;
    coded += i < slots;
  }
  const bool escape = escape_length(book) != 0, zero = zero_length(book) != 0;
  if (sum != 4096) return false;
  if (book.width) return escape == (coded < ordinary_slots(book)) && !zero;
  return escape && (book.limit == 12 || long_sum <= 1024);
}

// Makes the table of a valid book, as abi.cuh describes it, by one warp. `table` has room for 2^limit entries.
//
// Codes are numbered by length, then by slot, and a code of `n` bits has 2^(limit - n) entries that follow one
// another. So the entries of all codes follow one another in that order, and they fill the table exactly, as the code
// is complete.
INLINE void fill_table(const EmbeddedBook& book, u16* table) {
  const u32 lane = threadIdx.x & 31, ordinary = ordinary_slots(book);
  // The place of the escape in the order of slots.
  u32 escape_slot = 62;
  if (book.width) {
    escape_slot = 0;
    while (escape_slot < ordinary && slot_length(book, escape_slot)) escape_slot++;
  }
  u32 at = 0;
  NO_UNROLL for (u32 length = 1; length <= book.limit; length++) {
    const u32 entries = 1u << (book.limit - length);
    NO_UNROLL for (u32 slots = 0; slots < (book.width ? ordinary : 64); slots += 32) {
      const u32 slot = slots + lane;
      u32 own = slot_length(book, slot), entry = slot << 8;
      if (slot == escape_slot) own = escape_length(book), entry = ENTRY_SPECIAL;
      if (!book.width && slot == 63) own = zero_length(book), entry = ENTRY_SPECIAL | ENTRY_ZERO;
      u32 here = __ballot_sync(ALL_LANES, own == length);
      while (here) {
        const u32 from = __popc((here & (0u - here)) - 1);
        const u32 filled = __shfl_sync(ALL_LANES, entry, from) | length;
        NO_UNROLL for (u32 i = lane; i < entries; i += 32) table[at + i] = (u16)filled;
        at += entries;
        here &= here - 1;
      }
    }
  }
  __syncwarp();
}
