// sum_parts: y[c] = sum over p of parts[p, c], in ascending p: the second half of every sum over rows.
//
// parts: (P, W) f32, y: (W) f32. A warp has 32 columns. With many parts, eight warps have a share of them each, in
// order, and the shares are added up in order.
#include "common.cuh"

constexpr int SHARES = 8;

struct SumParts {
  const float* parts;
  float* y;
  uint64_t n_parts, width;
};

KERNEL(sum_parts_f32, SumParts, SHARES * WARP) {
  SHARED(float, sums, [SHARES][WARP]);
  const int lane = threadIdx.x % WARP, share = threadIdx.x / WARP;
  const uint64_t column = blockIdx.x * static_cast<uint64_t>(WARP) + lane;
  const uint64_t per_share = (a.n_parts + SHARES - 1) / SHARES;
  const uint64_t end = min(a.n_parts, (share + 1) * per_share);
  float sum = 0.0f;
  if (column < a.width)
    for (uint64_t p = share * per_share; p < end; p++) sum += a.parts[p * a.width + column];
  sums[share][lane] = sum;
  __syncthreads();
  if (share != 0 || a.width <= column) return;
  for (int i = 1; i < SHARES; i++) sum += sums[i][lane];
  a.y[column] = sum;
}
