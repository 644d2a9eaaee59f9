// add: sum = x + y of n elements. A block has 4 * 256 runs of 16 bytes, or of one element; see `tiles.cuh`.
#include "tiles.cuh"

template <typename T>
struct Add {
  const T* x;
  const T* y;
  T* sum;
  uint64_t n;
};

template <int N, typename T>
__device__ __forceinline__ void add(const Add<T>& a) {
  Run<T, N> x[FLAT_RUNS], y[FLAT_RUNS];
  load_flat<N>(x, a.x, a.n);
  load_flat<N>(y, a.y, a.n);
#pragma unroll
  for (int i = 0; i < FLAT_RUNS; i++) {
#pragma unroll
    for (int j = 0; j < N; j++) x[i].set(j, x[i][j] + y[i][j]);
    if (flat_at<N>(i) < a.n) store_run<N>(a.sum + flat_at<N>(i), x[i]);
  }
}

KERNEL(add_f32, Add<float>, TILE_THREADS) { add<4>(a); }
KERNEL(add_bf16, Add<bf16>, TILE_THREADS) { add<8>(a); }
KERNEL(add_plain_f32, Add<float>, TILE_THREADS) { add<1>(a); }
KERNEL(add_plain_bf16, Add<bf16>, TILE_THREADS) { add<1>(a); }
