// The activations of `bias_activation.rs` and their slopes, with its constants.
#pragma once

#include "common.cuh"

constexpr float PER_ROOT_2 = 0.70710678118654752f;
constexpr float PER_ROOT_2_PI = 0.39894228040143268f;
// 2 sqrt(2 / pi), for (1 + tanh s) / 2 = 1 / (1 + e^(-2s)).
constexpr float TWICE_TANH_SCALE = 1.5957691216057308f;
constexpr float TANH_CUBIC = 0.044715f;

struct Gelu {
  static __device__ __forceinline__ float distribution(float u) { return 0.5f * (1.0f + erff(u * PER_ROOT_2)); }
  static __device__ __forceinline__ float value(float u) { return u * distribution(u); }
  static __device__ __forceinline__ float slope(float u) {
    return distribution(u) + u * PER_ROOT_2_PI * expf(-0.5f * u * u);
  }
};

struct GeluTanh {
  static __device__ __forceinline__ float distribution(float u) {
    // Within two units of the last place; 0 where the divisor is above 2^126, as good as the quotient.
    return __fdividef(1.0f, 1.0f + expf(-TWICE_TANH_SCALE * (u + TANH_CUBIC * u * u * u)));
  }
  static __device__ __forceinline__ float value(float u) { return u * distribution(u); }
  static __device__ __forceinline__ float slope_of(float u, float phi) {
    return phi + u * phi * (1.0f - phi) * TWICE_TANH_SCALE * (1.0f + 3.0f * TANH_CUBIC * u * u);
  }
  static __device__ __forceinline__ float slope(float u) { return slope_of(u, distribution(u)); }
};

struct Relu {
  static __device__ __forceinline__ float value(float u) { return 0.0f < u ? u : 0.0f; }
  static __device__ __forceinline__ float slope(float u) { return 0.0f < u ? 1.0f : 0.0f; }
};
