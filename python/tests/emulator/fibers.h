// A fiber's place in its code, and the switch from one fiber to another.
//
// swapcontext asks the system to keep the mask of signals at every switch, which takes most of a test's time. On x86-64
// a switch is a few instructions instead: it keeps what a called function must keep, and exchanges the stacks.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)

namespace emulator {

struct Context { void* stack_pointer; };

extern "C" void emulator_switch(Context* from, Context* to);

}  // namespace emulator

asm(R"(
  .pushsection .text
  .type emulator_switch, @function
  .hidden emulator_switch
  .globl emulator_switch
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size emulator_switch, . - emulator_switch
  .popsection
)");

namespace emulator {

inline void switch_context(Context* from, Context* to) { emulator_switch(from, to); }

// The first switch to `context` takes six registers and the address of `entry` from the stack that is made here.
inline void make_context(Context* context, char* stack, size_t size, void (*entry)()) {
  void** top = (void**)((uintptr_t)(stack + size) & ~(uintptr_t)15);
  *--top = nullptr;  // the address to return to from `entry`, which never returns
  *--top = (void*)entry;
  for (int i = 0; i < 6; i++) *--top = nullptr;
  context->stack_pointer = top;
}

}  // namespace emulator

#else

#include <ucontext.h>

namespace emulator {

using Context = ucontext_t;

inline void switch_context(Context* from, Context* to) { swapcontext(from, to); }

inline void make_context(Context* context, char* stack, size_t size, void (*entry)()) {
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = size;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
}

}  // namespace emulator

#endif
