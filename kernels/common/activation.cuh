// Activation functions in f32, shared by elementwise kernels and epilogues. A NaN stays a NaN.
#pragma once

#include "common/types.cuh"

// The larger and the smaller; NaN if either is, and the second of equals (−0 and 0), as on the CPU.
DEVICE f32 maximum(f32 a, f32 b) { return a > b || a != a ? a : b; }
DEVICE f32 minimum(f32 a, f32 b) { return a < b || a != a ? a : b; }

DEVICE f32 relu(f32 x) { return maximum(x, 0.0f); }

// 1/(1 + e^-x); e^-x may overflow to infinity, whose reciprocal is the right 0.
DEVICE f32 sigmoid(f32 x) { return __frcp_rn(1.0f + expf(-x)); }

// The normal distribution function, accurate in its lower tail.
DEVICE f32 normal_cdf(f32 x) { return 0.5f * erfcf(-0.70710678118654752f * x); }

// x·Φ(x) (Hendrycks and Gimpel 2016, "Gaussian error linear units").
DEVICE f32 gelu(f32 x) { return x * normal_cdf(x); }

// (1 + tanh u)/2 = 1/(1 + e^-2u), u = √(2/π)·(x + 0.044715·x³): GELU's tanh form is x times this.
DEVICE f32 gelu_gate(f32 x) { return sigmoid(1.5957691216057308f * x * (0.044715f * x * x + 1.0f)); }

DEVICE f32 gelu_tanh(f32 x) { return x * gelu_gate(x); }

// ln(1 + e^x) without overflow.
DEVICE f32 softplus(f32 x) { return maximum(x, 0.0f) + log1pf(expf(-fabsf(x))); }

// ACTIVATION_* of params.h.
DEVICE f32 activate(u32 activation, f32 x) {
    switch (activation) {
        case ACTIVATION_RELU: return relu(x);
        case ACTIVATION_GELU: return gelu(x);
        case ACTIVATION_GELU_TANH: return gelu_tanh(x);
        default: return x;
    }
}
