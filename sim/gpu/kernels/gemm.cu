// Low-bit weights times many activations on Hopper's warpgroup matrix instructions (sm_90a).
//
// FP16 or BF16 activations: weights are dequantised in registers to their format, w = (q - z) s, and are the A operand
// of wgmma.m64nNk16; the activations are B, in shared memory. With BF16 the scale is rounded to BF16 first. INT8
// activations: 2-bit codes are widened to unsigned bytes, sums are exact INT32, and z sum(x) is subtracted at the end:
// y = acc - z sum_k x.
//
// A block computes 128 outputs (two consumer warpgroups of 64) for TOKENS tokens. One producer thread keeps STAGES
// chunks of both operands coming through the bulk copy engine. While the matrix unit works on one chunk, the
// consumers unpack the next. Where there are fewer tiles than multiprocessors, K is split and partial sums added.
#include <type_traits>

#include "formats.cuh"
#include "maps.cuh"

namespace lut {
namespace {

#include "wgmma.inc"

// 2-bit codes as bytes: word i serves step i of 32 columns: register r = bits 2r, 2r + 1 of every byte, columns
// 4t..4t+3 (r = 0, 1) and 16 + 4t.. (r = 2, 3) of rows g (r even) and g + 8.
struct I2 {
  static constexpr int CHUNK = 128, STEPS = 4, WORDS = 4;
};

template <class F>
constexpr bool INTEGER = std::is_same_v<F, I2>;
template <class F>
struct Activations {
  using Type = typename F::X;
};
template <>
struct Activations<I2> {
  using Type = Fp16;  // of the result
};

struct Problem {
  const uint32_t* weights;  // packed: [block of 64 rows][chunk][4 tiles][lane][word]
  const half2* scales;      // (scale, zero point) [block of 64 rows][group][64]
  const float* x_scales;    // INT8: [M]
  const int* x_sums;        // INT8: [M], sum over k
  void* y;                  // [M][N], 16 bits
  void* partial;            // [split][M][N] FP32 or INT32 if splits > 1; y as INT32 if raw
  int m, n, chunks, groups, chunks_per_group, splits, raw;
};

template <class F, int TOKENS>
struct Shape {
  static constexpr int X_BYTES = TOKENS * F::CHUNK * (INTEGER<F> ? 1 : 2);
  static constexpr int BOX_STEPS = F::STEPS == 4 ? 4 : 1;  // steps of 32 bytes in one box: 128 or 32 byte swizzle
  static constexpr int W_BYTES = 4 * 32 * F::WORDS * 4;    // of one warpgroup
  static constexpr int STAGE = (X_BYTES + 2 * W_BYTES + 1023) / 1024 * 1024;
  static constexpr int BLOCKS = TOKENS <= 64 ? 2 : 1;  // a multiprocessor; one takes its registers from the producer
  static constexpr int FIT = 200 * 1024 / BLOCKS / STAGE, STAGES = FIT > 8 ? 8 : FIT;
  static constexpr int BYTES = STAGES * STAGE + 1024 + 256;
  static constexpr int Y_PITCH = 128 + 8;
  static_assert(TOKENS * Y_PITCH * 2 <= STAGES * STAGE);
};

__device__ inline void copy_box(void* to, const CUtensorMap* map, int column, int row, uint64_t* b) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
                   address(to)), "l"(map), "r"(column), "r"(row), "r"(address(b)) : "memory");
}

// Rows of 128 (or 32) swizzled bytes, eight rows apart 1024 (or 256) bytes.
template <bool WIDE>
__device__ inline uint64_t descriptor(uint32_t at) {
  constexpr uint64_t fixed = WIDE ? (uint64_t(1) << 62 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 16)
                                  : (uint64_t(3) << 62 | uint64_t(256 >> 4) << 32 | uint64_t(1) << 16);
  return fixed | (at & 0x3FFFF) >> 4;
}

template <class F, int TOKENS>
__global__ void __launch_bounds__(384, (Shape<F, TOKENS>::BLOCKS)) gemm(Problem p, const __grid_constant__ CUtensorMap map) {
  using S = Shape<F, TOKENS>;
  using Sum = std::conditional_t<INTEGER<F>, int, float>;
  extern __shared__ uint8_t raw[];
  uint8_t* stages = raw + (1024 - address(raw) % 1024) % 1024;
  uint64_t* full = reinterpret_cast<uint64_t*>(stages + S::STAGES * S::STAGE);
  uint64_t* empty = full + S::STAGES;
  const int group = threadIdx.x / 128, blocks = (p.n + 63) / 64;
  const int row_block = blockIdx.x * 2, token = blockIdx.y * TOKENS;
  // chunks of this split, in whole scale groups
  const int unit = p.chunks_per_group < p.chunks ? p.chunks_per_group : 1;
  const int units = (p.chunks + unit - 1) / unit, per_split = (units + p.splits - 1) / p.splits * unit;
  const int first = blockIdx.z * per_split, last = min(first + per_split, p.chunks);
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::STAGES; ++i) barrier_init(full + i, 1), barrier_init(empty + i, 256);
    barrier_init_done();
  }
  __syncthreads();
  allow_successor();

  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(S::BLOCKS == 1 ? 40 : 24));
    if (threadIdx.x == 0) {
      const bool two = row_block + 1 < blocks;
      auto fetch_weights = [&](int c) {
        const int s = (c - first) % S::STAGES;
        uint8_t* at = stages + s * S::STAGE + S::X_BYTES;
        barrier_expect(full + s, S::X_BYTES + (two ? 2 : 1) * S::W_BYTES);
        const uint8_t* from = reinterpret_cast<const uint8_t*>(p.weights);
        copy_bulk(at, from + (size_t(row_block) * p.chunks + c) * S::W_BYTES, S::W_BYTES, full + s);
        if (two) copy_bulk(at + S::W_BYTES, from + (size_t(row_block + 1) * p.chunks + c) * S::W_BYTES, S::W_BYTES, full + s);
      };
      auto fetch_activations = [&](int c) {
        const int s = (c - first) % S::STAGES;
#pragma unroll 1
        for (int j = 0; j < F::STEPS / S::BOX_STEPS; ++j)
          copy_box(stages + s * S::STAGE + j * TOKENS * 32 * S::BOX_STEPS, &map,
                   c * F::CHUNK + j * S::BOX_STEPS * (INTEGER<F> ? 32 : 16), token, full + s);
      };
      const int ahead = min(first + S::STAGES, last);
#pragma unroll 1
      for (int c = first; c < ahead; ++c) fetch_weights(c);
      wait_predecessor();  // weights depend on nothing
#pragma unroll 1
      for (int c = first; c < ahead; ++c) fetch_activations(c);
#pragma unroll 1
      for (int c = ahead; c < last; ++c) {
        const int i = c - first;
        barrier_wait(empty + i % S::STAGES, (i / S::STAGES - 1) & 1);
        fetch_weights(c);
        fetch_activations(c);
      }
    }
    if (p.splits == 1 && !p.raw) {  // the consumers' two barriers before and after the tile of results
      __syncthreads();
      __syncthreads();
    }
    return;
  }

  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::BLOCKS == 1 ? 232 : 104));
  const int mine = group - 1, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int row = (row_block + mine) * 64 + warp * 16 + g;  // and row + 8
  const half2* scales = p.scales + size_t(min(row_block + mine, blocks - 1)) * p.groups * 64 + warp * 16 + g;
  Sum d[TOKENS / 2];
#pragma unroll
  for (int i = 0; i < TOKENS / 2; ++i) d[i] = 0;

  uint32_t even[F::STEPS][4], odd[F::STEPS][4];
  using X = typename Activations<F>::Type;
  half2 next[2] = {};
  typename X::Pair zero[4][2], factor[4][2];  // of the scale group at hand, by class and row
  if constexpr (!INTEGER<F>) {
    const half2* s = scales + size_t(first / p.chunks_per_group) * 64;
    next[0] = __ldg(s), next[1] = __ldg(s + 8);
  }

  auto step = [&](int c, uint32_t(&a)[F::STEPS][4]) {
    const int i = c - first, s = i % S::STAGES;
    if constexpr (!INTEGER<F>) {
      if (i == 0 || c % p.chunks_per_group == 0) {
        const float2 s0 = __half22float2(next[0]), s1 = __half22float2(next[1]);
        {
          typename X::Pair offset[F::CLASSES][2];
          offsets<F>(offset, s0.y, s1.y);
#pragma unroll
          for (int k = 0; k < F::CLASSES; ++k) {
            zero[k][0] = offset[k][0], zero[k][1] = offset[k][1];
            factor[k][0] = X::pair(s0.x * float(1 << F::exponent(k)));
            factor[k][1] = X::pair(s1.x * float(1 << F::exponent(k)));
          }
        }
        const half2* from = scales + size_t(min(c / p.chunks_per_group + 1, p.groups - 1)) * 64;
        next[0] = __ldg(from), next[1] = __ldg(from + 8);
      }
    }
    barrier_wait(full + s, (i / S::STAGES) & 1);
    const uint8_t* at = stages + s * S::STAGE;
    uint32_t w[F::WORDS];
    const uint32_t* from = reinterpret_cast<const uint32_t*>(at + S::X_BYTES + mine * S::W_BYTES) + (warp * 32 + lane) * F::WORDS;
    if constexpr (F::WORDS == 4) {
      const uint4 v = *reinterpret_cast<const uint4*>(from);
      w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
    } else if constexpr (F::WORDS == 2) {
      const uint2 v = *reinterpret_cast<const uint2*>(from);
      w[0] = v.x, w[1] = v.y;
    } else {
      w[0] = *from;
    }
    if constexpr (INTEGER<F>) {
#pragma unroll
      for (int k = 0; k < F::STEPS; ++k)
#pragma unroll
        for (int r = 0; r < 4; ++r) a[k][r] = (w[k] >> (2 * r)) & 0x03030303;
    } else {
      typename X::Pair offset[F::CLASSES][2];
#pragma unroll
      for (int k = 0; k < F::CLASSES; ++k) offset[k][0] = zero[k][0], offset[k][1] = zero[k][1];
      unpack_chunk<F>(w, offset, a);
#pragma unroll
      for (int k = 0; k < F::STEPS; ++k)
#pragma unroll
        for (int r = 0; r < 4; ++r) a[k][r] = as_word(__hmul2(X::pair(a[k][r]), factor[F::kind(k)][r & 1]));
    }
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int k = 0; k < F::STEPS; ++k) {
      constexpr bool wide = S::BOX_STEPS == 4;
      const uint64_t b = descriptor<wide>(address(at) + (wide ? k * 32 : k * TOKENS * 32));
      if constexpr (INTEGER<F> || std::is_same_v<X, Fp16>) wgmma(d, a[k], b, 1);
      else wgmma_bf16(d, a[k], b, 1);
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    if (i > 0) barrier_arrive(empty + (i - 1) % S::STAGES);
  };
  int c = first;
  for (; c + 1 < last; c += 2) step(c, even), step(c + 1, odd);
  if (c < last) step(c, even);
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  wait_predecessor();  // before anything is written

  // d[4 j + i]: row + 8 (i / 2), token 8 j + 2 t + i % 2
  if (p.splits > 1) {
    Sum* to = static_cast<Sum*>(p.partial) + size_t(blockIdx.z) * p.m * p.n;
#pragma unroll
    for (int i = 0; i < TOKENS / 2; ++i) {
      const int tok = token + i / 4 * 8 + 2 * t + i % 2, r = row + i % 4 / 2 * 8;
      if (tok < p.m && r < p.n) to[size_t(tok) * p.n + r] = d[i];
    }
    return;
  }
  float s0 = 1, s1 = 1;
  int z0 = 0, z1 = 0;
  if constexpr (INTEGER<F>) {
    const float2 a = __half22float2(__ldg(scales)), b = __half22float2(__ldg(scales + 8));
    s0 = a.x, s1 = b.x, z0 = int(a.y), z1 = int(b.y);
    if (p.raw) {
      int* to = static_cast<int*>(p.partial);
#pragma unroll
      for (int i = 0; i < TOKENS / 2; ++i) {
        const int tok = token + i / 4 * 8 + 2 * t + i % 2, r = row + i % 4 / 2 * 8;
        if (tok < p.m && r < p.n) to[size_t(tok) * p.n + r] = d[i] - (i % 4 / 2 ? z1 : z0) * __ldg(p.x_sums + tok);
      }
      return;
    }
  }
  __syncthreads();  // both consumers are done with the stages
  using Out = typename X::Type;
  Out* tile = reinterpret_cast<Out*>(stages);     // [token][128 outputs]
#pragma unroll
  for (int i = 0; i < TOKENS / 2; ++i) {
    const int local = i / 4 * 8 + 2 * t + i % 2, high = i % 4 / 2;
    float v = float(d[i]);
    if constexpr (INTEGER<F>) {
      const int tok = min(token + local, p.m - 1);
      v = float(d[i] - (high ? z1 : z0) * __ldg(p.x_sums + tok)) * (high ? s1 : s0) * __ldg(p.x_scales + tok);
    }
    tile[local * S::Y_PITCH + mine * 64 + warp * 16 + g + 8 * high] = X::narrow(v);
  }
  __syncthreads();
  const int thread = threadIdx.x - 128, column = row_block * 64 + thread % 16 * 8;
  for (int local = thread / 16; local < TOKENS; local += 16) {
    const int tok = token + local;
    if (tok >= p.m) break;
    const Out* from = tile + local * S::Y_PITCH + thread % 16 * 8;
    Out* to = static_cast<Out*>(p.y) + size_t(tok) * p.n + column;
    if (column + 8 <= p.n && p.n % 8 == 0) {
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    } else {
      for (int j = 0; j < 8; ++j)
        if (column + j < p.n) to[j] = from[j];
    }
  }
}

template <class Sum, class X>
__global__ void add_splits(Problem p) {
  auto y = static_cast<typename X::Type*>(p.y);
  allow_successor();
  wait_predecessor();
  const size_t count = size_t(p.m) * p.n;
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
    Sum sum = 0;
    for (int s = 0; s < p.splits; ++s) sum += static_cast<const Sum*>(p.partial)[s * count + i];
    if constexpr (std::is_same_v<Sum, int>) {
      const int n = int(i % p.n), m = int(i / p.n);
      const float2 s = __half22float2(p.scales[n]);  // one group: [block][64] is [N]
      y[i] = X::narrow(float(sum - int(s.y) * p.x_sums[m]) * s.x * p.x_scales[m]);
    } else {
      y[i] = X::narrow(sum);
    }
  }
}

template <class F, int TOKENS>
int run_tile(Problem p, const void* x, int k, bool early) {
  using S = Shape<F, TOKENS>;
  using Sum = std::conditional_t<INTEGER<F>, int, float>;
  CUtensorMap map;
  constexpr int bytes = INTEGER<F> ? 1 : 2;
  const auto type = INTEGER<F>                                                   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                    : std::is_same_v<typename Activations<F>::Type, Fp16> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                                                 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const cuuint64_t sizes[2] = {cuuint64_t(k), cuuint64_t(p.m)}, strides[1] = {cuuint64_t(k) * bytes};
  const cuuint32_t box[2] = {cuuint32_t(S::BOX_STEPS * 32 / bytes), cuuint32_t(TOKENS)};
  const auto swizzle = S::BOX_STEPS == 4 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_32B;
  if (int bad = tensor_map(&map, type, 2, x, sizes, strides, box, swizzle)) return bad;
  const dim3 grid(divide_up(p.n, 128), divide_up(p.m, TOKENS), p.splits);
  if (int bad = launch(gemm<F, TOKENS>, grid, 384, S::BYTES, early, p, map)) return bad;
  if (p.splits == 1) return 0;
  return launch(add_splits<Sum, typename Activations<F>::Type>, min(2048, divide_up(long(p.m) * p.n, 256)), 256, 0, early, p);
}

// Tokens per tile and splits of K of least time: waves of blocks times what one takes, and adding the partial sums.
// Microseconds fitted to W4 on an H100 (21 shapes of M >= 512, up to 12 ways each).
inline void choose(const Problem& p, int& tokens, int& splits) {
  const int given = splits, sms = multiprocessors();
  double best = 1e30;
  for (const int t : {256, 176, 128, 64}) {
    const int tiles = divide_up(p.n, 128) * divide_up(p.m, t);
    for (int s = 1; s <= 8 && (s == 1 || s * 3 <= p.chunks); ++s) {
      if (given && given != s) continue;
      const int blocks = tiles * s, waves = divide_up(blocks, t == 64 ? 2 * sms : sms);
      const double chunk = t == 256 ? 0.73 : t == 176 ? 0.59 : t == 128 ? 0.50 : 2 * blocks > sms ? 0.62 : 0.45;
      const double start = t == 256 ? 4.6 : t == 176 ? 3.8 : t == 128 ? 3.2 : 2.6;
      const double sum = s > 1 ? 1.5 + 1.8e-6 * s * p.m * p.n : 0;
      const double time = waves * (start + chunk * divide_up(p.chunks, s)) + sum;
      if (time < best) best = time, tokens = t, splits = s;
    }
  }
}

template <class F>
int run(Problem p, const void* x, int k, int tokens, int splits, bool early) {
  if (p.m > 128 && !INTEGER<F> && !tokens) choose(p, tokens, splits);
  if (!tokens) tokens = p.m <= 32 ? 32 : p.m <= 64 ? 64 : p.m <= 128 ? 128 : 256;
  if (!splits) {  // one wave of blocks, but at least eight chunks each
    const int blocks = divide_up(p.n, 128) * divide_up(p.m, tokens), slots = multiprocessors() * (tokens <= 64 ? 2 : 1);
    splits = 4 * blocks > 3 * slots ? 1 : min(min(slots / blocks, 16), max(p.chunks / 8, 1));
  }
  const int unit = p.chunks_per_group < p.chunks ? p.chunks_per_group : 1, units = divide_up(p.chunks, unit);
  splits = divide_up(units, divide_up(units, min(splits, units)));  // no empty split
  if (p.raw) splits = 1;
  p.splits = splits;
  if (splits > 1) {
    p.partial = workspace(size_t(splits) * p.m * p.n * 4);
    if (!p.partial) return complain("gemm: the partial sums of split K do not fit the workspace");
  }
  switch (tokens) {
    case 32: return run_tile<F, 32>(p, x, k, early);
    case 64: return run_tile<F, 64>(p, x, k, early);
    case 128: return run_tile<F, 128>(p, x, k, early);
    case 176: return run_tile<F, 176>(p, x, k, early);
    case 256: return run_tile<F, 256>(p, x, k, early);
  }
  return complain("gemm: tokens per tile must be 32, 64, 128, 176 or 256");
}

}  // namespace
}  // namespace lut

// FP16 or BF16 activations; format and group as lut_stream; tokens per tile and splits of K: 0 chooses; early: as of launch.
LUT_API int lut_gemm(int format, const void* weights, const void* scales, const void* x, void* y, int m, int n, int k,
                     int group, int tokens, int splits, int early) {
  using namespace lut;
  if (m < 1) return complain("gemm: M must be at least 1");
  if (k % 8) return complain("gemm: K must be a multiple of 8");
  if (group && group % 128) return complain("gemm: the group must be 0 or a multiple of 128");
  if (format % 16 == 5 && group) return complain("gemm: ternary five to a byte has one scale per row");
  const int chunk = chunk_of(format), chunks = 2 * divide_up(k, 2 * chunk);
  const int groups = group ? divide_up(k, group) : 1, per_group = group ? group / 64 : chunks;
  const Problem p{static_cast<const uint32_t*>(weights), static_cast<const half2*>(scales), nullptr, nullptr,
                  y, nullptr, m, n, chunks, groups, per_group, 1, 0};
  const int bad = with_format(format, [&](auto f) { return run<decltype(f)>(p, x, k, tokens, splits, early); });
  return bad == -1 ? complain("gemm: unknown format") : bad;
}

// INT8 activations with one scale and the sum of each row, 2-bit weights with one scale and zero point per row.
// y: FP16, or with raw INT32 sums.
LUT_API int lut_gemm_i8(const void* weights, const void* scales, const void* x, const void* x_scales, const void* x_sums,
                        void* y, int m, int n, int k, int raw, int tokens, int splits, int early) {
  using namespace lut;
  if (m < 1) return complain("gemm: M must be at least 1");
  if (k % 16) return complain("gemm: K must be a multiple of 16");
  const int chunks = divide_up(k, I2::CHUNK);
  const Problem p{static_cast<const uint32_t*>(weights), static_cast<const half2*>(scales),
                  static_cast<const float*>(x_scales), static_cast<const int*>(x_sums), y,
                  raw ? y : nullptr, m, n, chunks, 1, chunks, 1, raw};
  return run<I2>(p, x, k, tokens, splits, early);
}
