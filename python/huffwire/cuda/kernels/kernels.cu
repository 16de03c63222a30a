// All kernels, as one program.
#include "primitives.cuh"
#include "abi.cuh"
#include "crc.cuh"
