// Tiles of attention in shared memory, the fragments of products on tensor cores, and the way of both from and to memory.
// Every function of fragments has a form for bf16 and one for f32, whose lanes hold the same elements of a product.
#pragma once

#include "common.cuh"

// ---- Tiles in shared memory, and the fragments of products -----------------------------------------------------------

// Rows are padded by 16 bytes, so that the same columns of eight rows lie in different banks.
template <typename T, int COLUMNS>
struct Tile {
  static constexpr int STRIDE = COLUMNS + Pack<T>::N;
  T* at;
  __device__ __forceinline__ T* operator()(int row, int column) const { return at + row * STRIDE + column; }
};

// 16 x 16 and 16 x 8, as mma_16x8x16 takes them.
template <typename T>
struct Left;
template <>
struct Left<bf16> {
  uint32_t at[4];
};
template <>
struct Left<float> {
  float at[8];
};
template <typename T>
struct Right;
template <>
struct Right<bf16> {
  uint32_t at[2];
};
template <>
struct Right<float> {
  float at[4];
};

__device__ __forceinline__ int lane_of() { return threadIdx.x % WARP; }

// a[i][k] = tile(row + i, column + k)
template <int C>
__device__ __forceinline__ void load_left(Left<bf16>& a, const Tile<bf16, C>& tile, int row, int column) {
  const int l = lane_of();
  load_matrices(a.at, tile(row + l % 16, column + l / 16 * 8));
}
template <int C>
__device__ __forceinline__ void load_left(Left<float>& a, const Tile<float, C>& tile, int row, int column) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) a.at[i] = *tile(row + g + i / 2 % 2 * 8, column + 2 * t + i % 2 + i / 4 * 8);
}

// a[i][k] = tile(row + k, column + i)
template <int C>
__device__ __forceinline__ void load_left_across(Left<bf16>& a, const Tile<bf16, C>& tile, int row, int column) {
  const int l = lane_of();
  load_matrices_transposed(a.at, tile(row + l % 8 + l / 16 * 8, column + l / 8 % 2 * 8));
}
template <int C>
__device__ __forceinline__ void load_left_across(Left<float>& a, const Tile<float, C>& tile, int row, int column) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) a.at[i] = *tile(row + 2 * t + i % 2 + i / 4 * 8, column + g + i / 2 % 2 * 8);
}

// Two at a time: b[n][k][j] = tile(row + 8 n + j, column + k)
template <int C>
__device__ __forceinline__ void load_right(Right<bf16> (&b)[2], const Tile<bf16, C>& tile, int row, int column) {
  const int l = lane_of();
  uint32_t r[4];
  load_matrices(r, tile(row + l % 8 + l / 16 * 8, column + l / 8 % 2 * 8));
  b[0].at[0] = r[0], b[0].at[1] = r[1], b[1].at[0] = r[2], b[1].at[1] = r[3];
}
template <int C>
__device__ __forceinline__ void load_right(Right<float> (&b)[2], const Tile<float, C>& tile, int row, int column) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) b[i / 4].at[i % 4] = *tile(row + g + i / 4 * 8, column + 2 * t + i % 2 + i / 2 % 2 * 8);
}

// Two at a time: b[n][k][j] = tile(row + k, column + 8 n + j)
template <int C>
__device__ __forceinline__ void load_right_across(Right<bf16> (&b)[2], const Tile<bf16, C>& tile, int row, int column) {
  const int l = lane_of();
  uint32_t r[4];
  load_matrices_transposed(r, tile(row + l % 16, column + l / 16 * 8));
  b[0].at[0] = r[0], b[0].at[1] = r[1], b[1].at[0] = r[2], b[1].at[1] = r[3];
}
template <int C>
__device__ __forceinline__ void load_right_across(Right<float> (&b)[2], const Tile<float, C>& tile, int row, int column) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) b[i / 4].at[i % 4] = *tile(row + 2 * t + i % 2 + i / 2 % 2 * 8, column + g + i / 4 * 8);
}

// Two results side by side as a left factor.
__device__ __forceinline__ void as_left(Left<bf16>& a, const float (&x)[4], const float (&y)[4]) {
  a.at[0] = pack_bf16(x[0], x[1]), a.at[1] = pack_bf16(x[2], x[3]);
  a.at[2] = pack_bf16(y[0], y[1]), a.at[3] = pack_bf16(y[2], y[3]);
}
__device__ __forceinline__ void as_left(Left<float>& a, const float (&x)[4], const float (&y)[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) a.at[i] = x[i], a.at[4 + i] = y[i];
}

template <int N>
__device__ __forceinline__ void clear(float (&x)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) x[n][i] = 0.0f;
}

// x = rows of a from `row` on, times the first `n` rows of b across: (16, 8 N), columns from `n` on being left 0.
template <typename T, int D, int N>
__device__ __forceinline__ void multiply_across(
    float (&x)[N][4], const Tile<T, D>& a, const Tile<T, D>& b, int row, int n) {
  clear(x);
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    Left<T> left;
    load_left(left, a, row, k);
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
      if (n <= 16 * j) continue;
      Right<T> right[2];
      load_right(right, b, 16 * j, k);
      mma_16x8x16(x[2 * j], left.at, right[0].at);
      mma_16x8x16(x[2 * j + 1], left.at, right[1].at);
    }
  }
}

// x += left, one of 16 columns, times 16 rows of b from `row` on.
template <typename T, int D>
__device__ __forceinline__ void add_product(float (&x)[D / 8][4], const Left<T>& left, const Tile<T, D>& b, int row) {
#pragma unroll
  for (int j = 0; j < D / 16; j++) {
    Right<T> right[2];
    load_right_across(right, b, row, 16 * j);
    mma_16x8x16(x[2 * j], left.at, right[0].at);
    mma_16x8x16(x[2 * j + 1], left.at, right[1].at);
  }
}

// x += the 16 columns from `column` on of the first `n` rows of a, across, times b.
template <typename T, int D, int C>
__device__ __forceinline__ void add_left_across(
    float (&x)[D / 8][4], const Tile<T, C>& a, const Tile<T, D>& b, int column, int n) {
#pragma unroll
  for (int k = 0; k < C; k += 16) {
    if (n <= k) continue;
    Left<T> left;
    load_left_across(left, a, k, column);
    add_product(x, left, b, k);
  }
}

// ---- To and from memory ----------------------------------------------------------------------------------------------

// Begins to copy the first `n` of ROWS rows; the others become 0. A thread has the same places in every tile.
template <int ROWS, typename T, int D>
__device__ __forceinline__ void fetch(const Tile<T, D>& tile, const T* from, uint64_t stride, int n, bool aligned) {
  constexpr int PACKS = D / Pack<T>::N, AT_ONCE = 2 * ROWS / PACKS;
  const int column = threadIdx.x % PACKS * Pack<T>::N;
  const T* its = from + threadIdx.x / PACKS * stride + column;
  if (aligned) {
#pragma unroll
    for (int i = 0; i < ROWS / AT_ONCE; i++, its += AT_ONCE * stride) {
      const int row = threadIdx.x / PACKS + i * AT_ONCE;
      copy_16_bytes(tile(row, column), row < n ? its : from, row < n);
    }
  } else {
#pragma unroll 1
    for (int row = threadIdx.x / PACKS; row < ROWS; row += AT_ONCE, its += AT_ONCE * stride)
#pragma unroll 1
      for (int c = 0; c < Pack<T>::N; c++) *tile(row, column + c) = row < n ? its[c] : from_float<T>(0.0f);
  }
}

// Adds the bias to what this thread has copied.
template <int ROWS, typename T, int D>
__device__ __forceinline__ void add_bias(const Tile<T, D>& tile, const T* bias, int n) {
  constexpr int PACKS = D / Pack<T>::N, AT_ONCE = 2 * ROWS / PACKS;
  const int column = threadIdx.x % PACKS * Pack<T>::N;
  float its[Pack<T>::N];
#pragma unroll
  for (int c = 0; c < Pack<T>::N; c++) its[c] = to_float(bias[column + c]);
#pragma unroll
  for (int i = 0; i < ROWS / AT_ONCE; i++) {
    const int row = threadIdx.x / PACKS + i * AT_ONCE;
    if (n <= row) continue;
    Pack<T> pack = load_pack(tile(row, column));
#pragma unroll
    for (int c = 0; c < Pack<T>::N; c++) pack.at[c] = from_float<T>(to_float(pack.at[c]) + its[c]);
    store_pack(tile(row, column), pack);
  }
}

// Rows g and g + 8 of a result, times `factor`, to the first `n` rows from `to` on, which is a multiple of 16 bytes.
template <int N>
__device__ __forceinline__ void store_rows(
    float* to, uint64_t stride, int n, const float (&x)[N][4], const float (&factor)[2]) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    if (n <= g + 8 * half) continue;
    float* row = to + (g + 8 * half) * stride + 2 * t;
#pragma unroll
    for (int j = 0; j < N; j++)
      *reinterpret_cast<float2*>(row + 8 * j) =
          float2{x[j][2 * half] * factor[half], x[j][2 * half + 1] * factor[half]};
  }
}
// Four lanes that have two columns of each of four results exchange them, so that each has the eight of one.
template <int N>
__device__ __forceinline__ void store_rows(
    bf16* to, uint64_t stride, int n, const float (&x)[N][4], const float (&factor)[2]) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int j = 0; j < N; j += 4) {
      uint32_t of[4];
#pragma unroll
      for (int i = 0; i < 4; i++)
        of[i] = pack_bf16(x[j + i][2 * half] * factor[half], x[j + i][2 * half + 1] * factor[half]);
#pragma unroll
      for (int bit = 1; bit < 4; bit *= 2) {
        const bool high = t & bit;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if (i & bit) continue;
          const uint32_t theirs = __shfl_xor_sync(ALL_LANES, high ? of[i] : of[i + bit], bit);
          (high ? of[i] : of[i + bit]) = theirs;
        }
      }
      if (g + 8 * half < n)
        *reinterpret_cast<uint4*>(to + (g + 8 * half) * stride + 8 * (j + t)) = uint4{of[0], of[1], of[2], of[3]};
    }
  }
}

// A result to shared memory, from row and column on.
template <int N, int C>
__device__ __forceinline__ void store_result(const Tile<float, C>& tile, int row, int column, const float (&x)[N][4]) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) *tile(row + g + i / 2 * 8, column + 8 * j + 2 * t + i % 2) = x[j][i];
}
template <int N, int C>
__device__ __forceinline__ void store_result(const Tile<bf16, C>& tile, int row, int column, const float (&x)[N][4]) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int half = 0; half < 2; half++)
      *reinterpret_cast<uint32_t*>(tile(row + g + 8 * half, column + 8 * j + 2 * t)) =
          pack_bf16(x[j][2 * half], x[j][2 * half + 1]);
}

// Columns of a result of 16 rows added up, onto `sum`: columns 8 n + 2 t and one more, n being lane / 4 of 8, or
// lane / 8 of 4 results.
template <int N>
__device__ __forceinline__ void add_columns(float (&sum)[2], const float (&x)[N][4]) {
  const int lane = lane_of();
  float v[N][2];
#pragma unroll
  for (int n = 0; n < N; n++) v[n][0] = x[n][0] + x[n][2], v[n][1] = x[n][1] + x[n][3];
  int mask = 16;
#pragma unroll
  for (int left = N / 2; 0 < left; left /= 2, mask /= 2) {
    const bool high = lane & mask;
#pragma unroll
    for (int n = 0; n < left; n++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float theirs = __shfl_xor_sync(ALL_LANES, high ? v[n][i] : v[n + left][i], mask);
        v[n][i] = (high ? v[n + left][i] : v[n][i]) + theirs;
      }
  }
  if (N == 4)
#pragma unroll
    for (int i = 0; i < 2; i++) v[0][i] += __shfl_xor_sync(ALL_LANES, v[0][i], 4);
  sum[0] += v[0][0];
  sum[1] += v[0][1];
}
