// The element types that blocks are coded as, and how the layouts of docs/format.md, section 3, split them.
//
// Plane 0 holds the symbols that are coded, the other planes are the remainder. Floats in the layouts exponent and
// sign-apart are interleaved, bytes are not.
//
// What encodes is in a namespace of its own: what decodes has types with the same names.
#pragma once
#include "primitives.cuh"

namespace encode {

constexpr u32 MAX_PLANES = 5;

__device__ constexpr u32 low_bits(u32 bits) { return bits < 32 ? (1u << bits) - 1 : ~0u; }
__device__ constexpr u32 at_most(u32 limit, u32 x) { return x < limit ? x : limit; }

template <u32 BYTES> struct UnitOf;
template <> struct UnitOf<1> { typedef u8 Type; };
template <> struct UnitOf<2> { typedef u16 Type; };
template <> struct UnitOf<4> { typedef u32 Type; };

template <class Unit> INLINE u32 load_unit(const Unit* at) {
  if (sizeof(Unit) == 1) return load_8((const u8*)at);
  if (sizeof(Unit) == 2) return load_16((const u16*)at);
  return load_32((const u32*)at);
}

// What the types have in common. Bytes of a unit; bits of plane 0, and how many bits lie below them.
template <u32 BYTES_, u32 SYMBOL_BITS_, u32 SYMBOL_AT_, bool CENTRED_> struct Elements {
  typedef typename UnitOf<BYTES_>::Type Unit;
  static constexpr u32 BYTES = BYTES_, BITS = 8 * BYTES_;
  static constexpr u32 SYMBOL_BITS = SYMBOL_BITS_, SYMBOL_AT = SYMBOL_AT_;
  static constexpr u32 SYMBOLS = SYMBOL_BITS_ > 7 ? 256 : 1u << SYMBOL_BITS_;
  static constexpr bool CENTRED = CENTRED_;
  // Whether books may have codes of up to 12 bits: the built-in ones of i8 do.
  static constexpr bool LONG_CODES = !CENTRED_ && SYMBOL_BITS_ == 8;
  static constexpr u32 SIGN = 1u << (BITS - 1);
  static constexpr u32 SYMBOL_MASK = low_bits(SYMBOL_BITS) << SYMBOL_AT;

  static __device__ __forceinline__ u32 symbol(u32 x) { return x >> SYMBOL_AT & low_bits(SYMBOL_BITS); }

  // Twice the symbol: the place of its entry of 16 bits in a table.
  static __device__ __forceinline__ u32 entry_at(u32 x) {
    return (SYMBOL_AT ? x >> (SYMBOL_AT ? SYMBOL_AT - 1 : 0) : x << 1) & low_bits(SYMBOL_BITS) << 1;
  }

  // The units of symbols 2 i and 2 i + 1 of a whole group are first(i) and first(i) + SECOND.
  static constexpr u32 SECOND = BYTES == 1 ? 1 : 64 / BYTES;
  static __device__ __forceinline__ u32 first(u32 i) {
    return BYTES == 1 ? 2 * i : BYTES == 2 ? i : (i & 1) * 32 + i / 2;
  }
};

typedef Elements<2, 8, 7, true> Bf16;
typedef Elements<2, 5, 10, true> F16;
typedef Elements<4, 8, 23, true> F32;
typedef Elements<1, 7, 0, false> F8;     // e4m3 and e5m2
typedef Elements<1, 8, 0, true> E8m0;    // an exponent, nothing else
typedef Elements<1, 8, 0, false> Bytes;  // i8, u8, pairs of e2m1

// A layout tells of each plane which bits it has: `width` of them, from bit `shift` on, of the unit or of the unit that
// is rotated to the left by one bit. They always lie within a byte of it. Planes from STORED on are constant wherever
// the layout is written.

// Layout exponent: the sign follows the mantissa.
template <class T> struct Exponent {
  typedef T Type;
  static constexpr u32 NUMBER = 1, REMAINDER = T::SYMBOL_AT + 1;
  static constexpr u32 PLANES = 1 + (REMAINDER + 7) / 8, STORED = PLANES;
  static __device__ constexpr bool rotates(u32) { return true; }
  static __device__ constexpr u32 width(u32 plane) {
    return plane == 0 ? T::SYMBOL_BITS : at_most(8, REMAINDER - 8 * (plane - 1));
  }
  static __device__ constexpr u32 shift(u32 plane) { return plane == 0 ? REMAINDER : 8 * (plane - 1); }
};

// Layout sign-apart: the sign is the last plane. It is written only where all units of a block have the same sign.
template <class T> struct SignApart {
  typedef T Type;
  static constexpr u32 NUMBER = 6, MANTISSA = T::SYMBOL_AT;
  static constexpr u32 PLANES = 2 + (MANTISSA + 7) / 8, STORED = PLANES - 1;
  static __device__ constexpr bool rotates(u32 plane) { return plane == 0; }
  static __device__ constexpr u32 width(u32 plane) {
    return plane == 0 ? T::SYMBOL_BITS : plane == PLANES - 1 ? 1 : at_most(8, MANTISSA - 8 * (plane - 1));
  }
  static __device__ constexpr u32 shift(u32 plane) {
    return plane == 0 ? MANTISSA + 1 : plane == PLANES - 1 ? T::BITS - 1 : 8 * (plane - 1);
  }
};

// Layout magnitude: the sign is plane 1.
template <class T> struct Magnitude {
  typedef T Type;
  static constexpr u32 NUMBER = 2, PLANES = 2, STORED = PLANES;
  static __device__ constexpr bool rotates(u32) { return false; }
  static __device__ constexpr u32 width(u32 plane) { return plane == 0 ? T::SYMBOL_BITS : 1; }
  static __device__ constexpr u32 shift(u32 plane) { return plane == 0 ? 0 : T::BITS - 1; }
};

// Layouts exponent (of a type that is nothing else) and bytes: a unit is its symbol.
template <class T, u32 NUMBER_> struct Whole {
  typedef T Type;
  static constexpr u32 NUMBER = NUMBER_, PLANES = 1, STORED = PLANES;
  static __device__ constexpr bool rotates(u32) { return false; }
  static __device__ constexpr u32 width(u32) { return 8; }
  static __device__ constexpr u32 shift(u32) { return 0; }
};

// The layouts of a type: where signs vary, and where they do not.
template <class T> struct LayoutsOf { typedef Exponent<T> Usual; typedef SignApart<T> OneSign; };
template <> struct LayoutsOf<F8> { typedef Magnitude<F8> Usual; typedef Magnitude<F8> OneSign; };
template <> struct LayoutsOf<E8m0> { typedef Whole<E8m0, 1> Usual; typedef Whole<E8m0, 1> OneSign; };
template <> struct LayoutsOf<Bytes> { typedef Whole<Bytes, 4> Usual; typedef Whole<Bytes, 4> OneSign; };

// Calls `f` with a value of the layout's type.
template <class T, class F> INLINE auto with_layout(bool one_sign, F f) {
  return one_sign ? f(typename LayoutsOf<T>::OneSign()) : f(typename LayoutsOf<T>::Usual());
}

template <class T> INLINE u32 rotated(u32 x) { return (x << 1 | x >> (T::BITS - 1)) & low_bits(T::BITS); }

// The symbol of a plane.
template <class Layout> INLINE u32 plane_symbol(u32 plane, u32 x) {
  const u32 word = Layout::rotates(plane) ? rotated<typename Layout::Type>(x) : x;
  return word >> Layout::shift(plane) & low_bits(Layout::width(plane));
}

// The bits of a unit that make up a plane.
template <class Layout> __device__ constexpr u32 plane_bits(u32 plane) {
  const u32 bits = low_bits(Layout::width(plane)) << Layout::shift(plane);
  return Layout::rotates(plane) ? bits >> 1 | (bits & 1 ? Layout::Type::SIGN : 0) : bits;
}

// Bit `plane` is set for each plane whose symbols are all the same, if units differ in the bits `differ` and no others.
template <class Layout> INLINE u32 constant_planes(u32 differ) {
  u32 constant = 0;
  UNROLL for (u32 plane = 0; plane < Layout::PLANES; plane++)
    if (!(differ & plane_bits<Layout>(plane))) constant |= 1u << plane;
  return constant;
}

// Units from which on a block of one sign has it in a plane of its own: with fewer, the header of that plane may be
// longer than what it saves.
constexpr u32 APART_FROM = 256u;

// What a choice of book is, for a block or for all: its number, the base, and whether exact zeros are coded apart if
// the book has a code for them.
INLINE u32 choice_book(u32 choice) { return choice & 0xff; }
INLINE u32 choice_base(u32 choice) { return choice >> 8 & 0xff; }
constexpr u32 CHOICE_ZEROS_APART = 0x10000u;
constexpr u32 NO_CHOICE = 0xffffffffu;

}  // namespace encode
