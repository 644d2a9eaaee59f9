// bias_activation: y = f(x + bias); its gradient dx = dy f'(x + bias), and dbias = sum over rows of dx.
//
// x, y, dy, dx: (T, N), bias: (N), parts: (blocks of 64 rows, N) f32, which `rows.cu` adds up. A block of 8 warps has a
// tile of 64 rows and 32 runs; see `tiles.cuh`. Warps add up what they have of a column in the order of their numbers.
#include "activations.cuh"
#include "tiles.cuh"

template <typename T>
struct Forward {
  const T* x;
  const T* bias;
  T* y;
  uint64_t rows, width;
};

template <typename T>
struct Gradient {
  const T* x;
  const T* bias;
  const T* dy;
  T* dx;
  float* parts;
  uint64_t rows, width;
};

template <typename Activation, int N, typename T>
__device__ __forceinline__ void forward(const Forward<T>& a) {
  const Tile<N> tile(a.rows, a.width);
  if (a.width <= tile.column) return;
  const Run<T, N> bias = load_run<N>(a.bias + tile.column);
  tile.for_batches([&](int i) {
    Run<T, N> x[TILE_BATCH];
#pragma unroll
    for (int b = 0; b < TILE_BATCH; b++) x[b] = load_run<N>(a.x + tile.row(i, b) * a.width + tile.column);
#pragma unroll
    for (int b = 0; b < TILE_BATCH; b++) {
#pragma unroll
      for (int j = 0; j < N; j++) x[b].set(j, Activation::value(x[b][j] + bias[j]));
      if (tile.has(i, b)) store_run<N>(a.y + tile.row(i, b) * a.width + tile.column, x[b]);
    }
  });
}

template <typename Activation, int N, typename T>
__device__ __forceinline__ void gradient(const Gradient<T>& a) {
  // Rows of lanes are 4 apart, so that neither writing nor reading has two lanes of 32 at one bank.
  SHARED(float, sums, [TILE_WARPS][N][WARP + 4]);
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const Tile<N> tile(a.rows, a.width);
  float sum[N] = {};
  if (tile.column < a.width) {
    const Run<T, N> bias = load_run<N>(a.bias + tile.column);
    tile.for_batches([&](int i) {
      Run<T, N> x[TILE_BATCH], dy[TILE_BATCH];
#pragma unroll
      for (int b = 0; b < TILE_BATCH; b++) {
        x[b] = load_run<N>(a.x + tile.row(i, b) * a.width + tile.column);
        dy[b] = load_run<N>(a.dy + tile.row(i, b) * a.width + tile.column);
      }
#pragma unroll
      for (int b = 0; b < TILE_BATCH; b++) {
        if (!tile.has(i, b)) continue;
#pragma unroll
        for (int j = 0; j < N; j++) {
          const float dx = dy[b][j] * Activation::slope(x[b][j] + bias[j]);
          x[b].set(j, dx);
          sum[j] += dx;
        }
        store_run<N>(a.dx + tile.row(i, b) * a.width + tile.column, x[b]);
      }
    });
  }
#pragma unroll
  for (int j = 0; j < N; j++) sums[warp][j][lane] = sum[j];
  __syncthreads();
  for (int c = threadIdx.x; c < WARP * N; c += TILE_THREADS) {
    float dbias = 0.0f;
#pragma unroll
    for (int w = 0; w < TILE_WARPS; w++) dbias += sums[w][c % N][c / N];
    if (tile.strip + c < a.width) a.parts[tile.block * a.width + tile.strip + c] = dbias;
  }
}

#define KERNELS_OF_TYPE(name, Activation, N, T, dtype)                                               \
  KERNEL(name##_##dtype, Forward<T>, TILE_THREADS) { forward<Activation, N>(a); }                    \
  KERNEL(name##_plain_##dtype, Forward<T>, TILE_THREADS) { forward<Activation, 1>(a); }              \
  KERNEL(name##_gradient_##dtype, Gradient<T>, TILE_THREADS) { gradient<Activation, N>(a); }         \
  KERNEL(name##_gradient_plain_##dtype, Gradient<T>, TILE_THREADS) { gradient<Activation, 1>(a); }

#define KERNELS(name, Activation)                  \
  KERNELS_OF_TYPE(name, Activation, 4, float, f32) \
  KERNELS_OF_TYPE(name, Activation, 8, bf16, bf16)

KERNELS(gelu, Gelu)
KERNELS(gelu_tanh, GeluTanh)
KERNELS(relu, Relu)
