// Layouts (docs/format.md, section 3): where the symbols of a plane lie in the elements.
#pragma once
#include "primitives.cuh"

// How a block's elements fall apart, but for the planes.
struct Layout {
  u32 planes;       // 0: the type does not have the layout
  u32 word;         // bytes of the words that have one symbol of each plane; 3: packed, four symbols
  bool rotated;     // planes are of words rotated to the left by one bit
  bool interleaved;
};

// A plane has `width` bits of each word, from bit `shift` on.
struct PlaneShape {
  u32 width;
  u32 shift;
  bool centred;
};

enum { EXPONENT = 1, MAGNITUDE = 2, VALUES = 3, BYTES = 4, POSITIONS = 5, SIGN_APART = 6 };
enum { BF16 = 1, F16 = 2, F32 = 3, E4M3 = 4, E5M2 = 5, E3M2 = 6, E2M3 = 7, E3M2_PACKED = 8, E2M3_PACKED = 9, E8M0 = 11,
       WORD16 = 14, WORD32 = 15, WORD64 = 16 };

INLINE Layout layout_of(u32 type, u32 layout, u32 unit) {
  const bool floats = type >= BF16 && type <= F32, six_bits = type >= E3M2 && type <= E2M3_PACKED;
  Layout result = {0, unit, false, false};
  switch (layout) {
    case EXPONENT:
      if (type == E8M0) result.planes = 1;
      if (floats) result = {type == F32 ? 4u : type + 1, unit, true, true};
      break;
    case MAGNITUDE:
      if (six_bits || type == E4M3 || type == E5M2) result.planes = 2;
      break;
    case VALUES:
      if (six_bits) result.planes = 1;
      break;
    case BYTES:
      result = {1, 1, false, false};
      break;
    case POSITIONS:
      if (floats || (type >= WORD16 && type <= WORD64)) result.planes = unit;
      break;
    case SIGN_APART:
      if (floats) result = {type + 2, unit, false, true};
      break;
  }
  return result;
}

// Width and shift in one number: hexadecimal, two digits of the shift, one of the width.
INLINE u32 exponent_plane(u32 type, u32 plane) {
  switch (type << 4 | plane) {
    case BF16 << 4 | 0: return 0x088;
    case BF16 << 4 | 1: return 0x008;
    case F16 << 4 | 0: return 0x0b5;
    case F16 << 4 | 1: return 0x008;
    case F16 << 4 | 2: return 0x083;
    case F32 << 4 | 0: return 0x188;
    case F32 << 4 | 1: return 0x008;
    case F32 << 4 | 2: return 0x088;
    case F32 << 4 | 3: return 0x108;
  }
  return 0x008;  // e8m0
}

INLINE u32 sign_apart_plane(u32 type, u32 plane) {
  switch (type << 4 | plane) {
    case BF16 << 4 | 0: return 0x078;
    case BF16 << 4 | 1: return 0x007;
    case BF16 << 4 | 2: return 0x0f1;
    case F16 << 4 | 0: return 0x0a5;
    case F16 << 4 | 1: return 0x008;
    case F16 << 4 | 2: return 0x082;
    case F16 << 4 | 3: return 0x0f1;
    case F32 << 4 | 0: return 0x178;
    case F32 << 4 | 1: return 0x008;
    case F32 << 4 | 2: return 0x088;
    case F32 << 4 | 3: return 0x107;
  }
  return 0x1f1;  // the sign of f32
}

// Plane `plane` of a layout that the type has.
INLINE PlaneShape plane_of(u32 type, u32 layout, u32 plane) {
  u32 shape = 0;
  const bool eight_bits = type == E4M3 || type == E5M2;
  switch (layout) {
    case EXPONENT: shape = exponent_plane(type, plane); break;
    case MAGNITUDE: shape = eight_bits ? (plane ? 0x071 : 0x007) : (plane ? 0x051 : 0x005); break;
    case VALUES: shape = 0x006; break;
    case BYTES: shape = 0x008; break;
    case POSITIONS: shape = plane << 7 | 8; break;
    case SIGN_APART: shape = sign_apart_plane(type, plane); break;
  }
  return {shape & 15, shape >> 4, plane == 0 && (layout == EXPONENT || layout == SIGN_APART)};
}

// The place of symbol `i` among `units` interleaved words (section 3.1), of 2 or 4 bytes.
INLINE u32 deinterleaved(u32 i, u32 units, u32 word) {
  const u32 group = i & ~63u, p = i & 63;
  if (units - group < 64) return i;
  return group + (word == 2 ? (p & 1) * 32 + p / 2 : (p & 3) * 16 + p / 4);
}
