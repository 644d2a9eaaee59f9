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
#include "attention_scores.cuh"

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
