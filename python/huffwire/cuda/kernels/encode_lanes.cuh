// The lane coder (docs/format.md, section 6), backwards, as one warp runs it: thread `t` has lanes 2 t and 2 t + 1.
//
// A lane keeps its unread bits at the top of a register, so that a code goes on top of them by one funnel shift, which
// takes the code from bits 8 and up of the table's entry and its length from bits 0 to 4. The low five bits of `filled`
// are the number of unread bits, 16 to 23 where codes have up to 8 bits. Adding an entry adds the length of its code;
// if bit 3 is then set, there are 24 bits or more, and the lowest byte of those that there were goes to the stream.
// Clearing bit 3 takes it off the number: the next step does that, and clears all higher bits of the entry, too. Where
// codes have up to 12 bits all this is about 16 to 31 bits, bit 5, and the lowest two bytes.
//
// Where the words of a step go follows from two ballots: those of lower lanes lie before. They are collected in shared
// memory, and go out 256 bytes at a time. Escapes are collected downwards from the end of the block's slot, which is
// their order, since the encoder goes backwards.
#pragma once
#include "encode_split.cuh"

namespace encode {

constexpr u32 CHUNK = 256u;

// The slot of a block, and shared memory.
struct Workplace {
  u8* slot;
  u32 slot_bytes;
  u32 table;   // addresses in shared memory
  u32 buffer;  // of 2 CHUNK bytes
  u32* words;  // the buffer again
};

// What became of a coded plane.
struct CodedPlane {
  bool fits;
  u32 stream, escapes;  // bytes
  u32 end;              // where they end in the slot
};

// Codes of up to 8 bits. STEPS steps give CHUNK bytes at most.
struct ShortCodes {
  static constexpr u32 STEPS = 4, WORD_BYTES = 1, STATES_BYTES = 192;
  static constexpr u32 KEPT = 7, FULL = 8;  // of `filled`
  INLINE_METHOD u32 entry(u32 table, u32 place) { return load_shared_16(table | place); }
  INLINE_METHOD u32 load_entry(const u8* entries, u32 slot) { return load_16((const u16*)entries + slot); }
  INLINE_METHOD void store_entry(u32 table, u32 symbol, u32 entry) { store_shared_16(table + 2 * symbol, entry); }
  INLINE_METHOD void store_word(u32 at, u32 word) { store_shared_8(at, word); }
  INLINE_METHOD void store_state(u8* states, u32 lane, u32 state) {
    UNROLL for (u32 k = 0; k < 3; k++) states[64 * k + lane] = (u8)(state >> 8 * k);
  }
};

// Codes of up to 12 bits.
struct LongCodes {
  static constexpr u32 STEPS = 2, WORD_BYTES = 2, STATES_BYTES = 256;
  static constexpr u32 KEPT = 15, FULL = 32;
  INLINE_METHOD u32 entry(u32 table, u32 place) { return load_shared_32(table | 2 * place); }
  INLINE_METHOD u32 load_entry(const u8* entries, u32 slot) { return load_32((const u32*)entries + slot); }
  INLINE_METHOD void store_entry(u32 table, u32 symbol, u32 entry) { store_shared_32(table + 4 * symbol, entry); }
  INLINE_METHOD void store_word(u32 at, u32 word) { store_shared_16(at, word); }
  INLINE_METHOD void store_state(u8* states, u32 lane, u32 state) { store_le32(states + 4 * lane, state); }
};

// Room that must be left between stream and escapes, before 2 STEPS steps: those of short codes have at most 128 bytes
// each, those of long ones 192.
constexpr u32 ROOM_FOR_STEPS = 2 * ShortCodes::STEPS * 128 + 2 * CHUNK;

struct Lanes {
  u32 bits0, bits1, filled0, filled1;
};

struct Stream {
  u32 buffer;  // address in shared memory, of 2 CHUNK bytes
  u32 end;     // where the next word goes, there
  u8* to;      // where the buffer's start goes
  u8* slot;
  u32 escapes;  // where the last escape lies in the slot
};

struct Masks {
  u32 below;  // the threads below this one
  u32 kept;   // KEPT, in a register of its own
};

// One step: codes `e0` and `e1`, 0 where a lane takes no part.
template <class Codes> INLINE void code_step(Lanes& lanes, Stream& stream, const Masks& masks, u32 e0, u32 e1) {
  const u32 n0 = masked_or_16(lanes.filled0, masks.kept), n1 = masked_or_16(lanes.filled1, masks.kept);
  const u32 word0 = __funnelshift_l(lanes.bits0, 0, n0), word1 = __funnelshift_l(lanes.bits1, 0, n1);
  lanes.bits0 = __funnelshift_r(lanes.bits0, e0 >> 8, e0);
  lanes.bits1 = __funnelshift_r(lanes.bits1, e1 >> 8, e1);
  lanes.filled0 = n0 + e0;
  lanes.filled1 = n1 + e1;
  const bool gives0 = lanes.filled0 & Codes::FULL, gives1 = lanes.filled1 & Codes::FULL;
  const u32 a = ballot_bits(lanes.filled0, Codes::FULL), b = ballot_bits(lanes.filled1, Codes::FULL);
  const u32 place = stream.end + Codes::WORD_BYTES * (__popc(a & masks.below) + __popc(b & masks.below));
  stream.end += Codes::WORD_BYTES * (__popc(a) + __popc(b));
  if (gives0) Codes::store_word(place, word0);
  if (gives1) Codes::store_word(place + (lanes.filled0 & Codes::FULL) / (Codes::FULL / Codes::WORD_BYTES), word1);
}

// The state that a lane ends with.
template <class Codes> INLINE u32 state_of(u32 bits, u32 filled) {
  const u32 n = masked_or_16(filled, Codes::KEPT);
  return bits >> (32 - n) | 1u << n;
}

// The escapes of a step.
INLINE void escape_step(Stream& stream, const Masks& masks, u32 e0, u32 e1, u32 symbol0, u32 symbol1) {
  const bool escapes0 = e0 & ENTRY_SPECIAL, escapes1 = e1 & ENTRY_SPECIAL;
  const u32 a = __ballot_sync(ALL_LANES, escapes0), b = __ballot_sync(ALL_LANES, escapes1);
  stream.escapes -= __popc(a) + __popc(b);
  u8* to = stream.slot + stream.escapes + __popc(a & masks.below) + __popc(b & masks.below);
  if (escapes0) *to++ = (u8)symbol0;
  if (escapes1) *to = (u8)symbol1;
}

// Whether there is room for the next steps.
INLINE bool has_room(const Stream& stream) {
  const u32 used = (u32)(stream.to - stream.slot) + (stream.end - stream.buffer);
  return used + ROOM_FOR_STEPS <= stream.escapes;
}

// A whole chunk goes out, if there is one. To be called after at most STEPS steps.
INLINE void flush_chunk(Stream& stream) {
  if (stream.end - stream.buffer < CHUNK) return;
  const u32 lane = threadIdx.x & 31, at = stream.buffer + 8 * lane;
  __syncwarp();
  const u32 v0 = load_shared_32(at), v1 = load_shared_32(at + 4);
  uint2 next;
  next.x = load_shared_32(at + CHUNK);
  next.y = load_shared_32(at + CHUNK + 4);
  store_words_2(stream.to + 8 * lane, v0, v1);
  stream.to += CHUNK;
  __syncwarp();
  store_shared_64(at, next);
  stream.end -= CHUNK;
  __syncwarp();
}

// The symbols of a step that a thread codes, with their entries: 0 where it codes none.
struct Step {
  u32 e0, e1, symbol0, symbol1;
};

// One step with all that it leaves: its escapes, and a chunk that it may have filled.
template <class Codes>
INLINE void code_whole_step(Lanes& lanes, Stream& stream, const Masks& masks, const Step& step) {
  code_step<Codes>(lanes, stream, masks, step.e0, step.e1);
  if (any_bits(step.e0 | step.e1, ENTRY_SPECIAL))
    escape_step(stream, masks, step.e0, step.e1, step.symbol0, step.symbol1);
  flush_chunk(stream);
}

// What codes units: the table in shared memory, at a multiple of its size, and the entry of the exact zero.
struct Coding {
  u32 table;
  u32 zero;
};

template <class T, class Codes, bool ZEROS> INLINE u32 entry_of(const Coding& coding, u32 x) {
  const u32 entry = Codes::entry(coding.table, T::entry_at(x));
  return ZEROS && x == 0 ? coding.zero : entry;
}

// Any step, whole or partial.
template <class T, class Codes, bool ZEROS>
INLINE Step step_of(const typename T::Unit* in, u32 units, const Coding& coding, u32 number) {
  const u32 lane = threadIdx.x & 31, count = at_most(64, units - 64 * number);
  u32 x0, x1;
  load_2_units<T>(in + 64 * number, count, x0, x1);
  return Step{2 * lane < count ? entry_of<T, Codes, ZEROS>(coding, x0) : 0,
              2 * lane + 1 < count ? entry_of<T, Codes, ZEROS>(coding, x1) : 0, T::symbol(x0), T::symbol(x1)};
}

// Codes the plane of symbols of `units` units. `before_steps(group)` is called before 2 STEPS groups from that one on
// are coded, for what remains to be done with them. Returns whether there was room.
template <class T, class Codes, bool ZEROS, class Before>
INLINE bool code_units(const typename T::Unit* in, u32 units, const Coding& coding, Lanes& lanes, Stream& stream,
                       Before before_steps) {
  constexpr u32 N = Codes::STEPS;
  const u32 lane = threadIdx.x & 31;
  const Masks masks = {opaque((1u << lane) - 1), opaque(Codes::KEPT)};
  const u32 groups = units / 64, whole = groups / (2 * N) * (2 * N);
  // The last steps: a partial one, and those that do not make up 2 STEPS.
  for (u32 step = (units + 63) / 64; step > whole;) {
    step--;
    if (!has_room(stream)) return false;
    code_whole_step<Codes>(lanes, stream, masks, step_of<T, Codes, ZEROS>(in, units, coding, step));
  }
  // STEPS steps, whose units were fetched while the steps before were coded.
  const typename T::Unit* at = in + 64 * whole + T::first(lane);
  u32 x0[N], x1[N], y0[N], y1[N];
  const auto fetch = [&](u32* x0, u32* x1, int from) {
    UNROLL for (int k = 0; k < (int)N; k++) {
      x0[k] = load_unit(at + from + 64 * k);
      x1[k] = load_unit(at + from + 64 * k + (int)T::SECOND);
    }
  };
  const auto code = [&](const u32* x0, const u32* x1) {
    u32 e0[N], e1[N], special = 0;
    UNROLL for (u32 k = 0; k < N; k++) {
      e0[k] = entry_of<T, Codes, ZEROS>(coding, x0[k]);
      e1[k] = entry_of<T, Codes, ZEROS>(coding, x1[k]);
      special |= e0[k] | e1[k];
    }
    UNROLL for (int k = N - 1; k >= 0; k--) code_step<Codes>(lanes, stream, masks, e0[k], e1[k]);
    if (any_bits(special, ENTRY_SPECIAL)) {
      UNROLL for (int k = N - 1; k >= 0; k--)
        escape_step(stream, masks, e0[k], e1[k], T::symbol(x0[k]), T::symbol(x1[k]));
    }
    flush_chunk(stream);
  };
  constexpr int STRIDE = 64 * (int)N;
  if (whole) fetch(x0, x1, -STRIDE);
  for (u32 step = whole; step; step -= 2 * N) {
    if (!has_room(stream)) return false;
    fetch(y0, y1, -2 * STRIDE);
    before_steps(step - 2 * N);
    code(x0, x1);
    if (step > 2 * N) fetch(x0, x1, -3 * STRIDE);
    code(y0, y1);
    at -= 2 * STRIDE;
  }
  return true;
}

// Bytes of the payload that lanes carry, at most.
constexpr u32 CARRIED_BYTES = 128u;

// Codes a plane behind a payload that lies in the slot from `payload` to `end`: its lanes carry the end of that, and
// their states overwrite it. `run(lanes, stream)` codes the symbols, and tells whether there was room.
template <class Codes, class Run>
INLINE CodedPlane code_plane(const Workplace& work, u32 payload, u32 end, Run run) {
  const u32 lane = threadIdx.x & 31, carried = at_most(CARRIED_BYTES, end - payload);
  const u32 states_at = end - carried, stream_at = states_at + Codes::STATES_BYTES;
  u8* slot = work.slot;
  // What lanes carry was written by other threads.
  __syncwarp();
  const u8* taken = slot + states_at;
  const auto carry = [&](u32 i) { return i < carried ? (u32)taken[i] : 0u; };
  const u32 i = 2 * lane;
  Lanes lanes = {(carry(i) | carry(64 + i) << 8) << 16, (carry(i + 1) | carry(65 + i) << 8) << 16, 16, 16};
  // Chunks are stored as words of 8 bytes: the first one begins in front of the stream, with rubbish where states go
  // later. Words of two bytes begin at even places, and are moved by one afterwards if that is wrong.
  const u32 gap = stream_at % Codes::WORD_BYTES, begin = stream_at + gap, skew = uniform(begin & 7);
  Stream stream = {work.buffer, work.buffer + skew, slot + begin - skew, slot, work.slot_bytes};
  __syncwarp();
  if (!run(lanes, stream)) return CodedPlane{false, 0, 0, 0};

  __syncwarp();
  const u32 rest = stream.end - stream.buffer;
  for (u32 k = lane; k < rest; k += 32) stream.to[k] = (u8)load_shared_8(stream.buffer + k);
  const u32 bytes = (u32)(stream.to - slot) + rest - begin, escapes = work.slot_bytes - stream.escapes;
  __syncwarp();
  if (gap) move_down(slot + stream_at, slot + begin, bytes);
  Codes::store_state(slot + states_at, i, state_of<Codes>(lanes.bits0, lanes.filled0));
  Codes::store_state(slot + states_at, i + 1, state_of<Codes>(lanes.bits1, lanes.filled1));
  move_down(slot + stream_at + bytes, slot + stream.escapes, escapes);
  return CodedPlane{true, bytes, escapes, stream_at + bytes + escapes};
}

}  // namespace encode
