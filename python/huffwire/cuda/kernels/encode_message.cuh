// Blocks in their slots, or verbatim where they came from, become a message: header, table, blocks.
//
// The places of blocks are a prefix sum over their lengths. One CTA makes it: even at 2^20 blocks it reads 8 MiB, once,
// and no CTA has to wait for another one, which CUDA does not promise to be running.
#pragma once
#include "crc.cuh"
#include "encode_any.cuh"
#include "encode_block.cuh"

namespace encode {

constexpr u32 PLACE_THREADS = 1024;
constexpr u32 PACK_WARPS = 8;

INLINE u32 elements_of_block(u64 bytes, u32 block_bytes, u32 number) {
  const u64 rest = bytes - (u64)number * block_bytes;
  return rest < block_bytes ? (u32)rest : block_bytes;
}

}  // namespace encode

// Writes the header (16 bytes, given as two numbers), the lengths in the table, the place of each block in the message,
// and the message's length. Without `coded` (null) all blocks are verbatim.
extern "C" __global__ void __launch_bounds__(encode::PLACE_THREADS)
    place_blocks(const encode::Coded* coded, u64 bytes, u32 block_bytes, u32 blocks, u32 checksums, u64 header0,
                 u64 header1, u8* out, u64* places, u64* length) {
  using namespace encode;
  __shared__ u64 sums[PLACE_THREADS / 32];
  const u32 thread = threadIdx.x, lane = thread & 31, warp = thread / 32, warps = blockDim.x / 32;
  if (thread == 0) {
    for (u32 k = 0; k < 8; k++) {
      out[k] = (u8)(header0 >> 8 * k);
      out[8 + k] = (u8)(header1 >> 8 * k);
    }
  }
  u64 before = 16 + (u64)blocks * (checksums ? 8 : 4);
  for (u32 from = 0; from < blocks; from += blockDim.x) {
    const u32 i = from + thread;
    const u32 size = i >= blocks ? 0 : coded ? coded[i].length : 1 + elements_of_block(bytes, block_bytes, i);
    u64 sum = size;
    for (u32 by = 1; by < 32; by *= 2) {
      const u64 other = __shfl_sync(ALL_LANES, sum, lane < by ? lane : lane - by);
      sum += lane < by ? 0 : other;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    u64 all = 0, of_warps = 0;
    for (u32 k = 0; k < warps; k++) {
      of_warps += k < warp ? sums[k] : 0;
      all += sums[k];
    }
    if (i < blocks) {
      places[i] = before + of_warps + sum - size;
      store_le32(out + 16 + 4 * (u64)i, size);
    }
    before += all;
    __syncthreads();
  }
  if (thread == 0) *length = before;
}

// Copies each block to its place, by a warp, and writes its checksum into the table.
extern "C" __global__ void __launch_bounds__(32 * encode::PACK_WARPS)
    pack_blocks(const encode::Coded* coded, const u8* source, u64 bytes, u32 block_bytes, u32 blocks, const u8* slots,
                u32 slot_bytes, const u64* places, u32 checksums, u32 header_checksum, u8* out) {
  using namespace encode;
  __shared__ CrcTables tables;
  if (checksums) crc_prepare(tables, threadIdx.x, blockDim.x);
  __syncthreads();
  const u32 lane = threadIdx.x & 31, number = blockIdx.x * PACK_WARPS + threadIdx.x / 32;
  if (number >= blocks) return;
  const u32 elements = elements_of_block(bytes, block_bytes, number);
  const Coded block = coded ? coded[number] : Coded{1 + elements, VERBATIM};
  u8* to = out + places[number];
  const u8* entry = to;
  if (block.start == VERBATIM) {
    if (lane == 0) *to = 0;
    copy_by_warp(source + (u64)number * block_bytes, to + 1, elements);
    // The entry is read where it was written.
    __syncwarp();
  } else {
    entry = slots + (u64)number * slot_bytes + block.start;
    copy_by_warp(entry, to, block.length);
  }
  if (!checksums) return;
  const u32 crc = crc_of_entry(tables, entry, block.length, header_checksum, number);
  if (lane == 0) store_le32(out + 16 + 4 * ((u64)blocks + number), crc);
}
