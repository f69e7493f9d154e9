// Low-bit weights times one activation vector: y[n] = sum over groups of s (sum q x - z sum x), FP32 sums.
//
// At 3 TB/s an H100 brings each multiprocessor some 13 bytes a clock: 45 two-bit weights with their scales. Tensor
// cores multiply them (weights are the A operand of mma.m16n8k16; its eight columns hold the same vector), so a weight
// costs what its unpacking costs: per instruction and warp 64 weights, 16-lane logic units taking two clocks of a
// scheduler. Per mma: four LOP3 and two shifts (one of them a multiplication). What else a strip of 128 columns needs
// is kept small: 16-byte copies into a ring, four reads of activations in operand order, one scale per row and group.
//
// A block owns strips of 16 or 32 rows over all of K; its warp w the pairs of chunks w, w + 12, ..., always the same,
// so that it stages the activations it needs for itself and meets the other warps only in the last sum. Two blocks fit
// a multiprocessor: while one computes, the next kernel's has its ring filled and waits for its predecessor's result.
#include "gemv.cuh"

namespace lut {
namespace {

constexpr int WARPS = 12;
constexpr int SHARED_LIMIT = 220 * 1024, HALF = 113 * 1024;  // of a multiprocessor: one block fits, two fit

struct Vector {
  const uint32_t* weights;  // packed, see formats.cuh
  const uint32_t* scales;   // half2 (scale, zero point) as [block of 64 rows][group][64]
  const void* x;            // 16 bits
  void* y;
  int n, k;
  int pairs;                // of chunks, per row
  int groups, shift;        // scale groups; log2 of the pairs in each
  bool eager;               // whether the next kernel may start, and fill its ring, before this one has its activations
};

// A slot of a warp's ring: [chunk][tile][lane][word], then the scales of the strip's rows.
template <class F, int TILES>
constexpr int SLOT_WORDS = TILES * (2 * 32 * F::WORDS + 16);

template <class F, int TILES, int DEPTH>
__global__ void __launch_bounds__(32 * WARPS, 2) multiply(Vector p) {
  using X = typename F::X;
  constexpr int CHUNK_WORDS = 4 * 32 * F::WORDS;  // of four tiles
  constexpr int PIECES = TILES * 8 * F::WORDS;    // of 16 bytes, a strip's part of a chunk
  constexpr int SLOT = SLOT_WORDS<F, TILES>, E = F::exponent(0);
  extern __shared__ uint4 shared[];
  uint4* staged = shared;                                                            // [pair][two steps][t]
  float2* sums = reinterpret_cast<float2*>(staged + p.pairs * (PAIR_WORDS<F> / 4));  // [pair]
  uint32_t* rings = reinterpret_cast<uint32_t*>(sums + (p.pairs + 1) / 2 * 2);       // [warp][slot]
  float* partial = reinterpret_cast<float*>(rings + WARPS * DEPTH * SLOT);           // [warp][row of the block]
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int strips = (p.n + 63) / 64 * (4 / TILES);
  const int first = int(long(blockIdx.x) * strips / gridDim.x);
  const int count = int(long(blockIdx.x + 1) * strips / gridDim.x) - first;
  const uint32_t* ring = rings + warp * DEPTH * SLOT;
  const uint32_t ring_address = uint32_t(__cvta_generic_to_shared(ring)) + lane * 16;

  const int last = first + count, group_words = p.groups == 1 ? 0 : 64;
  int next_strip = warp < p.pairs ? first : last, next_pair = warp;
  const uint32_t *from_weights, *from_scales;
  auto aim = [&]() {  // at the warp's first pair of next_strip
    const int block = next_strip * TILES / 4, within = next_strip * TILES % 4;
    const int piece = PIECES < 32 ? lane / PIECES * CHUNK_WORDS + lane % PIECES * 4 : lane * 4;
    from_weights = p.weights + (size_t(block) * p.pairs + warp) * (2 * CHUNK_WORDS) + within * 32 * F::WORDS + piece;
    from_scales = p.scales + size_t(block) * p.groups * 64 + within * 16 + lane * 4;
    next_pair = warp;
  };
  auto fetch = [&](uint32_t slot) {  // a shared address
    const bool some = next_strip < last;
#pragma unroll
    for (int j = 0; j < (2 * PIECES + 31) / 32; ++j)
      copy_async_if(some && (2 * PIECES >= 32 || lane < 2 * PIECES), slot + 32 * j * 16,
                    from_weights + 32 * j / PIECES * CHUNK_WORDS + 32 * j % PIECES * 4);
    copy_async_if(some && lane < 4 * TILES, slot + 2 * TILES * 32 * F::WORDS * 4,
                  from_scales + (next_pair >> p.shift) * group_words);
    next_pair += WARPS, from_weights += WARPS * 2 * CHUNK_WORDS;
    if (next_pair >= p.pairs) ++next_strip, aim();
    copy_commit();
  };
  aim();
#pragma unroll
  for (int i = 0; i < DEPTH; ++i) fetch(ring_address + i * SLOT * 4);
  if (p.eager) allow_successor();
  wait_predecessor();

  stage_activations<F, WARPS>(static_cast<const uint4*>(p.x), p.k, p.pairs, staged, sums, warp, lane);
  if (!p.eager) allow_successor();

  int at = 0;  // the slot, in words
  for (int strip = 0; strip < count; ++strip) {
    float y[TILES][2] = {};
    for (int pair = warp; pair < p.pairs; pair += WARPS) {
      uint4 x[F::STEPS];
#pragma unroll
      for (int i = 0; i < F::STEPS; ++i) x[i] = staged[pair * (PAIR_WORDS<F> / 4) + 4 * i + t];
      const float2 sum = sums[pair];  // of -c x and of 2^-e x
      copy_wait<DEPTH - 1>();
      __syncwarp();
      const uint32_t* slot = ring + at;
      uint32_t w[2][TILES][F::WORDS];
      half2 scale[TILES][2];
#pragma unroll
      for (int r = 0; r < TILES; ++r) {
#pragma unroll
        for (int c = 0; c < 2; ++c) read_words<F>(w[c][r], slot + ((c * TILES + r) * 32 + lane) * F::WORDS);
#pragma unroll
        for (int h = 0; h < 2; ++h) scale[r][h] = as_half2(slot[2 * TILES * 32 * F::WORDS + 16 * r + 8 * h + g]);
      }
      __syncwarp();  // all lanes have the slot
      fetch(ring_address + at * 4);
      at = at == (DEPTH - 1) * SLOT ? 0 : at + SLOT;
      multiply_pair<F, TILES>(y, w, x, sum, scale);
    }
    if (t == 0)
#pragma unroll
      for (int r = 0; r < TILES; ++r)
#pragma unroll
        for (int h = 0; h < 2; ++h) partial[((strip * WARPS + warp) * TILES + r) * 16 + g + 8 * h] = y[r][h];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count * TILES * 16; i += 32 * WARPS) {
    const int n = first * TILES * 16 + i;
    if (n >= p.n) break;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) sum += partial[(i / (TILES * 16) * WARPS + w) * TILES * 16 + i % (TILES * 16)];
    static_cast<typename X::Type*>(p.y)[n] = X::narrow(sum * float(1 << E));
  }
}

template <class F, int TILES>
size_t shared_bytes(const Vector& p, int per_block, int depth) {
  return size_t(p.pairs) * (PAIR_WORDS<F> * 4 + 8) + 8 +
         size_t(WARPS) * (depth * SLOT_WORDS<F, TILES> * 4 + per_block * TILES * 64);
}

// launch: false to ask only whether the shape fits.
template <class F, int TILES, int... DEPTHS>
int run_tiles(Vector p, bool early, bool ask) {
  const int strips = divide_up(p.n, 64) * (4 / TILES), blocks = min(strips, multiprocessors());
  const int per_block = divide_up(strips, blocks);
  for (const int limit : {HALF, SHARED_LIMIT}) {
    int result = -1;
    auto attempt = [&](auto kernel, int depth) {
      const size_t bytes = shared_bytes<F, TILES>(p, per_block, depth);
      if (result >= 0 || bytes > size_t(limit)) return;
      // Its copies hold up the activations: worth it where the memory, not that wait, bounds the kernel.
      p.eager = per_block > 1 && 2 * per_block * p.pairs >= 5 * depth * WARPS;
      result = ask ? 0 : launch(kernel, blocks, 32 * WARPS, bytes, early, p);
    };
    (attempt(multiply<F, TILES, DEPTHS>, DEPTHS), ...);
    if (result >= 0) return result;
  }
  return ask ? 1 : complain("gemv: K activations do not fit shared memory; use gemm");
}

// Strips of 16 rows where 32 would leave multiprocessors idle.
template <class F>
int run(const Vector& p, bool early, bool ask) {
  const int blocks = divide_up(p.n, 64), sms = multiprocessors();
  const bool narrow = divide_up(blocks * 4, sms) * 5 < divide_up(blocks * 2, sms) * 8;
  if constexpr (F::WORDS == 4)
    return narrow ? run_tiles<F, 1, 6, 4, 2>(p, early, ask) : run_tiles<F, 2, 4, 3, 2>(p, early, ask);
  else
    return narrow ? run_tiles<F, 1, 8, 4, 2>(p, early, ask) : run_tiles<F, 2, 6, 3, 2>(p, early, ask);
}

Vector vector(int format, const void* weights, const void* scales, const void* x, void* y, int n, int k, int group) {
  Vector p{static_cast<const uint32_t*>(weights), static_cast<const uint32_t*>(scales), x, y, n, k};
  p.pairs = divide_up(k, 2 * chunk_of(format)), p.groups = group ? divide_up(k, group) : 1;
  while (group && 128 << p.shift < group) ++p.shift;
  return p;
}

}  // namespace

bool gemv_fits(int format, int n, int k) {
  const Vector p = vector(format, nullptr, nullptr, nullptr, nullptr, n, k, 0);
  return with_format(format, [&](auto f) { return run<decltype(f)>(p, false, true); }) == 0;
}

int gemv(int format, const void* weights, const void* scales, const void* x, void* y, int n, int k, int group,
         bool early) {
  const Vector p = vector(format, weights, scales, x, y, n, k, group);
  const int bad = with_format(format, [&](auto f) { return run<decltype(f)>(p, early, false); });
  return bad == -1 ? complain("gemv: unknown format") : bad;
}

}  // namespace lut
