// What the passes of attention share: what they are given, and scores with their bias, mask and dropout.
#pragma once

#include "attention_tile.cuh"

constexpr float LOG2_E = 1.4426950408889634f;

// Where a block works.
struct Item {
  uint32_t first;   // token of the sequence
  uint32_t length;  // of the sequence
  uint32_t start;   // first query of the tile
  uint32_t row;     // of `work` and the statistics: sequences of several tiles, one after another, in whole tiles
};

template <typename T>
struct Inputs {
  const T* qkv;
  const T* bias;  // or null
  const T* rel;   // or null
  const Item* items;
  uint64_t heads, distances;
  uint64_t first_token;  // of the batch
  Dropout dropout;
  float scale;
  uint32_t aligned;  // qkv and dy are at multiples of 16 bytes
};

// ---- Scores ----------------------------------------------------------------------------------------------------------

// rel, times log2 e, of the distances from `shift` - TILE + 1 on, 0 where no pair of the sequence has such.
template <int TILE, typename T>
__device__ __forceinline__ void fetch_rel(float* to, const Inputs<T>& in, uint64_t head, uint32_t length, int64_t shift) {
  const int64_t end = length, middle = static_cast<int64_t>(in.distances / 2);
  const int64_t distance = shift - (TILE - 1) + static_cast<int64_t>(threadIdx.x);
  const bool there = -end < distance && distance < end;
  to[threadIdx.x] = there ? to_float(in.rel[head * in.distances + (middle + distance)]) * LOG2_E : 0.0f;
}

// Products to scores times log2 e: those of the queries from `row` of the tile on and the first `n` keys; -INFINITE for
// other keys. `rel` points at the distance of the first query of the tile and the first of the keys.
template <int N, typename T>
__device__ __forceinline__ void to_scores(float (&s)[N][4], const Inputs<T>& in, const float* rel, int row, int n) {
  const int g = lane_of() / 4, t = lane_of() % 4;
  const float scale = in.scale * LOG2_E;
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = 8 * j + 2 * t + i % 2, query = row + g + i / 2 * 8;
      const float bias = in.rel ? rel[key - query] : 0.0f;
      s[j][i] = key < n ? s[j][i] * scale + bias : -INFINITE;
    }
}

// Over the four lanes that have a row.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(ALL_LANES, x, 1);
  return x + __shfl_xor_sync(ALL_LANES, x, 2);
}
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
  return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

// What dropout keeps of a warp's 16 rows from token number `token` on and 8 N keys from `first` on, of which `n` are
// there: bit 4 j + i for x[j][i] of a result. Drawn once for all that it multiplies.
template <int N, typename T>
__device__ __forceinline__ uint32_t draw(const Inputs<T>& in, uint64_t token, uint64_t head, uint64_t first, int n) {
  static_assert(4 * N <= 32);
  const int g = lane_of() / 4, t = lane_of() % 4;
  uint32_t kept = 0;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint64_t row = (in.first_token + token + g + 8 * half) * in.heads + head;
    const Dropout draws = dropout_of_row(in.dropout, row);
#pragma unroll
    for (int j = 0; j < N; j++) {
      if (n <= 8 * j) continue;
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (dropout_factor(draws, first + 8 * j + 2 * t + i) != 0.0f) kept |= 1u << (4 * j + 2 * half + i);
    }
  }
  return kept;
}

template <int N>
__device__ __forceinline__ void drop_some(float (&x)[N][4], uint32_t kept, float scale) {
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) x[j][i] = kept >> (4 * j + i) & 1 ? x[j][i] * scale : 0.0f;
}
