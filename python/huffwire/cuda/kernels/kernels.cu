// All kernels, as one program.
#include "primitives.cuh"
#include "abi.cuh"
#include "crc.cuh"
#include "encode_message.cuh"
#include "decode_plan.cuh"
#include "decode_fast.cuh"
#include "decode_any.cuh"
