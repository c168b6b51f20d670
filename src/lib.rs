//! Hand-written CUDA kernels with tensors, autograd and training on top.
