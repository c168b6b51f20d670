// y += a·x over n numbers.
__global__ void __launch_bounds__(256) saxpy(float* y, const float* x, float a, unsigned n) {
    unsigned i = blockIdx.x * 256 + threadIdx.x;
    if (i < n) y[i] += a * x[i];
}
