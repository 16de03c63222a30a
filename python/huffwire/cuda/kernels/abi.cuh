// What the host writes and kernels read: codebooks in the memory of the device.
//
// `_tables.py` writes these structures, field by field. Offsets are in bytes, from the start of the tables, which is
// a multiple of 256 bytes.
#pragma once
#include "primitives.cuh"

// A codebook set that a message may name.
struct Set {
  u32 id;          // the first 4 bytes of the set's id, as a message has them
  u32 books;       // how many books the set has
  u32 first_book;  // number of its first book among `Book`s of all sets
  u32 savings;     // offset of what its books save, see below; a multiple of 512
  u32 candidates;  // offset of which books are bound to which planes, see below; a multiple of 512
  u32 reserved[3];
};

struct Book {
  u32 decode;  // offset of 256 (8-bit codes) or 4096 (12-bit codes) entries of 16 bits, see below; a multiple of 512
  u32 encode;  // offset of 256 entries, by slot or symbol; 0: kernels do not encode with the book
  u8 width;    // of a plain alphabet, 1 to 8; 0: centred
  u8 limit;    // longest code: 8 or 12 bits
  u8 has_escape;
  u8 has_zero;
  u8 origin;   // of a centred book: the mean slot, if symbols are as frequent as the lengths of their codes say
  u8 outside;  // bits of a symbol without a code of its own: the escape's code, and 8 more
  u8 zero;     // bits of an exact zero's code, 0 without one
  u8 reserved;
};

// What lies at the start of the tables; `sets` times Set follow, then all Books.
struct Tables {
  u32 sets;
  u32 books;  // of all sets
  u32 reserved[2];
};

// An entry of a decode table, found by the next 8 or 12 bits of a lane: bits 0-3 the length of the code, bit 6 zero,
// bit 7 special (escape or zero), bits 8-15 the slot (centred) or symbol (plain), 0 for special ones.
//
// An entry of an encode table, found by slot (centred: 0 to 61, 62 the escape, 63 the zero) or symbol (plain): bits
// 0-3 the length, bit 7 escape, bits 8 and up the code; 16 bits, or 32 with 12-bit codes. A slot without a code has the
// entry of the escape (bit 7 set); slot 63 of a book without a zero too. Of the books of 12-bit codes those of plain
// alphabets of width 8 have such tables.
#define ENTRY_SPECIAL 0x80u
#define ENTRY_ZERO 0x40u

// What the books of a set save, for their prices: for each 32 of them SAVINGS_ROWS rows of 32 words, one for each book.
// In row `r` that is a byte for each of the slots (centred) or symbols (plain) 4 r to 4 r + 3: the bits by which its
// code is shorter than `outside`, signed; 0 without a code, and 0 for slots 62 and 63. So lanes that read a row for a
// book each read 128 bytes that lie together.
#define SAVINGS_ROWS 64u

// Which books of a set may be chosen for a plane: three numbers of 64 bits, a bit for each book that kernels encode
// with. There are CANDIDATE_PLANES times that for each type that elements are coded as, in the order of their numbers,
// which begin with 1.
#define CANDIDATE_PLANES 8u

#ifdef __CUDACC_RTC__
#define SHARED_BEGINS_AT(object)
#endif
