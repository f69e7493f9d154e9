// Products of 16-bit activations with 4-bit and 2-bit codes on the integer tensor cores, exact but for the activations'
// rounding: of the 128 activations of a pair of chunks, each is an integer multiple of S = 2^(e - 148), where 2^(e - 127)
// bounds them (2^-22 of the bound: FP32 sums are no finer), and the integer three signed bytes. mma.m16n8k32 takes codes
// as unsigned bytes: its eight columns, which one vector would leave empty, hold the bytes. So one AND brings four
// codes to the tensor cores, where FP16 operands take three instructions for four.
//
// Codes stay where they lie in their byte: in the second half of k they are FACTOR times too large, which the
// activations there make good, and in rows g + 8 ROW times, which the result makes good.
#pragma once
#include "formats.cuh"

namespace lut {

template <class F>
struct Digits {
  static constexpr bool FOUR = F::WORDS == 4;
  static constexpr float FACTOR = FOUR ? 16 : 4, ROW = FOUR ? 1 : 16;
};

constexpr int DIGIT_WORDS = 2 * 3 * 16;  // of a pair: [two mma][byte][t][mma, half of k]
constexpr int MAGIC = 0x4B400000;        // an integer added to it reads, as FP32, 2^23 * 3 / 2 more than itself

__device__ inline void mma(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, int c) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c));
}

// A warp stages its pairs warp, warp + WARPS, ...: first their activations into registers, BATCH pairs at a time.
template <int BATCH>
struct Loaded {
  uint32_t v[BATCH][2];  // columns 2t, 2t + 1 and 2t + 8, 2t + 9 of the lane's steps
};
template <class F, int WARPS, int BATCH>
__device__ inline void load_pairs(Loaded<BATCH>& to, const uint32_t* x, int k, int first, int lane) {
  const int column = lane / 8 * 32 + 16 * (lane / 4 % 2 ^ int(Digits<F>::FOUR)) + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < BATCH; ++i)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int at = (first + i * WARPS) * 128 + column + 8 * c;
      to.v[i][c] = at < k ? __ldcg(x + at / 2) : 0;
    }
}
// Then digits, and (S, sum of the activations) of each pair: not a number where one is none, or infinite.
template <class F, int WARPS, int BATCH>
__device__ inline void stage_pairs(const Loaded<BATCH>& from, int first, int pairs, uint32_t* staged, float2* sums, int lane) {
  using X = typename F::X;
  const int j = lane / 8, h = lane / 4 % 2, t = lane % 4;
  uint32_t* to = staged + (j / 2 * 3) * 16 + t * 4 + j % 2 * 2 + h;
  constexpr uint32_t INFINITE = X::MANTISSA == 10 ? 0x7C00 : 0x7F80;
#pragma unroll
  for (int i = 0; i < BATCH; ++i) {
    const int pair = first + i * WARPS;
    if (pair >= pairs) break;
    const uint32_t most = __vmaxu2(from.v[i][0] & 0x7FFF7FFF, from.v[i][1] & 0x7FFF7FFF);
    const uint32_t bound = __reduce_max_sync(~0u, max(most & 0xFFFF, most >> 16));  // of positive numbers' bits
    const int exponent = max(int(__float_as_uint(X::wide(bound).x) >> 23), 22);
    const float unit = bound >= INFINITE ? __uint_as_float(0x7FC00000) : __uint_as_float((127 - 148 + exponent) << 23);
    const float scale = __uint_as_float((127 + 148 - exponent) << 23) * (h ? 1.0f / Digits<F>::FACTOR : 1.0f);
    const float2 low = X::wide(from.v[i][0]), high = X::wide(from.v[i][1]);
    const float value[4] = {low.x, low.y, high.x, high.y};
    int sum = 0;
    uint32_t u[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      u[c] = __float_as_uint(fmaf(value[c], scale, 12582912.0f)) - MAGIC;  // to nearest
      sum += int(u[c]);
      u[c] += 0x808080u;
    }
    sum = __reduce_add_sync(~0u, h ? sum * int(Digits<F>::FACTOR) : sum);
#pragma unroll
    for (int digit = 0; digit < 3; ++digit) {
      const uint32_t pick = digit | (digit + 4) << 4;
      const uint32_t a = __byte_perm(u[0], u[1], pick), b = __byte_perm(u[2], u[3], pick);  // 2t.., 2t + 8..
      // bytes in the order of the codes: W4 2t, 2t + 8, 2t + 1, 2t + 9; W2 2t + 8, 2t, 2t + 9, 2t + 1
      to[pair * DIGIT_WORDS + digit * 16] = __byte_perm(a, b, Digits<F>::FOUR ? 0x5140 : 0x1504) ^ 0x80808080u;
    }
    if (lane == 0) sums[pair] = {unit, unit * float(sum)};
  }
}

// What a lane adds up: columns 0 and 1 (t = 0) or 2 (t = 1), the other lanes nothing of use.
struct Lane {
  float low, high, sums;  // what its two columns and the sum of activations count
  int digit;              // whose bytes it brings
  __device__ explicit Lane(int lane)
      : low(lane % 4 ? 65536.0f : 1.0f), high(lane % 4 ? 0.0f : 256.0f), sums(lane % 4 ? 0.0f : 1.0f),
        digit(lane / 4 == 2 ? 2 : lane / 4 & 1) {}
};

// Adds a pair of chunks of TILES tiles to y[tile][row half]: w[chunk][tile].
template <class F, int TILES>
__device__ inline void multiply_digits(float (&y)[TILES][2], const uint32_t (&w)[2][TILES][F::WORDS], const uint4 (&x)[2],
                                       float2 unit_sum, const half2 (&scale)[TILES][2], const Lane& mine) {
  int d[TILES][4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const uint32_t b0 = j % 2 ? x[j / 2].z : x[j / 2].x, b1 = j % 2 ? x[j / 2].w : x[j / 2].y;
#pragma unroll
    for (int r = 0; r < TILES; ++r) {
      uint32_t a[4];
      if constexpr (Digits<F>::FOUR) {
        const uint32_t p = w[j / 2][r][j % 2 * 2], q = w[j / 2][r][j % 2 * 2 + 1];
        a[0] = p & 0x0F0F0F0F, a[1] = q & 0x0F0F0F0F, a[2] = p & 0xF0F0F0F0, a[3] = q & 0xF0F0F0F0;
      } else {
        const uint32_t p = w[j / 2][r][j % 2];
        a[0] = p & 0x03030303, a[1] = p & 0x30303030, a[2] = p & 0x0C0C0C0C, a[3] = p & 0xC0C0C0C0;
      }
      if (j) mma(d[r], a, b0, b1);
      else mma(d[r], a, b0, b1, MAGIC);
    }
  }
#pragma unroll
  for (int r = 0; r < TILES; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float2 s = __half22float2(scale[r][h]);
      const float low = __int_as_float(d[r][2 * h]) - 12582912.0f, high = __int_as_float(d[r][2 * h + 1]) - 12582912.0f;
      const float sum = unit_sum.y * (mine.sums * (h ? Digits<F>::ROW : 1.0f));
      y[r][h] += s.x * (unit_sum.x * (low * mine.low + high * mine.high) - s.y * sum);
    }
}

// A row's sum from the lanes that have parts of it; in lanes t = 0.
template <class F>
__device__ inline float add_lanes(float y, int row_half) {
  y += __shfl_down_sync(~0u, y, 1);
  return row_half ? y * (1.0f / Digits<F>::ROW) : y;
}

}  // namespace lut
