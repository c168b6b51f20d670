// Activation functions in f32, shared by elementwise kernels and epilogues. A NaN stays a NaN.
#pragma once

#include "common/types.cuh"

DEVICE f32 relu(f32 x) { return x < 0.0f ? 0.0f : x; }

// x·Φ(x), Φ the normal distribution function (Hendrycks and Gimpel 2016).
DEVICE f32 gelu(f32 x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

// Its derivative, Φ(x) + x·φ(x).
DEVICE f32 gelu_slope(f32 x) {
    f32 phi = 0.39894228040143268f * expf(-0.5f * x * x);
    return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * phi;
}

constexpr f32 GELU_TANH_SCALE = 0.79788456080286536f;
constexpr f32 GELU_TANH_CUBE = 0.044715f;

DEVICE f32 gelu_tanh(f32 x) {
    f32 t = tanhf(GELU_TANH_SCALE * (x + GELU_TANH_CUBE * x * x * x));
    return 0.5f * x * (1.0f + t);
}

DEVICE f32 gelu_tanh_slope(f32 x) {
    f32 t = tanhf(GELU_TANH_SCALE * (x + GELU_TANH_CUBE * x * x * x));
    f32 inner = GELU_TANH_SCALE * (1.0f + 3.0f * GELU_TANH_CUBE * x * x);
    // The second term is 0 where t is ±1, also where inner has overflowed.
    f32 rest = 1.0f - t * t;
    return 0.5f * (1.0f + t) + (rest == 0.0f ? 0.0f : 0.5f * x * rest * inner);
}

// 1/(1 + e^-x); e^-x may overflow to infinity, whose reciprocal is the right 0.
DEVICE f32 sigmoid(f32 x) { return 1.0f / (1.0f + expf(-x)); }

// ACTIVATION_* of params.h.
DEVICE f32 activate(u32 activation, f32 x) {
    switch (activation) {
        case ACTIVATION_RELU: return relu(x);
        case ACTIVATION_GELU: return gelu(x);
        case ACTIVATION_GELU_TANH: return gelu_tanh(x);
        default: return x;
    }
}
