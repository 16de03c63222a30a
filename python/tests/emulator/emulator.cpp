// The kernels of huffwire.cuda as a library that runs them on the CPU, for python/tests/emulated.py.
#include "lanes.h"

thread_local uint8_t* emulated_shared;

// A kernel that uses addresses in shared memory says where its shared memory begins: SHARED_BEGINS_AT(first object).
#define SHARED_BEGINS_AT(object) ({ emulator::Unwatched unwatched; emulated_shared = (uint8_t*)(object); })

#include "kernels.cu"

namespace {

template <class T> T argument(void** arguments, unsigned i) { return *(T*)arguments[i]; }

template <class... T, size_t... I>
void call(void (*kernel)(T...), void** arguments, std::index_sequence<I...>) { kernel(argument<T>(arguments, I)...); }

template <class... T> std::function<void()> bound(void (*kernel)(T...), void** arguments) {
  return [=] { call(kernel, arguments, std::index_sequence_for<T...>()); };
}

}  // namespace

// From now on the address sanitizer, if there is one, complains about uses of these bytes.
extern "C" void emulator_forbid(void* at, size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(at, size);
#else
  (void)at, (void)size;
#endif
}

// Arguments as cuLaunchKernel takes them: pointers to each. Returns 0, or 1 for an unknown kernel.
extern "C" int emulator_launch(const char* name, unsigned ctas, unsigned threads, unsigned seed, void** arguments) {
#define KERNEL(kernel) \
  if (!strcmp(name, #kernel)) { emulator::launch(ctas, threads, seed, bound(kernel, arguments)); return 0; }
#include "kernel_names.h"
#undef KERNEL
  return 1;
}
