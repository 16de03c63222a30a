// The plan of decoding a message: what its header and its table say, checked (docs/format.md, section 8).
//
// One CTA makes the plan. The host cannot wait for the header without stopping the device, so it does not know how
// many blocks there are: it gives memory for as many as the message could have, and the kernels that follow read the
// plan.
#pragma once
#include "abi.cuh"
#include "crc.cuh"
#include "primitives.cuh"

// What is wrong, for `_decode.py`, which has the same numbers.
enum Problem {
  HEADER_CUT = 1,
  NO_MAGIC = 2,
  OTHER_VERSION = 3,
  UNKNOWN_FLAGS = 4,
  CONTEXT_MISSING = 5,
  CONTEXT_UNEXPECTED = 6,
  HEADER_CHECKSUM = 7,
  UNKNOWN_TYPE = 8,
  BAD_BLOCK_SIZE = 9,
  OTHER_KIND = 10,
  OTHER_SET = 11,
  OTHER_TYPE = 12,
  OTHER_UNITS = 13,
  TABLE_CUT = 14,
  BLOCK_LENGTH = 15,
  BLOCKS_CUT = 16,
  LEFT_OVER = 17,
  LENGTH_TOO_LONG = 18,
  HEADER_CHECKSUM_OR_CONTEXT = 19,
  // of one block
  BLOCK_CHECKSUM = 32,
  BLOCK_CUT = 33,
  BAD_LAYOUT = 34,
  BAD_HEADER = 35,
  BAD_PAYLOAD = 36,
  BAD_LANES = 37,
  BAD_ESCAPES = 38,
  BAD_ZEROS = 39,
  BAD_SYMBOL = 40,
  BAD_PADDING = 41,
  BAD_STREAM = 42,
  NO_SUCH_BOOK = 43,
  BAD_BOOK = 44,
  BOOK_DOES_NOT_FIT = 45,
};

// How decoding went. The least of all reports counts: the first damaged block.
struct Status {
  u64 report;  // number of the block << 8 | problem; all ones: none
  u32 found;   // what the header has where something else was expected
  u32 reserved;
};

struct Plan {
  u32 blocks;       // 0 if there is nothing to decode, or an error
  u32 block_units;  // units of each block but the last
  u32 units;        // of the message
  u32 unit;         // bytes of a unit
  u32 type;         // the element type that the message's is coded as
  u32 header_crc;
  u32 checksums;    // where the checksums of blocks begin in the message; 0: there are none
  u32 first_book;   // of the message's set, among all Books
  u32 books;        // of the message's set
  u32 long_blocks;  // how many blocks are in the queue of blocks with 12-bit codes
  u32 any_blocks;   // in the queue of blocks for `decode_any`
  u32 apart_blocks; // in the queue of blocks of layout sign-apart
  u64 capacity;     // for how many blocks there is room
  u64 reserved_2;
  // Behind the plan: the offsets of `capacity` + 1 blocks in the message, as u64; the queues, `capacity` times u32
  // each.
};

INLINE u64* block_offsets(Plan* plan) { return (u64*)(plan + 1); }
INLINE u32* queue_of_long(Plan* plan) { return (u32*)(block_offsets(plan) + plan->capacity + 1); }
INLINE u32* queue_of_any(Plan* plan) { return queue_of_long(plan) + plan->capacity; }
INLINE u32* queue_of_apart(Plan* plan) { return queue_of_any(plan) + plan->capacity; }

INLINE void report(Status* status, u32 block, u32 problem) { atomicMin(&status->report, (u64)block << 8 | problem); }

// The type that a type is coded as (section 2); 0: there is no such type.
INLINE u32 coded_as(u32 type) {
  if (type >= 1 && type <= 16) return type;
  switch (type) {
    case 17: case 20: case 23: case 27: return 16;
    case 18: case 21: return 14;
    case 19: case 22: return 15;
    case 24: return 13;
    case 25: return 2;
    case 26: return 3;
    case 28: return 4;
    case 29: return 5;
  }
  return 0;
}

// Bytes of a unit of a type that is coded as itself.
INLINE u32 unit_bytes(u32 type) {
  switch (type) {
    case 1: case 2: case 14: return 2;
    case 3: case 15: return 4;
    case 8: case 9: return 3;
    case 16: return 8;
  }
  return 1;
}

// Checks the header, in the order of section 8.1, and fills in the plan. Returns what is wrong, or 0.
INLINE u32 plan_header(const u8* message, u64 size, u64 context, u32 has_context, const u8* tables, u32 type, u32 units,
                       Plan* plan, u32* found) {
  if (size < 16) return HEADER_CUT;
  if (message[0] != 0x48) return NO_MAGIC;
  *found = message[1] >> 4;
  if (*found != 1) return OTHER_VERSION;
  const u32 flags = message[1] & 15;
  if (flags > 3) return UNKNOWN_FLAGS;
  if ((flags & 2) && !has_context) return CONTEXT_MISSING;
  if (!(flags & 2) && has_context) return CONTEXT_UNEXPECTED;
  u32 crc = ~0u;
  for (u32 i = 0; i < 12; i++) crc = crc_byte(crc, message[i]);
  if (has_context)
    for (u32 i = 0; i < 8; i++) crc = crc_byte(crc, (u32)(context >> (8 * i)) & 0xff);
  if (~crc != load_le32(message + 12)) return has_context ? HEADER_CHECKSUM_OR_CONTEXT : HEADER_CHECKSUM;
  *found = message[2];
  if (!coded_as(*found)) return UNKNOWN_TYPE;
  const u32 block_size = message[3] & 31;
  if (block_size < 10 || block_size > 20) return BAD_BLOCK_SIZE;
  *found = message[3] >> 5;
  if (*found != 0) return OTHER_KIND;
  *found = load_le32(message + 4);
  const Tables* head = (const Tables*)tables;
  const Set* sets = (const Set*)(head + 1);
  u32 set = 0;
  while (set < head->sets && sets[set].id != *found) set++;
  if (set == head->sets) return OTHER_SET;
  *found = message[2];
  if (*found != type) return OTHER_TYPE;
  *found = load_le32(message + 8);
  if (*found != units) return OTHER_UNITS;
  plan->type = coded_as(type);
  plan->unit = unit_bytes(plan->type);
  plan->units = units;
  plan->block_units = (1u << block_size) / plan->unit;
  plan->blocks = units / plan->block_units + (units % plan->block_units != 0);
  plan->header_crc = ~crc;
  plan->first_book = sets[set].first_book;
  plan->books = sets[set].books;
  plan->checksums = flags & 1;
  // Each block has its part of the table, and a byte at least.
  const u64 table = (u64)plan->blocks * (flags & 1 ? 8 : 4);
  if (table + plan->blocks > size - 16) return TABLE_CUT;
  return 0;
}

#define LENGTHS_AT_ONCE 4  // by each thread

// One CTA of whole warps, at most 32. `length` is the message's length in device memory, or null for `size`.
extern "C" __global__ void __launch_bounds__(1024) decode_plan(const u8* message, u64 size, const u64* length,
    u64 context, u32 has_context, const u8* tables, u32 type, u32 units, Plan* plan, u64 capacity, Status* status) {
  __shared__ u32 problem;
  __shared__ u64 sums[32];
  const u32 thread = threadIdx.x, lane = thread & 31, warp = thread / 32, warps = blockDim.x / 32;
  const bool too_long = length && *length > size;
  if (length && !too_long) size = *length;
  if (thread == 0) {
    plan->blocks = 0;
    plan->long_blocks = 0;
    plan->any_blocks = 0;
    plan->apart_blocks = 0;
    plan->capacity = capacity;
    status->report = ~0ull;
    status->found = 0;
    u32 found = 0;
    problem = LENGTH_TOO_LONG;
    if (!too_long) problem = plan_header(message, size, context, has_context, tables, type, units, plan, &found);
    if (problem) {
      status->found = found;
      report(status, 0, problem);
      plan->blocks = 0;
    }
  }
  __syncthreads();
  if (problem) return;
  // The table: each thread adds up a few lengths, each warp those of its threads, and every thread those of the
  // warps.
  const u32 blocks = plan->blocks, block_units = plan->block_units, unit = plan->unit;
  u64* offsets = block_offsets(plan);
  u64 total = 16 + (u64)blocks * (plan->checksums ? 8 : 4);
  const u32 last_units = blocks ? units - (blocks - 1) * block_units : 0;
  bool bad = false;
  for (u64 round = 0; round < blocks; round += LENGTHS_AT_ONCE * blockDim.x) {
    const u64 first = round + LENGTHS_AT_ONCE * thread;
    u32 lengths[LENGTHS_AT_ONCE], sum = 0;
    UNROLL for (u32 i = 0; i < LENGTHS_AT_ONCE; i++) {
      lengths[i] = 0;
      if (first + i < blocks) {
        const u32 block = (u32)first + i, most = 1 + unit * (block + 1 == blocks ? last_units : block_units);
        lengths[i] = load_le32(message + 16 + 4 * (u64)block);
        if (lengths[i] == 0 || lengths[i] > most) {
          report(status, block, BLOCK_LENGTH);
          bad = true;
          lengths[i] = 0;
        }
      }
      sum += lengths[i];
    }
    u32 up_to_here = sum;
    for (u32 by = 1; by < 32; by *= 2) {
      const u32 other = __shfl_sync(ALL_LANES, up_to_here, (lane - by) & 31);
      if (lane >= by) up_to_here += other;
    }
    if (lane == 31) sums[warp] = up_to_here;
    __syncthreads();
    u64 offset = total + up_to_here - sum;
    for (u32 i = 0; i < warps; i++) {
      if (i < warp) offset += sums[i];
      total += sums[i];
    }
    UNROLL for (u32 i = 0; i < LENGTHS_AT_ONCE; i++) {
      if (first + i < blocks) offsets[first + i] = offset;
      offset += lengths[i];
    }
    __syncthreads();
  }
  if (bad) problem = BLOCK_LENGTH;
  __syncthreads();
  if (thread == 0) {
    offsets[blocks] = total;
    if (!problem && total != size) report(status, 0, total > size ? BLOCKS_CUT : LEFT_OVER);
    if (problem || total != size) plan->blocks = 0;
    plan->checksums = plan->checksums ? 16 + 4 * blocks : 0;
  }
}

// A block of the plan, for the warp that decodes it.
struct Block {
  const u8* body;
  u32 size;
  u32 units;
  u32 number;
};

INLINE Block block_of(const Plan* plan, const u8* message, u32 number) {
  const u64* offsets = (const u64*)(plan + 1);
  const u64 at = offsets[number];
  Block block;
  block.body = message + at;
  block.size = uniform((u32)(offsets[number + 1] - at));
  block.units = uniform(number + 1 == plan->blocks ? plan->units - number * plan->block_units : plan->block_units);
  block.number = number;
  return block;
}

// Where a block's elements go. Blocks hold whole units: products fit, units of a message are less than 2^32.
INLINE u8* output_of(const Plan* plan, u8* out, u32 number) {
  return out + (u64)number * plan->block_units * plan->unit;
}

// Whether the checksum of a block is right. All lanes get the same.
INLINE bool checksum_is_right(const CrcTables& crc, const Plan* plan, const u8* message, const Block& block) {
  if (!plan->checksums) return true;
  return crc_of_entry(crc, block.body, block.size, plan->header_crc, block.number) ==
         load_le32(message + plan->checksums + 4 * (u64)block.number);
}
