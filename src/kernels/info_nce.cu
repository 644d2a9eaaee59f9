// info_nce: with s = queries passages^T / temperature, the mean over rows of log(sum over candidates j of e^s[i, j]) -
// s[i, i], and its gradient by s: (e^s[i, j] / sum of row i - [i = j]) / B, or with columns, too, the mean of both.
//
// queries (B, D), passages (M, D). cuBLAS computes s by chunks of R rows, (R, M) f32, and the two products of the
// gradient ds, (R, M) in the type of the inputs; what stands here is all between. The (B, M) matrix never exists.
//
// rows: a block has a row. It writes minus infinity where a pair is masked, finds the largest score and the sum of
// exponents in one pass that keeps the first columns in shared memory (96 KiB, so that two blocks of 512 threads share
// a processor), and writes ds in a second pass, from shared memory and the second cache. 16 bytes a load and store
// where M allows.
// slopes: ds from sums that are known; a block has a row.
// columns: the first B columns of a chunk that `rows` has masked. A block has 32 columns and 256 rows, a warp every
// eighth of them, and gives (largest, sum) a column; merge puts these together chunk after chunk, in their order.
// loss: one block adds up the losses of rows and columns in f64.
//
// Prediction on an H200 at 790 TFLOP/s in bf16 and 4.3 TB/s, D = 768, bf16, not measured. B = M = 32,768: products
// 6 B M D = 4.95 TFLOP, 7.6 ms at 650 TFLOP/s (f32 results and a short inner size cost about a fifth); rows 6 bytes a
// pair = 6.4 GB, 1.5 ms; dpassages read and written once a chunk, 8 chunks = 1.6 GB, 0.4 ms: together 9.5 ms, 66 % of
// the matrix limit. 65,536: 19.8 TFLOP, 30.5 ms; rows 26 to 35 GB (the part of a row beyond shared memory comes from
// the second cache or not), 6 to 8 ms; dpassages 32 chunks = 12.9 GB, 3 ms: 40 to 42 ms, 60 to 63 %.
#include "common.cuh"

constexpr int MOST_THREADS = 512;
constexpr int PIECE_ROWS = 256;
constexpr int COLUMN_WARPS = 8;
constexpr int LOSS_THREADS = 1024;

// A chunk of the scores, and which of them are no candidates.
struct Scores {
  float* at;               // (R, M)
  const uint32_t* starts;  // (B + 1): query i is masked from masked[starts[i]..starts[i + 1]]
  const uint32_t* masked;
  uint64_t first_query, n_queries, n_passages;
  uint64_t is_own;  // of the first B passages, a query has its own alone
};

template <typename T>
struct Rows {
  Scores scores;
  T* slopes;         // (R, M), or null where they are not wanted
  float* sums;       // (B) log-sum-exp
  float* positives;  // (B)
  float* losses;     // (B)
  uint64_t n_cached;
  float weight;
};

template <typename T>
struct Slopes {
  Scores scores;
  T* slopes;             // (R, M)
  const float* sums;     // (B)
  const float* columns;  // (B), or null
  const float* upstream;
  float weight;
};

struct Columns {
  Scores scores;
  float2* parts;  // (pieces, B)
  uint64_t n_rows;
};

struct Merge {
  const float2* parts;
  float2* state;  // (B)
  float* sums;    // (B)
  const float* positives;
  float* losses;  // (B)
  uint64_t n_parts, n_queries;
  uint32_t is_first, is_last;
};

struct Loss {
  const float* losses;
  float* y;
  uint64_t n;
};

// e^x for x <= 0. The rounding of the factor grows with -x, as the term shrinks that it belongs to.
__device__ __forceinline__ float power_of_e(float x) { return power_of_2(x * 1.44269504f); }

// The sum of some e^x is sum * e^largest.
struct LogSum {
  float largest, sum;
};

// What to take from exponents of which `largest` is the largest, also where all are minus infinity.
__device__ __forceinline__ float shift_of(float largest) { return largest == -INFINITE ? 0.0f : largest; }

template <int N>
__device__ __forceinline__ void add(LogSum& to, const float (&x)[N]) {
  float largest = to.largest;
#pragma unroll
  for (int j = 0; j < N; j++) largest = fmaxf(largest, x[j]);
  const float shift = shift_of(largest);
  float sum = to.sum * power_of_e(to.largest - shift);
#pragma unroll
  for (int j = 0; j < N; j++) sum += power_of_e(x[j] - shift);
  to = {largest, sum};
}

__device__ __forceinline__ void add(LogSum& to, const LogSum& other) {
  const float largest = fmaxf(to.largest, other.largest), shift = shift_of(largest);
  to = {largest, to.sum * power_of_e(to.largest - shift) + other.sum * power_of_e(other.largest - shift)};
}

// A block's row of the chunk.
struct Row {
  float* at;
  uint64_t query, n_queries, width;
  bool is_own;
};

// Masks it.
__device__ __forceinline__ Row row_of(const Scores& a) {
  const Row row{a.at + blockIdx.x * a.n_passages, a.first_query + blockIdx.x, a.n_queries, a.n_passages, a.is_own != 0};
  for (uint64_t k = a.starts[row.query] + threadIdx.x; k < a.starts[row.query + 1]; k += blockDim.x)
    row.at[a.masked[k]] = -INFINITE;
  __syncthreads();
  return row;
}

// N scores from column c on; minus infinity beyond the row.
template <int N>
__device__ __forceinline__ void load_scores(const Row& row, uint64_t c, float (&x)[N]) {
  if (row.width <= c) {
#pragma unroll
    for (int j = 0; j < N; j++) x[j] = -INFINITE;
  } else if constexpr (N == 1) {
    x[0] = row.at[c];
  } else {
    load_floats<N>(row.at + c, x);
  }
}

// Leaves a query its own positive alone of the first passages, if that is the direction.
template <int N>
__device__ __forceinline__ void exclude(const Row& row, uint64_t c, float (&x)[N]) {
  if (!row.is_own || row.n_queries <= c) return;
#pragma unroll
  for (int j = 0; j < N; j++)
    if (c + j < row.n_queries && c + j != row.query) x[j] = -INFINITE;
}

// Takes `by` from the row's own positive, if it is among these.
template <int N>
__device__ __forceinline__ void take_own(const Row& row, uint64_t c, float by, float (&x)[N]) {
  if (row.query < c || c + N <= row.query) return;
#pragma unroll
  for (int j = 0; j < N; j++)
    if (c + j == row.query) x[j] -= by;
}

template <int N, typename T>
__device__ __forceinline__ void store_slopes(T* at, const float (&x)[N]) {
  if constexpr (N == 1)
    *at = from_float<T>(x[0]);
  else
    store_floats<N>(at, x);
}

template <int N, typename T>
__device__ __forceinline__ void rows(const Rows<T>& a, const Row& row, float* scratch) {
  DYNAMIC_SHARED(float, cache);
  const uint64_t first = threadIdx.x * static_cast<uint64_t>(N), step = blockDim.x * static_cast<uint64_t>(N);
  LogSum mine{-INFINITE, 0.0f};
  for (uint64_t c = first; c < row.width; c += 2 * step) {
    // Twice as many bytes on their way.
    float x[2][N];
    load_scores(row, c, x[0]);
    load_scores(row, c + step, x[1]);
#pragma unroll
    for (int k = 0; k < 2; k++) {
      const uint64_t at = c + k * step;
      exclude(row, at, x[k]);
      add(mine, x[k]);
      // Only this thread reads it again.
      if (at < a.n_cached) {
#pragma unroll
        for (int j = 0; j < N; j++) cache[at + j] = x[k][j];
      }
    }
  }
  // Finite: a query's own positive is a candidate.
  const float largest = block_max(mine.largest, scratch);
  const float sum = block_sum(mine.sum * power_of_e(mine.largest - largest), scratch);
  if (threadIdx.x == 0) {
    const float positive = row.at[row.query], log_sum = logf(sum);
    a.sums[row.query] = largest + log_sum;
    a.positives[row.query] = positive;
    a.losses[row.query] = largest - positive + log_sum;
  }
  if (a.slopes == nullptr) return;
  const float share = a.weight / sum;
  T* slopes = a.slopes + blockIdx.x * row.width;
#pragma unroll 1
  for (uint64_t c = first; c < row.width; c += step) {
    float x[N];
    if (c < a.n_cached) {
#pragma unroll
      for (int j = 0; j < N; j++) x[j] = cache[c + j];
    } else {
      load_scores(row, c, x);
      exclude(row, c, x);
    }
#pragma unroll
    for (int j = 0; j < N; j++) x[j] = power_of_e(x[j] - largest);
    take_own(row, c, sum, x);
#pragma unroll
    for (int j = 0; j < N; j++) x[j] *= share;
    store_slopes(slopes + c, x);
  }
}

template <typename T>
__device__ __forceinline__ void rows(const Rows<T>& a) {
  SHARED(float, scratch, [WARP]);
  const Row row = row_of(a.scores);
  if (row.width % Pack<T>::N == 0)
    rows<Pack<T>::N>(a, row, scratch);
  else
    rows<1>(a, row, scratch);
}

template <int N, typename T>
__device__ __forceinline__ void slopes(const Slopes<T>& a, const Row& row) {
  const float sum = a.sums[row.query], weight = a.weight * *a.upstream;
  const float own = a.columns == nullptr ? 1.0f : 2.0f;
  T* slopes = a.slopes + blockIdx.x * row.width;
#pragma unroll 1
  for (uint64_t c = threadIdx.x * static_cast<uint64_t>(N); c < row.width; c += blockDim.x * static_cast<uint64_t>(N)) {
    float x[N];
    load_scores(row, c, x);
    exclude(row, c, x);
#pragma unroll
    for (int j = 0; j < N; j++) {
      const bool has_column = a.columns != nullptr && c + j < row.n_queries;
      const float in_column = has_column ? power_of_e(x[j] - a.columns[c + j]) : 0.0f;
      x[j] = power_of_e(x[j] - sum) + in_column;
    }
    take_own(row, c, own, x);
#pragma unroll
    for (int j = 0; j < N; j++) x[j] *= weight;
    store_slopes(slopes + c, x);
  }
}

template <typename T>
__device__ __forceinline__ void slopes(const Slopes<T>& a) {
  const Row row = row_of(a.scores);
  if (row.width % Pack<T>::N == 0)
    slopes<Pack<T>::N>(a, row);
  else
    slopes<1>(a, row);
}

KERNEL(info_nce_rows_f32, Rows<float>, MOST_THREADS) { rows(a); }
KERNEL(info_nce_rows_bf16, Rows<bf16>, MOST_THREADS) { rows(a); }
KERNEL(info_nce_slopes_f32, Slopes<float>, MOST_THREADS) { slopes(a); }
KERNEL(info_nce_slopes_bf16, Slopes<bf16>, MOST_THREADS) { slopes(a); }

KERNEL(info_nce_columns_f32, Columns, COLUMN_WARPS * WARP) {
  constexpr int BATCH = 8;
  SHARED(LogSum, of_warp, [COLUMN_WARPS][WARP]);
  const Scores& s = a.scores;
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const uint64_t column = blockIdx.x * static_cast<uint64_t>(WARP) + lane;
  const uint64_t first = blockIdx.y * static_cast<uint64_t>(PIECE_ROWS);
  const uint64_t end = min(a.n_rows, first + PIECE_ROWS);
  LogSum mine{-INFINITE, 0.0f};
  if (column < s.n_queries) {
    for (uint64_t r = first + warp; r < end; r += BATCH * COLUMN_WARPS) {
      float x[BATCH];
#pragma unroll
      for (int i = 0; i < BATCH; i++) {
        const uint64_t row = r + i * COLUMN_WARPS;
        x[i] = row < end ? s.at[row * s.n_passages + column] : -INFINITE;
      }
      add(mine, x);
    }
  }
  of_warp[warp][lane] = mine;
  __syncthreads();
  if (warp != 0 || s.n_queries <= column) return;
  for (int w = 1; w < COLUMN_WARPS; w++) add(mine, of_warp[w][lane]);
  a.parts[blockIdx.y * s.n_queries + column] = {mine.largest, mine.sum};
}

KERNEL(info_nce_merge_f32, Merge, 256) {
  const uint64_t column = blockIdx.x * static_cast<uint64_t>(blockDim.x) + threadIdx.x;
  if (a.n_queries <= column) return;
  LogSum sum{-INFINITE, 0.0f};
  if (a.is_first == 0) sum = {a.state[column].x, a.state[column].y};
  for (uint64_t p = 0; p < a.n_parts; p++) {
    const float2 part = a.parts[p * a.n_queries + column];
    add(sum, LogSum{part.x, part.y});
  }
  a.state[column] = {sum.largest, sum.sum};
  if (a.is_last == 0) return;
  const float log_sum = logf(sum.sum);
  a.sums[column] = sum.largest + log_sum;
  a.losses[column] = sum.largest - a.positives[column] + log_sum;
}

KERNEL(info_nce_loss_f32, Loss, LOSS_THREADS) {
  SHARED(double, sums, [LOSS_THREADS]);
  double sum = 0.0;
  for (uint64_t i = threadIdx.x; i < a.n; i += LOSS_THREADS) sum += static_cast<double>(a.losses[i]);
  sums[threadIdx.x] = sum;
  for (int half = LOSS_THREADS / 2; 0 < half; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *a.y = static_cast<float>(sums[0] / static_cast<double>(a.n));
}
