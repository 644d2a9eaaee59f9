// attention: y = (P M) v with P = softmax(q k' scale + rel) within each sequence and M the factors of dropout, and
// dv = (P M)' dy, dP = (dy v') M, dS = P (dP - delta) with delta = rows of P dP added up = rows of dy y,
// dq = scale dS k, dk = scale dS' q, drel = dS added up by distance, dbias = columns of dqkv.
//
// qkv, dqkv: (T, 3 H D), y, dy: (T, H D), bias: (3 H D), rel: (H, distances = 2 L - 1); D is 32 or 64. Sequences lie one
// after another without padding. Products go through mma_16x8x16, which sums in f32; the scores, times log2 e, the
// softmax and all sums are f32, q + bias, P M and dS are rounded to T before a product.
//
// A block is 1, 2 or 4 warps and takes tiles of TILE = 16, 32 or 64 tokens, a warp 16 rows of each: a sequence of up to
// 64 tokens is one tile, and padding is less than 16 rows and columns, since whole groups of 16 beyond the end are
// skipped. f32 has tiles of 16 alone.
//
// * attention: a block for each (tile of queries, head). Keys pass by in tiles; maximum, sum and output are rescaled as
//   the maximum grows.
// * attention_gradient: a block for each (group of sequences, head). A sequence of one tile needs its qkv and dy once:
//   S and dP stay in registers, P M and dS go through shared memory for the products that sum over queries.
// * attention_statistics and attention_gradient_long: sequences of several tiles. The first is the forward pass again
//   and keeps log2 of the softmax's denominator, and delta. The second has dk and dv of a tile of keys in registers
//   while queries pass by, and adds to dq in `work`, f32, which only this block reads and writes.
//
// attention_gradient_long has 168 registers, for three blocks on a multiprocessor, and keeps 96 bytes of what does not
// change between tiles in local memory (8 with D = 32); without that bound it takes 252, for two blocks.
//
// A group is a number of sequences that follows from the number of them; a block adds their dbias and drel up in order,
// and `rows.cu` the groups. So nothing is added atomically, and memory is bounded.
#include "common.cuh"

constexpr float LOG2_E = 1.4426950408889634f;

// Where a block works.
struct Item {
  uint32_t first;   // token of the sequence
  uint32_t length;  // of the sequence
  uint32_t start;   // first query of the tile
  uint32_t row;     // of `work` and the statistics: sequences of several tiles, one after another, in whole tiles
};

template <typename T>
struct Inputs {
  const T* qkv;
  const T* bias;  // or null
  const T* rel;   // or null
  const Item* items;
  uint64_t heads, distances;
  uint64_t first_token;  // of the batch
  Dropout dropout;
  float scale;
  uint32_t aligned;  // qkv and dy are at multiples of 16 bytes
};

template <typename T>
struct Forward {
  Inputs<T> in;
  T* y;
};

template <typename T>
struct Statistics {
  Inputs<T> in;
  const T* dy;
  float* log_sum;  // (rows, H), of powers of two
  float* delta;    // (rows, H)
};

template <typename T>
struct Gradient {
  Inputs<T> in;
  const T* dy;
  T* dqkv;
  const float* log_sum;
  const float* delta;
  float* work;   // (rows / 16, H, D / 8, lane, 4)
  float* dbias;  // (groups, 3 H D), or null
  float* drel;   // (groups, H, distances), zeros, or null
  uint64_t n_items, n_groups;
};

// ---- Tiles in shared memory, and the fragments of products -----------------------------------------------------------

// Rows are padded by 16 bytes, so that the same columns of eight rows lie in different banks.
template <typename T, int COLUMNS>
struct Tile {
  static constexpr int STRIDE = COLUMNS + Pack<T>::N;
  T* at;
  __device__ __forceinline__ T* operator()(int row, int column) const { return at + row * STRIDE + column; }
};

// 16 x 16 and 16 x 8, as mma_16x8x16 takes them.
template <typename T>
struct Left;
template <>
struct Left<bf16> {
  uint32_t at[4];
};
template <>
struct Left<float> {
  float at[8];
};
template <typename T>
struct Right;
template <>
struct Right<bf16> {
  uint32_t at[2];
};
template <>
struct Right<float> {
  float at[4];
};

__device__ __forceinline__ int lane_of() { return threadIdx.x % WARP; }

// a[i][k] = tile(row + i, column + k)
template <int C>
__device__ __forceinline__ void load_left(Left<bf16>& a, const Tile<bf16, C>& tile, int row, int column) {
  const int l = lane_of();
  load_matrices(a.at, tile(row + l % 16, column + l / 16 * 8));
}
template <int C>
__device__ __forceinline__ void load_left(Left<float>& a, const Tile<float, C>& tile, int row, int column) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) a.at[i] = *tile(row + g + i / 2 % 2 * 8, column + 2 * t + i % 2 + i / 4 * 8);
}

// a[i][k] = tile(row + k, column + i)
template <int C>
__device__ __forceinline__ void load_left_across(Left<bf16>& a, const Tile<bf16, C>& tile, int row, int column) {
  const int l = lane_of();
  load_matrices_transposed(a.at, tile(row + l % 8 + l / 16 * 8, column + l / 8 % 2 * 8));
}
template <int C>
__device__ __forceinline__ void load_left_across(Left<float>& a, const Tile<float, C>& tile, int row, int column) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) a.at[i] = *tile(row + 2 * t + i % 2 + i / 4 * 8, column + g + i / 2 % 2 * 8);
}

// Two at a time: b[n][k][j] = tile(row + 8 n + j, column + k)
template <int C>
__device__ __forceinline__ void load_right(Right<bf16> (&b)[2], const Tile<bf16, C>& tile, int row, int column) {
  const int l = lane_of();
  uint32_t r[4];
  load_matrices(r, tile(row + l % 8 + l / 16 * 8, column + l / 8 % 2 * 8));
  b[0].at[0] = r[0], b[0].at[1] = r[1], b[1].at[0] = r[2], b[1].at[1] = r[3];
}
template <int C>
__device__ __forceinline__ void load_right(Right<float> (&b)[2], const Tile<float, C>& tile, int row, int column) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) b[i / 4].at[i % 4] = *tile(row + g + i / 4 * 8, column + 2 * t + i % 2 + i / 2 % 2 * 8);
}

// Two at a time: b[n][k][j] = tile(row + k, column + 8 n + j)
template <int C>
__device__ __forceinline__ void load_right_across(Right<bf16> (&b)[2], const Tile<bf16, C>& tile, int row, int column) {
  const int l = lane_of();
  uint32_t r[4];
  load_matrices_transposed(r, tile(row + l % 16, column + l / 16 * 8));
  b[0].at[0] = r[0], b[0].at[1] = r[1], b[1].at[0] = r[2], b[1].at[1] = r[3];
}
template <int C>
__device__ __forceinline__ void load_right_across(Right<float> (&b)[2], const Tile<float, C>& tile, int row, int column) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) b[i / 4].at[i % 4] = *tile(row + 2 * t + i % 2 + i / 2 % 2 * 8, column + g + i / 4 * 8);
}

// Two results side by side as a left factor.
__device__ __forceinline__ void as_left(Left<bf16>& a, const float (&x)[4], const float (&y)[4]) {
  a.at[0] = pack_bf16(x[0], x[1]), a.at[1] = pack_bf16(x[2], x[3]);
  a.at[2] = pack_bf16(y[0], y[1]), a.at[3] = pack_bf16(y[2], y[3]);
}
__device__ __forceinline__ void as_left(Left<float>& a, const float (&x)[4], const float (&y)[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) a.at[i] = x[i], a.at[4 + i] = y[i];
}

template <int N>
__device__ __forceinline__ void clear(float (&x)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) x[n][i] = 0.0f;
}

// x = rows of a from `row` on, times the first `n` rows of b across: (16, 8 N), columns from `n` on being left 0.
template <typename T, int D, int N>
__device__ __forceinline__ void multiply_across(
    float (&x)[N][4], const Tile<T, D>& a, const Tile<T, D>& b, int row, int n) {
  clear(x);
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    Left<T> left;
    load_left(left, a, row, k);
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
      if (n <= 16 * j) continue;
      Right<T> right[2];
      load_right(right, b, 16 * j, k);
      mma_16x8x16(x[2 * j], left.at, right[0].at);
      mma_16x8x16(x[2 * j + 1], left.at, right[1].at);
    }
  }
}

// x += left, one of 16 columns, times 16 rows of b from `row` on.
template <typename T, int D>
__device__ __forceinline__ void add_product(float (&x)[D / 8][4], const Left<T>& left, const Tile<T, D>& b, int row) {
#pragma unroll
  for (int j = 0; j < D / 16; j++) {
    Right<T> right[2];
    load_right_across(right, b, row, 16 * j);
    mma_16x8x16(x[2 * j], left.at, right[0].at);
    mma_16x8x16(x[2 * j + 1], left.at, right[1].at);
  }
}

// x += the 16 columns from `column` on of the first `n` rows of a, across, times b.
template <typename T, int D, int C>
__device__ __forceinline__ void add_left_across(
    float (&x)[D / 8][4], const Tile<T, C>& a, const Tile<T, D>& b, int column, int n) {
#pragma unroll
  for (int k = 0; k < C; k += 16) {
    if (n <= k) continue;
    Left<T> left;
    load_left_across(left, a, k, column);
    add_product(x, left, b, k);
  }
}

// ---- To and from memory ----------------------------------------------------------------------------------------------

// Begins to copy the first `n` of ROWS rows; the others become 0. A thread has the same places in every tile.
template <int ROWS, typename T, int D>
__device__ __forceinline__ void fetch(const Tile<T, D>& tile, const T* from, uint64_t stride, int n, bool aligned) {
  constexpr int PACKS = D / Pack<T>::N, AT_ONCE = 2 * ROWS / PACKS;
  const int column = threadIdx.x % PACKS * Pack<T>::N;
  const T* its = from + threadIdx.x / PACKS * stride + column;
  if (aligned) {
#pragma unroll
    for (int i = 0; i < ROWS / AT_ONCE; i++, its += AT_ONCE * stride) {
      const int row = threadIdx.x / PACKS + i * AT_ONCE;
      copy_16_bytes(tile(row, column), row < n ? its : from, row < n);
    }
  } else {
#pragma unroll 1
    for (int row = threadIdx.x / PACKS; row < ROWS; row += AT_ONCE, its += AT_ONCE * stride)
#pragma unroll 1
      for (int c = 0; c < Pack<T>::N; c++) *tile(row, column + c) = row < n ? its[c] : from_float<T>(0.0f);
  }
}

// Adds the bias to what this thread has copied.
template <int ROWS, typename T, int D>
__device__ __forceinline__ void add_bias(const Tile<T, D>& tile, const T* bias, int n) {
  constexpr int PACKS = D / Pack<T>::N, AT_ONCE = 2 * ROWS / PACKS;
  const int column = threadIdx.x % PACKS * Pack<T>::N;
  float its[Pack<T>::N];
#pragma unroll
  for (int c = 0; c < Pack<T>::N; c++) its[c] = to_float(bias[column + c]);
#pragma unroll
  for (int i = 0; i < ROWS / AT_ONCE; i++) {
    const int row = threadIdx.x / PACKS + i * AT_ONCE;
    if (n <= row) continue;
    Pack<T> pack = load_pack(tile(row, column));
#pragma unroll
    for (int c = 0; c < Pack<T>::N; c++) pack.at[c] = from_float<T>(to_float(pack.at[c]) + its[c]);
    store_pack(tile(row, column), pack);
  }
}

// Rows g and g + 8 of a result, times `factor`, to the first `n` rows from `to` on, which is a multiple of 16 bytes.
template <int N>
__device__ __forceinline__ void store_rows(
    float* to, uint64_t stride, int n, const float (&x)[N][4], const float (&factor)[2]) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    if (n <= g + 8 * half) continue;
    float* row = to + (g + 8 * half) * stride + 2 * t;
#pragma unroll
    for (int j = 0; j < N; j++)
      *reinterpret_cast<float2*>(row + 8 * j) =
          float2{x[j][2 * half] * factor[half], x[j][2 * half + 1] * factor[half]};
  }
}
// Four lanes that have two columns of each of four results exchange them, so that each has the eight of one.
template <int N>
__device__ __forceinline__ void store_rows(
    bf16* to, uint64_t stride, int n, const float (&x)[N][4], const float (&factor)[2]) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int j = 0; j < N; j += 4) {
      uint32_t of[4];
#pragma unroll
      for (int i = 0; i < 4; i++)
        of[i] = pack_bf16(x[j + i][2 * half] * factor[half], x[j + i][2 * half + 1] * factor[half]);
#pragma unroll
      for (int bit = 1; bit < 4; bit *= 2) {
        const bool high = t & bit;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if (i & bit) continue;
          const uint32_t theirs = __shfl_xor_sync(ALL_LANES, high ? of[i] : of[i + bit], bit);
          (high ? of[i] : of[i + bit]) = theirs;
        }
      }
      if (g + 8 * half < n)
        *reinterpret_cast<uint4*>(to + (g + 8 * half) * stride + 8 * (j + t)) = uint4{of[0], of[1], of[2], of[3]};
    }
  }
}

// A result to shared memory, from row and column on.
template <int N, int C>
__device__ __forceinline__ void store_result(const Tile<float, C>& tile, int row, int column, const float (&x)[N][4]) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) *tile(row + g + i / 2 * 8, column + 8 * j + 2 * t + i % 2) = x[j][i];
}
template <int N, int C>
__device__ __forceinline__ void store_result(const Tile<bf16, C>& tile, int row, int column, const float (&x)[N][4]) {
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int half = 0; half < 2; half++)
      *reinterpret_cast<uint32_t*>(tile(row + g + 8 * half, column + 8 * j + 2 * t)) =
          pack_bf16(x[j][2 * half], x[j][2 * half + 1]);
}

// Columns of a result of 16 rows added up, onto `sum`: columns 8 n + 2 t and one more, n being lane / 4 of 8, or
// lane / 8 of 4 results.
template <int N>
__device__ __forceinline__ void add_columns(float (&sum)[2], const float (&x)[N][4]) {
  const int lane = lane_of();
  float v[N][2];
#pragma unroll
  for (int n = 0; n < N; n++) v[n][0] = x[n][0] + x[n][2], v[n][1] = x[n][1] + x[n][3];
  int mask = 16;
#pragma unroll
  for (int left = N / 2; 0 < left; left /= 2, mask /= 2) {
    const bool high = lane & mask;
#pragma unroll
    for (int n = 0; n < left; n++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float theirs = __shfl_xor_sync(ALL_LANES, high ? v[n][i] : v[n + left][i], mask);
        v[n][i] = (high ? v[n + left][i] : v[n][i]) + theirs;
      }
  }
  if (N == 4)
#pragma unroll
    for (int i = 0; i < 2; i++) v[0][i] += __shfl_xor_sync(ALL_LANES, v[0][i], 4);
  sum[0] += v[0][0];
  sum[1] += v[0][1];
}

// ---- Scores ----------------------------------------------------------------------------------------------------------

// rel, times log2 e, of the distances from `shift` - TILE + 1 on, 0 where no pair of the sequence has such.
template <int TILE, typename T>
__device__ __forceinline__ void fetch_rel(float* to, const Inputs<T>& in, uint64_t head, uint32_t length, int64_t shift) {
  const int64_t end = length, middle = static_cast<int64_t>(in.distances / 2);
  const int64_t distance = shift - (TILE - 1) + static_cast<int64_t>(threadIdx.x);
  const bool there = -end < distance && distance < end;
  to[threadIdx.x] = there ? to_float(in.rel[head * in.distances + (middle + distance)]) * LOG2_E : 0.0f;
}

// Products to scores times log2 e: those of the queries from `row` of the tile on and the first `n` keys; -INFINITE for
// other keys. `rel` points at the distance of the first query of the tile and the first of the keys.
template <int N, typename T>
__device__ __forceinline__ void to_scores(float (&s)[N][4], const Inputs<T>& in, const float* rel, int row, int n) {
  const int g = lane_of() / 4, t = lane_of() % 4;
  const float scale = in.scale * LOG2_E;
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = 8 * j + 2 * t + i % 2, query = row + g + i / 2 * 8;
      const float bias = in.rel ? rel[key - query] : 0.0f;
      s[j][i] = key < n ? s[j][i] * scale + bias : -INFINITE;
    }
}

// Over the four lanes that have a row.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(ALL_LANES, x, 1);
  return x + __shfl_xor_sync(ALL_LANES, x, 2);
}
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
  return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

// What dropout keeps of a warp's 16 rows from token number `token` on and 8 N keys from `first` on, of which `n` are
// there: bit 4 j + i for x[j][i] of a result. Drawn once for all that it multiplies.
template <int N, typename T>
__device__ __forceinline__ uint32_t draw(const Inputs<T>& in, uint64_t token, uint64_t head, uint64_t first, int n) {
  static_assert(4 * N <= 32);
  const int g = lane_of() / 4, t = lane_of() % 4;
  uint32_t kept = 0;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint64_t row = (in.first_token + token + g + 8 * half) * in.heads + head;
    const Dropout draws = dropout_of_row(in.dropout, row);
#pragma unroll
    for (int j = 0; j < N; j++) {
      if (n <= 8 * j) continue;
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (dropout_factor(draws, first + 8 * j + 2 * t + i) != 0.0f) kept |= 1u << (4 * j + 2 * half + i);
    }
  }
  return kept;
}

template <int N>
__device__ __forceinline__ void drop_some(float (&x)[N][4], uint32_t kept, float scale) {
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) x[j][i] = kept >> (4 * j + i) & 1 ? x[j][i] * scale : 0.0f;
}

// ---- Forward ---------------------------------------------------------------------------------------------------------

// Output of a warp's 16 queries before it is divided by `total`; `top` is the largest score, times log2 e.
template <int D>
struct Attended {
  float out[D / 8][4];
  float top[2], total[2];
};

// False where the warp has no query.
template <typename T, int D, int WARPS>
__device__ __forceinline__ bool attend(const Inputs<T>& in, const Item& item, uint64_t head, Attended<D>& x) {
  constexpr int TILE = 16 * WARPS, ELEMENTS = TILE * Tile<T, D>::STRIDE;
  DYNAMIC_SHARED(T, shared);
  const Tile<T, D> q{shared}, k{shared + ELEMENTS}, v{shared + 2 * ELEMENTS};
  float* rel = reinterpret_cast<float*>(shared + 3 * ELEMENTS);

  const int row = threadIdx.x / WARP * 16;
  const uint64_t part = in.heads * D, stride = 3 * part;
  const T* qkv = in.qkv + item.first * stride + head * D;
  const int n_queries = min(static_cast<uint32_t>(TILE), item.length - item.start);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    x.top[half] = -INFINITE;
    x.total[half] = 0.0f;
  }
  clear(x.out);

  fetch<TILE>(q, qkv + item.start * stride, stride, n_queries, in.aligned);
  for (uint32_t first = 0; first < item.length; first += TILE) {
    const int n = min(static_cast<uint32_t>(TILE), item.length - first);
    __syncthreads();  // whoever still reads the keys before these
    fetch<TILE>(k, qkv + part + first * stride, stride, n, in.aligned);
    fetch<TILE>(v, qkv + 2 * part + first * stride, stride, n, in.aligned);
    commit_copies();
    if (in.rel)
      fetch_rel<TILE>(rel, in, head, item.length, static_cast<int64_t>(first) - static_cast<int64_t>(item.start));
    copies_done<0>();
    if (in.bias) {
      const T* bias = in.bias + head * D;
      if (first == 0) add_bias<TILE>(q, bias, n_queries);
      add_bias<TILE>(k, bias + part, n);
      add_bias<TILE>(v, bias + 2 * part, n);
    }
    __syncthreads();
    if (n_queries <= row) continue;

    float s[TILE / 8][4];
    multiply_across(s, q, k, row, n);
    to_scores(s, in, rel + TILE - 1, row, n);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float top = x.top[half];
#pragma unroll
      for (int j = 0; j < TILE / 8; j++) top = fmaxf(top, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
      top = row_max(top);
      const float shrunk = exp2f(x.top[half] - top);
      x.top[half] = top;
      float total = 0.0f;
#pragma unroll
      for (int j = 0; j < TILE / 8; j++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          s[j][i] = exp2f(s[j][i] - top);
          total += s[j][i];
        }
      x.total[half] = x.total[half] * shrunk + total;
#pragma unroll
      for (int j = 0; j < D / 8; j++) x.out[j][2 * half] *= shrunk, x.out[j][2 * half + 1] *= shrunk;
    }
    if (in.dropout.threshold != 0) {
      const uint64_t token = static_cast<uint64_t>(item.first) + item.start + row;
      drop_some(s, draw<TILE / 8>(in, token, head, first, n), in.dropout.scale);
    }
#pragma unroll
    for (int j = 0; j < TILE / 16; j++) {
      if (n <= 16 * j) continue;
      Left<T> p;
      as_left(p, s[2 * j], s[2 * j + 1]);
      add_product(x.out, p, v, 16 * j);
    }
  }
  if (n_queries <= row) return false;
#pragma unroll
  for (int half = 0; half < 2; half++) x.total[half] = row_sum(x.total[half]);
  return true;
}

template <int D, int WARPS, typename T>
__device__ __forceinline__ void forward(const Forward<T>& a) {
  const Item item = a.in.items[blockIdx.x / a.in.heads];
  const uint64_t head = blockIdx.x % a.in.heads, stride = a.in.heads * D;
  Attended<D> x;
  if (!attend<T, D, WARPS>(a.in, item, head, x)) return;
  const int row = threadIdx.x / WARP * 16;
  const uint64_t token = static_cast<uint64_t>(item.first) + item.start + row;
  const int n = min(16u, item.length - item.start - row);
  const float factor[2] = {1.0f / x.total[0], 1.0f / x.total[1]};
  store_rows(a.y + token * stride + head * D, stride, n, x.out, factor);
}

template <int D, int WARPS, typename T>
__device__ __forceinline__ void statistics(const Statistics<T>& a) {
  const Item item = a.in.items[blockIdx.x / a.in.heads];
  const uint64_t head = blockIdx.x % a.in.heads;
  Attended<D> x;
  if (!attend<T, D, WARPS>(a.in, item, head, x)) return;
  const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t query = item.start + threadIdx.x / WARP * 16 + g + 8 * half;
    const bool there = query < item.length;
    const T* dy = a.dy + ((static_cast<uint64_t>(item.first) + query) * a.in.heads + head) * D + 2 * t;
    float delta = 0.0f;
    if (there)
#pragma unroll
      for (int j = 0; j < D / 8; j++)
        delta += to_float(dy[8 * j]) * x.out[j][2 * half] + to_float(dy[8 * j + 1]) * x.out[j][2 * half + 1];
    delta = row_sum(delta);
    if (!there || t != 0) continue;
    const uint64_t at = (static_cast<uint64_t>(item.row) + query) * a.in.heads + head;
    a.log_sum[at] = x.top[half] + log2f(x.total[half]);
    a.delta[at] = delta / x.total[half];
  }
}

// ---- Gradient --------------------------------------------------------------------------------------------------------

// Adds dS of `n` queries up by distance, `middle` being that of the same token: a thread takes a diagonal that wraps, of
// half the rows. Every thread of the block calls it.
template <int TILE, typename T>
__device__ __forceinline__ void add_distances(
    float* middle, const Tile<T, TILE>& ds, float* scratch, int n, uint32_t length, int64_t shift) {
  const int along = threadIdx.x % TILE, half = threadIdx.x / TILE;
  float above = 0.0f, below = 0.0f;
#pragma unroll 8
  for (int i = half * (TILE / 2); i < (half + 1) * (TILE / 2); i++) {
    const bool wraps = TILE <= i + along;
    const float x = i < n ? to_float(*ds(i, wraps ? i + along - TILE : i + along)) : 0.0f;
    if (wraps)
      below += x;
    else
      above += x;
  }
  if (half == 1) scratch[along] = above, scratch[TILE + along] = below;
  __syncthreads();
  if (half == 1) return;
  const int64_t end = length, distance = shift + along;
  if (-end < distance && distance < end) middle[distance] += above + scratch[along];
  if (along != 0 && -end < distance - TILE && distance - TILE < end)
    middle[distance - TILE] += below + scratch[TILE + along];
}

// Scores of whole rows to P; `delta` becomes P dP, added up.
template <int N>
__device__ __forceinline__ void softmax(float (&s)[N][4], const float (&dp)[N][4], float (&delta)[2]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float top = -INFINITE, total = 0.0f, along = 0.0f;
#pragma unroll
    for (int j = 0; j < N; j++) top = fmaxf(top, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
    top = row_max(top);
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        s[j][i] = exp2f(s[j][i] - top);
        total += s[j][i];
        along += s[j][i] * dp[j][i];
      }
    const float per_total = 1.0f / row_sum(total);
    delta[half] = row_sum(along) * per_total;
#pragma unroll
    for (int j = 0; j < N; j++) s[j][2 * half] *= per_total, s[j][2 * half + 1] *= per_total;
  }
}

template <int D, int WARPS, bool WHOLE, typename T>
__device__ __forceinline__ void gradient(const Gradient<T>& a) {
  constexpr int TILE = 16 * WARPS, ELEMENTS = TILE * Tile<T, D>::STRIDE, PAIRS = TILE * Tile<T, TILE>::STRIDE;
  DYNAMIC_SHARED(T, shared);
  const Tile<T, D> q{shared}, k{shared + ELEMENTS}, v{shared + 2 * ELEMENTS}, dy{shared + 3 * ELEMENTS};
  const Tile<T, TILE> pm{shared + 4 * ELEMENTS}, ds{shared + 4 * ELEMENTS + PAIRS};
  float* rel = reinterpret_cast<float*>(shared + 4 * ELEMENTS + 2 * PAIRS);
  float* scratch = rel + 2 * TILE;

  // Keys of a tile at a time: a row of one tile is needed at once, for its sum; of several, 32 keep registers low.
  constexpr int KEYS = WHOLE || TILE < 32 ? TILE : 32;

  const Inputs<T>& in = a.in;
  const int lane = lane_of(), g = lane / 4, t = lane % 4, row = threadIdx.x / WARP * 16;
  const uint64_t group = blockIdx.x / in.heads, head = blockIdx.x % in.heads;
  const uint64_t part = in.heads * D, stride = 3 * part;
  const float one[2] = {1.0f, 1.0f}, scale[2] = {in.scale, in.scale};
  float dbias[3][2] = {};

  for (uint64_t round = 0; round * a.n_groups < a.n_items; round++) {
    // Back and forth, so that no group has the longest of every round.
    const uint64_t number = round * a.n_groups + (round % 2 == 0 ? group : a.n_groups - 1 - group);
    if (a.n_items <= number) break;
    const Item item = in.items[number];
    const T* qkv = in.qkv + item.first * stride + head * D;
    T* dqkv = a.dqkv + item.first * stride + head * D;

    for (uint32_t first = 0; first < item.length; first += TILE) {
      const int n = min(static_cast<uint32_t>(TILE), item.length - first);
      float dk[D / 8][4], dv[D / 8][4];
      clear(dk);
      clear(dv);
      for (uint32_t start = 0; start < item.length; start += TILE) {
        const int n_queries = min(static_cast<uint32_t>(TILE), item.length - start);
        const int64_t shift = static_cast<int64_t>(first) - static_cast<int64_t>(start);
        __syncthreads();  // whoever still reads the tiles before these
        if (start == 0) {
          fetch<TILE>(k, qkv + part + first * stride, stride, n, in.aligned);
          fetch<TILE>(v, qkv + 2 * part + first * stride, stride, n, in.aligned);
        }
        fetch<TILE>(q, qkv + start * stride, stride, n_queries, in.aligned);
        const T* its_dy = a.dy + (static_cast<uint64_t>(item.first) + start) * part + head * D;
        fetch<TILE>(dy, its_dy, part, n_queries, in.aligned);
        commit_copies();
        if (in.rel) fetch_rel<TILE>(rel, in, head, item.length, shift);
        copies_done<0>();
        if (in.bias) {
          const T* bias = in.bias + head * D;
          if (start == 0) {
            add_bias<TILE>(k, bias + part, n);
            add_bias<TILE>(v, bias + 2 * part, n);
          }
          add_bias<TILE>(q, bias, n_queries);
        }
        __syncthreads();

        if (row < n_queries) {
          const uint64_t token = static_cast<uint64_t>(item.first) + start + row;
          float log_sum[2], delta[2];
          if (!WHOLE) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
              const uint32_t query = start + row + g + 8 * half;
              const bool there = query < item.length;
              const uint64_t at = (static_cast<uint64_t>(item.row) + query) * in.heads + head;
              log_sum[half] = there ? a.log_sum[at] : INFINITE;
              delta[half] = there ? a.delta[at] : 0.0f;
            }
          }
#pragma unroll
          for (int begin = 0; begin < TILE; begin += KEYS) {
            float s[KEYS / 8][4], dp[KEYS / 8][4];
            multiply_across(s, q, Tile<T, D>{k(begin, 0)}, row, n - begin);
            to_scores(s, in, rel + TILE - 1 + begin, row, n - begin);
            multiply_across(dp, dy, Tile<T, D>{v(begin, 0)}, row, n - begin);
            uint32_t kept = 0;
            if (in.dropout.threshold != 0) {
              kept = draw<KEYS / 8>(in, token, head, static_cast<uint64_t>(first) + begin, n - begin);
              drop_some(dp, kept, in.dropout.scale);
            }
            if (WHOLE) {
              softmax(s, dp, delta);
            } else {
#pragma unroll
              for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) s[j][i] = exp2f(s[j][i] - log_sum[i / 2]);
            }
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
              for (int i = 0; i < 4; i++) dp[j][i] = s[j][i] * (dp[j][i] - delta[i / 2]);
            if (in.dropout.threshold != 0) drop_some(s, kept, in.dropout.scale);
            store_result(pm, row, begin, s);
            store_result(ds, row, begin, dp);
          }
          __syncwarp();

          float dq[D / 8][4];
          float4* work = nullptr;
          if (!WHOLE) {
            const uint64_t its = (item.row + start + row) / 16 * in.heads + head;
            work = reinterpret_cast<float4*>(a.work) + its * (D / 8) * WARP + lane;
          }
          if (WHOLE || first == 0) {
            clear(dq);
          } else {
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
              const float4 before = work[j * WARP];
              dq[j][0] = before.x, dq[j][1] = before.y, dq[j][2] = before.z, dq[j][3] = before.w;
            }
          }
#pragma unroll
          for (int j = 0; j < TILE; j += 16) {
            if (n <= j) continue;
            Left<T> left;
            load_left(left, ds, row, j);
            add_product(dq, left, k, j);
          }
          if (WHOLE || item.length <= first + TILE) {
            if (a.dbias) add_columns(dbias[0], dq);
            store_rows(dqkv + (start + row) * stride, stride, n_queries - row, dq, scale);
          } else {
#pragma unroll
            for (int j = 0; j < D / 8; j++) work[j * WARP] = float4{dq[j][0], dq[j][1], dq[j][2], dq[j][3]};
          }
        }
        __syncthreads();
        if (row < n) {
          add_left_across(dv, pm, dy, row, n_queries);
          add_left_across(dk, ds, q, row, n_queries);
        }
        if (a.drel)
          add_distances<TILE>(a.drel + (group * in.heads + head) * in.distances + in.distances / 2, ds, scratch,
                              n_queries, item.length, shift);
        if (WHOLE) break;
      }
      if (row < n) {
        if (a.dbias) {
          add_columns(dbias[1], dk);
          add_columns(dbias[2], dv);
        }
        T* to = dqkv + (first + row) * stride;
        store_rows(to + part, stride, n - row, dk, scale);
        store_rows(to + 2 * part, stride, n - row, dv, one);
      }
      if (WHOLE) break;
    }
  }

  if (!a.dbias) return;
  float* sums = reinterpret_cast<float*>(shared);  // (WARPS, 3, D)
  __syncthreads();
  const int result = D == 64 ? lane / 4 : lane / 8;
  if (D == 64 || g % 2 == 0)
#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
      for (int c = 0; c < 2; c++)
        sums[(row / 16 * 3 + i) * D + 8 * result + 2 * t + c] = dbias[i][c] * (i < 2 ? in.scale : 1.0f);
  __syncthreads();
  for (int c = threadIdx.x; c < 3 * D; c += blockDim.x) {
    float sum = 0.0f;
    for (int warp = 0; warp < WARPS; warp++) sum += sums[warp * 3 * D + c];
    a.dbias[group * stride + c / D * part + head * D + c % D] = sum;
  }
}

#define OF_TILE(D, TILE, dtype, T)                                                                 \
  KERNEL(attention_##D##_##TILE##_##dtype, Forward<T>, 2 * TILE) { forward<D, TILE / 16>(a); }     \
  KERNEL(attention_gradient_##D##_##TILE##_##dtype, Gradient<T>, 2 * TILE) { gradient<D, TILE / 16, true>(a); }
#define OF_LONG(D, TILE, dtype, T, min_blocks)                                                                   \
  KERNEL(attention_statistics_##D##_##TILE##_##dtype, Statistics<T>, 2 * TILE) { statistics<D, TILE / 16>(a); }  \
  KERNEL_OF_BLOCKS(attention_gradient_long_##D##_##TILE##_##dtype, Gradient<T>, 2 * TILE, min_blocks) {          \
    gradient<D, TILE / 16, false>(a);                                                                            \
  }
#define OF_HEAD(D)              \
  OF_TILE(D, 16, f32, float)    \
  OF_LONG(D, 16, f32, float, 1) \
  OF_TILE(D, 16, bf16, bf16)    \
  OF_TILE(D, 32, bf16, bf16)    \
  OF_TILE(D, 64, bf16, bf16)    \
  OF_LONG(D, 64, bf16, bf16, 3)

OF_HEAD(32)
OF_HEAD(64)
