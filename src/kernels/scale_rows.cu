// scale_rows: y[t] = weights[t] x[t] of rows; dx[t] = weights[t] dy[t], dweights[t] = x[t] . dy[t].
//
// x, y, dy, dx: (T, D), weights: (T). A block of the forward pass has a tile of 64 rows and 32 runs, see `tiles.cuh`; in
// the gradient a warp has a row, of which it has 4 runs a lane at a time.
#include "tiles.cuh"

template <typename T>
struct Forward {
  const T* x;
  const T* weights;
  T* y;
  uint64_t rows, width;
};

template <typename T>
struct Gradient {
  const T* x;
  const T* weights;
  const T* dy;
  T* dx;
  T* dweights;
  uint64_t rows, width;
};

template <int N, typename T>
__device__ __forceinline__ void forward(const Forward<T>& a) {
  const Tile<N> tile(a.rows, a.width);
  if (a.width <= tile.column) return;
  tile.for_batches([&](int i) {
    Run<T, N> x[TILE_BATCH];
    float weights[TILE_BATCH];
#pragma unroll
    for (int b = 0; b < TILE_BATCH; b++) {
      x[b] = load_run<N>(a.x + tile.row(i, b) * a.width + tile.column);
      weights[b] = to_float(a.weights[tile.row(i, b)]);
    }
#pragma unroll
    for (int b = 0; b < TILE_BATCH; b++) {
#pragma unroll
      for (int j = 0; j < N; j++) x[b].set(j, x[b][j] * weights[b]);
      if (tile.has(i, b)) store_run<N>(a.y + tile.row(i, b) * a.width + tile.column, x[b]);
    }
  });
}

template <int N, typename T>
__device__ __forceinline__ void gradient(const Gradient<T>& a) {
  constexpr int RUNS = 4;
  const uint64_t row = blockIdx.x * static_cast<uint64_t>(TILE_WARPS) + threadIdx.x / WARP;
  if (a.rows <= row) return;
  const float weight = to_float(a.weights[row]);
  const T *row_x = a.x + row * a.width, *row_dy = a.dy + row * a.width;
  float along = 0.0f;
  for (uint64_t first = threadIdx.x % WARP * N; first < a.width; first += RUNS * WARP * N) {
    Run<T, N> x[RUNS], dy[RUNS];
#pragma unroll
    for (int i = 0; i < RUNS; i++) {
      // In place of a run beyond the row, the last one.
      const uint64_t at = min(first + i * WARP * N, a.width - N);
      x[i] = load_run<N>(row_x + at);
      dy[i] = load_run<N>(row_dy + at);
    }
#pragma unroll
    for (int i = 0; i < RUNS; i++) {
      const uint64_t at = first + i * WARP * N;
      if (a.width <= at) continue;
#pragma unroll
      for (int j = 0; j < N; j++) {
        along += x[i][j] * dy[i][j];
        dy[i].set(j, dy[i][j] * weight);
      }
      store_run<N>(a.dx + row * a.width + at, dy[i]);
    }
  }
  along = warp_sum(along);
  if (threadIdx.x % WARP == 0) a.dweights[row] = from_float<T>(along);
}

KERNEL(scale_rows_f32, Forward<float>, TILE_THREADS) { forward<4>(a); }
KERNEL(scale_rows_bf16, Forward<bf16>, TILE_THREADS) { forward<8>(a); }
KERNEL(scale_rows_plain_f32, Forward<float>, TILE_THREADS) { forward<1>(a); }
KERNEL(scale_rows_plain_bf16, Forward<bf16>, TILE_THREADS) { forward<1>(a); }
KERNEL(scale_rows_gradient_f32, Gradient<float>, TILE_THREADS) { gradient<4>(a); }
KERNEL(scale_rows_gradient_bf16, Gradient<bf16>, TILE_THREADS) { gradient<8>(a); }
KERNEL(scale_rows_gradient_plain_f32, Gradient<float>, TILE_THREADS) { gradient<1>(a); }
KERNEL(scale_rows_gradient_plain_bf16, Gradient<bf16>, TILE_THREADS) { gradient<1>(a); }
