// Runs one matrix instruction per tile and records the bits that come back.
//
//   harness OPERANDS RESULTS DEVICE_JSON
//
// OPERANDS: records of a 128-byte header (name, zero padded to 120; uint32 tiles; uint32 unused)
// and the arrays A (tiles, M, row of A), B (tiles, N, row of B), C (tiles, M, N) and, for sparse
// instructions, E (tiles, 32 or 128 lanes) uint32, the metadata register of each lane.
// RESULTS: the same headers, each followed by D (tiles, M, N). All little-endian raw bits, packed.
//
// Fragments (lane = 4g + t): one rule serves every type. Register r of A holds unit t of the
// (r / (M/8))-th quarter-of-a-warp-wide block of row g + 8 (r mod M/8); register r of B holds unit
// t of the r-th block of column g; a unit is 4 bytes (f64: 8), a block four units. C and D: row g
// (+8), columns 2t and 2t+1 of every eight. Exit codes: 3 no GPU, 4 launch failed, 5 bad file.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <cuda_runtime.h>
#include <dlfcn.h>

template <class Operand_, class AccC_, class AccD_, int M_, int N_, int A_ROW_, int B_ROW_, int C_BYTES_, int D_BYTES_,
          bool SPARSE_, bool A_SHARED_>
struct Tile {
  using Operand = Operand_;
  using AccC = AccC_;
  using AccD = AccD_;
  static constexpr int M = M_, N = N_, A_ROW = A_ROW_, B_ROW = B_ROW_, C_BYTES = C_BYTES_, D_BYTES = D_BYTES_;
  static constexpr bool SPARSE = SPARSE_, A_SHARED = A_SHARED_;
};

#include "instructions.inc"

struct Arrays {
  const uint8_t *a, *b, *c;
  const uint32_t* e;
  uint8_t* d;
};

// Registers of one lane for ROWS rows of a row-major operand, starting at `matrix`.
template <class T, int ROWS, int ROW_BYTES>
__device__ void load_operand(T* out, const uint8_t* matrix, int g, int t) {
  constexpr int block = 4 * sizeof(T), halves = ROWS / 8;
#pragma unroll
  for (int r = 0; r < ROW_BYTES / block * halves; ++r)
    out[r] = *reinterpret_cast<const T*>(matrix + (g + 8 * (r % halves)) * ROW_BYTES + (r / halves) * block +
                                         t * sizeof(T));
}

// Visit the accumulator registers of one lane: f(register, byte offset in the ROWS x N matrix).
template <class T, int ROWS, int N, int BYTES, class F>
__device__ void each_accumulator(int g, int t, F f) {
  constexpr int count = 2 * BYTES / sizeof(T), halves = ROWS / 8;
#pragma unroll
  for (int j = 0; j < N / 8; ++j)
#pragma unroll
    for (int h = 0; h < halves; ++h)
#pragma unroll
      for (int i = 0; i < count; ++i)
        f((j * halves + h) * count + i, ((g + 8 * h) * N + 8 * j + 2 * t) * BYTES + i * int(sizeof(T)));
}

template <class I>
__global__ void mma_tile(Arrays x) {  // a warp per tile
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const size_t tile = blockIdx.x;
  constexpr int outputs = I::M * I::N / 32;
  typename I::Operand a[8], b[4];
  typename I::AccC c[outputs];
  typename I::AccD d[outputs];
  load_operand<typename I::Operand, I::M, I::A_ROW>(a, x.a + tile * I::M * I::A_ROW, g, t);
  load_operand<typename I::Operand, 8, I::B_ROW>(b, x.b + tile * I::N * I::B_ROW, g, t);
  const uint8_t* c_tile = x.c + tile * I::M * I::N * I::C_BYTES;
  uint8_t* d_tile = x.d + tile * I::M * I::N * I::D_BYTES;
  each_accumulator<typename I::AccC, I::M, I::N, I::C_BYTES>(
      g, t, [&](int r, int at) { c[r] = *reinterpret_cast<const typename I::AccC*>(c_tile + at); });
  I::issue(a, b, c, d, I::SPARSE ? x.e[tile * 32 + lane] : 0);
  each_accumulator<typename I::AccD, I::M, I::N, I::D_BYTES>(
      g, t, [&](int r, int at) { *reinterpret_cast<typename I::AccD*>(d_tile + at) = d[r]; });
}

// m8n8k4: lanes 4q..4q+3 and 16+4q..16+4q+3 compute one product; all four q get the same tile.
template <class I>
__global__ void quad_tile(Arrays x) {
  const int lane = threadIdx.x, upper = 4 * (lane / 16), row = lane % 4 + upper;
  const size_t tile = blockIdx.x;
  typename I::Operand a[2], b[2];
  typename I::AccC c[8];
  typename I::AccD d[8];
  memcpy(a, x.a + (tile * 8 + row) * 8, 8);
  memcpy(b, x.b + (tile * 8 + row) * 8, 8);
  auto at = [&](int i, int bytes) {  // 16-bit: a whole row in four registers; 32-bit: scattered
    return bytes == 2 ? row * 16 + i * 4 : (((lane & 1) + (i & 2) + upper) * 8 + (i & 4) + (lane & 2) + (i & 1)) * 4;
  };
  for (int i = 0; i < 2 * I::C_BYTES; ++i) memcpy(c + i, x.c + tile * 64 * I::C_BYTES + at(i, I::C_BYTES), 4);
  I::issue(a, b, c, d, 0);
  if (lane % 16 < 4)
    for (int i = 0; i < 2 * I::D_BYTES; ++i) memcpy(x.d + tile * 64 * I::D_BYTES + at(i, I::D_BYTES), d + i, 4);
}

// Copy rows to shared memory as wgmma's unswizzled K-major layout: core matrices of 8 rows x 16
// bytes, 128 bytes apart along K (leading offset), eight rows apart along M or N (stride offset).
template <int ROW_BYTES>
__device__ void stage(uint8_t* shared, const uint8_t* rows, int count) {
  constexpr int chunks = ROW_BYTES / 16;
  for (int i = threadIdx.x; i < count * chunks; i += blockDim.x) {
    const int row = i / chunks, chunk = i % chunks;
    *reinterpret_cast<uint4*>(shared + row / 8 * 8 * ROW_BYTES + chunk * 128 + row % 8 * 16) =
        *reinterpret_cast<const uint4*>(rows + row * ROW_BYTES + chunk * 16);
  }
}

template <int ROW_BYTES>
__device__ uint64_t descriptor(const void* shared) {
  const uint64_t address = __cvta_generic_to_shared(shared);
  return (address & 0x3FFFF) >> 4 | uint64_t(128 >> 4) << 16 | uint64_t(8 * ROW_BYTES >> 4) << 32;
}

template <class I>
__global__ void __launch_bounds__(128) wgmma_tile(Arrays x) {  // four warps per tile, 16 rows each
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  static_assert(I::A_ROW == 32, "wgmma takes 32 stored bytes of each row of A");
  __shared__ alignas(128) uint8_t a_shared[64 * 32], b_shared[I::N * I::B_ROW];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const size_t tile = blockIdx.x;
  stage<I::B_ROW>(b_shared, x.b + tile * I::N * I::B_ROW, I::N);
  if (I::A_SHARED) stage<32>(a_shared, x.a + tile * 64 * 32, 64);
  uint32_t a[4];
  typename I::AccD d[I::N / 2];
  load_operand<uint32_t, 16, 32>(a, x.a + (tile * 64 + warp * 16) * 32, g, t);
  const uint8_t* c_tile = x.c + (tile * 64 + warp * 16) * I::N * I::D_BYTES;
  uint8_t* d_tile = x.d + (tile * 64 + warp * 16) * I::N * I::D_BYTES;
  each_accumulator<typename I::AccD, 16, I::N, I::D_BYTES>(
      g, t, [&](int r, int at) { d[r] = *reinterpret_cast<const typename I::AccD*>(c_tile + at); });
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  I::issue(a, descriptor<32>(a_shared), descriptor<I::B_ROW>(b_shared), d, I::SPARSE ? x.e[tile * 128 + threadIdx.x] : 0);
  each_accumulator<typename I::AccD, 16, I::N, I::D_BYTES>(
      g, t, [&](int r, int at) { *reinterpret_cast<typename I::AccD*>(d_tile + at) = d[r]; });
#endif
}

struct Entry {
  const char* name;
  size_t a, b, c, e, d;  // bytes of one tile
  void (*launch)(Arrays, unsigned tiles);
};

#define ENTRY(I, KERNEL, NAME)                                                                             \
  {NAME, size_t(I::M) * I::A_ROW, size_t(I::N) * I::B_ROW, size_t(I::M) * I::N * I::C_BYTES,               \
   I::SPARSE ? I::M / 16 * 128u : 0u, size_t(I::M) * I::N * I::D_BYTES,                                                \
   [](Arrays x, unsigned tiles) { KERNEL<I><<<tiles, #KERNEL[0] == 'w' ? 128 : 32>>>(x); }},
static const Entry entries[] = {INSTRUCTIONS(ENTRY)};

static void fail(int code, const std::string& message) {
  fprintf(stderr, "%s\n", message.c_str());
  exit(code);
}

static void check(cudaError_t status, const std::string& what, int code = 4) {
  if (status != cudaSuccess) fail(code, what + ": " + cudaGetErrorString(status));
}

static std::string driver_version() {  // of the driver package, which CUDA's own runtime does not tell
  char text[96] = "unknown";
  if (void* nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW)) {
    auto start = reinterpret_cast<int (*)()>(dlsym(nvml, "nvmlInit_v2"));
    auto version = reinterpret_cast<int (*)(char*, unsigned)>(dlsym(nvml, "nvmlSystemGetDriverVersion"));
    if (start && version && start() == 0) version(text, sizeof text);
  }
  return text;
}

static void write_device(const char* path) {
  cudaDeviceProp p;
  int runtime = 0, driver = 0;
  check(cudaGetDeviceProperties(&p, 0), "device 0", 3);
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  FILE* f = fopen(path, "w");
  if (!f) fail(5, std::string("cannot write ") + path);
  fprintf(f, "{\"name\": \"%s\", \"compute_capability\": \"%d.%d\", \"driver\": \"%s\", ", p.name, p.major, p.minor,
          driver_version().c_str());
  fprintf(f, "\"cuda_runtime\": \"%d.%d\", \"cuda_driver\": \"%d.%d\"}\n", runtime / 1000, runtime % 1000 / 10,
          driver / 1000, driver % 1000 / 10);
  fclose(f);
}

static void run(const Entry& entry, unsigned tiles, FILE* in, FILE* out) {
  const size_t sizes[5] = {tiles * entry.a, tiles * entry.b, tiles * entry.c, tiles * entry.e, tiles * entry.d};
  uint8_t* device[5] = {};
  std::vector<uint8_t> host;
  for (int i = 0; i < 5; ++i) {
    check(cudaMalloc(&device[i], sizes[i] + 16), entry.name);
    host.assign(sizes[i], 0xA5);  // D keeps this pattern where nothing is written
    if (i < 4 && fread(host.data(), 1, sizes[i], in) != sizes[i]) fail(5, std::string("short file at ") + entry.name);
    if (sizes[i]) check(cudaMemcpy(device[i], host.data(), sizes[i], cudaMemcpyHostToDevice), entry.name);
  }
  Arrays x{device[0], device[1], device[2], reinterpret_cast<uint32_t*>(device[3]), device[4]};
  entry.launch(x, tiles);
  check(cudaGetLastError(), entry.name);
  check(cudaMemcpy(host.data(), device[4], sizes[4], cudaMemcpyDeviceToHost), entry.name);
  if (fwrite(host.data(), 1, sizes[4], out) != sizes[4]) fail(5, "cannot write results");
  for (uint8_t* p : device) cudaFree(p);
}

int main(int argc, char** argv) {
  if (argc != 4) fail(5, "usage: harness OPERANDS RESULTS DEVICE_JSON");
  int devices = 0;
  check(cudaGetDeviceCount(&devices), "no usable GPU", 3);
  if (devices == 0) fail(3, "no usable GPU: no device found");
  write_device(argv[3]);
  FILE* in = fopen(argv[1], "rb");
  FILE* out = fopen(argv[2], "wb");
  if (!in || !out) fail(5, std::string("cannot open ") + (in ? argv[2] : argv[1]));
  struct { char name[120]; uint32_t tiles, unused; } header;
  while (fread(&header, sizeof header, 1, in) == 1) {
    const Entry* found = nullptr;
    for (const Entry& entry : entries)
      if (strncmp(entry.name, header.name, sizeof header.name) == 0) found = &entry;
    if (!found) fail(5, "instruction not in this harness: " + std::string(header.name, strnlen(header.name, 120)));
    if (fwrite(&header, sizeof header, 1, out) != 1) fail(5, "cannot write results");
    run(*found, header.tiles, in, out);
  }
  if (fclose(out) != 0) fail(5, "cannot write results");
  return 0;
}
