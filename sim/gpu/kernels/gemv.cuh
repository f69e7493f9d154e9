// One activation vector times low-bit weights: a product a launch. gemv_list.cu has many a launch.
//
// All codes of a row appear as v = c + q 2^-e with one e and a c of their class (a power of two, by the exponent bits
// that unpacking sets): sum q x = 2^e (sum v x - sum c x). Both sums of x come from the tensor cores, eight pairs at
// once.
#pragma once
#include "formats.cuh"

namespace lut {

bool gemv_fits(int format, int n, int k);  // format: as of with_format
int gemv(int format, const void* weights, const void* scales, const void* x, void* y, int n, int k, int group, bool early);

// A pair of chunks of activations in operand order: two activations a word, as [two steps][t].
template <class F>
constexpr int PAIR_WORDS = 2 * F::STEPS * 8;

// A warp stages the activations of its pairs warp, warp + WARPS, ...: words 4 j + t of two steps to 4 t + j; and the
// sums of -c x and of 2^-e x over each pair.
template <class F, int WARPS>
__device__ inline void stage_activations(const uint4* from, int k, int pairs, uint4* staged, float2* sums, int warp,
                                         int lane) {
  using X = typename F::X;
  constexpr int E = F::exponent(0), QUADS = PAIR_WORDS<F> / 4, BATCH = 5;  // four words a lane and load
  const int g = lane / 4, t = lane % 4, mine = warp < pairs ? (pairs - warp + WARPS - 1) / WARPS : 0;
  for (int base = 0; base < mine * QUADS; base += 32 * BATCH) {
    uint4 v[BATCH];
    auto quad = [&](int i) {
      const int at = base + 32 * i + lane;
      return (at / QUADS * WARPS + warp) * QUADS + at % QUADS;
    };
#pragma unroll
    for (int i = 0; i < BATCH; ++i) v[i] = quad(i) * 8 < k ? __ldcg(from + quad(i)) : uint4{};
#pragma unroll
    for (int i = 0; i < BATCH; ++i) {
      if (base + 32 * i + lane >= mine * QUADS) continue;
      uint32_t* to = reinterpret_cast<uint32_t*>(staged) + (quad(i) & ~3) * 4 + (quad(i) & 3);
      uint4 x = v[i];  // the four in an order by lane: no two lanes in one bank
      if (lane & 8) x = {x.y, x.z, x.w, x.x};
      if (lane & 16) x = {x.z, x.w, x.x, x.y};
      const int turn = lane >> 3;
      to[4 * (turn & 3)] = x.x, to[4 * ((turn + 1) & 3)] = x.y;
      to[4 * ((turn + 2) & 3)] = x.z, to[4 * ((turn + 3) & 3)] = x.w;
    }
  }
  __syncwarp();
  for (int base = 0; base < mine; base += 8) {  // column g of the operand: the pair base + g
    const uint4* b = staged + (min(base + g, mine - 1) * WARPS + warp) * (PAIR_WORDS<F> / 4) + t;
    float d[4] = {};
#pragma unroll
    for (int s = 0; s < 2 * F::STEPS; s += 2) {
      const uint4 x = b[2 * s];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t c = power2<X>(lift<F>(s + i)), a[4] = {power2<X>(-E), c, power2<X>(-E), c};  // rows g, g + 8
        mma<X>(d, a, i ? x.z : x.x, i ? x.w : x.y);
      }
    }
#pragma unroll
    for (int c = 0; c < 2; ++c)
      if (g == 0 && base + 2 * t + c < mine) sums[(base + 2 * t + c) * WARPS + warp] = {-d[2 + c], d[c]};
  }
  __syncwarp();
}

// Adds a pair of chunks of TILES tiles to the sums of rows g, g + 8: w[chunk][tile], x[two steps], scale[tile][row half].
template <class F, int TILES>
__device__ inline void multiply_pair(float (&y)[TILES][2], const uint32_t (&w)[2][TILES][F::WORDS],
                                     const uint4 (&x)[F::STEPS], float2 sum, const half2 (&scale)[TILES][2]) {
  using X = typename F::X;
  float d[2][TILES][4];
  // step by step through all tiles and both chunks: sums that depend on one another lie four apart
  uint32_t a[2][TILES][F::STEPS][4];
#pragma unroll
  for (int c = 0; c < 2; ++c)
#pragma unroll
    for (int r = 0; r < TILES; ++r) unpack_codes<F, true>(w[c][r], a[c][r]);
#pragma unroll
  for (int i = 0; i < F::STEPS; ++i)
#pragma unroll
    for (int c = 0; c < 2; ++c)
#pragma unroll
      for (int r = 0; r < TILES; ++r) {
        const int s = c * F::STEPS + i;
        const uint32_t b0 = s & 1 ? x[s / 2].z : x[s / 2].x, b1 = s & 1 ? x[s / 2].w : x[s / 2].y;
        if (i) mma<X>(d[c][r], a[c][r][i], b0, b1);
        else mma<X>(d[c][r], a[c][r][i], b0, b1, c ? 0.0f : sum.x);
      }
#pragma unroll
  for (int r = 0; r < TILES; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float2 s = __half22float2(scale[r][h]);
      y[r][h] += s.x * (d[0][r][2 * h] + d[1][r][2 * h] - s.y * sum.y);
    }
}

}  // namespace lut
