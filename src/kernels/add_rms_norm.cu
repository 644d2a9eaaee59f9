// add_rms_norm: h = drop(x) + residual, which is written, and y = h r gain, r = 1 / sqrt(mean(h^2) + eps) over a row. The
// gradient reads h, and adds to that of the norm the one that h has as an output; the launches are those of
// `norm_rows.cuh`. x, residual, h, y: (T, D), gain: (D).
#include "norm_rows.cuh"

NORM_KERNELS(add_rms_norm, Norm::ADD_RMS)
