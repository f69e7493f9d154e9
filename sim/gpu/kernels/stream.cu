// Low-bit weights times few FP16 or BF16 activations (2 <= M <= 8; gemv.cu has M = 1): weights stream from DRAM once.
//
// y[m, n] = sum over groups of s[n, group] * sum_k (q[n, k] - z[n, group]) x[m, k], FP32 sums.
//
// One block per multiprocessor takes a run of row tiles (16 outputs), two at a time. Its twelve warps share out the
// pairs of chunks (128 or 160 columns) of all its tiles in turn, so that none idles, and keep DEPTH of them in flight
// across the ends of tiles, each lane into its own part of a ring in shared memory. Two blocks fit a multiprocessor:
// the next kernel's fills its rings while this one computes. Weights are the A operand of mma.m16n8k16 (its 16 rows),
// tokens the B operand (its 8 columns). The first pairs are loaded before anything of the predecessor is touched: in
// a chain of kernels that overlaps its tail. Activations are put into shared memory in operand order, once, with sums
// that undo the offsets of the unpacked codes (formats.cuh):
//   sum (q - z) x = sum over classes of 2^e (sum v x - sum x) - z sum x.
#include "formats.cuh"
#include "gemv.cuh"

namespace lut {
namespace {

constexpr int WARPS = 12, TOKENS = 8;
constexpr int SHARED_LIMIT = 220 * 1024, HALF = 113 * 1024;  // of a multiprocessor: one block fits, two fit

struct Problem {
  const uint32_t* weights;  // packed, see formats.cuh
  const half2* scales;      // (scale, zero point) as [block of 64 rows][group][64]
  const void* x;            // [M][K], 16 bits
  void* y;                  // [M][N], 16 bits
  int m, n, k;
  int pairs;                // of chunks, per row
  int groups, shift;        // scale groups; log2 of the pairs in each
  int tiles, per_block;     // row tiles; of a block, at most
};

// Where a warp is among the pairs of its block's twos of tiles.
struct Position {
  int two, pair;
  __device__ bool settle(int pairs) {  // whether the tiles changed
    if (pair < pairs) return false;
    do pair -= pairs, ++two;
    while (pair >= pairs);
    return true;
  }
};

// A position with the offsets of its tiles' pair: of words in the weights and of elements in the scales.
template <class F>
struct Source {
  Position at;
  uint32_t w[2], s;  // s: of the row whose scale this lane fetches, in the first group
  int twos, first, last;

  __device__ void find(const Problem& p, int lane) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int tile = min(first + 2 * at.two + r, last), block = tile >> 2, within = tile & 3;
      w[r] = ((block * p.pairs + at.pair) * 8 + within) * (32 * F::WORDS) + lane * F::WORDS;
    }
    const int tile = min(first + 2 * at.two + lane / 16, last);
    s = (tile >> 2) * p.groups * 64 + (tile & 3) * 16 + lane % 16;
  }
  __device__ void advance(const Problem& p, int lane) {
    at.pair += WARPS;
    w[0] += WARPS * 8 * 32 * F::WORDS, w[1] += WARPS * 8 * 32 * F::WORDS;
    if (at.settle(p.pairs)) find(p, lane);
  }
};

// One slot of a warp's ring: [chunk][tile][lane][word], then the scales of the two tiles' 32 rows.
template <class F>
constexpr int SLOT_WORDS = 4 * 32 * F::WORDS + 32;

template <class F>
__device__ inline void fetch(uint32_t* slot, const Problem& p, const Source<F>& from, int lane) {
  if (from.at.two < from.twos) {
    const uint32_t group = (p.groups == 1 ? 0 : from.at.pair >> p.shift) * 64;
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int c = 0; c < 2; ++c)
        copy_async<F::WORDS>(slot + ((c * 2 + r) * 32 + lane) * F::WORDS, p.weights + from.w[r] + c * (4 * 32 * F::WORDS));
    copy_async<1>(slot + 4 * 32 * F::WORDS + lane, reinterpret_cast<const uint32_t*>(p.scales) + from.s + group);
  }
  copy_commit();
}

template <class F, int DEPTH>
__global__ void __launch_bounds__(32 * WARPS, 2) stream(Problem p) {
  using X = typename F::X;
  constexpr int TWOS = F::STEPS;        // a pair has TWOS twos of steps
  extern __shared__ uint4 staged[];     // [pair][two of steps][token][t]: the B registers of both steps
  float2* sums = reinterpret_cast<float2*>(staged + size_t(p.pairs) * TWOS * TOKENS * 4);  // [pair][token]
  float2* two_sums = sums + size_t(p.pairs) * TOKENS;                                     // [pair][two][token]
  uint32_t* rings = reinterpret_cast<uint32_t*>(two_sums + size_t(p.pairs) * TWOS * TOKENS);  // [warp][slot][word]
  float* partial = reinterpret_cast<float*>(rings + WARPS * DEPTH * SLOT_WORDS<F>);  // [warp][tile][token][row]
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int first = int(blockIdx.x * p.tiles / gridDim.x), last = int((blockIdx.x + 1) * p.tiles / gridDim.x);
  const int count = last - first, twos = (count + 1) / 2;
  const int slots = (p.per_block + 1) / 2 * 2;
  uint32_t* ring = rings + warp * DEPTH * SLOT_WORDS<F>;

  Position now{0, warp};
  now.settle(p.pairs);
  Source<F> ahead{now, {}, 0, twos, first, first + count - 1};
  ahead.find(p, lane);
#pragma unroll
  for (int i = 0; i < DEPTH; ++i) {
    fetch<F>(ring + i * SLOT_WORDS<F>, p, ahead, lane);
    ahead.advance(p, lane);
  }
  for (int i = threadIdx.x; i < WARPS * slots * TOKENS * 16; i += 32 * WARPS) partial[i] = 0;
  wait_predecessor();

  const int items = p.pairs * TWOS * p.m;
  for (int base = 0; base < items; base += 32 * WARPS) {  // two steps of a token: 32 activations
    const int i = base + threadIdx.x, two = i / p.m, token = i % p.m, k = two * 32;
    const uint4* from = reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(p.x) + size_t(token) * p.k + k);
    uint4 v[4] = {};
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i < items && k + 8 * j < p.k) v[j] = from[j];
    float raised = 0, plain = 0;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float sum = 0;
#pragma unroll
      for (uint32_t w : {v[2 * j].x, v[2 * j].y, v[2 * j].z, v[2 * j].w, v[2 * j + 1].x, v[2 * j + 1].y, v[2 * j + 1].z,
                         v[2 * j + 1].w}) {
        const float2 f = X::wide(w);
        sum += f.x + f.y;
      }
      const int step = (2 * two + j) % F::STEPS;
      raised += (F::CLASSES == 1 ? float(1 << F::exponent(0)) : float(1 << F::exponent(F::kind(step)))) * sum;
      plain += sum;
    }
    raised *= -1.0f / float(1 << F::exponent(0));
    if (i < items) two_sums[two * TOKENS + token] = {raised, plain};
    if (i < items) {
      uint4* to = staged + (size_t(two) * TOKENS + token) * 4;
      to[0] = {v[0].x, v[1].x, v[2].x, v[3].x};
      to[1] = {v[0].y, v[1].y, v[2].y, v[3].y};
      to[2] = {v[0].z, v[1].z, v[2].z, v[3].z};
      to[3] = {v[0].w, v[1].w, v[2].w, v[3].w};
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < p.pairs * TOKENS; i += 32 * WARPS) {
    float2 sum = {};
    if (i % TOKENS < p.m) {
#pragma unroll
      for (int j = 0; j < TWOS; ++j) {
        const float2 v = two_sums[(i / TOKENS * TWOS + j) * TOKENS + i % TOKENS];
        sum.x += v.x, sum.y += v.y;
      }
    }
    sums[i] = sum;
  }
  __syncthreads();

  allow_successor();  // not before: its rings' copies would hold up the activations

  // the lane's token in operands; tokens that don't exist read those of the first
  const int mine = (g < p.m ? g : 0) * 4 + t;
  constexpr int COLUMNS = 2;    // of the result, the lane's
  float y[2][2][COLUMNS] = {};  // [tile][row half][column]
  int two = now.two;
  auto put = [&]() {  // the warp's part of two tiles
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
          partial[((warp * slots + 2 * two + r) * TOKENS + 2 * t + c) * 16 + g + 8 * h] = y[r][h][c];
          y[r][h][c] = 0;
        }
  };
  const int lane_words = lane * F::WORDS;
  for (int slot = 0; now.two < twos; slot = slot + 1 == DEPTH ? 0 : slot + 1) {
    if (now.two != two) put(), two = now.two;
    const uint4* b = staged + now.pair * (TWOS * TOKENS * 4) + mine;
    uint4 x[TWOS];
#pragma unroll
    for (int i = 0; i < TWOS; ++i) x[i] = b[i * TOKENS * 4];
    float2 offset[COLUMNS];
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) offset[c] = sums[now.pair * TOKENS + 2 * t + c];
    uint32_t* from = ring + slot * SLOT_WORDS<F>;
    copy_wait<DEPTH - 1>();
    __syncwarp();
    uint32_t w[2][2][F::WORDS];  // [chunk][tile]
    half2 scale[2][2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int c = 0; c < 2; ++c) read_words<F>(w[c][r], from + (c * 2 + r) * 32 * F::WORDS + lane_words);
#pragma unroll
      for (int h = 0; h < 2; ++h) scale[r][h] = as_half2(from[4 * 32 * F::WORDS + 16 * r + 8 * h + g]);
    }
    __syncwarp();  // all lanes have the scales
    fetch<F>(from, p, ahead, lane);
    ahead.advance(p, lane);
    // v = 1 + q 2^-e multiplies; the ones are subtracted in advance, by where the first class starts
    float sum[2][F::CLASSES][4] = {};
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[r][0][i] = offset[i % COLUMNS].x;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      uint32_t a[2][F::STEPS][4];
      unpack_codes<F>(w[c][0], a[0]);
      unpack_codes<F>(w[c][1], a[1]);
#pragma unroll
      for (int i = 0; i < F::STEPS; ++i) {
        const int s = c * F::STEPS + i;
#pragma unroll
        for (int r = 0; r < 2; ++r)
          mma<X>(sum[r][F::kind(i)], a[r][i], s & 1 ? x[s / 2].z : x[s / 2].x, s & 1 ? x[s / 2].w : x[s / 2].y);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float2 s = __half22float2(scale[r][h]);
#pragma unroll
        for (int column = 0; column < COLUMNS; ++column) {
          float total = -s.y * offset[column].y;
#pragma unroll
          for (int c = 0; c < F::CLASSES; ++c) total += float(1 << F::exponent(c)) * sum[r][c][2 * h + column];
          y[r][h][column] += s.x * total;
        }
      }
    now.pair += WARPS;
    now.settle(p.pairs);
  }
  if (two < twos) put();
  __syncthreads();
  for (int i = threadIdx.x; i < count * 16 * p.m; i += 32 * WARPS) {
    const int row = i % (count * 16), token = i / (count * 16), n = first * 16 + row;
    if (n >= p.n) continue;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) sum += partial[((w * slots + row / 16) * TOKENS + token) * 16 + row % 16];
    static_cast<typename X::Type*>(p.y)[size_t(token) * p.n + n] = X::narrow(sum);
  }
}

template <class F>
size_t shared_bytes(const Problem& p, int depth) {
  return (size_t(p.pairs) * (F::STEPS * 72 + 8) + size_t(WARPS) * ((p.per_block + 1) / 2 * 2) * 64) * TOKENS +
         size_t(WARPS) * depth * SLOT_WORDS<F> * 4;
}

template <class F>
int run(const Problem& p, bool early) {
  constexpr int DEEP = F::WORDS == 4 ? 3 : 6, FLAT = 2;
  const int blocks = min(p.tiles, multiprocessors());
  size_t bytes = shared_bytes<F>(p, DEEP);
  if (bytes <= HALF) return launch(stream<F, DEEP>, blocks, 32 * WARPS, bytes, early, p);
  bytes = shared_bytes<F>(p, FLAT);
  if (bytes <= SHARED_LIMIT) return launch(stream<F, FLAT>, blocks, 32 * WARPS, bytes, early, p);
  return complain("stream: M x K activations do not fit shared memory; use gemm");
}

template <class F>
bool fits(const Problem& p) {
  return shared_bytes<F>(p, 2) <= SHARED_LIMIT;
}

Problem problem(int format, int m, int n, int k, int group) {
  const int chunk = chunk_of(format), groups = group ? divide_up(k, group) : 1;
  int shift = 0;
  while (group && 128 << shift < group) ++shift;
  const int tiles = divide_up(n, 64) * 4, per_block = divide_up(tiles, min(tiles, multiprocessors()));
  return {nullptr, nullptr, nullptr, nullptr, m, n, k, divide_up(k, 2 * chunk), groups, shift, tiles, per_block};
}

}  // namespace
}  // namespace lut

// 1 if lut_stream takes the shape, else 0.
LUT_API int lut_stream_fits(int format, int m, int n, int k) {
  using namespace lut;
  if (m < 1 || m > 8) return 0;
  if (m == 1) return gemv_fits(format, n, k);
  const Problem p = problem(format, m, n, k, 0);
  return with_format(format, [&](auto f) { return int(fits<decltype(f)>(p)); }) == 1;
}

// format: as with_format; group: weights per scale (0: one scale per row).
LUT_API int lut_stream(int format, const void* weights, const void* scales, const void* x, void* y, int m, int n,
                       int k, int group, int early) {
  using namespace lut;
  if (m < 1 || m > 8) return complain("stream: M must be 1..8");
  if (k % 8) return complain("stream: K must be a multiple of 8");
  if (group && (group % 128 || (group / 128 & (group / 128 - 1))))
    return complain("stream: the group must be 0 or 128 times a power of two");
  if (format % 16 == 5 && group) return complain("stream: ternary five to a byte has one scale per row");
  if (m == 1) return gemv(format, weights, scales, x, y, n, k, group, early);
  Problem p = problem(format, m, n, k, group);
  p.weights = static_cast<const uint32_t*>(weights), p.scales = static_cast<const half2*>(scales), p.x = x, p.y = y;
  const int bad = with_format(format, [&](auto f) { return run<decltype(f)>(p, early); });
  return bad == -1 ? complain("stream: unknown format") : bad;
}
