// 2-bit or ternary weights times few INT8 activations (M <= 8), exact: W2A8 and BitNet's I2_S x INT8.
//
// acc[m, n] = sum_k q[n, k] x[m, k] in INT32 on mma.m16n8k32 with codes widened to unsigned bytes;
// y = (acc - z[n] sum_k x[m, k]) s[n] s_x[m]. Layout and schedule as stream.cu; tiles of 16 rows x 128 columns as I2
// of gemm.cu. Activations are quantised per row as models/quantise/activation.py does: s_x = max|x| / 127,
// codes rint(x / s_x).
#include "common.cuh"

namespace lut {
namespace {

constexpr int WARPS = 12, CHUNK = 128, STEPS = 4;
constexpr int SHARED_LIMIT = 220 * 1024, HALF = 113 * 1024;  // of a multiprocessor: one block fits, two fit

struct Problem {
  const uint32_t* weights;  // [block of 64 rows][chunk][4 tiles][lane][step]
  const half2* scales;      // [N] (scale, zero point)
  const int8_t* x;          // [M][K]
  const float* x_scales;    // [M]
  const int* x_sums;        // [M]
  void* y;                  // [M][N] FP16, or INT32 if raw
  int m, n, k, chunks, raw, tiles, per_block;
};

// TOKENS: stride of the activations in shared memory, 1 or 8.
template <int TOKENS, int DEPTH>
__global__ void __launch_bounds__(32 * WARPS, 2) stream_i8(Problem p) {
  extern __shared__ uint4 staged[];  // [chunk][two of steps][token][t]: the B registers of both steps
  uint4* rings = staged + size_t(p.chunks) * 2 * TOKENS * 4;              // [warp][slot][tile][lane]
  int* partial = reinterpret_cast<int*>(rings + WARPS * DEPTH * 2 * 32);  // [warp][tile][token][row]
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int first = int(blockIdx.x * p.tiles / gridDim.x), last = int((blockIdx.x + 1) * p.tiles / gridDim.x);
  const int count = last - first, twos = (count + 1) / 2;
  const int slots = (p.per_block + 1) / 2 * 2;
  int two = 0, chunk = warp, next_two, next_chunk;
  auto settle = [&](int& a, int& b) {
    if (b < p.chunks) return false;
    do b -= p.chunks, ++a;
    while (b >= p.chunks);
    return true;
  };
  settle(two, chunk);
  next_two = two, next_chunk = chunk;
  uint32_t offset[2];
  uint4* ring = rings + warp * DEPTH * 2 * 32 + lane;
  auto find = [&]() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int tile = min(first + 2 * next_two + r, first + count - 1);
      offset[r] = (((tile >> 2) * p.chunks + next_chunk) * 4 + (tile & 3)) * 128 + lane * 4;
    }
  };
  auto fetch = [&](int slot) {
    if (next_two < twos) {
      copy_async<4>(ring + slot * 64, p.weights + offset[0]);
      copy_async<4>(ring + slot * 64 + 32, p.weights + offset[1]);
      next_chunk += WARPS;
      offset[0] += WARPS * 512, offset[1] += WARPS * 512;
      if (settle(next_two, next_chunk)) find();
    }
    copy_commit();
  };
  find();
#pragma unroll
  for (int i = 0; i < DEPTH; ++i) fetch(i);
  for (int i = threadIdx.x; i < WARPS * slots * TOKENS * 16; i += 32 * WARPS) partial[i] = 0;
  allow_successor();
  wait_predecessor();

  for (int i = threadIdx.x; i < p.chunks * 2 * p.m; i += 32 * WARPS) {  // two steps of a token: 64 activations
    const int pair = TOKENS == 1 ? i : i / p.m, token = TOKENS == 1 ? 0 : i % p.m, k = pair * 64;
    const uint4* from = reinterpret_cast<const uint4*>(p.x + size_t(token) * p.k + k);
    uint4 v[4] = {};
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (k + 16 * j < p.k) v[j] = from[j];
    uint4* to = staged + (size_t(pair) * TOKENS + token) * 4;
    to[0] = {v[0].x, v[1].x, v[2].x, v[3].x};
    to[1] = {v[0].y, v[1].y, v[2].y, v[3].y};
    to[2] = {v[0].z, v[1].z, v[2].z, v[3].z};
    to[3] = {v[0].w, v[1].w, v[2].w, v[3].w};
  }
  __syncthreads();

  const int mine = TOKENS == 1 ? t : (g < p.m ? g : 0) * 4 + t;
  int sum[2][4] = {}, at = two;
  auto put = [&]() {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int token = 2 * t + i % 2;
        if (token < TOKENS) partial[((warp * slots + 2 * at + r) * TOKENS + token) * 16 + g + 8 * (i / 2)] = sum[r][i];
        sum[r][i] = 0;
      }
  };
  for (int slot = 0; two < twos; slot = slot + 1 == DEPTH ? 0 : slot + 1) {
    if (two != at) put(), at = two;
    const uint4* b = staged + chunk * (2 * TOKENS * 4) + mine;
    const uint4 x[2] = {b[0], b[TOKENS * 4]};
    copy_wait<DEPTH - 1>();  // a lane reads only what it copied
    const uint4 w[2] = {ring[slot * 64], ring[slot * 64 + 32]};
    uint32_t a[2][STEPS][4];
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        a[r][0][i] = (w[r].x >> (2 * i)) & 0x03030303;
        a[r][1][i] = (w[r].y >> (2 * i)) & 0x03030303;
        a[r][2][i] = (w[r].z >> (2 * i)) & 0x03030303;
        a[r][3][i] = (w[r].w >> (2 * i)) & 0x03030303;
      }
    fetch(slot);
#pragma unroll
    for (int s = 0; s < STEPS; ++s)
#pragma unroll
      for (int r = 0; r < 2; ++r) mma(sum[r], a[r][s], s & 1 ? x[s / 2].z : x[s / 2].x, s & 1 ? x[s / 2].w : x[s / 2].y);
    chunk += WARPS;
    settle(two, chunk);
  }
  if (at < twos) put();
  __syncthreads();
  for (int i = threadIdx.x; i < count * 16 * p.m; i += 32 * WARPS) {
    const int row = i % (count * 16), token = i / (count * 16), n = first * 16 + row;
    if (n >= p.n) continue;
    int total = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) total += partial[((w * slots + row / 16) * TOKENS + token) * 16 + row % 16];
    const float2 s = __half22float2(__ldg(p.scales + n));
    total -= int(s.y) * p.x_sums[token];
    const size_t out = size_t(token) * p.n + n;
    if (p.raw) static_cast<int*>(p.y)[out] = total;
    else static_cast<half*>(p.y)[out] = __float2half(float(total) * s.x * p.x_scales[token]);
  }
}

constexpr int DEEP = 5, FLAT = 2;

size_t shared_bytes(int chunks, int per_block, int tokens, int depth) {
  return (size_t(chunks) * CHUNK + size_t(WARPS) * ((per_block + 1) / 2 * 2) * 64) * tokens + size_t(WARPS) * depth * 1024;
}

template <int TOKENS>
int run_tokens(const Problem& p, bool early) {
  const int blocks = min(p.tiles, multiprocessors());
  size_t bytes = shared_bytes(p.chunks, p.per_block, TOKENS, DEEP);
  if (bytes <= HALF) return launch(stream_i8<TOKENS, DEEP>, blocks, 32 * WARPS, bytes, early, p);
  bytes = shared_bytes(p.chunks, p.per_block, TOKENS, FLAT);
  if (bytes <= SHARED_LIMIT) return launch(stream_i8<TOKENS, FLAT>, blocks, 32 * WARPS, bytes, early, p);
  return complain("stream_i8: M x K activations do not fit shared memory; use gemm_i8");
}

// One block per row.
__global__ void __launch_bounds__(256) quantise_rows(const half* x, int8_t* q, float* scales, int* sums, int k) {
  __shared__ float warp_values[8];
  __shared__ int warp_sums[8];
  wait_predecessor();
  const half2* row = reinterpret_cast<const half2*>(x + size_t(blockIdx.x) * k);
  float largest = 0;
  for (int i = threadIdx.x; i < k / 2; i += 256) {
    const float2 v = __half22float2(row[i]);
    largest = fmaxf(largest, fmaxf(fabsf(v.x), fabsf(v.y)));
  }
  largest = warp_max(largest);
  if (threadIdx.x % 32 == 0) warp_values[threadIdx.x / 32] = largest;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 8; ++i) largest = fmaxf(largest, warp_values[i]);
  const float scale = largest > 0 ? fmaxf(__fdiv_rn(largest, 127.0f), 1.17549435e-38f) : 1.0f;
  char2* out = reinterpret_cast<char2*>(q + size_t(blockIdx.x) * k);
  int sum = 0;
  for (int i = threadIdx.x; i < k / 2; i += 256) {
    const float2 v = __half22float2(row[i]);
    const int a = min(max(__float2int_rn(__fdiv_rn(v.x, scale)), -127), 127);
    const int b = min(max(__float2int_rn(__fdiv_rn(v.y, scale)), -127), 127);
    out[i] = make_char2(char(a), char(b));
    sum += a + b;
  }
  for (int i = 16; i; i >>= 1) sum += __shfl_xor_sync(~0u, sum, i);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    int total = 0;
    for (int i = 0; i < 8; ++i) total += warp_sums[i];
    scales[blockIdx.x] = scale, sums[blockIdx.x] = total;
  }
}

}  // namespace
}  // namespace lut

// 1 if lut_stream_i8 takes the shape, else 0.
LUT_API int lut_stream_i8_fits(int m, int n, int k) {
  using namespace lut;
  const int tiles = divide_up(n, 64) * 4, per_block = divide_up(tiles, min(tiles, multiprocessors()));
  return m >= 1 && m <= 8 && shared_bytes(divide_up(k, CHUNK), per_block, m == 1 ? 1 : 8, FLAT) <= SHARED_LIMIT;
}

// Arguments as lut_gemm_i8, M <= 8.
LUT_API int lut_stream_i8(const void* weights, const void* scales, const void* x, const void* x_scales, const void* x_sums,
                          void* y, int m, int n, int k, int raw, int early) {
  using namespace lut;
  if (m < 1 || m > 8) return complain("stream_i8: M must be 1..8");
  if (k % 16) return complain("stream_i8: K must be a multiple of 16");
  const int tiles = divide_up(n, 64) * 4, per_block = divide_up(tiles, min(tiles, multiprocessors()));
  const Problem p{static_cast<const uint32_t*>(weights), static_cast<const half2*>(scales), static_cast<const int8_t*>(x),
                  static_cast<const float*>(x_scales), static_cast<const int*>(x_sums), y, m, n, k, divide_up(k, CHUNK), raw, tiles, per_block};
  return m == 1 ? run_tokens<1>(p, early) : run_tokens<8>(p, early);
}

// x (M, K) FP16 to INT8 codes, FP32 scales and INT32 sums of the codes.
LUT_API int lut_quantise_rows(const void* x, void* q, void* scales, void* sums, int m, int k) {
  using namespace lut;
  if (k % 2) return complain("quantise_rows: K must be even");
  return launch(quantise_rows, m, 256, 0, false, static_cast<const half*>(x), static_cast<int8_t*>(q),
                static_cast<float*>(scales), static_cast<int*>(sums), k);
}
