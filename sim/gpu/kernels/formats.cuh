// Packed weights and how a lane turns them into operands of the matrix instructions.
//
// A tile is 16 rows (outputs) by CHUNK columns (along K). Lane (g = lane / 4, t = lane % 4) of a warp holds, for
// each step of 16 columns, the eight weights that mma.m16n8k16 and one warp of wgmma.m64nNk16 take from it:
// registers a0..a3 = rows g, g + 8, g, g + 8 at columns 2t, 2t + 1 (a0, a1) and 2t + 8, 2t + 9 (a2, a3).
// Tiles lie in memory as [block of 64 rows][chunk][tile of the block][lane][word], so that a block's chunk is one
// contiguous piece.
//
// Unpacking places a code q in the mantissa of 1.0: v = 1 + q 2^-e, one LOP3 for two weights; then
// v - (1 + z 2^-e) = (q - z) 2^-e exactly. The exponent e depends on where the bits of the step lie (its class).
// BF16 has three bits less of mantissa: most codes need a shift of their own, and all have one class.
#pragma once
#include "common.cuh"

namespace lut {

template <class X>
__host__ __device__ constexpr uint32_t power2(int e) {  // (2^e, 2^e)
  return X::ONES + (uint32_t(e) << X::MANTISSA) * 0x10001u;
}
// Right, or left where S is negative.
template <int S>
__device__ inline uint32_t shifted(uint32_t x) {
  if constexpr (S >= 0) return x >> S;
  else return x << -S;
}

// 4 bits: nibble p of each half of word 2i (row g: p = 1, 0 for columns 2t; p = 3, 2 for columns 2t + 8) and of word
// 2i + 1 (row g + 8). Steps 2i take p = 1, 3 (class 0), steps 2i + 1 take p = 0, 2 (class 1). So a byte holds codes of
// one row: digits.cuh multiplies bytes.
struct W4 {
  using X = Fp16;
  static constexpr int CHUNK = 64, STEPS = 4, WORDS = 4, CLASSES = 2;
  __host__ __device__ static constexpr int kind(int step) { return step & 1; }
  __host__ __device__ static constexpr int exponent(int kind) { return kind ? 8 : 4; }
  template <int STEP, uint32_t ONES = Fp16::ONES>
  __device__ static void unpack(const uint32_t (&w)[WORDS], uint32_t (&a)[4]) {
    constexpr uint32_t mask = STEP & 1 ? 0x003C003C : 0x03C003C0;
    const uint32_t x = w[STEP & ~1], y = w[STEP | 1];
    a[0] = mask_or<mask, ONES>(x << 2);
    a[1] = mask_or<mask, ONES>(y << 2);
    a[2] = mask_or<mask, ONES>(x >> 6);
    a[3] = mask_or<mask, ONES>(y >> 6);
  }
};

// 2 bits: fields f = 0..7 (bits 2f) of each half of word i serve steps 2i (f = 4, 6, 0, 2 for a0..a3) and 2i + 1
// (f = 5, 7, 1, 3); f and f + 4 are of one row.
struct W2 {
  using X = Fp16;
  static constexpr int CHUNK = 64, STEPS = 4, WORDS = 2, CLASSES = 2;
  __host__ __device__ static constexpr int kind(int step) { return step & 1; }
  __host__ __device__ static constexpr int exponent(int kind) { return kind ? 4 : 2; }
  template <int STEP, uint32_t ONES = Fp16::ONES>
  __device__ static void unpack(const uint32_t (&w)[WORDS], uint32_t (&a)[4]) {
    constexpr uint32_t mask = STEP & 1 ? 0x00C000C0 : 0x03000300;
    const uint32_t x = w[STEP / 2];
    a[0] = mask_or<mask, ONES>(shifted<STEP & 1 ? 4 : 0>(x));
    a[1] = mask_or<mask, ONES>(shifted<STEP & 1 ? 8 : 4>(x));
    a[2] = mask_or<mask, ONES>(shifted<STEP & 1 ? -4 : -8>(x));
    a[3] = mask_or<mask, ONES>(shifted<STEP & 1 ? 0 : -4>(x));
  }
};

// 1 bit: bit of each half for step s: 9 - s (a0), 5 - s (a1), 13 - s (a2), and 15, 14, 1, 0 (a3).
struct W1 {
  using X = Fp16;
  static constexpr int CHUNK = 64, STEPS = 4, WORDS = 1, CLASSES = 4;
  __host__ __device__ static constexpr int kind(int step) { return step; }
  __host__ __device__ static constexpr int exponent(int kind) { return kind + 1; }
  template <int STEP, uint32_t ONES = Fp16::ONES>
  __device__ static void unpack(const uint32_t (&w)[WORDS], uint32_t (&a)[4]) {
    constexpr uint32_t mask = 0x02000200u >> STEP;
    const uint32_t x = w[0];
    a[0] = mask_or<mask, ONES>(x);
    a[1] = mask_or<mask, ONES>(x << 4);
    a[2] = mask_or<mask, ONES>(x >> 4);
    a[3] = mask_or<mask, ONES>(STEP < 2 ? x >> 6 : x << 6);
  }
};

// Ternary, five to a byte: byte = ceil(256 (81 d0 + 27 d1 + 9 d2 + 3 d3 + d4) / 243), digits d = q + 1. Times
// three, the next digit appears above the byte, where the halves' mantissas have their top two bits. A step takes
// digit register n = 4 step + r: bytes 2 (n / 5) .. of the pair (0, 2) or (1, 3) of a word.
struct T5 {
  using X = Fp16;
  static constexpr int CHUNK = 80, STEPS = 5, WORDS = 2, CLASSES = 1;
  __host__ __device__ static constexpr int kind(int) { return 0; }
  __host__ __device__ static constexpr int exponent(int) { return 2; }
  // All 20 registers of a chunk: r[n] is a[n % 4] of step n / 4.
  __device__ static void unpack_all(const uint32_t (&w)[WORDS], uint32_t (&r)[20]) {
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      uint32_t v = (pair & 1 ? w[pair / 2] >> 8 : w[pair / 2]) & 0x00FF00FF;
#pragma unroll
      for (int i = 0; i < 5; ++i) {
        v *= 3;
        r[5 * pair + i] = mask_or<0x03000300, Fp16::ONES>(v);
        v &= 0x00FF00FF;
      }
    }
  }
};

// The same codes against BF16 activations.
template <class BASE, int EXPONENT>
struct Brain : BASE {
  using X = Bf16;
  static constexpr int CLASSES = 1;
  __host__ __device__ static constexpr int kind(int) { return 0; }
  __host__ __device__ static constexpr int exponent(int) { return EXPONENT; }
};
struct W4B : Brain<W4, 7> {
  template <int STEP, uint32_t ONES = Bf16::ONES>
  __device__ static void unpack(const uint32_t (&w)[WORDS], uint32_t (&a)[4]) {
    constexpr uint32_t mask = 0x000F000F;
    constexpr int low = STEP & 1 ? 0 : 4;
    const uint32_t x = w[STEP & ~1], y = w[STEP | 1];
    a[0] = mask_or<mask, ONES>(x >> low);
    a[1] = mask_or<mask, ONES>(y >> low);
    a[2] = mask_or<mask, ONES>(x >> (low + 8));
    a[3] = mask_or<mask, ONES>(y >> (low + 8));
  }
};
struct W2B : Brain<W2, 3> {
  template <int STEP, uint32_t ONES = Bf16::ONES>
  __device__ static void unpack(const uint32_t (&w)[WORDS], uint32_t (&a)[4]) {
    constexpr uint32_t mask = 0x00300030;
    const uint32_t x = w[STEP / 2];
    a[0] = mask_or<mask, ONES>(shifted<STEP & 1 ? 6 : 4>(x));
    a[1] = mask_or<mask, ONES>(shifted<STEP & 1 ? 10 : 8>(x));
    a[2] = mask_or<mask, ONES>(shifted<STEP & 1 ? -2 : -4>(x));
    a[3] = mask_or<mask, ONES>(shifted<STEP & 1 ? 2 : 0>(x));
  }
};
struct W1B : Brain<W1, 1> {
  template <int STEP, uint32_t ONES = Bf16::ONES>
  __device__ static void unpack(const uint32_t (&w)[WORDS], uint32_t (&a)[4]) {
    constexpr uint32_t mask = 0x00400040;
    const uint32_t x = w[0];
    a[0] = mask_or<mask, ONES>(shifted<3 - STEP>(x));
    a[1] = mask_or<mask, ONES>(shifted<-1 - STEP>(x));
    a[2] = mask_or<mask, ONES>(shifted<7 - STEP>(x));
    a[3] = mask_or<mask, ONES>(shifted<(STEP < 2 ? 9 : -3) - STEP>(x));
  }
};
struct T5B : Brain<T5, 2> {
  __device__ static void unpack_all(const uint32_t (&w)[WORDS], uint32_t (&r)[20]) {
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      uint32_t v = (pair & 1 ? w[pair / 2] >> 8 : w[pair / 2]) & 0x00FF00FF;
#pragma unroll
      for (int i = 0; i < 5; ++i) {
        v *= 3;
        r[5 * pair + i] = mask_or<0x00600060, Bf16::ONES>(v >> 3);
        v &= 0x00FF00FF;
      }
    }
  }
};

// Exponent of c where all steps of a chunk shall read v = c + q 2^-e with the e of the first class.
template <class F>
__host__ __device__ constexpr int lift(int step) {
  return F::exponent(F::kind(step % F::STEPS)) - F::exponent(0);
}

// All steps of a chunk as v = 1 + q 2^-e with the e of each class, or as v = c + q 2^-e with the e of the first.
template <class F, bool LIFTED = false>
__device__ inline void unpack_codes(const uint32_t (&w)[F::WORDS], uint32_t (&a)[F::STEPS][4]) {
  if constexpr (F::STEPS == 5) {
    F::unpack_all(w, reinterpret_cast<uint32_t(&)[20]>(a));
  } else {
    using X = typename F::X;
    F::template unpack<0, power2<X>(LIFTED ? lift<F>(0) : 0)>(w, a[0]);
    F::template unpack<1, power2<X>(LIFTED ? lift<F>(1) : 0)>(w, a[1]);
    F::template unpack<2, power2<X>(LIFTED ? lift<F>(2) : 0)>(w, a[2]);
    F::template unpack<3, power2<X>(LIFTED ? lift<F>(3) : 0)>(w, a[3]);
  }
}

// A lane's words of a tile from shared memory.
template <class F>
__device__ inline void read_words(uint32_t (&w)[F::WORDS], const uint32_t* from) {
  if constexpr (F::WORDS == 4) {
    const uint4 v = *reinterpret_cast<const uint4*>(from);
    w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
  } else if constexpr (F::WORDS == 2) {
    const uint2 v = *reinterpret_cast<const uint2*>(from);
    w[0] = v.x, w[1] = v.y;
  } else {
    w[0] = *from;
  }
}

// All steps of a chunk as (q - z) 2^-e. offset[kind][row]: 1 + z 2^-e, twice, for rows g, g + 8.
template <class F>
__device__ inline void unpack_chunk(const uint32_t (&w)[F::WORDS], const typename F::X::Pair (&offset)[F::CLASSES][2],
                                    uint32_t (&a)[F::STEPS][4]) {
  unpack_codes<F>(w, a);
#pragma unroll
  for (int s = 0; s < F::STEPS; ++s)
#pragma unroll
    for (int r = 0; r < 4; ++r) a[s][r] = as_word(__hsub2(F::X::pair(a[s][r]), offset[F::kind(s)][r & 1]));
}

// offset of a zero point, as above
template <class F>
__device__ inline void offsets(typename F::X::Pair (&offset)[F::CLASSES][2], float zero_g, float zero_g8) {
#pragma unroll
  for (int c = 0; c < F::CLASSES; ++c) {
    const float step = 1.0f / float(1 << F::exponent(c));
    offset[c][0] = F::X::pair(1.0f + zero_g * step);
    offset[c][1] = F::X::pair(1.0f + zero_g8 * step);
  }
}

// Format numbers of the C interface: 4, 2, 1 bits, or 5 for ternary five to a byte; 16 more for BF16 activations.
// Calls f with a value of the format's type; -1 if there is none.
template <class Function>
int with_format(int format, Function f) {
  switch (format) {
    case 4: return f(W4{});
    case 2: return f(W2{});
    case 1: return f(W1{});
    case 5: return f(T5{});
    case 20: return f(W4B{});
    case 18: return f(W2B{});
    case 17: return f(W1B{});
    case 21: return f(T5B{});
  }
  return -1;
}
inline int chunk_of(int format) { return format % 16 == 5 ? T5::CHUNK : W4::CHUNK; }

}  // namespace lut
