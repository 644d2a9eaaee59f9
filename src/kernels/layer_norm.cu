// layer_norm: y = n gain + shift, n = (x - mean(x)) / sqrt(var(x) + eps) over a row; its gradients, and the launches, are
// those of `norm_rows.cuh`. x, dy: (T, D), params: (2, D) of gain and shift.
#include "norm_rows.cuh"

NORM_KERNELS(layer_norm, Norm::LAYER)
