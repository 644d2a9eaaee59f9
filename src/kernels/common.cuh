// What all kernels stand on: two element types, loads of 16 bytes, sums in a fixed order, draws, tensor cores.
//
// A kernel takes one struct by value, whose fields come in the order in which the Rust side writes them (`args!`), and
// is declared by KERNEL, so that the same source compiles with nvcc and, in the tests, with a C++ compiler against
// `tests/gpu/emulator.h`, which runs the threads of a block as fibers. What has no portable spelling (tensor cores,
// asynchronous copies) is a function here with a second body there.
//
// Floats are added in an order that follows from the sizes alone; there is no atomic addition of floats.
#pragma once

#ifdef PREP_EMULATED
#include "emulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_pipeline_primitives.h>
#include <stdint.h>

// A kernel of so many threads a block, at most.
#define KERNEL(name, Args, max_threads) \
  extern "C" __global__ void __launch_bounds__(max_threads) name(const __grid_constant__ Args a)

// The same, with registers for so many blocks at once on a multiprocessor, at least.
#define KERNEL_OF_BLOCKS(name, Args, max_threads, min_blocks) \
  extern "C" __global__ void __launch_bounds__(max_threads, min_blocks) name(const __grid_constant__ Args a)

// An array of a block in shared memory.
#define SHARED(T, name, dims) __shared__ T name dims

// The shared memory that a launch asks for, as an array of T.
#define DYNAMIC_SHARED(T, name)                            \
  extern __shared__ __align__(128) unsigned char name##_[]; \
  T* name = reinterpret_cast<T*>(name##_)
#endif

using bf16 = __nv_bfloat16;

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr float INFINITE = __builtin_huge_valf();

// ---- Elements --------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) { return x; }
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

// What 16 bytes hold.
template <typename T>
struct Pack {
  static constexpr int N = 16 / sizeof(T);
  alignas(16) T at[N];
};

// `from` is a multiple of 16 bytes.
template <typename T>
__device__ __forceinline__ Pack<T> load_pack(const T* from) { return *reinterpret_cast<const Pack<T>*>(from); }
template <typename T>
__device__ __forceinline__ void store_pack(T* to, const Pack<T>& pack) {
  *reinterpret_cast<Pack<T>*>(to) = pack;
}

// N elements, which make whole packs, as floats; addresses are multiples of 16 bytes, and stores go to global memory.
template <int N, typename T>
__device__ __forceinline__ void load_floats(const T* from, float (&to)[N]) {
  static_assert(N % Pack<T>::N == 0, "whole packs");
#pragma unroll
  for (int i = 0; i < N; i += Pack<T>::N) {
    const Pack<T> pack = load_pack(from + i);
#pragma unroll
    for (int j = 0; j < Pack<T>::N; j++) to[i + j] = to_float(pack.at[j]);
  }
}
template <int N, typename T>
__device__ __forceinline__ void store_floats(T* to, const float (&from)[N]) {
  static_assert(N % Pack<T>::N == 0, "whole packs");
#pragma unroll
  for (int i = 0; i < N; i += Pack<T>::N) {
    Pack<T> pack;
#pragma unroll
    for (int j = 0; j < Pack<T>::N; j++) pack.at[j] = from_float<T>(from[i + j]);
#ifdef PREP_EMULATED
    store_pack(to + i, pack);
#else
    // Spelt out: nvcc makes eight stores of two bytes out of an array of bf16 that does not change in a loop.
    uint32_t words[4];
    memcpy(words, &pack, sizeof words);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to + i)), "r"(words[0]),
                 "r"(words[1]), "r"(words[2]), "r"(words[3])
                 : "memory");
#endif
  }
}

// Whether rows of such a width, the first at `from`, are made of packs.
template <typename T>
__device__ __forceinline__ bool has_packs(const T* from, uint64_t width) {
  return width % Pack<T>::N == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
}

// What a warp has of a row at once: 32 N columns from `first` on, N a lane, side by side where rows are PACKED, else 32
// apart. Beyond the width, zeros are loaded and nothing is stored.
template <int N, bool PACKED>
struct ColumnTile {
  static constexpr int COLUMNS = WARP * N;

  static __device__ __forceinline__ uint64_t column(uint64_t first, int j) {
    const int lane = threadIdx.x % WARP;
    return first + (PACKED ? lane * N + j : lane + j * WARP);
  }

  template <typename T>
  static __device__ __forceinline__ void load(const T* row, uint64_t first, uint64_t width, float (&x)[N]) {
    if constexpr (PACKED) {
      if (column(first, 0) < width) {
        load_floats<N>(row + column(first, 0), x);
      } else {
#pragma unroll
        for (int j = 0; j < N; j++) x[j] = 0.0f;
      }
    } else {
#pragma unroll
      for (int j = 0; j < N; j++) x[j] = column(first, j) < width ? to_float(row[column(first, j)]) : 0.0f;
    }
  }

  template <typename T>
  static __device__ __forceinline__ void store(T* row, uint64_t first, uint64_t width, const float (&x)[N]) {
    if constexpr (PACKED) {
      if (column(first, 0) < width) store_floats<N>(row + column(first, 0), x);
    } else {
#pragma unroll
      for (int j = 0; j < N; j++)
        if (column(first, j) < width) row[column(first, j)] = from_float<T>(x[j]);
    }
  }
};

// ---- Sums over a warp and over a block, the same in every lane --------------------------------------------------------

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lanes = WARP / 2; 0 < lanes; lanes /= 2) x += __shfl_xor_sync(ALL_LANES, x, lanes);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lanes = WARP / 2; 0 < lanes; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, lanes));
  return x;
}

// Every thread of the block calls it; the block is whole warps, 32 at most. `scratch` is 32 floats of shared memory.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
  x = warp_sum(x);
  __syncthreads();  // whoever still reads the sum before this one
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  return warp_sum(lane < n_warps ? scratch[lane] : 0.0f);
}

__device__ __forceinline__ float block_max(float x, float* scratch) {
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
  x = warp_max(x);
  __syncthreads();
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  return warp_max(lane < n_warps ? scratch[lane] : -INFINITE);
}

// ---- Draws of dropout: `keys.rs` and `dropout.rs` ---------------------------------------------------------------------

__device__ __forceinline__ uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// A threshold of 0 keeps everything.
struct Dropout {
  uint64_t threshold;
  uint64_t key;
  float scale;
};

__device__ __forceinline__ float dropout_factor(const Dropout& d, uint64_t position) {
  return (mix64(d.key + position) >> 32) < d.threshold ? 0.0f : d.scale;
}

// The draws of a row of their own.
__device__ __forceinline__ Dropout dropout_of_row(const Dropout& d, uint64_t row) {
  return Dropout{d.threshold, mix64(d.key + row), d.scale};
}

// ---- Tensor cores and asynchronous copies (sm_80) ---------------------------------------------------------------------

#ifndef PREP_EMULATED
// 2^x within 2 units in the last place, in one instruction; 0 below 2^-126.
__device__ __forceinline__ float power_of_2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// d += a b of bf16 with f32 sums; a 16 x 16 by rows, b 16 x 8 by columns, d 16 x 8: the fragments of PTX's
// mma.m16n8k16. With g = lane / 4 and t = lane % 4: a[0], a[1], a[2], a[3] hold columns 2t, 2t + 1 of rows g and g + 8,
// then columns 2t + 8, 2t + 9 of the same rows; b[0], b[1] hold rows 2t, 2t + 1 and 2t + 8, 2t + 9 of column g; d holds
// columns 2t, 2t + 1 of row g, then of row g + 8.
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same of f32, in f32: a[2 i] and a[2 i + 1], b[2 i] and b[2 i + 1] are the halves of register i above. By shuffles,
// at a quarter of the speed of a plain product: what is trained in f32 is small. A call, since 128 instructions for each
// product are 2 MB of PTX in attention.
inline __device__ __noinline__ float4 sum_16x8x16(float4 d, float4 a0, float4 a1, float4 b) {
  const float left[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w}, right[4] = {b.x, b.y, b.z, b.w};
  const int lane = threadIdx.x % WARP, row = lane / 4 * 4, column = lane % 4 * 8;
#pragma unroll
  for (int k = 0; k < 16; k++) {
    const int half = k / 8, pair = k % 8 / 2, odd = k % 2;
    const float upper = __shfl_sync(ALL_LANES, left[4 * half + odd], row + pair);
    const float lower = __shfl_sync(ALL_LANES, left[4 * half + 2 + odd], row + pair);
    const float even_column = __shfl_sync(ALL_LANES, right[2 * half + odd], column + pair);
    const float odd_column = __shfl_sync(ALL_LANES, right[2 * half + odd], column + 4 + pair);
    d.x += upper * even_column;
    d.y += upper * odd_column;
    d.z += lower * even_column;
    d.w += lower * odd_column;
  }
  return d;
}
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const float (&a)[8], const float (&b)[4]) {
  const float4 sum = sum_16x8x16({d[0], d[1], d[2], d[3]}, {a[0], a[1], a[2], a[3]}, {a[4], a[5], a[6], a[7]},
                                 {b[0], b[1], b[2], b[3]});
  d[0] = sum.x, d[1] = sum.y, d[2] = sum.z, d[3] = sum.w;
}

// Four 8 x 8 matrices of bf16 from shared memory: lane l gives the address (16 bytes) of row l % 8 of matrix l / 8, and
// gets columns 2 (l % 4) and one more of row l / 4 of each; with `transposed`, of each matrix transposed.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const bf16* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const bf16* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}

// 16 bytes from registers to global memory. The compiler may take a copy of a struct apart where it is conditional, into a
// store for each element; this it cannot.
__device__ __forceinline__ void store_16_bytes(void* to, const void* from) {
  uint4 words;
  memcpy(&words, from, sizeof words);
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};\n"
               :
               : "l"(to), "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
}

// 16 bytes from global to shared memory; nothing may be read before `copies_done` and a barrier. With `there` false,
// zeros, and `from` is not read.
__device__ __forceinline__ void copy_16_bytes(void* to, const void* from, bool there) {
  __pipeline_memcpy_async(to, from, 16, there ? 0 : 16);
}
__device__ __forceinline__ void commit_copies() { __pipeline_commit(); }
// Waits until all but the last `LEFT` commits of this thread have arrived.
template <int LEFT>
__device__ __forceinline__ void copies_done() { __pipeline_wait_prior(LEFT); }
#endif

// Two floats as the two bf16 of a register, `low` at the lower address.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
#ifndef PREP_EMULATED
  union {
    __nv_bfloat162 halves;
    uint32_t whole;
  } both{__floats2bfloat162_rn(low, high)};  // one instruction, where two halves are three
#else
  union {
    bf16 halves[2];
    uint32_t whole;
  } both{{__float2bfloat16_rn(low), __float2bfloat16_rn(high)}};
#endif
  return both.whole;
}
