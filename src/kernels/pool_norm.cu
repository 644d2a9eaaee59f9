// pool_norm: u = the mean over a sequence's tokens, or its first; y = u, or u / max(|u|, 1e-12).
// From dy, with du = (dy - u (u dy) / |u|^2) / |u| where y is normalised (dy / 1e-12 below that length) and du = dy where
// not: dx = du / n for each of n tokens, or du for the first and 0 for the others.
//
// x, dx: (T, D), y, dy: (S, D), offsets: (S + 1). A block of eight warps has a sequence; scratch (S, D) f32 holds its u,
// then its du. For the mean a warp has every eighth token, 32 packs of 16 bytes of it at a time, and the warps' sums are
// added up in order.
//
// Bytes: the forward pass reads x once. The gradient reads x once more (candle keeps y, which has lost |u|) and writes
// dx: for T = 65,536, D = 768 in bf16 24 us and 47 us at 4.3 TB/s (not measured).
#include "common.cuh"

constexpr int WARPS = 8;
constexpr float SHORTEST = 1e-12f;

template <typename T>
struct Forward {
  const T* x;
  const uint32_t* offsets;
  T* y;
  float* scratch;
  uint64_t width;
  uint32_t is_mean, is_normalised;
};

template <typename T>
struct Gradient {
  const T* x;
  const T* dy;
  const uint32_t* offsets;
  T* dx;
  float* scratch;
  uint64_t width;
  uint32_t is_mean, is_normalised;
};

// The mean of n tokens at x into u; a barrier stands at the end.
template <typename T, bool PACKED>
__device__ __forceinline__ void mean(const T* x, uint32_t n, uint64_t width, float* u) {
  constexpr int N = Pack<T>::N;
  using Columns = ColumnTile<N, PACKED>;
  SHARED(float, sums, [WARPS][Columns::COLUMNS]);
  const int warp = threadIdx.x / WARP;
  const float share = 1.0f / static_cast<float>(n);
  for (uint64_t first = 0; first < width; first += Columns::COLUMNS) {
    float sum[N] = {};
#pragma unroll 4
    for (uint32_t t = warp; t < n; t += WARPS) {
      float token[N];
      Columns::load(x + t * width, first, width, token);
#pragma unroll
      for (int j = 0; j < N; j++) sum[j] += token[j];
    }
#pragma unroll
    for (int j = 0; j < N; j++) sums[warp][Columns::column(0, j)] = sum[j];
    __syncthreads();
    for (uint64_t c = threadIdx.x; c < min(static_cast<uint64_t>(Columns::COLUMNS), width - first); c += blockDim.x) {
      float total = 0.0f;
#pragma unroll
      for (int w = 0; w < WARPS; w++) total += sums[w][c];
      u[first + c] = total * share;
    }
    __syncthreads();
  }
}

template <typename T>
__device__ __forceinline__ void pool(const T* x, uint32_t n, uint64_t width, bool is_mean, bool is_packed, float* u) {
  if (!is_mean) {
    for (uint64_t c = threadIdx.x; c < width; c += blockDim.x) u[c] = to_float(x[c]);
    __syncthreads();
  } else if (is_packed) {
    mean<T, true>(x, n, width, u);
  } else {
    mean<T, false>(x, n, width, u);
  }
}

template <typename T>
__device__ __forceinline__ void forward(const Forward<T>& a) {
  SHARED(float, scratch, [WARP]);
  const uint64_t s = blockIdx.x, first = a.offsets[s];
  const uint32_t n = a.offsets[s + 1] - a.offsets[s];
  float* u = a.scratch + s * a.width;
  pool(a.x + first * a.width, n, a.width, a.is_mean != 0, has_packs(a.x, a.width), u);
  float per_length = 1.0f;
  if (a.is_normalised != 0) {
    float square = 0.0f;
    for (uint64_t c = threadIdx.x; c < a.width; c += blockDim.x) square += u[c] * u[c];
    per_length = 1.0f / fmaxf(sqrtf(block_sum(square, scratch)), SHORTEST);
  }
  for (uint64_t c = threadIdx.x; c < a.width; c += blockDim.x)
    a.y[s * a.width + c] = from_float<T>(u[c] * per_length);
}

// dx of the n tokens of a sequence, from the gradient of each.
template <typename T, bool PACKED>
__device__ __forceinline__ void share_out(const float* of_each, bool is_mean, T* dx, uint32_t n, uint64_t width) {
  constexpr int N = Pack<T>::N;
  using Columns = ColumnTile<N, PACKED>;
  for (uint64_t first = 0; first < width; first += Columns::COLUMNS) {
    float token[N];
    Columns::load(of_each, first, width, token);
    for (uint32_t t = threadIdx.x / WARP; t < n; t += WARPS) {
      float own[N];
#pragma unroll
      for (int j = 0; j < N; j++) own[j] = is_mean || t == 0 ? token[j] : 0.0f;
      Columns::store(dx + t * width, first, width, own);
    }
  }
}

template <typename T>
__device__ __forceinline__ void gradient(const Gradient<T>& a) {
  SHARED(float, scratch, [WARP]);
  const uint64_t s = blockIdx.x, first = a.offsets[s];
  const uint32_t n = a.offsets[s + 1] - a.offsets[s];
  const T* dy = a.dy + s * a.width;
  float* u = a.scratch + s * a.width;
  const bool is_mean = a.is_mean != 0, is_packed = has_packs(a.x, a.width) && has_packs(a.dx, a.width);
  const float share = is_mean ? 1.0f / static_cast<float>(n) : 1.0f;
  float per_length = 1.0f, along = 0.0f;
  if (a.is_normalised != 0) {
    pool(a.x + first * a.width, n, a.width, is_mean, is_packed, u);
    float square = 0.0f, product = 0.0f;
    for (uint64_t c = threadIdx.x; c < a.width; c += blockDim.x) {
      square += u[c] * u[c];
      product += u[c] * to_float(dy[c]);
    }
    square = block_sum(square, scratch);
    product = block_sum(product, scratch);
    const float length = sqrtf(square);
    per_length = 1.0f / fmaxf(length, SHORTEST);
    along = length < SHORTEST ? 0.0f : product / square;
  }
  for (uint64_t c = threadIdx.x; c < a.width; c += blockDim.x) {
    const float across = a.is_normalised != 0 ? to_float(dy[c]) - u[c] * along : to_float(dy[c]);
    u[c] = across * per_length * share;
  }
  __syncthreads();
  if (is_packed)
    share_out<T, true>(u, is_mean, a.dx + first * a.width, n, a.width);
  else
    share_out<T, false>(u, is_mean, a.dx + first * a.width, n, a.width);
}

KERNEL(pool_norm_f32, Forward<float>, WARPS * WARP) { forward(a); }
KERNEL(pool_norm_bf16, Forward<bf16>, WARPS * WARP) { forward(a); }
KERNEL(pool_norm_gradient_f32, Gradient<float>, WARPS * WARP) { gradient(a); }
KERNEL(pool_norm_gradient_bf16, Gradient<bf16>, WARPS * WARP) { gradient(a); }
