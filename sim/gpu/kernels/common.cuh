// What every kernel file shares: the stream, launching, and thin wrappers of single instructions.
#pragma once
#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace lut {

cudaStream_t stream();                                // the one stream that everything runs on
int check(cudaError_t error, const char* where);      // 0, or the error's number with its text kept
int complain(const char* what);                       // 1000 with a text: an argument is out of range
int multiprocessors();                                // of the open device
void* workspace(size_t bytes);                        // scratch of at least so many bytes, or null

inline int divide_up(long a, long b) { return int((a + b - 1) / b); }

// Launch; `early` lets the kernel start while its predecessor still runs (programmatic dependent launch):
// it must then call wait_predecessor() before it touches what the predecessor wrote or reads.
template <class... P, class... A>
int launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, bool early, A... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream();
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  if (shared > 48 * 1024)
    if (int bad = check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)),
                        "shared memory"))
      return bad;
  return check(cudaLaunchKernelEx(&config, kernel, P(arguments)...), "launch");
}

__device__ inline void wait_predecessor() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ inline void allow_successor() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

// Loads that pass L1 by (each byte is used once), kept in program order.
__device__ inline void load(uint32_t (&r)[4], const uint32_t* p) {
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "l"(p));
}
__device__ inline void load(uint32_t (&r)[2], const uint32_t* p) {
  asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "l"(p));
}
__device__ inline void load(uint32_t (&r)[1], const uint32_t* p) {
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(r[0]) : "l"(p));
}

// The lane's words into shared memory, asynchronously: a group per commit, complete in order.
template <int WORDS>
__device__ inline void copy_async(uint32_t at, const uint32_t* from) {
  if constexpr (WORDS == 4) asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
  if constexpr (WORDS == 2) asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(at), "l"(from) : "memory");
  if constexpr (WORDS == 1) asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(at), "l"(from) : "memory");
}
template <int WORDS>
__device__ inline void copy_async(void* to, const uint32_t* from) {
  copy_async<WORDS>(uint32_t(__cvta_generic_to_shared(to)), from);
}
// 16 bytes, if wanted; no branch
__device__ inline void copy_async_if(bool wanted, uint32_t at, const uint32_t* from) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %2, 0;\n@p cp.async.cg.shared.global [%0], [%1], 16;\n}" ::"r"(at),
               "l"(from), "r"(int(wanted)) : "memory");
}
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Copies by the bulk engine and the barriers in shared memory that count their bytes.
__device__ inline uint32_t address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }
__device__ inline void barrier_init(uint64_t* b, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(b)), "r"(count));
}
__device__ inline void barrier_init_done() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void barrier_expect(uint64_t* b, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(b)), "r"(bytes) : "memory");
}
__device__ inline void barrier_arrive(uint64_t* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(b)) : "memory");
}
__device__ inline void barrier_wait(uint64_t* b, uint32_t parity) {
  asm volatile(
      "{ .reg .pred p;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra again; }" ::"r"(address(b)), "r"(parity) : "memory");
}
__device__ inline void copy_bulk(void* to, const void* from, uint32_t bytes, uint64_t* b) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(address(to)),
               "l"(from), "r"(bytes), "r"(address(b)) : "memory");
}

__device__ inline half2 as_half2(uint32_t x) { return *reinterpret_cast<half2*>(&x); }
__device__ inline uint32_t as_word(half2 x) { return *reinterpret_cast<uint32_t*>(&x); }
__device__ inline uint32_t as_word(__nv_bfloat162 x) { return *reinterpret_cast<uint32_t*>(&x); }

// The two formats of activations: a word holds two numbers.
struct Fp16 {
  using Type = half;
  using Pair = half2;
  static constexpr uint32_t ONES = 0x3C003C00;
  static constexpr int MANTISSA = 10;
  __device__ static Pair pair(float x) { return __float2half2_rn(x); }
  __device__ static Pair pair(uint32_t x) { return *reinterpret_cast<Pair*>(&x); }
  __device__ static float2 wide(uint32_t x) { return __half22float2(pair(x)); }
  __device__ static Type narrow(float x) { return __float2half(x); }
};
struct Bf16 {
  using Type = __nv_bfloat16;
  using Pair = __nv_bfloat162;
  static constexpr uint32_t ONES = 0x3F803F80;
  static constexpr int MANTISSA = 7;
  __device__ static Pair pair(float x) { return __float2bfloat162_rn(x); }
  __device__ static Pair pair(uint32_t x) { return *reinterpret_cast<Pair*>(&x); }
  __device__ static float2 wide(uint32_t x) { return __bfloat1622float2(pair(x)); }
  __device__ static Type narrow(float x) { return __float2bfloat16(x); }
};

// (w & mask) | bits in one instruction
template <uint32_t MASK, uint32_t BITS>
__device__ inline uint32_t mask_or(uint32_t w) {
  uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(w), "n"(MASK), "n"(BITS));
  return r;
}

// D (16 x 8, FP32) += A (16 x 16) B (16 x 8), both FP16 or both BF16
#define LUT_MMA(TYPE, C)                                                                                            \
  "mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {" C "};"
template <class X = Fp16>
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (X::MANTISSA == 10)
    asm volatile(LUT_MMA("f16", "%0,%1,%2,%3")
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile(LUT_MMA("bf16", "%0,%1,%2,%3")
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// D = A B + c, all of a row's columns starting at the same c
template <class X = Fp16>
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float c) {
  if constexpr (X::MANTISSA == 10)
    asm volatile(LUT_MMA("f16", "%10,%10,%10,%10")
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c));
  else
    asm volatile(LUT_MMA("bf16", "%10,%10,%10,%10")
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c));
}
// D (16 x 8, INT32) += A (16 x 32, unsigned bytes) B (32 x 8, signed bytes)
__device__ inline void mma(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline uint32_t transpose8x8(uint32_t x) {
  uint32_t r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(x));
  return r;
}

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int i = 16; i; i >>= 1) x += __shfl_xor_sync(~0u, x, i);
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int i = 16; i; i >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
  return x;
}

}  // namespace lut

#define LUT_API extern "C" __attribute__((visibility("default")))
