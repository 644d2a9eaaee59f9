// gated_gelu: y = gelu(u) v of rows [u, v], with the tanh variant; du = dy v gelu'(u), dv = dy gelu(u).
//
// x, dx: (T, 2N), y, dy: (T, N). A block of 8 warps has a tile of 64 rows and 32 runs of y; see `tiles.cuh`.
#include "activations.cuh"
#include "tiles.cuh"

template <typename T>
struct Forward {
  const T* x;
  T* y;
  uint64_t rows, width;  // of y
};

template <typename T>
struct Gradient {
  const T* x;
  const T* dy;
  T* dx;
  uint64_t rows, width;
};

template <int N, typename T>
__device__ __forceinline__ void forward(const Forward<T>& a) {
  const Tile<N> tile(a.rows, a.width);
  if (a.width <= tile.column) return;
  tile.for_batches([&](int i) {
    Run<T, N> u[TILE_BATCH], v[TILE_BATCH];
#pragma unroll
    for (int b = 0; b < TILE_BATCH; b++) {
      const T* at = a.x + tile.row(i, b) * 2 * a.width + tile.column;
      u[b] = load_run<N>(at);
      v[b] = load_run<N>(at + a.width);
    }
#pragma unroll
    for (int b = 0; b < TILE_BATCH; b++) {
#pragma unroll
      for (int j = 0; j < N; j++) u[b].set(j, GeluTanh::value(u[b][j]) * v[b][j]);
      if (tile.has(i, b)) store_run<N>(a.y + tile.row(i, b) * a.width + tile.column, u[b]);
    }
  });
}

template <int N, typename T>
__device__ __forceinline__ void gradient(const Gradient<T>& a) {
  const Tile<N> tile(a.rows, a.width);
  if (a.width <= tile.column) return;
  tile.for_batches([&](int i) {
    Run<T, N> u[TILE_BATCH], v[TILE_BATCH], dy[TILE_BATCH];
#pragma unroll
    for (int b = 0; b < TILE_BATCH; b++) {
      const T* at = a.x + tile.row(i, b) * 2 * a.width + tile.column;
      u[b] = load_run<N>(at);
      v[b] = load_run<N>(at + a.width);
      dy[b] = load_run<N>(a.dy + tile.row(i, b) * a.width + tile.column);
    }
#pragma unroll
    for (int b = 0; b < TILE_BATCH; b++) {
#pragma unroll
      for (int j = 0; j < N; j++) {
        const float its_u = u[b][j], its_dy = dy[b][j], phi = GeluTanh::distribution(its_u);
        u[b].set(j, its_dy * v[b][j] * GeluTanh::slope_of(its_u, phi));
        v[b].set(j, its_dy * its_u * phi);
      }
      if (!tile.has(i, b)) continue;
      T* at = a.dx + tile.row(i, b) * 2 * a.width + tile.column;
      store_run<N>(at, u[b]);
      store_run<N>(at + a.width, v[b]);
    }
  });
}

KERNEL(gated_gelu_f32, Forward<float>, TILE_THREADS) { forward<4>(a); }
KERNEL(gated_gelu_bf16, Forward<bf16>, TILE_THREADS) { forward<8>(a); }
KERNEL(gated_gelu_plain_f32, Forward<float>, TILE_THREADS) { forward<1>(a); }
KERNEL(gated_gelu_plain_bf16, Forward<bf16>, TILE_THREADS) { forward<1>(a); }
KERNEL(gated_gelu_gradient_f32, Gradient<float>, TILE_THREADS) { gradient<4>(a); }
KERNEL(gated_gelu_gradient_bf16, Gradient<bf16>, TILE_THREADS) { gradient<8>(a); }
KERNEL(gated_gelu_gradient_plain_f32, Gradient<float>, TILE_THREADS) { gradient<1>(a); }
KERNEL(gated_gelu_gradient_plain_bf16, Gradient<bf16>, TILE_THREADS) { gradient<1>(a); }
