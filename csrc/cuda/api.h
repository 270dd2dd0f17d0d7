// Everything that csrc/cuda offers: raw device addresses and a stream in, an error code out. The
// caller has made the right device current. Nothing here waits for the device, allocates, or reads
// device memory on the host, so that every call can be recorded in a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/attend.h"
#include "cuda/norm.h"
#include "cuda/pool.h"
#include "cuda/project.h"

namespace pqrnn::cuda {

// Poolings and the plain scan; args.chunks above 1 needs args.carries.
cudaError_t pool_forward(const PoolArgs& args, cudaStream_t stream);
cudaError_t pool_backward(const PoolArgs& args, cudaStream_t stream);

// Sums of taps, with the moments of each channel over the valid rows when args.moments is given.
cudaError_t gate_moments(const NormArgs& args, cudaStream_t stream);
// Gradients of sums of taps to the taps, through batch norm where args.coefficients are given.
cudaError_t spread_gates(const NormArgs& args, cudaStream_t stream);

cudaError_t attend_forward(const AttendArgs& args, cudaStream_t stream);
cudaError_t attend_backward(const AttendArgs& args, cudaStream_t stream);

// Tokens to fingerprints, fingerprints to features, both in one, and features times a matrix.
cudaError_t hash_tokens(const ProjectArgs& args, cudaStream_t stream);
cudaError_t expand_features(const ProjectArgs& args, cudaStream_t stream);
cudaError_t ternary_product(const ProductArgs& args, cudaStream_t stream);

}  // namespace pqrnn::cuda
