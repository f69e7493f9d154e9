// Low-bit weights times one FP16 activation vector: y[n] = sum over groups of s (sum q x - z sum x), FP32 sums.
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
//
// All codes of a row appear as v = c + q 2^-e with one e and a c of their class (a power of two, by the exponent bits
// that unpacking sets): sum q x = 2^e (sum v x - sum c x). Both sums of x come from the tensor cores, eight pairs at
// once.
#include "gemv.cuh"

#include "formats.cuh"

namespace lut {
namespace {

constexpr int WARPS = 12;
constexpr int SHARED_LIMIT = 220 * 1024, HALF = 113 * 1024;  // of a multiprocessor: one block fits, two fit

struct Vector {
  const uint32_t* weights;  // packed, see formats.cuh
  const uint32_t* scales;   // half2 (scale, zero point) as [block of 64 rows][group][64]
  const uint32_t* x;        // half2
  half* y;
  int n, k;
  int pairs;                // of chunks, per row
  int groups, shift;        // scale groups; log2 of the pairs in each
  bool eager;               // whether the next kernel may start, and fill its ring, before this one has its activations
};

// Two activations a word; a slot of a warp's ring: [chunk][tile][lane][word], then the scales of the strip's rows.
template <class F>
constexpr int PAIR_WORDS = 2 * F::STEPS * 8;
template <class F, int TILES>
constexpr int SLOT_WORDS = TILES * (2 * 32 * F::WORDS + 16);

template <class F, int TILES, int DEPTH>
__global__ void __launch_bounds__(32 * WARPS, 2) multiply(Vector p) {
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

  // The warp's activations, in operand order: words 4 j + t of two steps to 4 t + j.
  const int mine = warp < p.pairs ? (p.pairs - warp + WARPS - 1) / WARPS : 0;
  constexpr int QUADS = PAIR_WORDS<F> / 4, BATCH = 5;  // four words a lane and load
  for (int base = 0; base < mine * QUADS; base += 32 * BATCH) {
    uint4 v[BATCH];
    auto quad = [&](int i) {
      const int at = base + 32 * i + lane;
      return (at / QUADS * WARPS + warp) * QUADS + at % QUADS;
    };
#pragma unroll
    for (int i = 0; i < BATCH; ++i)
      v[i] = quad(i) * 8 < p.k ? __ldcg(reinterpret_cast<const uint4*>(p.x) + quad(i)) : uint4{};
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
  if (!p.eager) allow_successor();
  __syncwarp();
  for (int base = 0; base < mine; base += 8) {  // column g of the operand: the pair base + g
    const uint4* b = staged + (min(base + g, mine - 1) * WARPS + warp) * (PAIR_WORDS<F> / 4) + t;
    float d[4] = {};
#pragma unroll
    for (int s = 0; s < 2 * F::STEPS; s += 2) {
      const uint4 x = b[2 * s];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t c = power2(lift<F>(s + i)), a[4] = {power2(-E), c, power2(-E), c};  // rows g, g + 8
        mma(d, a, i ? x.z : x.x, i ? x.w : x.y);
      }
    }
#pragma unroll
    for (int c = 0; c < 2; ++c)
      if (g == 0 && base + 2 * t + c < mine) sums[(base + 2 * t + c) * WARPS + warp] = {-d[2 + c], d[c]};
  }
  __syncwarp();

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
            i ? mma(d[c][r], a[c][r][i], b0, b1) : mma(d[c][r], a[c][r][i], b0, b1, c ? 0.0f : sum.x);
          }
#pragma unroll
      for (int r = 0; r < TILES; ++r)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float2 s = __half22float2(scale[r][h]);
          y[r][h] += s.x * (d[0][r][2 * h] + d[1][r][2 * h] - s.y * sum.y);
        }
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
    p.y[n] = __float2half(sum * float(1 << E));
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

int dispatch(int format, Vector p, int group, bool early, bool ask) {
  const int chunk = format == 5 ? T5::CHUNK : 64;
  p.pairs = divide_up(p.k, 2 * chunk), p.groups = group ? divide_up(p.k, group) : 1, p.shift = 0;
  while (group && 128 << p.shift < group) ++p.shift;
  switch (format) {
    case 4: return run<W4>(p, early, ask);
    case 2: return run<W2>(p, early, ask);
    case 1: return run<W1>(p, early, ask);
    case 5: return run<T5>(p, early, ask);
  }
  return complain("gemv: unknown format");
}

}  // namespace

bool gemv_fits(int format, int n, int k) {
  return dispatch(format, {nullptr, nullptr, nullptr, nullptr, n, k}, 0, false, true) == 0;
}

int gemv(int format, const uint32_t* weights, const uint32_t* scales, const uint32_t* x, half* y, int n, int k,
         int group, bool early) {
  return dispatch(format, {weights, scales, x, y, n, k}, group, early, false);
}

}  // namespace lut
