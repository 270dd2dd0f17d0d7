// What every kernel file needs.
#pragma once

#include <cuda_runtime.h>

#include "cuda/api.h"

namespace pqrnn::cuda {

__device__ __forceinline__ std::int64_t thread_index() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

}  // namespace pqrnn::cuda
