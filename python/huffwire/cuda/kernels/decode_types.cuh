// What the fast kernels know of an element type and a layout: where the bits of planes lie, and how a thread makes
// units of two symbols and of the bits of the other planes.
//
// A type has
//   Word, LAYOUT, CENTRED     a unit; its layout; whether the alphabet of plane 0 is centred
//   WIDTH, SHIFT              of plane 0, in the unit as the layout sees it (rotated or not)
//   PLANES, width(p), shift(p)  the same of the other planes, from 0 on
//   INTERLEAVED, ROTATED      see section 3 of docs/format.md
//   SIGN                      whether one more plane follows, the sign, which must be constant
//   CONSTANTS                 whether other planes may be constant; if not, such blocks are left to decode_any
//   GROUP                     of how many steps the bits of the other planes are fetched at a time
//   first_place(lane)         where the first of a thread's two units lies among 64
//   SECOND                    and how many units behind it the second one
//   units(...)                two units from entries of plane 0, bits of the others, the signs in their places
// but where units are not interleaved
//   put(...)                  stores them at once
#pragma once
#include "decode_layouts.cuh"
#include "primitives.cuh"

// How many bytes may hold two symbols of a width, wherever among 64 they lie.
INLINE constexpr u32 bytes_of_two(u32 width) { return width == 7 ? 3 : width == 8 || width == 3 ? 2 : 1; }

// Bits of the other planes for a step: of each plane the bytes of the payload in which this thread's bits lie.
template <u32 PLANES> struct Bits { u32 byte[PLANES][3]; };

// Bits of two symbols, which begin at bit `at` of their bytes. Bits above them are anything.
INLINE u32 two_symbols(const u32 (&byte)[3], u32 at) { return (byte[0] | byte[1] << 8 | byte[2] << 16) >> at; }

// A unit is a byte of plane 0 (byte 1 of an entry) above a byte of sign and mantissa, rotated to the right by one
// bit. Both twice in a row and shifted by one bit are that.
struct Bf16Units {
  typedef u16 Word;
  static constexpr u32 LAYOUT = EXPONENT, WIDTH = 8, SHIFT = 8, PLANES = 1;
  static constexpr bool CENTRED = true, INTERLEAVED = true, ROTATED = true, SIGN = false, CONSTANTS = false;
  static constexpr u32 GROUP = 4;
  INLINE_METHOD constexpr u32 width(u32) { return 8; }
  INLINE_METHOD constexpr u32 shift(u32) { return 0; }
  INLINE_METHOD u32 first_place(u32 lane) { return lane; }
  static constexpr u32 SECOND = 32;
  INLINE_METHOD void units(const u32 (&entry)[2], const Bits<1>& bits, const u32 (&)[1], const u32 (&)[2],
                           u32 (&unit)[2]) {
    UNROLL for (u32 k = 0; k < 2; k++) unit[k] = __byte_perm(entry[k], bits.byte[0][k], 0x1414) >> 1;
  }
};

// The upper byte has five bits of plane 0 and three of plane 2.
struct F16Units {
  typedef u16 Word;
  static constexpr u32 LAYOUT = EXPONENT, WIDTH = 5, SHIFT = 11, PLANES = 2;
  static constexpr bool CENTRED = true, INTERLEAVED = true, ROTATED = true, SIGN = false, CONSTANTS = true;
  static constexpr u32 GROUP = 2;
  INLINE_METHOD constexpr u32 width(u32 plane) { return plane ? 3 : 8; }
  INLINE_METHOD constexpr u32 shift(u32 plane) { return plane ? 8 : 0; }
  INLINE_METHOD u32 first_place(u32 lane) { return lane; }
  static constexpr u32 SECOND = 32;
  INLINE_METHOD void units(const u32 (&entry)[2], const Bits<2>& bits, const u32 (&at)[2], const u32 (&)[2],
                           u32 (&unit)[2]) {
    const u32 low = two_symbols(bits.byte[1], at[1]);
    UNROLL for (u32 k = 0; k < 2; k++) {
      const u32 upper = select_bits(entry[k] >> 5, low >> 3 * k, 0xf8);
      unit[k] = __byte_perm(upper, bits.byte[0][k], 0x0404) >> 1;
    }
  }
};

struct F32Units {
  typedef u32 Word;
  static constexpr u32 LAYOUT = EXPONENT, WIDTH = 8, SHIFT = 24, PLANES = 3;
  static constexpr bool CENTRED = true, INTERLEAVED = true, ROTATED = true, SIGN = false, CONSTANTS = true;
  static constexpr u32 GROUP = 2;
  INLINE_METHOD constexpr u32 width(u32) { return 8; }
  INLINE_METHOD constexpr u32 shift(u32 plane) { return 8 * plane; }
  // Symbols 2 t and 2 t + 1 are units (2 t mod 4) * 16 + t / 2 and the one 16 units behind it.
  INLINE_METHOD u32 first_place(u32 lane) { return (lane & 1) * 32 + lane / 2; }
  static constexpr u32 SECOND = 16;
  INLINE_METHOD void units(const u32 (&entry)[2], const Bits<3>& bits, const u32 (&)[3], const u32 (&)[2],
                           u32 (&unit)[2]) {
    UNROLL for (u32 k = 0; k < 2; k++) {
      const u32 low = __byte_perm(bits.byte[0][k], bits.byte[1][k], 0x0040);
      const u32 high = __byte_perm(bits.byte[2][k], entry[k], 0x0050);
      const u32 rotated = __byte_perm(low, high, 0x5410);
      unit[k] = __funnelshift_r(rotated, rotated, 1);
    }
  }
};

// e4m3 and e5m2: two symbols of seven bits and two signs are 16 bits of the output.
struct F8Units {
  typedef u8 Word;
  static constexpr u32 LAYOUT = MAGNITUDE, WIDTH = 7, SHIFT = 0, PLANES = 1;
  static constexpr bool CENTRED = false, INTERLEAVED = false, ROTATED = false, SIGN = false, CONSTANTS = true;
  static constexpr u32 GROUP = 4;
  INLINE_METHOD constexpr u32 width(u32) { return 1; }
  INLINE_METHOD constexpr u32 shift(u32) { return 7; }
  INLINE_METHOD u32 first_place(u32 lane) { return 2 * lane; }
  INLINE_METHOD void put(u8* out, const u32 (&entry)[2], const Bits<1>& bits, const u32 (&at)[1], const u32 (&)[2]) {
    const u32 signs = bits.byte[0][0] >> at[0];
    const u32 magnitudes = __byte_perm(entry[0], entry[1], 0x0051);
    *(u16*)out = (u16)(magnitudes | (signs << 7 & 0x80) | (signs << 14 & 0x8000));
  }
};

// ---- Layout sign-apart, with a sign that never varies: an exponent above a mantissa, not rotated.

struct Bf16ApartUnits {
  typedef u16 Word;
  static constexpr u32 LAYOUT = SIGN_APART, WIDTH = 8, SHIFT = 7, PLANES = 1;
  static constexpr bool CENTRED = true, INTERLEAVED = true, ROTATED = false, SIGN = true, CONSTANTS = false;
  static constexpr u32 GROUP = 2;
  INLINE_METHOD constexpr u32 width(u32) { return 7; }
  INLINE_METHOD constexpr u32 shift(u32) { return 0; }
  INLINE_METHOD u32 first_place(u32 lane) { return lane; }
  static constexpr u32 SECOND = 32;
  INLINE_METHOD void units(const u32 (&entry)[2], const Bits<1>& bits, const u32 (&at)[1], const u32 (&sign)[2],
                           u32 (&unit)[2]) {
    const u32 low = two_symbols(bits.byte[0], at[0]);
    UNROLL for (u32 k = 0; k < 2; k++) unit[k] = (low >> 7 * k & 0x7f) | (entry[k] >> 1 & 0x7f80) | sign[k];
  }
};

struct F16ApartUnits {
  typedef u16 Word;
  static constexpr u32 LAYOUT = SIGN_APART, WIDTH = 5, SHIFT = 10, PLANES = 2;
  static constexpr bool CENTRED = true, INTERLEAVED = true, ROTATED = false, SIGN = true, CONSTANTS = true;
  static constexpr u32 GROUP = 2;
  INLINE_METHOD constexpr u32 width(u32 plane) { return plane ? 2 : 8; }
  INLINE_METHOD constexpr u32 shift(u32 plane) { return plane ? 8 : 0; }
  INLINE_METHOD u32 first_place(u32 lane) { return lane; }
  static constexpr u32 SECOND = 32;
  INLINE_METHOD void units(const u32 (&entry)[2], const Bits<2>& bits, const u32 (&at)[2], const u32 (&sign)[2],
                           u32 (&unit)[2]) {
    const u32 low = two_symbols(bits.byte[1], at[1]);
    UNROLL for (u32 k = 0; k < 2; k++)
      unit[k] = bits.byte[0][k] | (low << (8 - 2 * k) & 0x300) | (entry[k] << 2 & 0x7c00) | sign[k];
  }
};

struct F32ApartUnits {
  typedef u32 Word;
  static constexpr u32 LAYOUT = SIGN_APART, WIDTH = 8, SHIFT = 23, PLANES = 3;
  static constexpr bool CENTRED = true, INTERLEAVED = true, ROTATED = false, SIGN = true, CONSTANTS = true;
  static constexpr u32 GROUP = 2;
  INLINE_METHOD constexpr u32 width(u32 plane) { return plane == 2 ? 7 : 8; }
  INLINE_METHOD constexpr u32 shift(u32 plane) { return 8 * plane; }
  INLINE_METHOD u32 first_place(u32 lane) { return F32Units::first_place(lane); }
  static constexpr u32 SECOND = 16;
  INLINE_METHOD void units(const u32 (&entry)[2], const Bits<3>& bits, const u32 (&at)[3], const u32 (&sign)[2],
                           u32 (&unit)[2]) {
    const u32 high = two_symbols(bits.byte[2], at[2]);
    UNROLL for (u32 k = 0; k < 2; k++) {
      const u32 low = (bits.byte[0][k] | bits.byte[1][k] << 8);
      unit[k] = low | (high >> (7 * k) << 16 & 0x7f0000) | (entry[k] << 15 & 0x7f800000) | sign[k];
    }
  }
};
