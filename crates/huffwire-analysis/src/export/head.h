#ifndef HUFFWIRE_CODEBOOKS_H
#define HUFFWIRE_CODEBOOKS_H

#include <stdint.h>

/* A codebook. A stream of bits begins with the first bit of the first code; the first bit of a code is the highest. */
typedef struct {
  uint8_t limit;         /* bits of a window, at least those of the longest code */
  uint16_t symbols;      /* symbols below this number can have codes of their own */
  uint8_t zero_length;   /* codebooks of exponents: bits of the code of an exact zero, slot 63; 0: it has none */
  uint8_t escape_length; /* 0: there is no escape */
  uint16_t escape_code;
  const uint8_t *lengths; /* by slot; 0: the symbol takes the escape, and follows as 8 bits */
  const uint16_t *codes;
  const uint16_t *decode; /* by window: escape in bit 15, length in bits 8 to 14, slot below */
} huffwire_book;

/* The code of a symbol: returns its length. *bits also gets the 8 bits that follow an escape. */
static inline unsigned huffwire_encode(const huffwire_book *book, unsigned symbol, uint32_t *bits) {
  if (symbol < book->symbols && book->lengths[symbol] > 0) {
    *bits = book->codes[symbol];
    return book->lengths[symbol];
  }
  *bits = (uint32_t)book->escape_code << 8 | (symbol & 0xff);
  return book->escape_length + 8u;
}

/* The code of an exact zero, where it has one. */
static inline unsigned huffwire_encode_zero(const huffwire_book *book, uint32_t *bits) {
  *bits = book->codes[63];
  return book->zero_length;
}

/* The symbol that a window begins with: returns the length of its code. *escaped: the symbol follows as 8 bits. */
static inline unsigned huffwire_decode(const huffwire_book *book, unsigned window, unsigned *symbol, int *escaped) {
  unsigned entry = book->decode[window];
  *symbol = entry & 0xff;
  *escaped = entry >> 15;
  return entry >> 8 & 0x7f;
}
