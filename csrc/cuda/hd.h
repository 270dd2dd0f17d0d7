// What lets per-thread arithmetic compile for the device and, for its tests, for the host.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define PQRNN_HD __host__ __device__ __forceinline__
#else
#define PQRNN_HD inline
#endif

#if defined(__CUDA_ARCH__)
#define PQRNN_UNROLL _Pragma("unroll")
#define PQRNN_ROLLED _Pragma("unroll 1")
#else
#define PQRNN_UNROLL
#define PQRNN_ROLLED
#endif

namespace pqrnn::cuda {

PQRNN_HD constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

template <class T>
PQRNN_HD T smaller(T a, T b) {
  return a < b ? a : b;
}

}  // namespace pqrnn::cuda
