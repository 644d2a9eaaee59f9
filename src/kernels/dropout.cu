// dropout: y = x times 0 or 1 / (1 - p), as the draw at an element's position says, which is `first_draw` more than its
// place in x (T, D): rows are tokens one after another. A block has 4 * 256 runs of 16 bytes, or of one element; see
// `tiles.cuh`. A draw takes some 26 instructions, which is what limits this kernel in bf16, not memory.
#include "tiles.cuh"

template <typename T>
struct Drop {
  const T* x;
  T* y;
  uint64_t n, first_draw;
  Dropout dropout;
};

template <int N, typename T>
__device__ __forceinline__ void drop(const Drop<T>& a) {
  Run<T, N> x[FLAT_RUNS];
  load_flat<N>(x, a.x, a.n);
#pragma unroll
  for (int i = 0; i < FLAT_RUNS; i++) {
    const uint64_t at = flat_at<N>(i);
#pragma unroll
    for (int j = 0; j < N; j++) x[i].set(j, x[i][j] * dropout_factor(a.dropout, a.first_draw + at + j));
    if (at < a.n) store_run<N>(a.y + at, x[i]);
  }
}

KERNEL(dropout_f32, Drop<float>, TILE_THREADS) { drop<4>(a); }
KERNEL(dropout_bf16, Drop<bf16>, TILE_THREADS) { drop<8>(a); }
KERNEL(dropout_plain_f32, Drop<float>, TILE_THREADS) { drop<1>(a); }
KERNEL(dropout_plain_bf16, Drop<bf16>, TILE_THREADS) { drop<1>(a); }
