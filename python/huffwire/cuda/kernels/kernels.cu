// All kernels, as one program.
#include "primitives.cuh"
#include "abi.cuh"
#include "crc.cuh"

// The decoder and the encoder share nothing but what is above: each may name its parts as it likes.
namespace decoding {
#include "decode_plan.cuh"
#include "decode_fast.cuh"
#include "decode_any.cuh"
}  // namespace decoding

namespace encoding {
#include "encode_choose.cuh"
#include "encode_message.cuh"
}  // namespace encoding

using namespace decoding;
using namespace encoding;
