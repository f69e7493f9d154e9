// Maps of arrays for the copy engine, which fetches boxes of them.
#pragma once
#include <cudaTypedefs.h>

#include "common.cuh"

namespace lut {

// sizes and box in elements, innermost first; strides in bytes, of all dimensions but the innermost.
int tensor_map(CUtensorMap* map, CUtensorMapDataType type, int rank, const void* array, const cuuint64_t* sizes,
               const cuuint64_t* strides, const cuuint32_t* box, CUtensorMapSwizzle swizzle);

}  // namespace lut
