#include "cuda/pool_kernels.cuh"

template cudaError_t pqrnn::cuda::pool_backward_as<double>(const PoolArgs&, cudaStream_t);
