// embedding: y[t] = table[ids[t]]; token_embeddings: y[t] = (words[ids[t]] + types[0]) + positions[positions_of[t]].
//
// Tables (rows, D), y (T, D). A warp has a token, 32 packs of 16 bytes at a time.
//
// sum_rows: y[to[k]] = sum over i in starts[k]..starts[k + 1] of x[rows[i]], in ascending i: the gradient of a table. A
// warp has one such run, of at most 64 rows, and 32 packs of columns. A row of the table that more tokens chose than one
// run has is summed in rounds, runs of the sums of runs, so that the one row of types, which all tokens choose, keeps
// all processors at work; which runs there are follows from the ids. Destinations from n_rows on are `parts`.
//
// Bytes: the forward pass reads and writes T D elements for each table; the gradient reads dy once for each table and
// writes the table in f32. For T = 65,536, D = 768 in bf16: embedding 47 us, the gradient of a table of 30,000 touched
// rows 45 us at 4.3 TB/s (not measured).
#include "common.cuh"

constexpr int WARPS = 8;

template <typename T>
struct Embedding {
  const T* table;
  const uint32_t* ids;
  T* y;
  uint64_t n_tokens, width;
};

template <typename T>
struct TokenEmbeddings {
  const T* words;
  const T* positions;
  const T* types;
  const uint32_t* ids;
  const uint32_t* positions_of;
  T* y;
  uint64_t n_tokens, width;
};

template <typename T>
struct SumRows {
  const T* x;
  const uint32_t* rows;
  const uint32_t* starts;  // (runs + 1)
  const uint32_t* to;      // (runs)
  float* y;                // (n_rows, D)
  float* parts;
  uint64_t n_runs, n_rows, width;
};

__device__ __forceinline__ uint64_t warp_of_grid() {
  return blockIdx.x * static_cast<uint64_t>(WARPS) + threadIdx.x / WARP;
}

template <bool PACKED, typename T>
__device__ __forceinline__ void embed(const Embedding<T>& a, uint64_t t) {
  constexpr int N = Pack<T>::N;
  using Columns = ColumnTile<N, PACKED>;
  const T* row = a.table + a.ids[t] * a.width;
  for (uint64_t first = 0; first < a.width; first += Columns::COLUMNS) {
    float x[N];
    Columns::load(row, first, a.width, x);
    Columns::store(a.y + t * a.width, first, a.width, x);
  }
}

template <typename T>
__device__ __forceinline__ void embedding(const Embedding<T>& a) {
  const uint64_t t = warp_of_grid();
  if (a.n_tokens <= t) return;
  if (has_packs(a.table, a.width) && has_packs(a.y, a.width))
    embed<true>(a, t);
  else
    embed<false>(a, t);
}

template <bool PACKED, typename T>
__device__ __forceinline__ void embed(const TokenEmbeddings<T>& a, uint64_t t) {
  constexpr int N = Pack<T>::N;
  using Columns = ColumnTile<N, PACKED>;
  const T* word_row = a.words + a.ids[t] * a.width;
  const T* position_row = a.positions + a.positions_of[t] * a.width;
  for (uint64_t first = 0; first < a.width; first += Columns::COLUMNS) {
    float word[N], kind[N], position[N];
    Columns::load(word_row, first, a.width, word);
    Columns::load(a.types, first, a.width, kind);
    Columns::load(position_row, first, a.width, position);
#pragma unroll
    for (int j = 0; j < N; j++) word[j] = word[j] + kind[j] + position[j];
    Columns::store(a.y + t * a.width, first, a.width, word);
  }
}

template <typename T>
__device__ __forceinline__ void token_embeddings(const TokenEmbeddings<T>& a) {
  const uint64_t t = warp_of_grid();
  if (a.n_tokens <= t) return;
  const bool is_packed = has_packs(a.words, a.width) && has_packs(a.positions, a.width) &&
                         has_packs(a.types, a.width) && has_packs(a.y, a.width);
  if (is_packed)
    embed<true>(a, t);
  else
    embed<false>(a, t);
}

template <bool PACKED, typename T>
__device__ __forceinline__ void sum(const SumRows<T>& a, uint64_t run, uint64_t first) {
  constexpr int N = Pack<T>::N;
  using Columns = ColumnTile<N, PACKED>;
  float sum[N] = {};
  const uint32_t end = a.starts[run + 1];
#pragma unroll 2
  for (uint32_t i = a.starts[run]; i < end; i++) {
    float x[N];
    Columns::load(a.x + a.rows[i] * a.width, first, a.width, x);
#pragma unroll
    for (int j = 0; j < N; j++) sum[j] += x[j];
  }
  const uint64_t to = a.to[run];
  float* row = to < a.n_rows ? a.y + to * a.width : a.parts + (to - a.n_rows) * a.width;
  Columns::store(row, first, a.width, sum);
}

template <typename T>
__device__ __forceinline__ void sum_rows(const SumRows<T>& a) {
  const uint64_t run = warp_of_grid();
  if (a.n_runs <= run) return;
  const uint64_t first = blockIdx.y * static_cast<uint64_t>(WARP * Pack<T>::N);
  if (has_packs(a.x, a.width))
    sum<true>(a, run, first);
  else
    sum<false>(a, run, first);
}

KERNEL(embedding_f32, Embedding<float>, WARPS * WARP) { embedding(a); }
KERNEL(embedding_bf16, Embedding<bf16>, WARPS * WARP) { embedding(a); }
KERNEL(token_embeddings_f32, TokenEmbeddings<float>, WARPS * WARP) { token_embeddings(a); }
KERNEL(token_embeddings_bf16, TokenEmbeddings<bf16>, WARPS * WARP) { token_embeddings(a); }
KERNEL(sum_rows_f32, SumRows<float>, WARPS * WARP) { sum_rows(a); }
KERNEL(sum_rows_bf16, SumRows<bf16>, WARPS * WARP) { sum_rows(a); }
