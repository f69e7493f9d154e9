// Norms, element-wise operators, softmax, and the table precompute that lookup hardware adds, alone or in the norm.
//
// Tables: for every four activations a the eight sums -a0 +- a1 +- a2 +- a3 (sign of a_i: bit i - 1 of the entry), that
// is half of all sixteen; the other half is their negative. An entry is INT8 with one FP16 scale per table:
// s = fp16(sum |a| / 127), entry = rint(sum / s), clipped to +-127.
#include "common.cuh"

namespace lut {
namespace {

constexpr int THREADS = 256;

__device__ inline float block_sum(float x) {
  __shared__ float parts[THREADS / 32];
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  x = 0;
#pragma unroll
  for (int i = 0; i < THREADS / 32; ++i) x += parts[i];
  __syncthreads();
  return x;
}
__device__ inline float block_max(float x) {
  __shared__ float parts[THREADS / 32];
  x = warp_max(x);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  x = parts[0];
#pragma unroll
  for (int i = 1; i < THREADS / 32; ++i) x = fmaxf(x, parts[i]);
  __syncthreads();
  return x;
}

struct Eight {
  half2 v[4];
  __device__ void unpack(float (&f)[8]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 x = __half22float2(v[i]);
      f[2 * i] = x.x, f[2 * i + 1] = x.y;
    }
  }
};
__device__ inline Eight read8(const half* p) {
  Eight e;
  *reinterpret_cast<uint4*>(e.v) = *reinterpret_cast<const uint4*>(p);
  return e;
}
__device__ inline void write8(half* p, const float (&f)[8]) {
  Eight e;
#pragma unroll
  for (int i = 0; i < 4; ++i) e.v[i] = __floats2half2_rn(f[2 * i], f[2 * i + 1]);
  *reinterpret_cast<uint4*>(p) = *reinterpret_cast<const uint4*>(e.v);
}

// Table of four activations: eight bytes and a scale.
__device__ inline uint2 build(const float* a, half* scale) {
  const float reach = fabsf(a[0]) + fabsf(a[1]) + fabsf(a[2]) + fabsf(a[3]);
  half s = __float2half(reach * (1.0f / 127.0f));
  if (__half2float(s) == 0) s = __float2half(1.0f);
  *scale = s;
  const float inverse = __fdiv_rn(1.0f, __half2float(s));
  const float low[2] = {-a[0] - a[1], -a[0] + a[1]}, high[4] = {-a[2] - a[3], a[2] - a[3], -a[2] + a[3], a[2] + a[3]};
  uint32_t words[2];
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    words[w] = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int e = 4 * w + i, q = min(max(__float2int_rn((low[e & 1] + high[e >> 1]) * inverse), -127), 127);
      words[w] |= uint32_t(q & 255) << (8 * i);
    }
  }
  return {words[0], words[1]};
}

// A block per row. tables == null: y = x / sqrt(mean x^2 + eps) * w; else tables of the rounded y, and no y.
template <bool TABLES>
__global__ void __launch_bounds__(THREADS) rms_norm(const half* x, const half* w, half* y, uint4* tables, half2* scales,
                                                    int k, float eps) {
  const size_t at = size_t(blockIdx.x) * k;
  allow_successor();
  wait_predecessor();
  float sum = 0, f[8], g[8];
  for (int i = threadIdx.x * 8; i < k; i += THREADS * 8) {
    read8(x + at + i).unpack(f);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += f[j] * f[j];
  }
  const float r = rsqrtf(block_sum(sum) / float(k) + eps);
  for (int i = threadIdx.x * 8; i < k; i += THREADS * 8) {
    read8(x + at + i).unpack(f);  // from L1 or L2
    read8(w + i).unpack(g);
#pragma unroll
    for (int j = 0; j < 8; ++j) f[j] = __half2float(__float2half(f[j] * r * g[j]));
    if constexpr (TABLES) {
      half2 s;
      const uint2 a = build(f, &s.x), b = build(f + 4, &s.y);
      tables[(at + i) / 8] = {a.x, a.y, b.x, b.y};
      scales[(at + i) / 8] = s;
    } else {
      write8(y + at + i, f);
    }
  }
}

__global__ void __launch_bounds__(THREADS) precompute(const half* x, uint4* tables, half2* scales, size_t count) {
  allow_successor();
  wait_predecessor();
  for (size_t i = blockIdx.x * size_t(THREADS) + threadIdx.x; i < count; i += size_t(gridDim.x) * THREADS) {
    float f[8];
    read8(x + 8 * i).unpack(f);
    half2 s;
    const uint2 a = build(f, &s.x), b = build(f + 4, &s.y);
    tables[i] = {a.x, a.y, b.x, b.y};
    scales[i] = s;
  }
}

// y = gate / (1 + exp(-gate)) * up
__global__ void __launch_bounds__(THREADS) silu_mul(const half* gate, const half* up, half* y, size_t count) {
  allow_successor();
  wait_predecessor();
  for (size_t i = blockIdx.x * size_t(THREADS) + threadIdx.x; i < count; i += size_t(gridDim.x) * THREADS) {
    float a[8], b[8];
    read8(gate + 8 * i).unpack(a);
    read8(up + 8 * i).unpack(b);
#pragma unroll
    for (int j = 0; j < 8; ++j) a[j] = __fdividef(a[j], 1.0f + __expf(-a[j])) * b[j];
    write8(y + 8 * i, a);
  }
}

// Rotary embedding, halves convention (d, d + D/2), in place; x (rows, heads, D), row r at position start + r.
// cosines and sines: (positions, D/2) FP32.
__global__ void __launch_bounds__(THREADS) rope(half* x, const float* cosines, const float* sines, int rows, int heads,
                                                int d, int start) {
  allow_successor();
  wait_predecessor();
  const int per_head = d / 16;  // 8 pairs a thread
  const size_t count = size_t(rows) * heads * per_head;
  for (size_t i = blockIdx.x * size_t(THREADS) + threadIdx.x; i < count; i += size_t(gridDim.x) * THREADS) {
    const int part = int(i % per_head) * 8, row = int(i / per_head / heads);
    half* p = x + i / per_head * d + part;
    float a[8], b[8], c[8], s[8], u[8], v[8];
    read8(p).unpack(a);
    read8(p + d / 2).unpack(b);
    const size_t at = size_t(start + row) * (d / 2) + part;
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      *reinterpret_cast<float4*>(c + j) = *reinterpret_cast<const float4*>(cosines + at + j);
      *reinterpret_cast<float4*>(s + j) = *reinterpret_cast<const float4*>(sines + at + j);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) u[j] = a[j] * c[j] - b[j] * s[j], v[j] = b[j] * c[j] + a[j] * s[j];
    write8(p, u);
    write8(p + d / 2, v);
  }
}

// A block per row of FP16 scores, kept in registers (up to 8192 columns) between the two passes.
__global__ void __launch_bounds__(THREADS) softmax(const half* x, half* y, int columns) {
  constexpr int KEPT = 4;
  const size_t at = size_t(blockIdx.x) * columns;
  allow_successor();
  wait_predecessor();
  float f[KEPT][8], high = -1e30f, sum = 0;
#pragma unroll
  for (int i = 0; i < KEPT; ++i) {
    const int c = (i * THREADS + threadIdx.x) * 8;
    if (c < columns) {
      read8(x + at + c).unpack(f[i]);
#pragma unroll
      for (int j = 0; j < 8; ++j) high = fmaxf(high, f[i][j]);
    }
  }
  high = block_max(high);
#pragma unroll
  for (int i = 0; i < KEPT; ++i)
    if ((i * THREADS + threadIdx.x) * 8 < columns)
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += f[i][j] = __expf(f[i][j] - high);
  const float r = __fdividef(1.0f, block_sum(sum));
#pragma unroll
  for (int i = 0; i < KEPT; ++i) {
    const int c = (i * THREADS + threadIdx.x) * 8;
    if (c < columns) {
#pragma unroll
      for (int j = 0; j < 8; ++j) f[i][j] *= r;
      write8(y + at + c, f[i]);
    }
  }
}

int blocks_for(size_t threads) { return int(min(size_t(multiprocessors() * 8), (threads + THREADS - 1) / THREADS)); }

}  // namespace
}  // namespace lut

using namespace lut;

LUT_API int lut_rms_norm(const void* x, const void* w, void* y, int m, int k, float eps, int early) {
  if (k % 8) return complain("rms_norm: the width must be a multiple of 8");
  return launch(rms_norm<false>, m, THREADS, 0, early, static_cast<const half*>(x), static_cast<const half*>(w),
                static_cast<half*>(y), nullptr, nullptr, k, eps);
}
LUT_API int lut_rms_norm_tables(const void* x, const void* w, void* tables, void* scales, int m, int k, float eps, int early) {
  if (k % 8) return complain("rms_norm_tables: the width must be a multiple of 8");
  return launch(rms_norm<true>, m, THREADS, 0, early, static_cast<const half*>(x), static_cast<const half*>(w), nullptr,
                static_cast<uint4*>(tables), static_cast<half2*>(scales), k, eps);
}
LUT_API int lut_precompute(const void* x, void* tables, void* scales, int m, int k, int early) {
  const size_t count = size_t(m) * k / 8;
  if (k % 8) return complain("precompute: the width must be a multiple of 8");
  return launch(precompute, blocks_for(count), THREADS, 0, early, static_cast<const half*>(x), static_cast<uint4*>(tables),
                static_cast<half2*>(scales), count);
}
LUT_API int lut_silu_mul(const void* gate, const void* up, void* y, int m, int k, int early) {
  const size_t count = size_t(m) * k / 8;
  if (k % 8) return complain("silu_mul: the width must be a multiple of 8");
  return launch(silu_mul, blocks_for(count), THREADS, 0, early, static_cast<const half*>(gate), static_cast<const half*>(up),
                static_cast<half*>(y), count);
}
LUT_API int lut_rope(void* x, const void* cosines, const void* sines, int rows, int heads, int d, int start, int early) {
  if (d % 16) return complain("rope: the head dimension must be a multiple of 16");
  return launch(rope, blocks_for(size_t(rows) * heads * d / 16), THREADS, 0, early, static_cast<half*>(x),
                static_cast<const float*>(cosines), static_cast<const float*>(sines), rows, heads, d, start);
}
LUT_API int lut_softmax(const void* x, void* y, int rows, int columns, int early) {
  if (columns % 8 || columns > 8192) return complain("softmax: columns must be a multiple of 8, at most 8192");
  return launch(softmax, rows, THREADS, 0, early, static_cast<const half*>(x), static_cast<half*>(y), columns);
}
