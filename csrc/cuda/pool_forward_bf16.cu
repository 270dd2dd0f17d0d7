#include "cuda/pool_kernels.cuh"

template cudaError_t pqrnn::cuda::pool_forward_as<pqrnn::cuda::Bfloat16>(const PoolArgs&,
                                                                         cudaStream_t);
