// Decode attention: one query token per sequence against a cache of S keys and values, FP16, INT4 or INT2.
//
// Flash-decoding: a block takes one KV head of one sequence and a stretch of its keys; its four warps take turns at
// units of keys, each with its own running maximum and sums; their results, then those of the stretches, are combined.
// All query heads that share a KV head (GQA, up to eight) are the eight columns of mma.m16n8k16:
//   S^T (keys x heads) = K (keys x 128) Q^T,   O^T (128 x heads) += V^T (128 x keys) P (keys x heads).
// The cache goes from DRAM to registers, already in fragment order. FP16: order of the head dimension is free in
// the first product, and in the second each lane joins two keys' values with byte permutes. INT4, INT2: the cache is
// stored in fragment order, 64 keys at a time (tiles of formats.cuh: keys x head_dim for K, head_dim x keys for V),
// with a scale and minimum per key and head: x = c s + m (models/quantise/kv.py). Codes are placed in the mantissa
// of 1.0 and never dequantised: with v = 1 + c 2^-e,
//   q.k = s (2^e (q.v - sum q)) + m sum q,   o = 2^e (sum p s v - sum p s) + sum p m.
// Block-sparse: blocks of 64 keys in the order of a list per sequence and KV head.
#include "formats.cuh"

namespace lut {
namespace {

constexpr int D = 128, WARPS = 4, BLOCK_KEYS = 64, HEADS = 8;

struct Problem {
  const half* q;            // [B][heads][D]
  const uint32_t *k, *v;    // FP16: [B][KV heads][S padded to 64][D]; packed: [B][KV heads][S / 64][...]
  const half2 *ks, *vs;     // packed: (scale, minimum) [B][KV heads][S padded]
  const int* list;          // block-sparse: [B][KV heads][listed] block numbers
  float* partial;           // [B * KV heads][split][8 heads][D], then (max, sum) [B * KV heads][split][8 heads][2]
  half* out;                // [B][heads][D]
  int batch, heads, kv_heads, keys, padded, listed, splits;
  float scale;              // log2(e) / sqrt(D)
};

__device__ inline void load16(uint32_t* r, const void* p) {
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "l"(p));
}

// FP16 cache: 16 keys a unit.
struct Kv16 {
  static constexpr int KEYS = 16, TILES = 1, BITS = 16;
  uint32_t k[2][4][4], v[4][2][4];  // [row g, g + 8][32-column block][word]; [key 2t, 2t+1, 2t+8, 2t+9][half][word]
  __device__ void load_k(const Problem& p, size_t head, int key, int g, int t) {
    const uint32_t* from = p.k + (head * p.padded + key + g) * (D / 2) + 4 * t;
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) load16(k[r][i], from + r * 8 * (D / 2) + 16 * i);
  }
  __device__ void load_v(const Problem& p, size_t head, int key, int g, int t) {
    const uint32_t* from = p.v + (head * p.padded + key) * (D / 2) + 4 * g;
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int i = 0; i < 2; ++i) load16(v[r][i], from + (2 * t + r % 2 + r / 2 * 8) * (D / 2) + 32 * i);
  }
  // B registers of Q: step 2 i + h has columns 32 i + 8 t + 4 h + {0, 1 | 2, 3}
  __device__ static void load_q(const half* q, uint32_t (&b)[8][2], int t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint4 x = *reinterpret_cast<const uint4*>(q + 32 * i + 8 * t);
      b[2 * i][0] = x.x, b[2 * i][1] = x.y, b[2 * i + 1][0] = x.z, b[2 * i + 1][1] = x.w;
    }
  }
  __device__ void score(float (&s)[TILES][4], const uint32_t (&q)[8][2]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int h = i % 2 * 2;
      const uint32_t a[4] = {k[0][i / 2][h], k[1][i / 2][h], k[0][i / 2][h + 1], k[1][i / 2][h + 1]};
      mma(s[0], a, q[i][0], q[i][1]);
    }
  }
  __device__ void weigh(float (&o)[8][4], const uint32_t (&b)[TILES][2]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int h = i / 4, j = i % 4;
      const uint32_t a[4] = {__byte_perm(v[0][h][j], v[1][h][j], 0x5410), __byte_perm(v[0][h][j], v[1][h][j], 0x7632),
                             __byte_perm(v[2][h][j], v[3][h][j], 0x5410), __byte_perm(v[2][h][j], v[3][h][j], 0x7632)};
      mma(o[i], a, b[0][0], b[0][1]);
    }
  }
  __device__ static int column(int i, int g, int high) { return i / 4 * 64 + 8 * g + i % 4 * 2 + high; }
};

// Packed cache: 64 keys a block; a unit of TILES x 16 keys.
template <class F, int BITS_, int TILES_>
struct KvPacked {
  static constexpr int TILES = TILES_, KEYS = 16 * TILES, BITS = BITS_, WORDS = F::WORDS, BLOCKS = TILES / 4;
  uint32_t k[BLOCKS][4][2][WORDS], v[BLOCKS][8][WORDS];
  half2 ks[TILES][2], vs[TILES][2];
  __device__ void load_k(const Problem& p, size_t head, int key, int g, int t) {
    const int lane = 4 * g + t;
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b) {  // as weights of 64 rows and two chunks: [chunk][tile][lane][word]
      const uint32_t* from = p.k + (head * (p.padded / 64) + key / 64 + b) * (8 * 32 * WORDS) + lane * WORDS;
#pragma unroll
      for (int tile = 0; tile < 4; ++tile)
#pragma unroll
        for (int c = 0; c < 2; ++c) load(k[b][tile][c], from + (c * 4 + tile) * 32 * WORDS);
    }
    const half2* s = p.ks + head * p.padded + key + g;
#pragma unroll
    for (int i = 0; i < TILES; ++i) ks[i][0] = __ldg(s + 16 * i), ks[i][1] = __ldg(s + 16 * i + 8);
  }
  __device__ void load_v(const Problem& p, size_t head, int key, int g, int t) {
    const int lane = 4 * g + t;
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b) {  // two blocks of 64 rows, one chunk each: [tile of 8][lane][word]
      const uint32_t* from = p.v + (head * (p.padded / 64) + key / 64 + b) * (8 * 32 * WORDS) + lane * WORDS;
#pragma unroll
      for (int tile = 0; tile < 8; ++tile) load(v[b][tile], from + tile * 32 * WORDS);
    }
    const half2* s = p.vs + head * p.padded + key + g;
#pragma unroll
    for (int i = 0; i < TILES; ++i) vs[i][0] = __ldg(s + 16 * i), vs[i][1] = __ldg(s + 16 * i + 8);
  }
  // factor between the classes of steps: the second class is multiplied up
  static constexpr float RATIO = float(1 << (F::exponent(1) - F::exponent(0)));
  static constexpr float UNIT = float(1 << F::exponent(0));
  __device__ static void load_q(const half* q, uint32_t (&b)[8][2], int t) {
#pragma unroll
    for (int s = 0; s < 8; ++s)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        half2 x = *reinterpret_cast<const half2*>(q + 16 * s + 8 * h + 2 * t);
        if (s & 1) x = __hmul2(x, __float2half2_rn(RATIO));
        b[s][h] = as_word(x);
      }
  }
  template <int STEP>
  __device__ static void product(float (&d)[4], const uint32_t (&w)[WORDS], uint32_t b0, uint32_t b1) {
    uint32_t a[4];
    F::template unpack<STEP>(w, a);
    mma(d, a, b0, b1);
  }
  __device__ void score(float (&s)[TILES][4], const uint32_t (&q)[8][2]) const {
#pragma unroll
    for (int i = 0; i < TILES; ++i)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const uint32_t(&w)[WORDS] = k[i / 4][i % 4][c];
        product<0>(s[i], w, q[4 * c][0], q[4 * c][1]);
        product<1>(s[i], w, q[4 * c + 1][0], q[4 * c + 1][1]);
        product<2>(s[i], w, q[4 * c + 2][0], q[4 * c + 2][1]);
        product<3>(s[i], w, q[4 * c + 3][0], q[4 * c + 3][1]);
      }
  }
  __device__ void weigh(float (&o)[8][4], const uint32_t (&p)[TILES][2]) const {
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b)
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        product<0>(o[i], v[b][i], p[4 * b][0], p[4 * b][1]);
        product<1>(o[i], v[b][i], p[4 * b + 1][0], p[4 * b + 1][1]);
        product<2>(o[i], v[b][i], p[4 * b + 2][0], p[4 * b + 2][1]);
        product<3>(o[i], v[b][i], p[4 * b + 3][0], p[4 * b + 3][1]);
      }
  }
  __device__ static int column(int i, int g, int high) { return 16 * i + g + 8 * high; }
};
using Kv4 = KvPacked<W4, 4, 4>;
using Kv2 = KvPacked<W2, 2, 8>;

__device__ inline float column_max(float x) {  // over the lanes with the same t
#pragma unroll
  for (int i = 4; i < 32; i <<= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
  return x;
}
__device__ inline float column_sum(float x) {
#pragma unroll
  for (int i = 4; i < 32; i <<= 1) x += __shfl_xor_sync(~0u, x, i);
  return x;
}

template <class C, bool SPARSE>
__global__ void __launch_bounds__(32 * WARPS, C::BITS < 16 ? 2 : 3) decode(Problem p) {
  constexpr bool PACKED = C::BITS < 16;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const size_t head = blockIdx.x;  // sequence * KV heads + KV head
  const int shared_by = p.heads / p.kv_heads;
  const int count = SPARSE ? p.listed * (BLOCK_KEYS / C::KEYS) : (p.keys + C::KEYS - 1) / C::KEYS;
  const int per_split = (count + p.splits - 1) / p.splits;
  const int first = blockIdx.y * per_split, last = min(first + per_split, count);
  const int* list = SPARSE ? p.list + head * p.listed : nullptr;
  auto key_of = [&](int unit) {
    if constexpr (!SPARSE) return unit * C::KEYS;
    constexpr int parts = BLOCK_KEYS < C::KEYS ? 1 : BLOCK_KEYS / C::KEYS;
    return __ldg(list + unit / parts) * BLOCK_KEYS + unit % parts * C::KEYS;
  };

  C cache;
  int unit = first + warp;
  allow_successor();
  wait_predecessor();
  if (unit < last) {
    const int key = key_of(unit);
    cache.load_k(p, head, key, g, t);
    cache.load_v(p, head, key, g, t);
  }
  uint32_t q[8][2] = {};
  if (g < shared_by)
    C::load_q(p.q + (size_t(head / p.kv_heads) * p.heads + head % p.kv_heads * shared_by + g) * D, q, t);
  // packed: sums of q over the head dimension, as multiplied (all) and true (sum), for heads 2t and 2t + 1
  float all[2] = {}, sum_q[2] = {};
  if constexpr (PACKED) {
    float a = 0, b = 0;
#pragma unroll
    for (int s = 0; s < 8; ++s)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float2 x = __half22float2(as_half2(q[s][h]));
        a += x.x + x.y;
        b += (x.x + x.y) * (s & 1 ? 1.0f / C::RATIO : 1.0f);
      }
    a += __shfl_xor_sync(~0u, a, 1), b += __shfl_xor_sync(~0u, b, 1);
    a += __shfl_xor_sync(~0u, a, 2), b += __shfl_xor_sync(~0u, b, 2);  // of head g
    all[0] = __shfl_sync(~0u, a, 8 * t), all[1] = __shfl_sync(~0u, a, 8 * t + 4);
    sum_q[0] = __shfl_sync(~0u, b, 8 * t), sum_q[1] = __shfl_sync(~0u, b, 8 * t + 4);
  }

  float o[8][4] = {}, top[2] = {-1e30f, -1e30f}, sum[2] = {}, weights[2] = {}, minima[2] = {};
  for (; unit < last; unit += WARPS) {
    const int key = key_of(unit);
    float s[C::TILES][4] = {};
    cache.score(s, q);
    half2 ks[C::TILES][2], vs[C::TILES][2];
    if constexpr (PACKED) {
#pragma unroll
      for (int i = 0; i < C::TILES; ++i) ks[i][0] = cache.ks[i][0], ks[i][1] = cache.ks[i][1];
    }
    const bool more = unit + WARPS < last;
    const int next = more ? key_of(unit + WARPS) : 0;
    if (more) cache.load_k(p, head, next, g, t);
    float high[2] = {top[0], top[1]};
#pragma unroll
    for (int i = 0; i < C::TILES; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float x = s[i][j];
        if constexpr (PACKED) {
          const float2 c = __half22float2(ks[i][j / 2]);
          x = c.x * C::UNIT * (x - all[j % 2]) + c.y * sum_q[j % 2];
        }
        x *= p.scale;
        if (key + 16 * i + g + 8 * (j / 2) >= p.keys) x = -1e30f;
        s[i][j] = x;
        high[j % 2] = fmaxf(high[j % 2], x);
      }
    float shrink[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      high[j] = column_max(high[j]);
      shrink[j] = exp2f(top[j] - high[j]);
      top[j] = high[j];
      sum[j] *= shrink[j], weights[j] *= shrink[j], minima[j] *= shrink[j];
    }
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) o[i][j] *= shrink[j % 2];
    uint32_t b[C::TILES][2];
    if constexpr (PACKED) {
#pragma unroll
      for (int i = 0; i < C::TILES; ++i) vs[i][0] = cache.vs[i][0], vs[i][1] = cache.vs[i][1];
    }
#pragma unroll
    for (int i = 0; i < C::TILES; ++i)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float e[2];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          e[j] = exp2f(s[i][2 * h + j] - top[j]);
          sum[j] += e[j];
        }
        if constexpr (PACKED) {
          const float2 c = __half22float2(vs[i][h]);
          minima[0] += e[0] * c.y, minima[1] += e[1] * c.y;
          const float up = c.x * (i & 1 ? C::RATIO : 1.0f);
          const half2 w = __floats2half2_rn(e[0] * up, e[1] * up);
          const float2 rounded = __half22float2(w);
          weights[0] += rounded.x, weights[1] += rounded.y;
          b[i][h] = transpose8x8(as_word(w));
        } else {
          b[i][h] = transpose8x8(as_word(__floats2half2_rn(e[0], e[1])));
        }
      }
    cache.weigh(o, b);
    if (more) cache.load_v(p, head, next, g, t);
  }

  // Combine the warps: maxima first, then everything scaled to the common one.
  __shared__ float tops[WARPS][HEADS], sums[WARPS][HEADS], total[HEADS][D + 4];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    sum[j] = column_sum(sum[j]);
    if constexpr (PACKED) weights[j] = column_sum(weights[j]), minima[j] = column_sum(minima[j]);
    if (g == 0) tops[warp][2 * t + j] = top[j], sums[warp][2 * t + j] = sum[j];
  }
  for (int i = threadIdx.x; i < HEADS * (D + 4); i += 32 * WARPS) (&total[0][0])[i] = 0;
  __syncthreads();
  float common[2], scale[2];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    common[j] = tops[0][2 * t + j];
#pragma unroll
    for (int w = 1; w < WARPS; ++w) common[j] = fmaxf(common[j], tops[w][2 * t + j]);
    scale[j] = exp2f(top[j] - common[j]);
  }
  for (int turn = 0; turn < WARPS; ++turn) {
    if (turn == warp) {
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float x = o[i][j];
          if constexpr (PACKED) x = C::UNIT * (x - weights[j % 2]) + minima[j % 2];
          total[2 * t + j % 2][C::column(i, g, j / 2)] += x * scale[j % 2];
        }
    }
    __syncthreads();
  }
  const size_t slot = head * p.splits + blockIdx.y;
  for (int i = threadIdx.x; i < shared_by * D; i += 32 * WARPS)
    p.partial[slot * HEADS * D + i] = total[i / D][i % D];
  if (threadIdx.x < HEADS) {
    float high = -1e30f, all_sum = 0;
    for (int w = 0; w < WARPS; ++w) high = fmaxf(high, tops[w][threadIdx.x]);
    for (int w = 0; w < WARPS; ++w) all_sum += sums[w][threadIdx.x] * exp2f(tops[w][threadIdx.x] - high);
    float2* to = reinterpret_cast<float2*>(p.partial + size_t(gridDim.x) * p.splits * HEADS * D);
    to[slot * HEADS + threadIdx.x] = {high, all_sum};
  }
}

// One block per query head: O = sum_i 2^(m_i - m) O_i / sum_i 2^(m_i - m) l_i.
__global__ void __launch_bounds__(D) combine(Problem p) {
  extern __shared__ float factors[];
  __shared__ float most[D / 32], sums[D / 32];
  const int shared_by = p.heads / p.kv_heads, query = blockIdx.x % p.heads;
  const size_t head = size_t(blockIdx.x / p.heads) * p.kv_heads + query / shared_by;
  const int column = query % shared_by;
  allow_successor();
  wait_predecessor();
  const float2* stats = reinterpret_cast<const float2*>(p.partial + size_t(p.batch) * p.kv_heads * p.splits * HEADS * D);
  float high = -1e30f;
  for (int i = threadIdx.x; i < p.splits; i += D) high = fmaxf(high, stats[(head * p.splits + i) * HEADS + column].x);
  high = warp_max(high);
  if (threadIdx.x % 32 == 0) most[threadIdx.x / 32] = high;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < D / 32; ++i) high = fmaxf(high, most[i]);
  float sum = 0;
  for (int i = threadIdx.x; i < p.splits; i += D) {
    const float2 s = stats[(head * p.splits + i) * HEADS + column];
    factors[i] = exp2f(s.x - high);
    sum += factors[i] * s.y;
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0;
#pragma unroll
  for (int i = 0; i < D / 32; ++i) sum += sums[i];
  float o = 0;
#pragma unroll 8
  for (int i = 0; i < p.splits; ++i)
    o += factors[i] * p.partial[((head * p.splits + i) * HEADS + column) * D + threadIdx.x];
  p.out[size_t(blockIdx.x) * D + threadIdx.x] = __float2half(o / sum);
}

template <class C, bool SPARSE>
int run(Problem p, int early) {
  const int heads = p.batch * p.kv_heads;
  const int units = SPARSE ? p.listed * (BLOCK_KEYS / C::KEYS) : divide_up(p.keys, C::KEYS);
  const int slots = multiprocessors() * (C::BITS < 16 ? 2 : 3);
  if (!p.splits) p.splits = max(1, min(slots / heads, divide_up(units, WARPS)));
  p.splits = divide_up(units, divide_up(units, min(p.splits, units)));
  const size_t bytes = size_t(heads) * p.splits * HEADS * (D + 2) * sizeof(float);
  p.partial = static_cast<float*>(workspace(bytes));
  if (!p.partial) return complain("attention: the partial results do not fit the workspace");
  if (int bad = launch(decode<C, SPARSE>, dim3(heads, p.splits), 32 * WARPS, 0, early, p)) return bad;
  return launch(combine, p.batch * p.heads, D, p.splits * sizeof(float), early, p);
}

}  // namespace
}  // namespace lut

// bits: 16, 4 or 2 of the cache; padded: keys allocated, a multiple of 64 (bits 2: 128); list and listed: blocks of 64
// keys to attend to, or null and 0 for all; splits 0 chooses.
LUT_API int lut_attention(int bits, const void* q, const void* k, const void* v, const void* ks, const void* vs, void* out,
                          const void* list, int listed, int batch, int heads, int kv_heads, int keys, int padded,
                          int splits, int early) {
  using namespace lut;
  if (kv_heads < 1 || heads % kv_heads || heads / kv_heads > HEADS)
    return complain("attention: heads must be 1 to 8 times the KV heads");
  if (keys < 1 || keys > padded || padded % (bits == 2 ? 128 : 64)) return complain("attention: keys and padding do not fit");
  const Problem p{static_cast<const half*>(q), static_cast<const uint32_t*>(k), static_cast<const uint32_t*>(v),
                  static_cast<const half2*>(ks), static_cast<const half2*>(vs), static_cast<const int*>(list), nullptr,
                  static_cast<half*>(out), batch, heads, kv_heads, keys, padded, listed, splits,
                  1.4426950408889634f / sqrtf(float(D))};
  if (list) {
    if (bits == 16) return run<Kv16, true>(p, early);
    if (bits == 4) return run<Kv4, true>(p, early);
    return complain("attention: block-sparse caches have 16 or 4 bits");
  }
  switch (bits) {
    case 16: return run<Kv16, false>(p, early);
    case 4: return run<Kv4, false>(p, early);
    case 2: return run<Kv2, false>(p, early);
  }
  return complain("attention: bits must be 16, 4 or 2");
}
