// rank_count: how many passages beat a target, which is a passage that is relevant for a query: those with a greater
// score, or an equal score and a greater id, among all passages and among those of a range, the target's language.
//
// queries: (Q, D), passages: (P, D), f32. The targets of a query lie side by side; `offsets` (Q + 1) says where.
//
// A score is a sum in a fixed order, the same for every pair of rows and the same as the evaluator's on a CPU with
// fused multiply-add, to the bit. There are ceil(D / 512) runs of terms, of whole sixteens, as equal as that allows; a
// run is a chain of fused multiply-adds in ascending k, and the runs are added in order (`runs_of_terms` in Rust).
// Tensor cores add in an order of their own, so there are none here.
//
// First a warp has a query: a lane computes the score of a target and puts it with what else a comparison takes, and
// the warp keeps the lowest. Then a block of 256 threads has 128 queries and 128 passages, a thread 8 x 8 scores: with
// 16 terms at a time in two buffers of shared memory, filled by asynchronous copies while the other is multiplied. Rows
// of shared memory are 20 floats, so that 8 rows which follow one another stand in different banks. Between runs the
// sums wait in shared memory, 64 KiB, where there are several. The scores are compared with the targets of their
// queries while they are in registers: most are lower than all of these, which is one comparison for 8 scores. Counts
// are integers, so their order of arrival does not show. Blocks that follow one another have the same passages.
#include "common.cuh"

constexpr int TILE = 128;
constexpr int THREADS = 256;
constexpr int DEPTH = 16;
constexpr int STRIDE = DEPTH + 4;
constexpr uint64_t LONGEST_RUN = 512;

// Of a thread: rows of a tile that are ROW_STEP apart, and columns that are COLUMN_STEP apart.
constexpr int SIDE = 8;
constexpr int ROW_STEP = 4;
constexpr int COLUMN_STEP = 8;

// What beats a target has a greater score, or an equal one and a greater id; its language is passages first..end.
struct alignas(16) Target {
  float score;
  uint32_t id, first, end;
};

struct Prepare {
  const float* queries;
  const float* passages;
  const uint32_t* ids;      // (P)
  const uint32_t* offsets;  // (Q + 1)
  const uint32_t* wanted;   // (T, 3): passage, first and end of its language
  Target* targets;          // (T)
  float* lowest;            // (Q), infinite without targets
  uint64_t n_queries, width;
};

struct Count {
  const float* queries;
  const float* passages;
  const uint32_t* ids;
  const uint32_t* offsets;
  const Target* targets;
  const float* lowest;
  uint32_t* counts;  // (T, 2): in the language, among all; zeros before
  uint64_t n_queries, n_passages, width;
};

// A row in steps of DEPTH terms, and which of them end a run.
struct Runs {
  uint64_t n, n_steps;

  __device__ __forceinline__ explicit Runs(uint64_t width)
      : n((width + LONGEST_RUN - 1) / LONGEST_RUN), n_steps((width + DEPTH - 1) / DEPTH) {}

  __device__ __forceinline__ uint64_t end(uint64_t run) const { return ((run + 1) * n_steps + n - 1) / n; }
};

KERNEL(rank_count_prepare_f32, Prepare, THREADS) {
  const uint64_t query = blockIdx.x * static_cast<uint64_t>(THREADS / WARP) + threadIdx.x / WARP;
  if (a.n_queries <= query) return;
  const Runs runs(a.width);
  const float* q = a.queries + query * a.width;
  const uint32_t end = a.offsets[query + 1];
  float lowest = INFINITE;
  for (uint64_t t = a.offsets[query] + threadIdx.x % WARP; t < end; t += WARP) {
    const uint32_t passage = a.wanted[3 * t];
    const float* p = a.passages + passage * a.width;
    float score = 0.0f;
    uint64_t k = 0;
    for (uint64_t run = 0; run < runs.n; run++) {
      float sum = 0.0f;
      for (const uint64_t run_end = min(a.width, runs.end(run) * DEPTH); k < run_end; k++)
        sum = __fmaf_rn(q[k], p[k], sum);
      score = run == 0 ? sum : __fadd_rn(score, sum);
    }
    a.targets[t] = Target{score, a.ids[passage], a.wanted[3 * t + 1], a.wanted[3 * t + 2]};
    lowest = fminf(lowest, score);
  }
  lowest = -warp_max(-lowest);
  if (threadIdx.x % WARP == 0) a.lowest[query] = lowest;
}

// Terms k.. of the rows first.. to shared memory; zeros where there is no row or no term.
__device__ __forceinline__ void load_tile(float* tile, const float* rows, uint64_t first, uint64_t n_rows,
                                          uint64_t k, uint64_t width, bool by_16_bytes) {
#pragma unroll
  for (int i = threadIdx.x; i < TILE * DEPTH / 4; i += THREADS) {
    const uint64_t row = first + i / (DEPTH / 4), column = k + i % (DEPTH / 4) * 4;
    float* to = tile + i / (DEPTH / 4) * STRIDE + i % (DEPTH / 4) * 4;
    if (by_16_bytes) {
      const bool there = row < n_rows && column < width;
      copy_16_bytes(to, there ? rows + row * width + column : rows, there);
    } else {
      for (int c = 0; c < 4; c++)
        to[c] = row < n_rows && column + c < width ? rows[row * width + column + c] : 0.0f;
    }
  }
}

__device__ __forceinline__ bool is_at_16_bytes(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

// As many low bits as of the columns c, c + COLUMN_STEP, ... stand below `end`.
__device__ __forceinline__ uint32_t columns_below(uint64_t end, uint64_t c) {
  if (end <= c) return 0;
  return (1u << min((end - c + COLUMN_STEP - 1) / COLUMN_STEP, static_cast<uint64_t>(SIDE))) - 1;
}

KERNEL(rank_count_f32, Count, THREADS) {
  DYNAMIC_SHARED(float, tiles);
  constexpr int TILE_FLOATS = TILE * STRIDE;
  float* const sums = tiles + 4 * TILE_FLOATS + threadIdx.x;

  const uint64_t n_query_tiles = (a.n_queries + TILE - 1) / TILE;
  const uint64_t first_query = blockIdx.x % n_query_tiles * TILE;
  const uint64_t first_passage = blockIdx.x / n_query_tiles * TILE;
  if (a.offsets[first_query] == a.offsets[min(first_query + TILE, a.n_queries)]) return;

  // A warp has 32 queries and 64 passages. Lanes of a quarter of it read 2 rows of queries and 4 of passages.
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int row = warp / 2 * (ROW_STEP * SIDE) + lane / 16 * 2 + lane % 2;
  const int column = warp % 2 * (COLUMN_STEP * SIDE) + lane % 16 / 2;

  const Runs runs(a.width);
  const bool by_16_bytes = a.width % 4 == 0 && is_at_16_bytes(a.queries) && is_at_16_bytes(a.passages);
  const auto load = [&](uint64_t step) {
    float* to = tiles + step % 2 * (2 * TILE_FLOATS);
    load_tile(to, a.queries, first_query, a.n_queries, step * DEPTH, a.width, by_16_bytes);
    load_tile(to + TILE_FLOATS, a.passages, first_passage, a.n_passages, step * DEPTH, a.width, by_16_bytes);
    commit_copies();
  };

  float scores[SIDE][SIDE] = {};
  uint64_t run = 0, run_end = runs.end(0);
  load(0);
  for (uint64_t step = 0; step < runs.n_steps; step++) {
    copies_done<0>();
    __syncthreads();  // this step is there, and nobody reads the one before
    if (step + 1 < runs.n_steps) load(step + 1);
    const float* const q = tiles + step % 2 * (2 * TILE_FLOATS) + row * STRIDE;
    const float* const p = tiles + step % 2 * (2 * TILE_FLOATS) + TILE_FLOATS + column * STRIDE;
    // Unrolled, it takes 210 registers, and with 128 a multiprocessor has two blocks.
#pragma unroll 1
    for (int k = 0; k < DEPTH; k += 4) {
      Pack<float> of_query[SIDE];
#pragma unroll
      for (int i = 0; i < SIDE; i++) of_query[i] = load_pack(q + i * (ROW_STEP * STRIDE) + k);
#pragma unroll
      for (int j = 0; j < SIDE; j++) {
        const Pack<float> of_passage = load_pack(p + j * (COLUMN_STEP * STRIDE) + k);
#pragma unroll
        for (int c = 0; c < 4; c++)
#pragma unroll
          for (int i = 0; i < SIDE; i++)
            scores[i][j] = __fmaf_rn(of_query[i].at[c], of_passage.at[c], scores[i][j]);
      }
    }
    if (step + 1 == run_end && run + 1 < runs.n) {
#pragma unroll
      for (int i = 0; i < SIDE; i++)
#pragma unroll
        for (int j = 0; j < SIDE; j++) {
          float& sum = sums[(i * SIDE + j) * THREADS];
          sum = run == 0 ? scores[i][j] : __fadd_rn(sum, scores[i][j]);
          scores[i][j] = 0.0f;
        }
      run_end = runs.end(++run);
    }
  }
  if (1 < runs.n) {
#pragma unroll
    for (int i = 0; i < SIDE; i++)
#pragma unroll
      for (int j = 0; j < SIDE; j++) scores[i][j] = __fadd_rn(sums[(i * SIDE + j) * THREADS], scores[i][j]);
  }

  const uint64_t passage = first_passage + column;
  uint32_t ids[SIDE];
#pragma unroll
  for (int j = 0; j < SIDE; j++) {
    const bool there = passage + j * COLUMN_STEP < a.n_passages;
    ids[j] = there ? a.ids[passage + j * COLUMN_STEP] : 0;
#pragma unroll
    for (int i = 0; i < SIDE; i++)
      if (!there) scores[i][j] = -INFINITE;
  }
#pragma unroll
  for (int i = 0; i < SIDE; i++) {
    const uint64_t query = first_query + row + i * ROW_STEP;
    const bool there = query < a.n_queries;
    float greatest = scores[i][0];
#pragma unroll
    for (int j = 1; j < SIDE; j++) greatest = fmaxf(greatest, scores[i][j]);
    if (__ballot_sync(ALL_LANES, there && a.lowest[query] <= greatest) == 0) continue;
    const uint32_t end = there ? a.offsets[query + 1] : 0;
    // The four queries of a warp may have targets in different numbers.
    for (uint64_t t = there ? a.offsets[query] : 0; __ballot_sync(ALL_LANES, t < end) != 0; t++) {
      Target target{INFINITE, 0, 0, 0};
      if (t < end) target = a.targets[t];
      if (__ballot_sync(ALL_LANES, target.score <= greatest) == 0) continue;
      uint32_t beat = 0;
#pragma unroll
      for (int j = 0; j < SIDE; j++)
        if (target.score < scores[i][j] || (target.score == scores[i][j] && target.id < ids[j]))
          beat |= 1u << j;
      const uint32_t in_language =
          beat & columns_below(target.end, passage) & ~columns_below(target.first, passage);
      // Both counts in one number: of a warp's 64 passages.
      uint32_t n = __popc(beat) | __popc(in_language) << 16;
#pragma unroll
      for (int lanes = 2; lanes < 16; lanes *= 2) n += __shfl_xor_sync(ALL_LANES, n, lanes);
      if (lane % 16 / 2 != 0 || n == 0) continue;
      if (n >> 16 != 0) atomicAdd(&a.counts[2 * t], n >> 16);
      atomicAdd(&a.counts[2 * t + 1], n & 0xffffu);
    }
  }
}
