// rms_norm: y = x r gain, r = 1 / sqrt(mean(x^2) + eps) over a row; with n = x r and g = dy gain,
// dx = r (g - n mean(g n)) and dgain = sum over rows of dy n. x, dy: (T, D), gain: (D); launches as in `norm_rows.cuh`.
#include "norm_rows.cuh"

NORM_KERNELS(rms_norm, Norm::RMS)
