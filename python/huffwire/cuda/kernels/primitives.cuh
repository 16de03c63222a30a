// What kernels are written in: integers, and the few operations of a warp that they need.
//
// One source for two compilers. NVRTC takes the first half, in which an operation is one instruction of the GPU.
// g++ takes the second half, in which threads are fibers of an emulator (python/tests/emulator): tests without a GPU.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define ALL_LANES 0xffffffffu

#ifdef __CUDACC_RTC__

#define INLINE __device__ __forceinline__
#define INLINE_METHOD static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define UNROLL_4 _Pragma("unroll 4")
#define NO_UNROLL _Pragma("unroll 1")
#define STORED_BY_ALL_LANES

// Addresses in shared memory are numbers of 32 bits: arithmetic on them takes one instruction.
INLINE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
INLINE u32 load_shared_8(u32 at) { u32 v; asm volatile("ld.shared.u8 %0, [%1];" : "=r"(v) : "r"(at)); return v; }
INLINE u32 load_shared_16(u32 at) { u16 v; asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(at)); return v; }
INLINE u32 load_shared_32(u32 at) { u32 v; asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at)); return v; }
INLINE void store_shared_8(u32 at, u32 v) { asm volatile("st.shared.u8 [%0], %1;" :: "r"(at), "r"(v) : "memory"); }
INLINE void store_shared_16(u32 at, u32 v) { asm volatile("st.shared.u16 [%0], %1;" :: "r"(at), "h"((u16)v) : "memory"); }
INLINE void store_shared_32(u32 at, u32 v) { asm volatile("st.shared.u32 [%0], %1;" :: "r"(at), "r"(v) : "memory"); }
INLINE void store_shared_64(u32 at, uint2 v) {
  asm volatile("st.shared.v2.u32 [%0], {%1, %2};" :: "r"(at), "r"(v.x), "r"(v.y) : "memory");
}

// Loads of memory that no thread of the kernel writes.
INLINE u32 load_8(const u8* p) { u32 v; asm("ld.global.nc.u8 %0, [%1];" : "=r"(v) : "l"(p)); return v; }
INLINE u32 load_16(const u16* p) { u16 v; asm("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(p)); return v; }
INLINE u32 load_32(const u32* p) { u32 v; asm("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(p)); return v; }

// Which lanes have a bit of `mask` set in `x`.
INLINE u32 ballot_bits(u32 x, u32 mask) {
  u32 d;
  asm volatile("{.reg .pred p; .reg .b32 t; and.b32 t, %1, %2; setp.ne.u32 p, t, 0; vote.sync.ballot.b32 %0, p, 0xffffffff;}"
               : "=r"(d) : "r"(x), "r"(mask));
  return d;
}
INLINE bool any_bits(u32 x, u32 mask) {
  u32 d;
  asm volatile("{.reg .pred p, q; .reg .b32 t; and.b32 t, %1, %2; setp.ne.u32 p, t, 0; vote.sync.any.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q;}"
               : "=r"(d) : "r"(x), "r"(mask));
  return d != 0;
}
INLINE float log2_of(float x) { return __log2f(x); }
INLINE bool any(bool condition) { return __any_sync(ALL_LANES, condition); }
INLINE u32 xor_of_lanes(u32 x) { return __reduce_xor_sync(ALL_LANES, x); }
// A value that is the same in all lanes; tells the compiler so.
INLINE u32 uniform(u32 x) { return __reduce_or_sync(ALL_LANES, x); }
// Hides a value from the compiler, which would otherwise compute it anew at each use.
INLINE u32 opaque(u32 x) { asm volatile("" : "+r"(x)); return x; }
// (x & low) | 16, in one instruction.
INLINE u32 masked_or_16(u32 x, u32 low) { u32 d; asm("lop3.b32 %0, %1, %2, 16, 0xea;" : "=r"(d) : "r"(x), "r"(low)); return d; }
// The two numbers of 16 bits in `pair` times the two lower, or higher, of four bytes: their sum, and `more`. All signed.
INLINE u32 sum_of_products_low(u32 pair, u32 bytes, u32 more) { return __dp2a_lo((int)pair, (int)bytes, (int)more); }
INLINE u32 sum_of_products_high(u32 pair, u32 bytes, u32 more) { return __dp2a_hi((int)pair, (int)bytes, (int)more); }
// Bits of `a` where `mask` is set, of `b` where it is not.
INLINE u32 select_bits(u32 a, u32 b, u32 mask) { u32 d; asm("lop3.b32 %0, %1, %2, %3, 0xe4;" : "=r"(d) : "r"(a), "r"(b), "r"(mask)); return d; }

#else

#define INLINE static inline
#define INLINE_METHOD static inline
// The thread sanitizer would find a race in stores of several lanes to one place.
#define STORED_BY_ALL_LANES emulator::Unwatched unwatched
#define UNROLL
#define UNROLL_4
#define NO_UNROLL

struct alignas(8) uint2 { u32 x, y; };
// Where the shared memory of the running CTA begins: addresses are offsets from there.
extern thread_local u8* emulated_shared;
INLINE u32 shared_address(const void* p) { return (u32)((const u8*)p - emulated_shared); }
INLINE u32 load_shared_8(u32 at) { return emulated_shared[at]; }
INLINE u32 load_shared_16(u32 at) { if (at & 1) abort(); u16 v; memcpy(&v, emulated_shared + at, 2); return v; }
INLINE u32 load_shared_32(u32 at) { if (at & 3) abort(); u32 v; memcpy(&v, emulated_shared + at, 4); return v; }
INLINE void store_shared_8(u32 at, u32 v) { emulated_shared[at] = (u8)v; }
INLINE void store_shared_16(u32 at, u32 v) { if (at & 1) abort(); u16 x = (u16)v; memcpy(emulated_shared + at, &x, 2); }
INLINE void store_shared_32(u32 at, u32 v) { if (at & 3) abort(); memcpy(emulated_shared + at, &v, 4); }
INLINE void store_shared_64(u32 at, uint2 v) { if (at & 7) abort(); memcpy(emulated_shared + at, &v, 8); }
INLINE u32 load_8(const u8* p) { return *p; }
INLINE u32 load_16(const u16* p) { if ((u64)p & 1) abort(); return *p; }
INLINE u32 load_32(const u32* p) { if ((u64)p & 3) abort(); return *p; }
#define ballot_bits(x, mask) __ballot_sync(ALL_LANES, ((x) & (mask)) != 0)
#define any_bits(x, mask) (__ballot_sync(ALL_LANES, ((x) & (mask)) != 0) != 0)
INLINE float log2_of(float x) { return __builtin_log2f(x); }
#define any(condition) (__ballot_sync(ALL_LANES, (condition)) != 0)
INLINE u32 xor_of_lanes(u32 x) {
  for (u32 by = 1; by < 32; by *= 2) x ^= __shfl_sync(ALL_LANES, x, (threadIdx.x & 31) ^ by);
  return x;
}
#define uniform(x) __shfl_sync(ALL_LANES, (u32)(x), 0)
INLINE u32 opaque(u32 x) { return x; }
INLINE u32 sum_of_products_low(u32 pair, u32 bytes, u32 more) {
  return (u32)((short)pair * (signed char)bytes + (short)(pair >> 16) * (signed char)(bytes >> 8)) + more;
}
INLINE u32 sum_of_products_high(u32 pair, u32 bytes, u32 more) { return sum_of_products_low(pair, bytes >> 16, more); }
INLINE u32 masked_or_16(u32 x, u32 low) { return (x & low) | 16; }
INLINE u32 select_bits(u32 a, u32 b, u32 mask) { return (a & mask) | (b & ~mask); }

#endif

// All lanes store the same value in the same place.
template <class T, class V> INLINE void same_for_all(T& at, V value) {
  STORED_BY_ALL_LANES;
  at = (T)value;
}

// A number of 32 bits, lowest byte first, at any address.
INLINE u32 load_le32(const u8* p) { return load_8(p) | load_8(p + 1) << 8 | load_8(p + 2) << 16 | load_8(p + 3) << 24; }
