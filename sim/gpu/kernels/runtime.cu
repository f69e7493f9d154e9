// Memory, CUDA graphs and timing behind a C interface, and the rates of the machine that results are held to.
//
// Every function returns 0, a CUDA error number, or 1000; lut_error() then tells the text.
#include <cstdio>
#include <cstring>

#include "maps.cuh"

namespace lut {
namespace {
cudaStream_t the_stream = nullptr;
char text[256] = "";
void* scratch = nullptr;
size_t scratch_bytes = 0;
int sms = 0;
}  // namespace

cudaStream_t stream() { return the_stream; }

int multiprocessors() { return sms; }

int check(cudaError_t error, const char* where) {
  if (error == cudaSuccess) return 0;
  snprintf(text, sizeof text, "%s: %s", where, cudaGetErrorString(error));
  cudaGetLastError();
  return int(error);
}

int complain(const char* what) {
  snprintf(text, sizeof text, "%s", what);
  return 1000;
}

void* workspace(size_t bytes) { return bytes <= scratch_bytes ? scratch : nullptr; }

int tensor_map(CUtensorMap* map, CUtensorMapDataType type, int rank, const void* array, const cuuint64_t* sizes,
               const cuuint64_t* strides, const cuuint32_t* box, CUtensorMapSwizzle swizzle) {
  static PFN_cuTensorMapEncodeTiled_v12000 encode = nullptr;
  if (!encode) {
    cudaDriverEntryPointQueryResult result;
    if (int bad = check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", reinterpret_cast<void**>(&encode), 12000,
                                                         cudaEnableDefault, &result), "cuTensorMapEncodeTiled"))
      return bad;
    if (!encode) return complain("the driver has no cuTensorMapEncodeTiled");
  }
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  const CUresult r = encode(map, type, rank, const_cast<void*>(array), sizes, strides, box, steps,
                            CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                            CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return r == CUDA_SUCCESS ? 0 : complain("an array's address or stride does not suit the copy engine");
}

__device__ uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

__global__ void random_bits(ulonglong2* p, size_t n, uint64_t seed, uint64_t mask) {
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < n; i += size_t(gridDim.x) * blockDim.x)
    p[i] = {mix(seed + 2 * i) & mask, mix(seed + 2 * i + 1) & mask};
}

// Uniform in low..high.
__global__ void random_half(half* p, size_t n, float low, float high, uint64_t seed) {
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < n; i += size_t(gridDim.x) * blockDim.x)
    p[i] = __float2half(low + (high - low) * float(mix(seed + i) >> 40) * 0x1p-24f);
}

__global__ void __launch_bounds__(512) read_all(const uint4* p, size_t n, uint32_t* sink) {
  uint32_t sum = 0;
  const size_t step = size_t(gridDim.x) * blockDim.x;
  size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x;
  for (; i + 7 * step < n; i += 8 * step) {
    uint32_t r[8][4];
#pragma unroll
    for (int j = 0; j < 8; ++j) load(r[j], reinterpret_cast<const uint32_t*>(p + i + j * step));
#pragma unroll
    for (int j = 0; j < 8; ++j) sum ^= r[j][0] ^ r[j][1] ^ r[j][2] ^ r[j][3];
  }
  for (; i < n; i += step) {
    const uint4 v = p[i];
    sum ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  if (sum == 0x9E3779B9u && threadIdx.x == 4096) *sink = sum;  // never: keeps the loads
}

__global__ void __launch_bounds__(512) copy_all(const uint4* from, uint4* to, size_t n) {
  const size_t step = size_t(gridDim.x) * blockDim.x;
  size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x;
  for (; i + 3 * step < n; i += 4 * step) {
    uint4 r[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) r[j] = __ldcs(from + i + j * step);
#pragma unroll
    for (int j = 0; j < 4; ++j) __stcs(to + i + j * step, r[j]);
  }
  for (; i < n; i += step) to[i] = from[i];
}

__global__ void empty() {
  allow_successor();
  wait_predecessor();
}
}  // namespace lut

using namespace lut;

struct DeviceInfo {
  char name[128];
  int major, minor, sms, driver, runtime, clock_khz, memory_clock_khz, l2_bytes, shared_bytes_sm;
  unsigned long long memory_bytes, free_bytes;
};

LUT_API const char* lut_error() { return text; }

LUT_API int lut_open(int device, DeviceInfo* info) {
  if (int bad = check(cudaSetDevice(device), "cudaSetDevice")) return bad;
  cudaDeviceProp p;
  if (int bad = check(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties")) return bad;
  memset(info, 0, sizeof *info);
  strncpy(info->name, p.name, sizeof info->name - 1);
  sms = p.multiProcessorCount;
  info->major = p.major, info->minor = p.minor, info->sms = p.multiProcessorCount;
  info->l2_bytes = p.l2CacheSize, info->shared_bytes_sm = int(p.sharedMemPerMultiprocessor);
  cudaDriverGetVersion(&info->driver);
  cudaRuntimeGetVersion(&info->runtime);
  cudaDeviceGetAttribute(&info->clock_khz, cudaDevAttrClockRate, device);
  cudaDeviceGetAttribute(&info->memory_clock_khz, cudaDevAttrMemoryClockRate, device);
  size_t free_bytes, total;
  if (int bad = check(cudaMemGetInfo(&free_bytes, &total), "cudaMemGetInfo")) return bad;
  info->memory_bytes = total, info->free_bytes = free_bytes;
  if (!the_stream)
    if (int bad = check(cudaStreamCreateWithFlags(&the_stream, cudaStreamNonBlocking), "stream")) return bad;
  if (!scratch) {
    const size_t bytes = size_t(512) << 20;
    if (int bad = check(cudaMalloc(&scratch, bytes), "workspace of 512 MiB")) return bad;
    scratch_bytes = bytes;
  }
  return 0;
}

LUT_API int lut_close() {
  int bad = check(cudaFree(scratch), "free");
  scratch = nullptr, scratch_bytes = 0;
  if (the_stream) cudaStreamDestroy(the_stream);
  the_stream = nullptr;
  return bad;
}

LUT_API int lut_alloc(size_t bytes, void** p) { return check(cudaMalloc(p, bytes), "cudaMalloc"); }
LUT_API int lut_free(void* p) { return check(cudaFree(p), "cudaFree"); }
LUT_API int lut_upload(void* to, const void* from, size_t bytes) {
  if (int bad = check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, the_stream), "upload")) return bad;
  return check(cudaStreamSynchronize(the_stream), "upload");
}
LUT_API int lut_download(void* to, const void* from, size_t bytes) {
  if (int bad = check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, the_stream), "download")) return bad;
  return check(cudaStreamSynchronize(the_stream), "download");
}
LUT_API int lut_fill(void* p, int byte, size_t bytes) {
  return check(cudaMemsetAsync(p, byte, bytes, the_stream), "fill");
}
LUT_API int lut_sync() { return check(cudaStreamSynchronize(the_stream), "kernel"); }

LUT_API int lut_random_bits(void* p, size_t bytes, uint64_t seed, uint64_t mask) {
  return launch(random_bits, 1024, 256, 0, false, static_cast<ulonglong2*>(p), bytes / 16, seed, mask);
}
LUT_API int lut_random_half(void* p, size_t count, float low, float high, uint64_t seed) {
  return launch(random_half, 1024, 256, 0, false, static_cast<half*>(p), count, low, high, seed);
}

LUT_API int lut_read(const void* p, size_t bytes) {
  return launch(read_all, sms * 8, 512, 0, false, static_cast<const uint4*>(p), bytes / 16, static_cast<uint32_t*>(scratch));
}
LUT_API int lut_copy(const void* from, void* to, size_t bytes) {
  return launch(copy_all, sms * 8, 512, 0, false, static_cast<const uint4*>(from), static_cast<uint4*>(to), bytes / 16);
}
LUT_API int lut_empty(int early) { return launch(empty, 1, 32, 0, early); }

// Graphs: whatever is called between begin and end becomes one graph.
LUT_API int lut_capture_begin() {
  return check(cudaStreamBeginCapture(the_stream, cudaStreamCaptureModeThreadLocal), "capture");
}
LUT_API int lut_capture_end(void** executable) {
  cudaGraph_t graph;
  if (int bad = check(cudaStreamEndCapture(the_stream, &graph), "capture")) return bad;
  int bad = check(cudaGraphInstantiate(reinterpret_cast<cudaGraphExec_t*>(executable), graph, 0), "graph");
  cudaGraphDestroy(graph);
  return bad ? bad : check(cudaGraphUpload(static_cast<cudaGraphExec_t>(*executable), the_stream), "graph upload");
}
LUT_API int lut_graph_launch(void* executable) {
  return check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable), the_stream), "graph launch");
}
LUT_API int lut_graph_free(void* executable) {
  return check(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable)), "graph free");
}

// Milliseconds of each of `repetitions` replays. Before each, flush_bytes are read, which leaves none of the
// graph's data in L2, and no dirty line whose write-back would fall into the measurement. The reading also keeps
// the GPU busy until the host has queued the replay.
LUT_API int lut_graph_time(void* executable, int repetitions, const void* flush, size_t flush_bytes, float* ms) {
  cudaEvent_t start, stop;
  if (int bad = check(cudaEventCreate(&start), "event")) return bad;
  if (int bad = check(cudaEventCreate(&stop), "event")) return bad;
  int bad = 0;
  for (int i = 0; i < repetitions && !bad; ++i) {
    bad = lut_read(flush, flush_bytes);
    if (!bad) bad = check(cudaEventRecord(start, the_stream), "event");
    if (!bad) bad = lut_graph_launch(executable);
    if (!bad) bad = check(cudaEventRecord(stop, the_stream), "event");
    if (!bad) bad = check(cudaEventSynchronize(stop), "kernel");
    if (!bad) bad = check(cudaEventElapsedTime(ms + i, start, stop), "event");
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return bad;
}
