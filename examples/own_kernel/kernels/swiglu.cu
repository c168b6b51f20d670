// y = a·σ(a)·b over n numbers, the gate of many transformers' feed-forward layers (Shazeer 2020, "GLU variants improve
// transformer"), and its gradients.
//
// Layout: contiguous f32. Floor: bytes, 12 a number forward, 20 backward. Gradients: convention `=`.

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__global__ void __launch_bounds__(256) swiglu(float* y, const float* a, const float* b, unsigned n) {
    for (unsigned i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) {
        y[i] = a[i] * sigmoid(a[i]) * b[i];
    }
}

// da = dy·b·σ(a)·(1 + a·(1 − σ(a))), db = dy·a·σ(a).
__global__ void __launch_bounds__(256)
    swiglu_backward(float* da, float* db, const float* dy, const float* a, const float* b, unsigned n) {
    for (unsigned i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) {
        float gate = sigmoid(a[i]);
        da[i] = dy[i] * b[i] * gate * (1.0f + a[i] * (1.0f - gate));
        db[i] = dy[i] * a[i] * gate;
    }
}
