// The vendor's matrix products: y (M, N) = x (M, K) w (N, K)^T by cuBLASLt with its first heuristic choice.
//
// FP16 and BF16 with FP32 sums and 16-bit results, FP8 (E4M3) with FP32 sums and FP16 results, INT8 with INT32.
// The library is opened at run time, so that the kernels build and run where it is missing.
#include <dlfcn.h>

#include <map>
#include <tuple>

#include <cublasLt.h>

#include "common.cuh"

namespace lut {
namespace {

struct Library {
  void* file = nullptr;
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulDescCreate) describe;
  decltype(&cublasLtMatmulDescSetAttribute) set;
  decltype(&cublasLtMatrixLayoutCreate) layout;
  decltype(&cublasLtMatmulPreferenceCreate) preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) prefer;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  cublasLtHandle_t handle = nullptr;
} blas;

struct Plan {
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t w, x, y;
  cublasLtMatmulAlgo_t algorithm;
};
std::map<std::tuple<int, int, int, int>, Plan> plans;
constexpr size_t WORKSPACE = size_t(64) << 20;

int failed(cublasStatus_t status, const char* where) {
  if (status == CUBLAS_STATUS_SUCCESS) return 0;
  static char text[96];
  snprintf(text, sizeof text, "cuBLASLt: %s failed with status %d", where, int(status));
  return complain(text);
}

int make(int type, int m, int n, int k, Plan& plan) {
  const cudaDataType types[] = {CUDA_R_16F, CUDA_R_16BF, CUDA_R_8F_E4M3, CUDA_R_8I};
  const cudaDataType in = types[type], out = type == 3 ? CUDA_R_32I : type == 1 ? CUDA_R_16BF : CUDA_R_16F;
  const cudaDataType scale = type == 3 ? CUDA_R_32I : CUDA_R_32F;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  if (int bad = failed(blas.describe(&plan.operation, type == 3 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F, scale), "describe"))
    return bad;
  blas.set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
  // column major: w is (K, N), x is (K, M), y is (N, M)
  if (int bad = failed(blas.layout(&plan.w, in, k, n, k), "layout")) return bad;
  if (int bad = failed(blas.layout(&plan.x, in, k, m, k), "layout")) return bad;
  if (int bad = failed(blas.layout(&plan.y, out, n, m, n), "layout")) return bad;
  cublasLtMatmulPreference_t preference;
  if (int bad = failed(blas.preference(&preference), "preference")) return bad;
  blas.prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE, sizeof WORKSPACE);
  cublasLtMatmulHeuristicResult_t result;
  int found = 0;
  if (int bad = failed(blas.heuristic(blas.handle, plan.operation, plan.w, plan.x, plan.y, plan.y, preference, 1, &result, &found),
                       "heuristic"))
    return bad;
  if (!found) return complain("cuBLASLt: no algorithm for this shape");
  plan.algorithm = result.algo;
  return 0;
}

}  // namespace
}  // namespace lut

LUT_API int lut_vendor_open(const char* path, int* version) {
  using namespace lut;
  if (!blas.file) {
    blas.file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!blas.file) return complain("cuBLASLt: the library cannot be opened");
    bool all = true;
    auto get = [&](auto& f, const char* name) {
      f = reinterpret_cast<std::remove_reference_t<decltype(f)>>(dlsym(blas.file, name));
      all = all && f;
    };
    get(blas.create, "cublasLtCreate"), get(blas.version, "cublasLtGetVersion"), get(blas.matmul, "cublasLtMatmul");
    get(blas.describe, "cublasLtMatmulDescCreate"), get(blas.set, "cublasLtMatmulDescSetAttribute");
    get(blas.layout, "cublasLtMatrixLayoutCreate"), get(blas.preference, "cublasLtMatmulPreferenceCreate");
    get(blas.prefer, "cublasLtMatmulPreferenceSetAttribute"), get(blas.heuristic, "cublasLtMatmulAlgoGetHeuristic");
    if (!all) return complain("cuBLASLt: a function is missing");
    if (int bad = failed(blas.create(&blas.handle), "create")) return bad;
  }
  *version = int(blas.version());
  return 0;
}

// type: 0 FP16, 1 BF16, 2 FP8 E4M3, 3 INT8
LUT_API int lut_vendor(int type, const void* w, const void* x, void* y, int m, int n, int k) {
  using namespace lut;
  if (!blas.handle) return complain("cuBLASLt: not open");
  if (type < 0 || type > 3) return complain("cuBLASLt: unknown type");
  const auto key = std::make_tuple(type, m, n, k);
  auto at = plans.find(key);
  if (at == plans.end()) {
    Plan plan;
    if (int bad = make(type, m, n, k, plan)) return bad;
    at = plans.emplace(key, plan).first;
  }
  const Plan& p = at->second;
  const float one = 1, zero = 0;
  const int one_i = 1, zero_i = 0;
  const void *alpha = type == 3 ? static_cast<const void*>(&one_i) : &one, *beta = type == 3 ? static_cast<const void*>(&zero_i) : &zero;
  return failed(blas.matmul(blas.handle, p.operation, alpha, w, p.w, x, p.x, beta, y, p.y, y, p.y, &p.algorithm,
                            workspace(WORKSPACE), WORKSPACE, stream()),
                "matmul");
}
