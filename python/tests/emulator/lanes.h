// An emulator of CUDA for tests: every thread is a fiber, and what the lanes of a warp do together is a place where
// they wait for each other.
//
// It notices lanes that reach different collective operations or leave too early, and barriers that not all threads
// reach. Lanes run in an order that the seed shuffles, so that a missing __syncwarp shows under some seed. It does not
// see races between CTAs, which run one after the other, and knows nothing of speed.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" void AnnotateIgnoreReadsBegin(const char*, int);
extern "C" void AnnotateIgnoreReadsEnd(const char*, int);
extern "C" void AnnotateIgnoreWritesBegin(const char*, int);
extern "C" void AnnotateIgnoreWritesEnd(const char*, int);
#endif

#include "fibers.h"

namespace emulator {

// Under the thread sanitizer every fiber is a thread of its own, and only __syncwarp and __syncthreads order what they
// do to memory: a ballot or a shuffle does not, on a GPU either. So lanes that exchange something through memory
// without such a barrier are reported as a race. What the emulator itself reads and writes does not count.
#if defined(__SANITIZE_THREAD__)
struct Unwatched {
  Unwatched() { AnnotateIgnoreReadsBegin("", 0), AnnotateIgnoreWritesBegin("", 0); }
  ~Unwatched() { AnnotateIgnoreWritesEnd("", 0), AnnotateIgnoreReadsEnd("", 0); }
};
#define UNWATCHED __attribute__((no_sanitize("thread")))
inline void arrive(void* barrier) { __tsan_release(barrier); }
inline void leave(void* barrier) { __tsan_acquire(barrier); }
#else
struct Unwatched { ~Unwatched() {} };
#define UNWATCHED
inline void arrive(void*) {}
inline void leave(void*) {}
#endif
inline char barriers[34];  // of 32 warps, of their CTA, and between what launches and what is launched
enum { OF_CTA = 32, OF_LAUNCH = 33 };

enum Wait { RUNNING, BALLOT, SHUFFLE, SYNC_WARP, SYNC_CTA, DONE };

// Stacks are their own objects, so that the address sanitizer can be told of a switch. They are kept from launch to
// launch: their pages are then there already.
constexpr size_t STACK = 128 * 1024;
inline thread_local std::vector<std::unique_ptr<char[]>> stacks;
inline thread_local std::vector<void*> watched;  // what the thread sanitizer knows fibers as

struct Fiber {
  Context context;
  void* fake_stack = nullptr;
  void* watched = nullptr;
  unsigned thread;
  Wait waits;
  unsigned mask;
  uint64_t argument;
  unsigned source;
  uint64_t result;
  const void* site;
  char* stack;
};

struct Cta {
  std::vector<Fiber> fibers;
  Context scheduler;
  void* scheduler_fake_stack = nullptr;
  void* scheduler_watched = nullptr;
  const void* scheduler_bottom = nullptr;
  size_t scheduler_size = 0;
  Fiber* current = nullptr;
  std::function<void()> body;
  unsigned index = 0, threads = 0, ctas = 0;
  std::mt19937 random;
};

inline thread_local Cta* cta = nullptr;

UNWATCHED inline void to_scheduler(bool for_ever) {
  Fiber* fiber = cta->current;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_ever ? nullptr : &fiber->fake_stack, cta->scheduler_bottom, cta->scheduler_size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(cta->scheduler_watched, 1);
#endif
  switch_context(&fiber->context, &cta->scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber->fake_stack, &cta->scheduler_bottom, &cta->scheduler_size);
#else
  (void)for_ever;
#endif
}

UNWATCHED inline void to_fiber(Fiber& fiber) {
  cta->current = &fiber;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&cta->scheduler_fake_stack, fiber.stack, STACK);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(fiber.watched, 1);
#endif
  switch_context(&cta->scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(cta->scheduler_fake_stack, nullptr, nullptr);
#endif
}

inline uint64_t wait(Wait kind, unsigned mask, uint64_t argument, unsigned source, const void* site) {
  Unwatched unwatched;
  Fiber* fiber = cta->current;
  void* barrier = kind == SYNC_WARP ? &barriers[fiber->thread / 32] : kind == SYNC_CTA ? &barriers[OF_CTA] : nullptr;
  if (barrier) arrive(barrier);
  fiber->waits = kind;
  fiber->mask = mask;
  fiber->argument = argument;
  fiber->source = source;
  fiber->site = site;
  to_scheduler(false);
  if (barrier) leave(barrier);
  return fiber->result;
}

inline void start() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &cta->scheduler_bottom, &cta->scheduler_size);
#endif
  leave(&barriers[OF_LAUNCH]);
  cta->body();
  arrive(&barriers[OF_LAUNCH]);
  {
    Unwatched unwatched;
    cta->current->waits = DONE;
  }
  to_scheduler(true);
  abort();
}

[[noreturn]] inline void fail(const char* what, unsigned warp) {
  fprintf(stderr, "emulator: %s (CTA %u, warp %u)\n", what, cta->index, warp);
  abort();
}

// Runs the lanes of one warp until each is done or waits for the whole CTA.
inline void run_warp(unsigned warp, const unsigned* order) {
  unsigned first_thread = warp * 32, lanes = std::min(32u, cta->threads - first_thread);
  Fiber* fibers = &cta->fibers[first_thread];
  for (;;) {
    for (unsigned i = 0; i < 32; i++)
      if (order[i] < lanes && fibers[order[i]].waits == RUNNING) to_fiber(fibers[order[i]]);
    unsigned arrived = 0, ballot = 0;
    Fiber* first = nullptr;
    for (unsigned lane = 0; lane < lanes; lane++) {
      Fiber& fiber = fibers[lane];
      if (fiber.waits == DONE || fiber.waits == SYNC_CTA) continue;
      arrived |= 1u << lane;
      if (!first) first = &fiber;
      if (fiber.argument) ballot |= 1u << lane;
    }
    if (!first) return;
    if (arrived != first->mask) fail("the lanes in a collective operation differ from its mask", warp);
    for (unsigned lane = 0; lane < lanes; lane++) {
      if (!(arrived >> lane & 1)) continue;
      Fiber& fiber = fibers[lane];
      if (fiber.waits != first->waits || fiber.site != first->site || fiber.mask != first->mask)
        fail("lanes reached different collective operations", warp);
      if (fiber.waits == BALLOT) fiber.result = ballot;
      if (fiber.waits == SHUFFLE) {
        if (!(arrived >> (fiber.source & 31) & 1)) fail("a shuffle reads from an absent lane", warp);
        fiber.result = fibers[fiber.source & 31].argument;
      }
    }
    for (unsigned lane = 0; lane < lanes; lane++)
      if (arrived >> lane & 1) fibers[lane].waits = RUNNING;
  }
}

inline void run(Cta& running) {
  Unwatched unwatched;
  arrive(&barriers[OF_LAUNCH]);
  cta = &running;
  running.fibers.resize(running.threads);
  for (unsigned i = 0; i < running.threads; i++) {
    Fiber& fiber = running.fibers[i];
    fiber.thread = i;
    fiber.waits = RUNNING;
    fiber.fake_stack = nullptr;
    if (stacks.size() <= i) stacks.emplace_back(new char[STACK]);
    fiber.stack = stacks[i].get();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(fiber.stack, STACK);
#endif
    make_context(&fiber.context, fiber.stack, STACK, start);
#if defined(__SANITIZE_THREAD__)
    if (watched.size() <= i) watched.push_back(__tsan_create_fiber(0));
    fiber.watched = watched[i];
    running.scheduler_watched = __tsan_get_current_fiber();
#endif
  }
  unsigned order[32], warps = (running.threads + 31) / 32;
  for (unsigned i = 0; i < 32; i++) order[i] = i;
  std::shuffle(order, order + 32, running.random);
  for (;;) {
    for (unsigned warp = 0; warp < warps; warp++) run_warp(warp, order);
    unsigned done = 0, waiting = 0;
    for (Fiber& fiber : running.fibers) {
      done += fiber.waits == DONE;
      waiting += fiber.waits == SYNC_CTA;
    }
    if (done == running.threads) break;
    if (done + waiting != running.threads) fail("not all threads reach a barrier", 0);
    for (Fiber& fiber : running.fibers)
      if (fiber.waits == SYNC_CTA) fiber.waits = RUNNING;
  }
  leave(&barriers[OF_LAUNCH]);
}

inline void launch(unsigned ctas, unsigned threads, unsigned seed, std::function<void()> body) {
  Cta running;
  running.body = std::move(body);
  running.threads = threads;
  running.ctas = ctas;
  for (unsigned i = 0; i < ctas; i++) {
    running.index = i;
    running.random.seed(seed * 7919 + i);
    run(running);
  }
}

struct Thread { struct { operator unsigned() const { Unwatched u; return cta->current->thread; } } x; };
struct Index { struct { operator unsigned() const { Unwatched u; return cta->index; } } x; };
struct Threads { struct { operator unsigned() const { Unwatched u; return cta->threads; } } x; };
struct Ctas { struct { operator unsigned() const { Unwatched u; return cta->ctas; } } x; };

}  // namespace emulator

static emulator::Thread threadIdx;
static emulator::Index blockIdx;
static emulator::Threads blockDim;
static emulator::Ctas gridDim;

#define __global__
#define __device__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define __ballot_sync(m, p) ({ static const char site_ = 0; (unsigned)emulator::wait(emulator::BALLOT, (m), (p) ? 1 : 0, 0, &site_); })
#define __shfl_sync(m, v, l) ({ static const char site_ = 0; (decltype(v))emulator::wait(emulator::SHUFFLE, (m), (uint64_t)(v), (l), &site_); })
#define __syncwarp(...) ({ static const char site_ = 0; emulator::wait(emulator::SYNC_WARP, 0xffffffffu, 0, 0, &site_); })
#define __syncthreads() ({ static const char site_ = 0; emulator::wait(emulator::SYNC_CTA, 0, 0, 0, &site_); })
#define __popc(x) __builtin_popcount(x)
#define __threadfence() ((void)0)

static inline int __clz(unsigned x) { return x ? __builtin_clz(x) : 32; }
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
  return (unsigned)(((((uint64_t)high << 32) | low) << (by & 31)) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return (unsigned)((((uint64_t)high << 32) | low) >> (by & 31));
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  uint64_t both = (uint64_t)b << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) result |= (unsigned)(both >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  return result;
}
// CTAs run one after the other, and fibers switch nowhere else than in collective operations.
template <class T> static inline T atomicAdd(T* at, T by) { return __atomic_fetch_add(at, by, __ATOMIC_RELAXED); }
template <class T> static inline T atomicMin(T* at, T with) {
  T was = __atomic_load_n(at, __ATOMIC_RELAXED);
  if (with < was) __atomic_store_n(at, with, __ATOMIC_RELAXED);
  return was;
}
template <class T> static inline T atomicOr(T* at, T with) { return __atomic_fetch_or(at, with, __ATOMIC_RELAXED); }
