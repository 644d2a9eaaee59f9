// Norms of rows: what `layer_norm`, `add_norm`, `rms_norm` and `add_rms_norm` are instances of.
//
//   h = x, or drop(x + bias) + residual, where `add_rms_norm` has no bias, and h is an output too
//   n = (h - mean(h)) r,  r = 1 / sqrt(mean((h - mean(h))^2) + eps),  y = n gain + shift
//   dh = r (g - mean(g) - n mean(g n)),  g = dy gain;  dresidual = dh,  dx = dh factor of dropout
//   dbias = sum of dx,  dgain = sum of dy n,  dshift = sum of dy, over rows
//
// In the RMS norms mean(h), mean(g) and shift are 0. x, residual, y, dy, dx: (T, D); params: (1 to 3, D), which are bias
// if there is one, gain, and shift if there is one. The gradient of `add_rms_norm` reads h where it stands, and adds the
// gradient that h has as an output.
//
// A team of warps has some rows at a time, each thread ELEMENTS columns of them in registers, loaded 16 bytes at a time,
// so that memory is read once and written once; the loads and the sums of these rows go together, which keeps enough
// bytes under way and spares barriers. A block has one batch of rows for each team in the forward pass. In the gradient
// it has `block_rows` rows, over which every thread sums for its columns; the teams of a block are added up in order,
// and `rows.cu` adds up the blocks. A warp to each row, with 24 columns of 768 for each lane, needs no barriers, but 196
// registers for the gradient of `add_norm`: 8 warps of a multiprocessor would be left to wait for memory.
//
// Rows that this does not fit (a width of no whole packs, an address that is no multiple of 16, or more than 4,096
// columns) take a plain path of warps, with several passes over memory that the cache has. `norm_rows.rs` chooses.
//
// Teams share nothing but barriers, which all threads of a block pass equally often: who has no row left takes one again
// and writes nothing.
#pragma once

#include "common.cuh"

enum class Norm { RMS, LAYER, ADD, ADD_RMS };

template <Norm NORM>
constexpr bool IS_RMS = NORM == Norm::RMS || NORM == Norm::ADD_RMS;
// Whether h is a sum, of which dropout may have left out some of x.
template <Norm NORM>
constexpr bool IS_SUM = NORM == Norm::ADD || NORM == Norm::ADD_RMS;
template <Norm NORM>
constexpr int N_PARAMS = IS_RMS<NORM> ? 1 : NORM == Norm::LAYER ? 2 : 3;
// The row of `params` that is the gain; that after it is the shift.
template <Norm NORM>
constexpr int GAIN = NORM == Norm::ADD ? 1 : 0;

// Columns of a thread; rows of a team at a time, which are as many bytes in both types.
constexpr int ELEMENTS = 8;
template <Norm NORM, typename T>
constexpr int NORM_BATCH = (IS_SUM<NORM> ? 4 : 8) / sizeof(T);
template <typename T>
constexpr int GRADIENT_BATCH = 4 / sizeof(T);
// A team is 512 threads at most. That the compiler is told of 640 leaves 96 registers to each, and room for two blocks of
// ten warps.
constexpr int NORM_THREADS = 640;
// Rows of a block that takes the plain path of the gradient, at most.
constexpr int PLAIN_ROWS = 64;

template <typename T>
struct Rows {
  const T* x;         // of the gradient of add_rms_norm, h
  const T* residual;  // of the gradient of add_rms_norm, that of h as an output
  const T* params;
  const T* dy;
  T* y;          // or the gradient of h
  T* dx;         // null where it is that of h; in the forward pass of add_rms_norm, h
  float* parts;  // (blocks, params, D)
  uint64_t rows, width;
  uint64_t block_rows;  // of the gradient
  uint64_t first_draw;  // of the element at row 0, column 0
  uint32_t team_warps;
  float per_width;  // 1 / D
  float eps;
  Dropout dropout;
};

// ---- In registers ----------------------------------------------------------------------------------------------------

template <typename T>
struct Team {
  static constexpr int N = Pack<T>::N, PACKS = ELEMENTS / N;
  uint32_t number, n_teams, thread, n_threads, n_packs;

  __device__ __forceinline__ explicit Team(const Rows<T>& a)
      : number(threadIdx.x / (a.team_warps * WARP)),
        n_teams(blockDim.x / (a.team_warps * WARP)),
        thread(threadIdx.x % (a.team_warps * WARP)),
        n_threads(a.team_warps * WARP),
        n_packs(static_cast<uint32_t>(a.width / N)) {}

  __device__ __forceinline__ bool has(int p) const { return p * n_threads + thread < n_packs; }
  __device__ __forceinline__ uint32_t column(int p) const { return (p * n_threads + thread) * N; }
};

// This thread's part of a row.
template <typename T>
struct Part {
  Pack<T> packs[Team<T>::PACKS];

  __device__ __forceinline__ float operator[](int e) const { return to_float(packs[e / Pack<T>::N].at[e % Pack<T>::N]); }
  __device__ __forceinline__ void set(int e, float x) { packs[e / Pack<T>::N].at[e % Pack<T>::N] = from_float<T>(x); }
};

// Zeros beyond the row.
template <typename T>
__device__ __forceinline__ Part<T> load_part(const T* row, const Team<T>& team) {
  Part<T> part;
#pragma unroll
  for (int p = 0; p < Team<T>::PACKS; p++)
    part.packs[p] = team.has(p) ? load_pack(row + team.column(p)) : Pack<T>{};
  return part;
}

template <typename T>
__device__ __forceinline__ void store_part(T* row, const Part<T>& part, const Team<T>& team) {
#pragma unroll
  for (int p = 0; p < Team<T>::PACKS; p++)
    if (team.has(p)) store_pack(row + team.column(p), part.packs[p]);
}

// Sums over the threads of a team, in every one of them. Every thread of the block calls it.
template <int N, typename T>
__device__ __forceinline__ void team_sums(float (&x)[N], const Team<T>& team) {
  SHARED(float, scratch, [N][WARP]);
#pragma unroll
  for (int i = 0; i < N; i++) x[i] = warp_sum(x[i]);
  if (team.n_threads == WARP) return;
  __syncthreads();  // whoever still reads the sums before these
  if (threadIdx.x % WARP == 0)
#pragma unroll
    for (int i = 0; i < N; i++) scratch[i][threadIdx.x / WARP] = x[i];
  __syncthreads();
  const uint32_t n_warps = team.n_threads / WARP;
#pragma unroll
  for (int i = 0; i < N; i++) x[i] = 0.0f;
  for (uint32_t warp = team.number * n_warps; warp < (team.number + 1) * n_warps; warp++)
#pragma unroll
    for (int i = 0; i < N; i++) x[i] += scratch[i][warp];
}

enum class Pass { FORWARD, GRADIENT };

// A batch of rows.
template <Norm NORM, Pass PASS, typename T, int BATCH>
struct Batch {
  // Whether h stands in memory.
  static constexpr bool HAS_H = NORM == Norm::ADD_RMS && PASS == Pass::GRADIENT;

  uint64_t row[BATCH];
  bool there[BATCH];
  // h, and after `centre` h - mean(h); zeros beyond the row, which no sum may count.
  float h[BATCH][ELEMENTS];
  static_assert(BATCH * ELEMENTS <= 32);
  // Elements that dropout keeps, as bits.
  uint32_t kept = ~0u;

  // Rows from `first` on that are before `end`; in place of others the last one.
  __device__ __forceinline__ Batch(uint64_t first, uint64_t end) {
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      there[b] = first + b < end;
      row[b] = there[b] ? first + b : end - 1;
    }
  }

  __device__ __forceinline__ void draw(const Rows<T>& a, const Team<T>& team) {
    if (a.dropout.threshold == 0) return;
    kept = 0;
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      const uint64_t first_of_row = a.first_draw + row[b] * a.width;
#pragma unroll
      for (int e = 0; e < ELEMENTS; e++) {
        const uint64_t position = first_of_row + team.column(e / Team<T>::N) + e % Team<T>::N;
        kept |= dropout_factor(a.dropout, position) == 0.0f ? 0u : 1u << (b * ELEMENTS + e);
      }
    }
  }

  __device__ __forceinline__ void load(const Rows<T>& a, const Team<T>& team) {
    constexpr bool ADDS = IS_SUM<NORM> && !HAS_H;
    Part<T> x[BATCH], residual[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      x[b] = load_part(a.x + row[b] * a.width, team);
      if constexpr (ADDS) residual[b] = load_part(a.residual + row[b] * a.width, team);
    }
    if constexpr (IS_SUM<NORM>) draw(a, team);
    if constexpr (ADDS) {
      Part<T> bias;
      if constexpr (NORM == Norm::ADD) bias = load_part(a.params, team);
#pragma unroll
      for (int b = 0; b < BATCH; b++)
#pragma unroll
        for (int e = 0; e < ELEMENTS; e++) {
          const float biased = NORM == Norm::ADD ? x[b][e] + bias[e] : x[b][e];
          h[b][e] = biased * factor(a, b, e) + residual[b][e];
          // As the gradient will read it.
          if constexpr (NORM == Norm::ADD_RMS) h[b][e] = to_float(from_float<T>(h[b][e]));
        }
    } else {
#pragma unroll
      for (int b = 0; b < BATCH; b++)
#pragma unroll
        for (int e = 0; e < ELEMENTS; e++) h[b][e] = x[b][e];
    }
  }

  __device__ __forceinline__ float factor(const Rows<T>& a, int b, int e) const {
    return kept >> (b * ELEMENTS + e) & 1u ? a.dropout.scale : 0.0f;
  }

  __device__ __forceinline__ void centre(const Rows<T>& a, const Team<T>& team) {
    if constexpr (IS_RMS<NORM>) return;
    float sums[BATCH] = {};
#pragma unroll
    for (int b = 0; b < BATCH; b++)
#pragma unroll
      for (int e = 0; e < ELEMENTS; e++) sums[b] += h[b][e];
    team_sums(sums, team);
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      const float mean = sums[b] * a.per_width;
#pragma unroll
      for (int e = 0; e < ELEMENTS; e++) h[b][e] = team.has(e / Team<T>::N) ? h[b][e] - mean : 0.0f;
    }
  }
};

template <Norm NORM, typename T>
__device__ __forceinline__ void norm(const Rows<T>& a) {
  constexpr int BATCH = NORM_BATCH<NORM, T>;
  const Team<T> team(a);
  const uint64_t first = (blockIdx.x * static_cast<uint64_t>(team.n_teams) + team.number) * BATCH;
  Batch<NORM, Pass::FORWARD, T, BATCH> batch(first, a.rows);
  batch.load(a, team);
  batch.centre(a, team);
  const Part<T> gain = load_part(a.params + GAIN<NORM> * a.width, team);
  Part<T> shift;
  if constexpr (!IS_RMS<NORM>) shift = load_part(a.params + (GAIN<NORM> + 1) * a.width, team);
  float squares[BATCH] = {};
#pragma unroll
  for (int b = 0; b < BATCH; b++)
#pragma unroll
    for (int e = 0; e < ELEMENTS; e++) squares[b] += batch.h[b][e] * batch.h[b][e];
  team_sums(squares, team);
#pragma unroll
  for (int b = 0; b < BATCH; b++) {
    const float r = rsqrtf(squares[b] * a.per_width + a.eps);
    Part<T> y, h;
#pragma unroll
    for (int e = 0; e < ELEMENTS; e++) {
      float value = batch.h[b][e] * r * gain[e];
      if constexpr (!IS_RMS<NORM>) value += shift[e];
      y.set(e, value);
      if constexpr (NORM == Norm::ADD_RMS) h.set(e, batch.h[b][e]);
    }
    if (!batch.there[b]) continue;
    store_part(a.y + batch.row[b] * a.width, y, team);
    if constexpr (NORM == Norm::ADD_RMS) store_part(a.dx + batch.row[b] * a.width, h, team);
  }
}

// What each team of the block has summed, added up in order. `of_teams` has ELEMENTS floats for each thread.
template <int N_SUMS, typename T>
__device__ __forceinline__ void store_parts(float (&sums)[N_SUMS][ELEMENTS], const Rows<T>& a, const Team<T>& team,
                                            float* of_teams) {
#pragma unroll
  for (int k = 0; k < N_SUMS; k++) {
    __syncthreads();
#pragma unroll
    for (int e = 0; e < ELEMENTS; e++) of_teams[e * blockDim.x + threadIdx.x] = sums[k][e];
    __syncthreads();
    if (team.number != 0) continue;
    for (uint32_t other = 1; other < team.n_teams; other++)
#pragma unroll
      for (int e = 0; e < ELEMENTS; e++) sums[k][e] += of_teams[e * blockDim.x + other * team.n_threads + team.thread];
    float* to = a.parts + (blockIdx.x * static_cast<uint64_t>(N_SUMS) + k) * a.width;
#pragma unroll
    for (int e = 0; e < ELEMENTS; e += 4)
      if (team.has(e / Team<T>::N))
        store_pack(to + team.column(e / Team<T>::N) + e % Team<T>::N,
                   Pack<float>{{sums[k][e], sums[k][e + 1], sums[k][e + 2], sums[k][e + 3]}});
  }
}

template <Norm NORM, typename T>
__device__ __forceinline__ void norm_gradient(const Rows<T>& a) {
  constexpr int N_SUMS = N_PARAMS<NORM>, BATCH = GRADIENT_BATCH<T>;
  DYNAMIC_SHARED(float, of_teams);
  const Team<T> team(a);
  const uint64_t begin = blockIdx.x * a.block_rows, end = min(begin + a.block_rows, a.rows);
  float sums[N_SUMS][ELEMENTS] = {};
  for (uint64_t at = begin; at < end; at += team.n_teams * BATCH) {
    Batch<NORM, Pass::GRADIENT, T, BATCH> batch(at + team.number * BATCH, end);
    Part<T> dy[BATCH], of_h[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      // Zeros of a row that is not there add nothing to any sum.
      dy[b] = batch.there[b] ? load_part(a.dy + batch.row[b] * a.width, team) : Part<T>{};
      if constexpr (batch.HAS_H) of_h[b] = load_part(a.residual + batch.row[b] * a.width, team);
    }
    batch.load(a, team);
    batch.centre(a, team);
    const Part<T> gain = load_part(a.params + GAIN<NORM> * a.width, team);
    // Of (h - mean(h))^2, of g (h - mean(h)) and of g.
    constexpr int N_ALONG = IS_RMS<NORM> ? 2 : 3;
    float along[BATCH * N_ALONG] = {};
#pragma unroll
    for (int b = 0; b < BATCH; b++)
#pragma unroll
      for (int e = 0; e < ELEMENTS; e++) {
        const float centred = batch.h[b][e], g = dy[b][e] * gain[e];
        along[b * N_ALONG] += centred * centred;
        along[b * N_ALONG + 1] += g * centred;
        if constexpr (!IS_RMS<NORM>) along[b * N_ALONG + 2] += g;
      }
    team_sums(along, team);
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      const float r = rsqrtf(along[b * N_ALONG] * a.per_width + a.eps);
      const float mean_gn = along[b * N_ALONG + 1] * r * a.per_width;
      float mean_g = 0.0f;
      if constexpr (!IS_RMS<NORM>) mean_g = along[b * N_ALONG + 2] * a.per_width;
      Part<T> dh, dx;
#pragma unroll
      for (int e = 0; e < ELEMENTS; e++) {
        const float its_dy = dy[b][e], its_n = batch.h[b][e] * r;
        float its_dh = r * (its_dy * gain[e] - mean_g - its_n * mean_gn);
        if constexpr (batch.HAS_H) its_dh += of_h[b][e];
        dh.set(e, its_dh);
        sums[GAIN<NORM>][e] += its_dy * its_n;
        if constexpr (!IS_RMS<NORM>) sums[GAIN<NORM> + 1][e] += its_dy;
        if constexpr (IS_SUM<NORM>) {
          const float its_dx = its_dh * batch.factor(a, b, e);
          dx.set(e, its_dx);
          if constexpr (NORM == Norm::ADD) sums[0][e] += its_dx;
        }
      }
      if (!batch.there[b]) continue;
      store_part(a.y + batch.row[b] * a.width, dh, team);
      if constexpr (IS_SUM<NORM>)
        if (a.dx != nullptr) store_part(a.dx + batch.row[b] * a.width, dx, team);
    }
  }
  store_parts(sums, a, team, of_teams);
}

// ---- The plain path --------------------------------------------------------------------------------------------------

template <Norm NORM, typename T>
__device__ __forceinline__ float factor_at(const Rows<T>& a, uint64_t at) {
  if (!IS_SUM<NORM> || a.dropout.threshold == 0) return 1.0f;
  return dropout_factor(a.dropout, a.first_draw + at);
}

template <Norm NORM, Pass PASS, typename T>
__device__ __forceinline__ float h_at(const Rows<T>& a, uint64_t row, uint64_t column) {
  const uint64_t at = row * a.width + column;
  const float x = to_float(a.x[at]);
  if constexpr (NORM == Norm::ADD)
    return (x + to_float(a.params[column])) * factor_at<NORM>(a, at) + to_float(a.residual[at]);
  if constexpr (NORM == Norm::ADD_RMS && PASS == Pass::FORWARD)
    return to_float(from_float<T>(x * factor_at<NORM>(a, at) + to_float(a.residual[at])));
  return x;
}

// mean(h) and r of a row. Every lane of the warp calls it.
template <Norm NORM, Pass PASS, typename T>
__device__ __forceinline__ float2 moments(const Rows<T>& a, uint64_t row) {
  float mean = 0.0f, squares = 0.0f;
  if constexpr (!IS_RMS<NORM>) {
    for (uint64_t c = threadIdx.x % WARP; c < a.width; c += WARP) mean += h_at<NORM, PASS>(a, row, c);
    mean = warp_sum(mean) * a.per_width;
  }
  for (uint64_t c = threadIdx.x % WARP; c < a.width; c += WARP) {
    const float off = h_at<NORM, PASS>(a, row, c) - mean;
    squares += off * off;
  }
  return float2{mean, rsqrtf(warp_sum(squares) * a.per_width + a.eps)};
}

template <Norm NORM, typename T>
__device__ __forceinline__ void plain_norm(const Rows<T>& a) {
  const uint64_t row = blockIdx.x * static_cast<uint64_t>(blockDim.x / WARP) + threadIdx.x / WARP;
  if (a.rows <= row) return;
  const float2 of_row = moments<NORM, Pass::FORWARD>(a, row);
  const T* gain = a.params + GAIN<NORM> * a.width;
  for (uint64_t c = threadIdx.x % WARP; c < a.width; c += WARP) {
    const float h = h_at<NORM, Pass::FORWARD>(a, row, c);
    float y = (h - of_row.x) * of_row.y * to_float(gain[c]);
    if constexpr (!IS_RMS<NORM>) y += to_float(gain[a.width + c]);
    a.y[row * a.width + c] = from_float<T>(y);
    if constexpr (NORM == Norm::ADD_RMS) a.dx[row * a.width + c] = from_float<T>(h);
  }
}

// Means of each row first, a warp each; then the columns, a thread each.
template <Norm NORM, typename T>
__device__ __forceinline__ void plain_norm_gradient(const Rows<T>& a) {
  constexpr int N_SUMS = N_PARAMS<NORM>;
  SHARED(float, mean_h, [PLAIN_ROWS]);
  SHARED(float, r, [PLAIN_ROWS]);
  SHARED(float, mean_g, [PLAIN_ROWS]);
  SHARED(float, mean_gn, [PLAIN_ROWS]);
  const T* gain = a.params + GAIN<NORM> * a.width;
  const uint64_t first = blockIdx.x * a.block_rows;
  const int n = static_cast<int>(min(a.block_rows, a.rows - first));
  for (int i = threadIdx.x / WARP; i < n; i += blockDim.x / WARP) {
    const float2 of_row = moments<NORM, Pass::GRADIENT>(a, first + i);
    float sum_g = 0.0f, sum_gn = 0.0f;
    for (uint64_t c = threadIdx.x % WARP; c < a.width; c += WARP) {
      const float g = to_float(a.dy[(first + i) * a.width + c]) * to_float(gain[c]);
      sum_g += g;
      sum_gn += g * (h_at<NORM, Pass::GRADIENT>(a, first + i, c) - of_row.x) * of_row.y;
    }
    sum_g = warp_sum(sum_g);
    sum_gn = warp_sum(sum_gn);
    if (threadIdx.x % WARP != 0) continue;
    mean_h[i] = of_row.x;
    r[i] = of_row.y;
    mean_g[i] = IS_RMS<NORM> ? 0.0f : sum_g * a.per_width;
    mean_gn[i] = sum_gn * a.per_width;
  }
  __syncthreads();
  for (uint64_t c = threadIdx.x; c < a.width; c += blockDim.x) {
    float sums[3] = {};
    for (int i = 0; i < n; i++) {
      const uint64_t at = (first + i) * a.width + c;
      const float dy = to_float(a.dy[at]);
      const float its_n = (h_at<NORM, Pass::GRADIENT>(a, first + i, c) - mean_h[i]) * r[i];
      float dh = r[i] * (dy * to_float(gain[c]) - mean_g[i] - its_n * mean_gn[i]);
      if constexpr (NORM == Norm::ADD_RMS) dh += to_float(a.residual[at]);
      const float dx = dh * factor_at<NORM>(a, at);
      a.y[at] = from_float<T>(dh);
      if (IS_SUM<NORM> && a.dx != nullptr) a.dx[at] = from_float<T>(dx);
      sums[0] += dx;
      sums[1] += dy * its_n;
      sums[2] += dy;
    }
    // Those of the parameters that there are.
#pragma unroll
    for (int k = 0; k < N_SUMS; k++)
      a.parts[(blockIdx.x * static_cast<uint64_t>(N_SUMS) + k) * a.width + c] = sums[k + 1 - GAIN<NORM>];
  }
}

// ---- The kernels of an op --------------------------------------------------------------------------------------------

#define NORM_KERNELS_OF_TYPE(op, NORM, T, dtype)                                          \
  KERNEL(op##_##dtype, Rows<T>, NORM_THREADS) { norm<NORM>(a); }                                   \
  KERNEL(op##_gradient_##dtype, Rows<T>, NORM_THREADS) { norm_gradient<NORM>(a); }                 \
  KERNEL(op##_plain_##dtype, Rows<T>, 256) { plain_norm<NORM>(a); }                       \
  KERNEL(op##_gradient_plain_##dtype, Rows<T>, 256) { plain_norm_gradient<NORM>(a); }

#define NORM_KERNELS(op, NORM)               \
  NORM_KERNELS_OF_TYPE(op, NORM, float, f32) \
  NORM_KERNELS_OF_TYPE(op, NORM, bf16, bf16)
