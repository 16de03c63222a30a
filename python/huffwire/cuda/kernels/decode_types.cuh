// What the fast kernels know of an element type: its most common layout, with plane 0 in lanes, and how a thread makes
// units of two symbols and of the bits of the other planes.
//
// A type has
//   Word, LAYOUT, CENTRED     a unit; its layout; whether the alphabet of plane 0 is centred
//   WIDTH, SHIFT              of plane 0, in the unit as the layout sees it (rotated or not)
//   PLANES, width(p), shift(p)  the same of the other planes, from 0 on
//   CONSTANTS                 whether other planes may be constant; if not, such blocks are left to decode_any
//   put(...)                  stores a step of 64 units
#pragma once
#include "decode_layouts.cuh"
#include "primitives.cuh"

// Bits of the other planes for a step: of each plane two bytes of the payload, in which this thread's bits lie.
template <u32 PLANES> struct Bits { u32 byte[PLANES][2]; };

// Bits of two symbols of `width` bits each, which begin at bit `at` of two bytes. Bits above them are anything.
INLINE u32 two_symbols(const u32 (&byte)[2], u32 at) { return (byte[0] | byte[1] << 8) >> at; }

// A unit is a byte of plane 0 (byte 1 of an entry) above a byte of sign and mantissa, rotated to the right by one bit. Both
// twice in a row and shifted by one bit are that.
struct Bf16Units {
  typedef u16 Word;
  static constexpr u32 LAYOUT = EXPONENT, WIDTH = 8, SHIFT = 8, PLANES = 1;
  static constexpr bool CENTRED = true, ROTATED = true, CONSTANTS = false;
  static constexpr u32 GROUP = 4;
  INLINE_METHOD constexpr u32 width(u32) { return 8; }
  INLINE_METHOD constexpr u32 shift(u32) { return 0; }
  INLINE_METHOD u32 first_place(u32 lane) { return lane; }
  INLINE_METHOD void put(u16* out, const u32 (&entry)[2], const Bits<1>& bits, const u32 (&)[1]) {
    out[0] = (u16)(__byte_perm(entry[0], bits.byte[0][0], 0x1414) >> 1);
    out[32] = (u16)(__byte_perm(entry[1], bits.byte[0][1], 0x1414) >> 1);
  }
};

// The upper byte has five bits of plane 0 and three of plane 2.
struct F16Units {
  typedef u16 Word;
  static constexpr u32 LAYOUT = EXPONENT, WIDTH = 5, SHIFT = 11, PLANES = 2;
  static constexpr bool CENTRED = true, ROTATED = true, CONSTANTS = true;
  static constexpr u32 GROUP = 2;
  INLINE_METHOD constexpr u32 width(u32 plane) { return plane ? 3 : 8; }
  INLINE_METHOD constexpr u32 shift(u32 plane) { return plane ? 8 : 0; }
  INLINE_METHOD u32 first_place(u32 lane) { return lane; }
  INLINE_METHOD void put(u16* out, const u32 (&entry)[2], const Bits<2>& bits, const u32 (&at)[2]) {
    const u32 low = two_symbols(bits.byte[1], at[1]);
    const u32 upper0 = select_bits(entry[0] >> 5, low, 0xf8), upper1 = select_bits(entry[1] >> 5, low >> 3, 0xf8);
    out[0] = (u16)(__byte_perm(upper0, bits.byte[0][0], 0x0404) >> 1);
    out[32] = (u16)(__byte_perm(upper1, bits.byte[0][1], 0x0404) >> 1);
  }
};

struct F32Units {
  typedef u32 Word;
  static constexpr u32 LAYOUT = EXPONENT, WIDTH = 8, SHIFT = 24, PLANES = 3;
  static constexpr bool CENTRED = true, ROTATED = true, CONSTANTS = true;
  static constexpr u32 GROUP = 2;
  INLINE_METHOD constexpr u32 width(u32) { return 8; }
  INLINE_METHOD constexpr u32 shift(u32 plane) { return 8 * plane; }
  // Symbols 2 t and 2 t + 1 are units (2 t mod 4) * 16 + t / 2 and the one 16 units behind it.
  INLINE_METHOD u32 first_place(u32 lane) { return (lane & 1) * 32 + lane / 2; }
  INLINE_METHOD void put(u32* out, const u32 (&entry)[2], const Bits<3>& bits, const u32 (&)[3]) {
    UNROLL for (u32 k = 0; k < 2; k++) {
      const u32 low = __byte_perm(bits.byte[0][k], bits.byte[1][k], 0x0040);
      const u32 high = __byte_perm(bits.byte[2][k], entry[k], 0x0050);
      const u32 rotated = __byte_perm(low, high, 0x5410);
      out[16 * k] = __funnelshift_r(rotated, rotated, 1);
    }
  }
};

// e4m3 and e5m2: two symbols of seven bits and two signs are 16 bits of the output.
struct F8Units {
  typedef u8 Word;
  static constexpr u32 LAYOUT = MAGNITUDE, WIDTH = 7, SHIFT = 0, PLANES = 1;
  static constexpr bool CENTRED = false, ROTATED = false, CONSTANTS = true;
  static constexpr u32 GROUP = 4;
  INLINE_METHOD constexpr u32 width(u32) { return 1; }
  INLINE_METHOD constexpr u32 shift(u32) { return 7; }
  INLINE_METHOD u32 first_place(u32 lane) { return 2 * lane; }
  INLINE_METHOD void put(u8* out, const u32 (&entry)[2], const Bits<1>& bits, const u32 (&at)[1]) {
    const u32 signs = bits.byte[0][0] >> at[0];
    const u32 magnitudes = __byte_perm(entry[0], entry[1], 0x0051);
    *(u16*)out = (u16)(magnitudes | (signs << 7 & 0x80) | (signs << 14 & 0x8000));
  }
};
