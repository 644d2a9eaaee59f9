// rms_norm: y = x r gain, r = 1 / sqrt(mean(x^2) + eps) over a row; with n = x r and g = dy gain,
// dx = r (g - n mean(g n)) and dgain = sum over rows of dy n.
//
// x, dy: (T, D), gain: (D). A warp has a row at a time. In the gradient a block has ROWS rows: their dx first, then, by
// columns, what they add to dgain, for which x and dy come from the second cache; `rows.cu` adds up the blocks.
#include "common.cuh"

constexpr int ROWS = 64;

template <typename T>
struct Forward {
  const T* x;
  const T* gain;
  T* y;
  uint64_t rows, width;
  float eps;
};

template <typename T>
struct Gradient {
  const T* x;
  const T* gain;
  const T* dy;
  T* dx;
  float* parts;  // (blocks, D)
  uint64_t rows, width;
  float eps;
};

// Every lane of the warp calls it.
template <typename T>
__device__ __forceinline__ float per_rms(const T* x, uint64_t width, float eps) {
  float square = 0.0f;
  for (uint64_t c = threadIdx.x % WARP; c < width; c += WARP) square += to_float(x[c]) * to_float(x[c]);
  return 1.0f / sqrtf(warp_sum(square) / static_cast<float>(width) + eps);
}

template <typename T>
__device__ __forceinline__ void forward(const Forward<T>& a) {
  const uint64_t row = blockIdx.x * static_cast<uint64_t>(blockDim.x / WARP) + threadIdx.x / WARP;
  if (a.rows <= row) return;
  const T* x = a.x + row * a.width;
  const float r = per_rms(x, a.width, a.eps);
  for (uint64_t c = threadIdx.x % WARP; c < a.width; c += WARP)
    a.y[row * a.width + c] = from_float<T>(to_float(x[c]) * r * to_float(a.gain[c]));
}

template <typename T>
__device__ __forceinline__ void gradient(const Gradient<T>& a) {
  __shared__ float r_of[ROWS];
  const uint64_t first = blockIdx.x * static_cast<uint64_t>(ROWS);
  const int n = static_cast<int>(min(static_cast<uint64_t>(ROWS), a.rows - first));
  for (int i = threadIdx.x / WARP; i < n; i += blockDim.x / WARP) {
    const uint64_t at = (first + i) * a.width;
    const float r = per_rms(a.x + at, a.width, a.eps);
    float along = 0.0f;
    for (uint64_t c = threadIdx.x % WARP; c < a.width; c += WARP)
      along += to_float(a.dy[at + c]) * to_float(a.gain[c]) * to_float(a.x[at + c]);
    const float mean_gn = warp_sum(along) * r / static_cast<float>(a.width);
    for (uint64_t c = threadIdx.x % WARP; c < a.width; c += WARP) {
      const float g = to_float(a.dy[at + c]) * to_float(a.gain[c]);
      a.dx[at + c] = from_float<T>(r * (g - to_float(a.x[at + c]) * r * mean_gn));
    }
    if (threadIdx.x % WARP == 0) r_of[i] = r;
  }
  __syncthreads();
  for (uint64_t c = threadIdx.x; c < a.width; c += blockDim.x) {
    float dgain = 0.0f;
    for (int i = 0; i < n; i++) {
      const uint64_t at = (first + i) * a.width + c;
      dgain += to_float(a.dy[at]) * to_float(a.x[at]) * r_of[i];
    }
    a.parts[blockIdx.x * a.width + c] = dgain;
  }
}

KERNEL(rms_norm_f32, Forward<float>, 256) { forward(a); }
KERNEL(rms_norm_bf16, Forward<bf16>, 256) { forward(a); }
KERNEL(rms_norm_gradient_f32, Gradient<float>, 256) { gradient(a); }
KERNEL(rms_norm_gradient_bf16, Gradient<bf16>, 256) { gradient(a); }
