// add_norm: the norm of h = drop(x + bias) + residual, times gain, plus shift; its gradients, and the launches, are those
// of `norm_rows.cuh`. x, residual, dy: (T, D), params: (3, D) of bias, gain and shift.
#include "norm_rows.cuh"

NORM_KERNELS(add_norm, Norm::ADD)
