// A list of products of one activation vector each, in one launch: y[n] = sum over groups of s (sum q x - z sum x).
//
// Weights depend on nothing: a producer thread runs ahead of the products by all of shared memory and never stops the
// stream from DRAM, while a product waits for the results of earlier ones (blocks count each other in; all are on the
// chip at once), stages its activations and adds up its sums. The arithmetic is that of digits.cuh.
//
// A block owns tiles of 16 rows of each product over all of K, no block more than one tile more than another, and takes
// two at a time; warp w takes the pairs of chunks w, w + WARPS, ... A stage of the ring holds one pair for every warp,
// of two tiles, with their scales: four boxes for the copy engine.
#include "digits.cuh"
#include "maps.cuh"

namespace lut {
namespace {

constexpr int MOST = 32;  // products of a list
constexpr int WARPS = 16, BATCH = 7, SHARED = 224 * 1024;

struct Product {
  CUtensorMap weights;  // 32-bit words: (32 lanes' words, 4 tiles, chunks, blocks of 64 rows)
  CUtensorMap scales;   // (64 rows, groups, blocks of 64 rows)
  const void* x;
  void* y;
  int n, k;
  int pairs;            // of chunks, per row, made up to a multiple of WARPS: of zeros
  int shift;            // log2 of the pairs in each scale group; 30: one group
  int waits;            // whether x needs the results of the products before
  int staged;           // whether x is that of the product before
  int tiles, more;      // of 16 rows: of every block, and of how many blocks one more
};

struct List {
  Product products[MOST];
  int count, depth;     // products; stages of the ring
  int pairs, rows;      // largest of all products: pairs; rows of a block
  int groups;           // boxes of scales: groups of a stage
};

__device__ unsigned arrived, left;  // blocks, between products and at the end; zero between launches

__device__ inline void copy_box(uint32_t* to, const CUtensorMap& map, int c0, int c1, int c2, int c3, uint64_t* b) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(
          address(to)), "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(address(b)) : "memory");
}
__device__ inline void copy_box(uint32_t* to, const CUtensorMap& map, int c0, int c1, int c2, uint64_t* b) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(
          address(to)), "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(address(b)) : "memory");
}
template <int ID>
__device__ inline void meet(int warps) {
  asm volatile("bar.sync %0, %1;" ::"n"(ID), "r"(32 * warps) : "memory");
}

__device__ inline int first_tile(const Product& p, int block) { return block * p.tiles + min(block, p.more); }

// A stage in words: [tile][chunk][lane][word], then [tile][group][16 rows], each of these aligned for the copy engine.
template <class F>
constexpr int TILE_WORDS = 2 * WARPS * 32 * F::WORDS;
__host__ __device__ inline int scale_words(int groups) { return (groups * 16 + 31) / 32 * 32; }
template <class F>
__host__ __device__ inline int stage_words(int groups) {
  return 2 * (TILE_WORDS<F> + scale_words(groups));
}

template <class F>
__device__ inline void produce(const List& list, uint32_t* ring, uint64_t* full, uint64_t* empty) {
  const int words = stage_words<F>(list.groups);
  const uint32_t bytes = (TILE_WORDS<F> + list.groups * 16) * 4;
  int at = 0, round = 0;
  for (int product = 0; product < list.count; ++product) {
    const Product& p = list.products[product];
    const int last = first_tile(p, blockIdx.x + 1);
    for (int tile = first_tile(p, blockIdx.x); tile < last; tile += 2) {
      const int tiles = min(2, last - tile);
      for (int pair = 0; pair < p.pairs; pair += WARPS) {
        if (round) barrier_wait(empty + at, (round - 1) & 1);
        uint32_t* stage = ring + at * words;
        barrier_expect(full + at, tiles * bytes);
        for (int r = 0; r < tiles; ++r) {
          const int block = (tile + r) / 4, within = (tile + r) % 4;
          copy_box(stage + r * TILE_WORDS<F>, p.weights, 0, within, 2 * pair, block, full + at);
          copy_box(stage + 2 * TILE_WORDS<F> + r * scale_words(list.groups), p.scales, within * 16, pair >> p.shift, block, full + at);
        }
        if (++at == list.depth) at = 0, ++round;
      }
    }
  }
}

// Where the warps are in the ring.
struct Place {
  int at = 0, phase = 0;
};

// The warp's part of TILES tiles, over all of its pairs.
template <class F, int TILES>
__device__ inline void strip(const Product& p, const uint32_t* staged, const float2* sums, const uint32_t* ring, int depth,
                             int groups, uint64_t* full, Place& place, float* partial, int warp, int lane, const Lane& mine) {
  const int g = lane / 4, t = lane % 4, pairs = p.pairs, shift = p.shift;
  const int words = stage_words<F>(groups), scales_apart = scale_words(groups);
  const uint32_t* weights = ring + (2 * warp * 32 + lane) * F::WORDS;
  const uint32_t* scales = ring + 2 * TILE_WORDS<F> + g;
  const uint32_t* digits = staged + mine.digit * 16 + t * 4;
  float y[TILES][2] = {};
  for (int base = 0; base < pairs; base += WARPS) {
    const int pair = base + warp;
    const uint4 x[2] = {*reinterpret_cast<const uint4*>(digits + pair * DIGIT_WORDS),
                        *reinterpret_cast<const uint4*>(digits + pair * DIGIT_WORDS + 48)};
    const float2 unit_sum = sums[pair];
    const int at = place.at * words, group = at + ((pair >> shift) - (base >> shift)) * 16;
    barrier_wait(full + place.at, place.phase);
    uint32_t w[2][TILES][F::WORDS];
    half2 scale[TILES][2];
#pragma unroll
    for (int r = 0; r < TILES; ++r) {
#pragma unroll
      for (int c = 0; c < 2; ++c) read_words<F>(w[c][r], weights + at + r * TILE_WORDS<F> + c * 32 * F::WORDS);
#pragma unroll
      for (int h = 0; h < 2; ++h) scale[r][h] = as_half2(scales[group + r * scales_apart + 8 * h]);
    }
    __syncwarp();  // all lanes have the stage
    if (lane == 0) barrier_arrive(full + depth + place.at);
    if (++place.at == depth) place.at = 0, place.phase ^= 1;
    multiply_digits<F, TILES>(y, w, x, unit_sum, scale, mine);
  }
#pragma unroll
  for (int r = 0; r < TILES; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float sum = add_lanes<F>(y[r][h], h);
      if (t == 0) partial[r * 16 + g + 8 * h] = sum;
    }
}

template <class F>
__global__ void __launch_bounds__(32 * (WARPS + 1), 1) multiply(const __grid_constant__ List list) {
  using X = typename F::X;
  extern __shared__ __align__(128) uint32_t shared[];
  uint32_t* ring = shared;                                                                          // [stage]
  uint32_t* staged = ring + list.depth * stage_words<F>(list.groups);                                // [pair]
  float2* sums = reinterpret_cast<float2*>(staged + list.pairs * DIGIT_WORDS);                       // [pair]
  uint64_t* full = reinterpret_cast<uint64_t*>(sums + list.pairs);                                   // [stage]
  uint64_t* empty = full + list.depth;                                                               // [stage]
  float* partials = reinterpret_cast<float*>(empty + list.depth);                                    // [even, odd][warp][row]
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < list.depth; ++i) barrier_init(full + i, 1), barrier_init(empty + i, WARPS);
    barrier_init_done();
  }
  __syncthreads();
  if (warp == WARPS) {
    if (lane == 0) produce<F>(list, ring, full, empty);
    return;
  }
  allow_successor();
  wait_predecessor();

  const int depth = list.depth, groups = list.groups, rows_apart = list.rows;
  const Lane mine(lane);
  Loaded<BATCH> loaded;
  Place place;
  unsigned awaited = 0;
  for (int product = 0; product < list.count; ++product) {
    const Product& p = list.products[product];
    const bool more = product + 1 < list.count, next_waits = more && list.products[product + 1].waits;
    const int first = first_tile(p, blockIdx.x), count = first_tile(p, blockIdx.x + 1) - first;
    float* sums_of_warps = partials + (product & 1) * WARPS * rows_apart;
    float* partial = sums_of_warps + warp * rows_apart;
    if (p.waits) {
      awaited += gridDim.x;
      if (threadIdx.x == 0) {
        unsigned seen;
        do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(&arrived) : "memory");
        while (seen < awaited);
      }
      meet<1>(WARPS);
    }
    if (!p.staged) {
      const uint32_t* x = static_cast<const uint32_t*>(p.x);
      if (product == 0 || p.waits) load_pairs<F, WARPS>(loaded, x, p.k, warp, lane);
      for (int from = warp; from < p.pairs; from += WARPS * BATCH) {
        if (from > warp) load_pairs<F, WARPS>(loaded, x, p.k, from, lane);
        stage_pairs<F, WARPS>(loaded, from, p.pairs, staged, sums, lane);
      }
      __syncwarp();
    }
    if (more && !next_waits && !list.products[product + 1].staged)
      load_pairs<F, WARPS>(loaded, static_cast<const uint32_t*>(list.products[product + 1].x),
                           list.products[product + 1].k, warp, lane);
    int tile = 0;
    for (; tile + 2 <= count; tile += 2)
      strip<F, 2>(p, staged, sums, ring, depth, groups, full, place, partial + tile * 16, warp, lane, mine);
    if (tile < count)
      strip<F, 1>(p, staged, sums, ring, depth, groups, full, place, partial + tile * 16, warp, lane, mine);
    meet<1>(WARPS);
    // The last sums, by as few warps as there are rows; then the block has arrived, if a product waits for it.
    const int rows = count * 16, writers = min(max((rows + 31) / 32, 1), WARPS);
    if (warp < writers) {
      for (int i = threadIdx.x; i < rows && first * 16 + i < p.n; i += 32 * writers) {
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) sum += sums_of_warps[w * rows_apart + i];
        static_cast<typename X::Type*>(p.y)[first * 16 + i] = X::narrow(sum);
      }
      if (next_waits) {
        meet<2>(writers);
        if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&arrived) : "memory");
      }
    }
  }
  if (awaited && threadIdx.x == 0 && atomicAdd(&left, 1u) == gridDim.x - 1) arrived = 0, left = 0;
}

template <class F>
size_t shared_bytes(const List& list, int depth) {
  return size_t(depth) * (stage_words<F>(list.groups) * 4 + 16) + size_t(list.pairs) * (DIGIT_WORDS * 4 + 8) +
         size_t(2 * WARPS) * list.rows * 4;
}

template <class F>
int run(List& list, bool early) {
  int blocks = 1;
  for (int i = 0; i < list.count; ++i) blocks = max(blocks, min(divide_up(list.products[i].n, 64) * 4, multiprocessors()));
  list.pairs = list.rows = 0;
  for (int i = 0; i < list.count; ++i) {
    Product& p = list.products[i];
    const int tiles = divide_up(p.n, 64) * 4;
    p.tiles = tiles / blocks, p.more = tiles % blocks;
    list.pairs = max(list.pairs, p.pairs), list.rows = max(list.rows, divide_up(tiles, blocks) * 16);
  }
  const long fixed = shared_bytes<F>(list, 0), each = shared_bytes<F>(list, 1) - fixed;
  list.depth = int(min((SHARED - fixed) / each, 64l));
  if (list.depth < 2) return complain("gemv: K activations do not fit shared memory; use gemm");
  return launch(multiply<F>, blocks, 32 * (WARPS + 1), shared_bytes<F>(list, list.depth), early, list);
}

int maps(Product& p, const void* weights, const void* scales, int words, int groups, int box_groups) {
  const cuuint64_t blocks = divide_up(p.n, 64), tile = 32 * words, chunks = 2 * divide_up(p.k, 128);
  const cuuint64_t w_sizes[4] = {tile, 4, chunks, blocks}, w_strides[3] = {tile * 4, tile * 16, tile * 16 * chunks};
  const cuuint32_t w_box[4] = {cuuint32_t(tile), 1, 2 * WARPS, 1};
  const cuuint64_t s_sizes[3] = {64, cuuint64_t(groups), blocks}, s_strides[2] = {256, 256 * cuuint64_t(groups)};
  const cuuint32_t s_box[3] = {16, cuuint32_t(box_groups), 1};
  if (int bad = tensor_map(&p.weights, CU_TENSOR_MAP_DATA_TYPE_UINT32, 4, weights, w_sizes, w_strides, w_box,
                           CU_TENSOR_MAP_SWIZZLE_NONE))
    return bad;
  return tensor_map(&p.scales, CU_TENSOR_MAP_DATA_TYPE_UINT32, 3, scales, s_sizes, s_strides, s_box,
                    CU_TENSOR_MAP_SWIZZLE_NONE);
}

}  // namespace
}  // namespace lut

struct GemvItem {
  const void *weights, *scales, *x;
  void* y;
  int n, k, waits, unused;
};

// Products in order; waits: whether x needs results of earlier ones of the list. format (4 or 2 bits) and group as
// lut_stream.
LUT_API int lut_gemv_list(int format, const GemvItem* items, int count, int group, int early) {
  using namespace lut;
  if (count < 1 || count > MOST) return complain("gemv: a list has 1 to 32 products");
  if (group && (group % 128 || (group / 128 & (group / 128 - 1))))
    return complain("gemv: the group must be 0 or 128 times a power of two");
  if (format % 16 != 4 && format % 16 != 2) return complain("gemv: a list takes codes of 4 or 2 bits");
  List list{};
  list.count = count;
  int shift = group ? 0 : 30;
  while (group && 128 << shift < group) ++shift;
  list.groups = max(WARPS >> shift, 1);
  for (int i = 0; i < count; ++i) {
    const GemvItem& item = items[i];
    if (item.k % 8) return complain("gemv: K must be a multiple of 8");
    Product& p = list.products[i];
    p.x = item.x, p.y = item.y, p.n = item.n, p.k = item.k, p.waits = i > 0 && item.waits, p.shift = shift;
    p.staged = i > 0 && !p.waits && item.x == items[i - 1].x && item.k == items[i - 1].k;
    p.pairs = divide_up(item.k, 128 * WARPS) * WARPS;
    const int groups = group ? divide_up(item.k, group) : 1;
    const int words = format % 16 == 4 ? W4::WORDS : W2::WORDS;
    if (int bad = maps(p, item.weights, item.scales, words, groups, list.groups)) return bad;
  }
  switch (format) {
    case 4: return run<W4>(list, early);
    case 2: return run<W2>(list, early);
    case 20: return run<W4B>(list, early);
    default: return run<W2B>(list, early);
  }
}
