// adamw: one update of a flat buffer of parameters, in place; and the sum of squares of all gradients.
//
// The buffer is (3, N) f32: values w, first moments m, second moments v, each parameter at a multiple of 8 in each row.
// With g the gradient times its scale, in the order of PyTorch:
//   w *= decay;  m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2;  w -= step m / (sqrt(v) / root + eps)
// Where there is a `rounded` row (N) bf16, the new w goes there too: what the network computes with.
//
// Bytes: 16 read and 14 written a parameter. A block has a chunk of one parameter, from a table of all; a table of
// embeddings, whose gradient has the touched rows alone, is a kernel of its own with a warp a row.
#include "common.cuh"

struct Scalars {
  float gradient_scale, one_minus_beta1, beta2, one_minus_beta2, root, eps, minus_step;
};

struct Chunk {
  const float* gradient;
  uint64_t offset;  // in a row of the buffer
  uint32_t n;
  float decay;
};

struct Update {
  float* buffer;
  bf16* rounded;  // or null
  const Chunk* chunks;
  uint64_t n_values;  // N
  Scalars scalars;
};

struct UpdateRows {
  float* buffer;
  bf16* rounded;
  const uint32_t* touched;  // ascending
  const float* gradient;    // (n_touched, width)
  uint64_t n_values, offset, n_rows, width, n_touched;
  Scalars scalars;
  float decay;
};

struct SquaredNorm {
  const Chunk* chunks;
  double* parts;  // one a chunk
};

struct SumNorm {
  const double* parts;
  double* sum;
  uint64_t n_parts;
};

__device__ __forceinline__ void update(const Scalars& s, float decay, float gradient, float& w, float& m, float& v) {
  const float g = gradient * s.gradient_scale;
  w *= decay;
  m += s.one_minus_beta1 * (g - m);
  v = v * s.beta2 + s.one_minus_beta2 * g * g;
  w += s.minus_step * m / (sqrtf(v) / s.root + s.eps);
}

// Elements `at` and so many more of one parameter; a gradient of null is zero.
__device__ __forceinline__ void update_run(const Scalars& s, float decay, const float* gradient, float* buffer,
                                           bf16* rounded, uint64_t n_values, uint64_t at, uint64_t n, uint64_t first,
                                           uint64_t stride) {
  float *w = buffer + at, *m = w + n_values, *v = m + n_values;
  const bool aligned = (reinterpret_cast<uintptr_t>(gradient) % 16 | reinterpret_cast<uintptr_t>(w) % 16 |
                        reinterpret_cast<uintptr_t>(m) % 16 | reinterpret_cast<uintptr_t>(v) % 16) == 0;
  const uint64_t n_packed = aligned ? n / 4 * 4 : 0;
  for (uint64_t i = first * 4; i < n_packed; i += stride * 4) {
    Pack<float> g{}, values = load_pack(w + i), one = load_pack(m + i), two = load_pack(v + i);
    if (gradient) g = load_pack(gradient + i);
#pragma unroll
    for (int k = 0; k < 4; k++) update(s, decay, g.at[k], values.at[k], one.at[k], two.at[k]);
    store_pack(w + i, values);
    store_pack(m + i, one);
    store_pack(v + i, two);
    if (rounded)
      for (int k = 0; k < 4; k++) rounded[at + i + k] = from_float<bf16>(values.at[k]);
  }
  for (uint64_t i = n_packed + first; i < n; i += stride) {
    update(s, decay, gradient ? gradient[i] : 0.0f, w[i], m[i], v[i]);
    if (rounded) rounded[at + i] = from_float<bf16>(w[i]);
  }
}

KERNEL(adamw_f32, Update, 256) {
  const Chunk chunk = a.chunks[blockIdx.x];
  update_run(a.scalars, chunk.decay, chunk.gradient, a.buffer, a.rounded, a.n_values, chunk.offset, chunk.n,
             threadIdx.x, blockDim.x);
}

KERNEL(adamw_rows_f32, UpdateRows, 256) {
  const uint64_t row = blockIdx.x * static_cast<uint64_t>(blockDim.x / WARP) + threadIdx.x / WARP;
  if (a.n_rows <= row) return;
  uint64_t low = 0, high = a.n_touched;
  while (low < high) {
    const uint64_t middle = (low + high) / 2;
    if (a.touched[middle] < row)
      low = middle + 1;
    else
      high = middle;
  }
  const bool is_touched = low < a.n_touched && a.touched[low] == row;
  update_run(a.scalars, a.decay, is_touched ? a.gradient + low * a.width : nullptr, a.buffer, a.rounded, a.n_values,
             a.offset + row * a.width, a.width, threadIdx.x % WARP, WARP);
}

// The sum over the block, in the first thread.
__device__ __forceinline__ double block_sum_f64(double x) {
  SHARED(double, sums, [256]);
  sums[threadIdx.x] = x;
  for (int half = 128; 0 < half; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  return sums[0];
}

KERNEL(squared_norm_f32, SquaredNorm, 256) {
  const Chunk chunk = a.chunks[blockIdx.x];
  double sum = 0.0;
  for (uint32_t i = threadIdx.x; i < chunk.n; i += blockDim.x) {
    const double g = static_cast<double>(chunk.gradient[i]);
    sum += g * g;
  }
  sum = block_sum_f64(sum);
  if (threadIdx.x == 0) a.parts[blockIdx.x] = sum;
}

KERNEL(sum_norm_f32, SumNorm, 256) {
  double sum = 0.0;
  for (uint64_t i = threadIdx.x; i < a.n_parts; i += blockDim.x) sum += a.parts[i];
  sum = block_sum_f64(sum);
  if (threadIdx.x == 0) *a.sum = sum;
}
