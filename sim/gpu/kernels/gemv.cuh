// One FP16 activation vector times low-bit weights; lut_stream hands M = 1 over to it.
#pragma once
#include <cuda_fp16.h>

#include <cstdint>

namespace lut {

bool gemv_fits(int format, int n, int k);  // format: as of lut_stream
int gemv(int format, const uint32_t* weights, const uint32_t* scales, const uint32_t* x, half* y, int n, int k,
         int group, bool early);

}  // namespace lut
