// Software lookup GEMV: tables of partial sums in shared memory instead of multiplications (as LUT-GEMM and T-MAC do).
//
// Eight activations have 256 possible sums with weights 0 or 1: an FP16 table, built by every block for its slab of
// SLAB activations. Each bit plane of the weights then costs one table read and one addition per eight weights:
//   y[n] = sum over groups of s (sum_planes 2^p sum_tables table[byte] - z sum(x)).
// A thread owns a row; partial sums of the slabs are added with FP32 atomics into y, which starts at zero.
#include "common.cuh"

namespace lut {
namespace {

constexpr int SLAB = 128, TABLES = SLAB / 8, THREADS = 256;

struct Problem {
  const uint32_t* weights;  // [slab][plane][TABLES / 4][N]: four bytes = four tables of a row
  const half2* scales;      // [slab][N] (scale, zero point)
  const half* x;            // [M][K]
  float* y;                 // [M][N], zero
  int m, n, k, rows;        // rows: outputs of a block
};

template <int BITS>
__global__ void __launch_bounds__(THREADS) lookup(Problem p) {
  __shared__ half tables[TABLES][256];
  __shared__ float values[SLAB], total;
  const int slab = blockIdx.x, token = blockIdx.z;
  wait_predecessor();
  if (threadIdx.x < SLAB) {
    const int k = slab * SLAB + threadIdx.x;
    values[threadIdx.x] = k < p.k ? __half2float(p.x[size_t(token) * p.k + k]) : 0.0f;
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    float s = 0;
    for (int i = threadIdx.x; i < SLAB; i += 32) s += values[i];
    s = warp_sum(s);
    if (threadIdx.x == 0) total = s;
  }
  for (int j = 0; j < TABLES; ++j) {  // thread = entry
    float s = 0;
#pragma unroll
    for (int b = 0; b < 8; ++b) s += threadIdx.x >> b & 1 ? values[8 * j + b] : 0.0f;
    tables[j][threadIdx.x] = __float2half(s);
  }
  __syncthreads();
  const int from = blockIdx.y * p.rows;
  for (int n = from + threadIdx.x; n < min(from + p.rows, p.n); n += THREADS) {
    uint32_t w[BITS][TABLES / 4];
#pragma unroll
    for (int b = 0; b < BITS; ++b)
#pragma unroll
      for (int i = 0; i < TABLES / 4; ++i)
        w[b][i] = __ldg(p.weights + ((size_t(slab) * BITS + b) * (TABLES / 4) + i) * p.n + n);
    float sum = 0;
#pragma unroll
    for (int b = BITS - 1; b >= 0; --b) {
      float plane = 0;
#pragma unroll
      for (int i = 0; i < TABLES / 4; ++i) {
        float part = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) part += __half2float(tables[4 * i + j][w[b][i] >> (8 * j) & 255]);
        plane += part;
      }
      sum = 2 * sum + plane;
    }
    const float2 s = __half22float2(__ldg(p.scales + size_t(slab) * p.n + n));
    atomicAdd(p.y + size_t(token) * p.n + n, s.x * (sum - s.y * total));
  }
}

}  // namespace
}  // namespace lut

// y: FP32, cleared here. One scale per 128 weights.
LUT_API int lut_lookup(int bits, const void* weights, const void* scales, const void* x, void* y, int m, int n, int k) {
  using namespace lut;
  if (m < 1 || m > 65535) return complain("lookup: M must be 1..65535");
  if (int bad = check(cudaMemsetAsync(y, 0, size_t(m) * n * 4, stream()), "clear")) return bad;
  const int slabs = divide_up(k, SLAB), parts = max(1, min(divide_up(n, THREADS), divide_up(multiprocessors() * 16, long(slabs) * m)));
  const int rows = divide_up(divide_up(n, parts), THREADS) * THREADS;
  const Problem p{static_cast<const uint32_t*>(weights), static_cast<const half2*>(scales), static_cast<const half*>(x),
                  static_cast<float*>(y), m, n, k, rows};
  const dim3 grid(slabs, divide_up(n, rows), m);
  switch (bits) {
    case 1: return launch(lookup<1>, grid, THREADS, 0, false, p);
    case 2: return launch(lookup<2>, grid, THREADS, 0, false, p);
    case 4: return launch(lookup<4>, grid, THREADS, 0, false, p);
  }
  return complain("lookup: bits must be 1, 2 or 4");
}
