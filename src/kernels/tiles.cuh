// Work element by element, on flat arrays or on tiles of a matrix.
//
// A thread has runs of N elements: 16 bytes, or one element where those do not fit (`tiles.rs` chooses). It loads a few
// runs before it uses the first, so that enough bytes are under way.
#pragma once

#include "common.cuh"

constexpr int TILE_THREADS = 256;
constexpr int TILE_WARPS = TILE_THREADS / WARP;

template <typename T, int N>
struct alignas(N * sizeof(T)) Run {
  T at[N];

  __device__ __forceinline__ float operator[](int j) const { return to_float(at[j]); }
  __device__ __forceinline__ void set(int j, float x) { at[j] = from_float<T>(x); }
};

template <int N, typename T>
__device__ __forceinline__ Run<T, N> load_run(const T* from) { return *reinterpret_cast<const Run<T, N>*>(from); }
// To device memory.
template <int N, typename T>
__device__ __forceinline__ void store_run(T* to, const Run<T, N>& run) {
  if constexpr (N == 1) {
    *to = run.at[0];
  } else {
    static_assert(sizeof run == 16);
    store_16_bytes(to, run.at);
  }
}

// ---- Flat arrays: a thread has FLAT_RUNS runs, a block's threads side by side -----------------------------------------

constexpr int FLAT_RUNS = 4;

// Where run i of this thread begins.
template <int N>
__device__ __forceinline__ uint64_t flat_at(int i) {
  return ((blockIdx.x * static_cast<uint64_t>(FLAT_RUNS) + i) * TILE_THREADS + threadIdx.x) * N;
}

// The runs of this thread, and in place of those beyond the end the last one. n is a multiple of N, and not 0.
template <int N, typename T>
__device__ __forceinline__ void load_flat(Run<T, N> (&runs)[FLAT_RUNS], const T* from, uint64_t n) {
#pragma unroll
  for (int i = 0; i < FLAT_RUNS; i++) runs[i] = load_run<N>(from + min(flat_at<N>(i), n - N));
}

// ---- Tiles of TILE_ROWS rows and of 32 runs, a lane each; the warps of a block take rows in turn ----------------------

constexpr int TILE_ROWS = 64;
// Rows of a warp at a time.
constexpr int TILE_BATCH = 4;

template <int N>
struct Tile {
  uint64_t block;  // of rows
  uint64_t strip;  // the first column of the tile
  uint64_t column;  // of this lane, which may be beyond the matrix
  uint64_t first;
  int n_rows;

  __device__ __forceinline__ Tile(uint64_t rows, uint64_t width) {
    const uint32_t n_strips = static_cast<uint32_t>((width + WARP * N - 1) / (WARP * N));
    block = blockIdx.x / n_strips;
    strip = blockIdx.x % n_strips * static_cast<uint64_t>(WARP * N);
    column = strip + threadIdx.x % WARP * N;
    first = block * TILE_ROWS;
    n_rows = static_cast<int>(min(static_cast<uint64_t>(TILE_ROWS), rows - first));
  }

  // Calls f(i) for the first row i of each batch of this warp; the others are TILE_WARPS apart.
  template <typename F>
  __device__ __forceinline__ void for_batches(F f) const {
    for (int i = threadIdx.x / WARP; i < n_rows; i += TILE_WARPS * TILE_BATCH) f(i);
  }
  // Row b of a batch; in place of one beyond the end, the last one.
  __device__ __forceinline__ uint64_t row(int i, int b) const { return first + min(i + b * TILE_WARPS, n_rows - 1); }
  __device__ __forceinline__ bool has(int i, int b) const { return i + b * TILE_WARPS < n_rows; }
};
