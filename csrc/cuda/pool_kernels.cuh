// Launches of the pooling kernels for one storage type; each pool_*.cu instantiates one.
#pragma once

#include "cuda/carry.h"
#include "cuda/launch.cuh"
#include "cuda/pool_backward.h"
#include "cuda/pool_forward.h"

namespace pqrnn::cuda {

// Kernels take 100 to 255 registers a thread, so that a multiprocessor holds one large block, or
// two, and all blocks of a launch come in even waves; several small ones might leave a last wave of
// a block here and there, too few threads to keep memory busy. Where there is less than a wave,
// small blocks spread it over more multiprocessors.
constexpr int kPoolThreads = 256;

inline int pool_block(std::int64_t threads) {
  return threads >= 96 * kPoolThreads ? kPoolThreads : 64;
}

template <class S, Kind kind, bool raw>
__global__ __launch_bounds__(kPoolThreads) void compose_forward_kernel(const PoolArgs a) {
  constexpr int V = kChannels<S>;
  const std::int64_t thread = thread_index();
  if (thread < pool_threads(a, V))
    compose_forward<S, V, kind, raw>(a, item_of(thread, a, V, false));
}

template <class S, Kind kind, bool raw>
__global__ __launch_bounds__(kPoolThreads) void pool_forward_kernel(const PoolArgs a) {
  constexpr int V = kChannels<S>;
  const std::int64_t thread = thread_index();
  if (thread < pool_threads(a, V)) pool_forward<S, V, kind, raw>(a, item_of(thread, a, V, true));
}

template <class S, Kind kind, bool raw>
__global__ __launch_bounds__(kPoolThreads) void compose_backward_kernel(const PoolArgs a) {
  constexpr int V = kChannels<S>;
  const std::int64_t thread = thread_index();
  if (thread < pool_threads(a, V))
    compose_backward<S, V, kind, raw>(a, item_of(thread, a, V, true));
}

template <class S, Kind kind, bool raw>
__global__ __launch_bounds__(kPoolThreads) void pool_backward_kernel(const PoolArgs a) {
  constexpr int V = kChannels<S>;
  const std::int64_t thread = thread_index();
  if (thread < pool_threads(a, V)) pool_backward<S, V, kind, raw>(a, item_of(thread, a, V, false));
}

// grid (ceil(D * H / 32), n), block (32, kCarryGroups)
template <class S>
__global__ void carry_kernel(const PoolArgs a, const void* initial, bool backward) {
  using A = Arithmetic<S>;
  __shared__ Map<A> composed[kCarryGroups][32];
  const int lane = threadIdx.x, group = threadIdx.y;
  const std::int64_t channel = std::int64_t{blockIdx.x} * 32 + lane;
  const bool inside = channel < a.directions * a.width;
  for (std::int64_t n = blockIdx.y; n < a.sequences.count; n += gridDim.y) {
    const CarryWalk<A> walk(a, n, channel, group, backward);
    if (inside) composed[group][lane] = walk.compose();
    __syncthreads();
    if (inside) {
      A state = carry_start<S>(a, n, channel, initial);
      for (int g = 0; g < group; ++g) {
        state = composed[g][lane].scale * state + composed[g][lane].offset;
      }
      walk.apply(state);
    }
    __syncthreads();
  }
}

template <class S>
cudaError_t launch_carry(const PoolArgs& a, const void* initial, bool backward,
                         cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(a.directions * a.width, 32)),
                  static_cast<unsigned>(smaller<std::int64_t>(a.sequences.count, 65535)));
  carry_kernel<S><<<grid, dim3(32, kCarryGroups), 0, stream>>>(a, initial, backward);
  return cudaGetLastError();
}

template <class S, Kind kind, bool raw>
cudaError_t launch_forward(const PoolArgs& a, cudaStream_t stream) {
  const std::int64_t threads = pool_threads(a, kChannels<S>);
  if (threads == 0) return cudaSuccess;
  const int block = pool_block(threads);
  const unsigned blocks = static_cast<unsigned>(ceil_div(threads, block));
  if (a.chunks > 1) {
    compose_forward_kernel<S, kind, raw><<<blocks, block, 0, stream>>>(a);
    const cudaError_t error = launch_carry<S>(a, a.h0, false, stream);
    if (error != cudaSuccess) return error;
  }
  pool_forward_kernel<S, kind, raw><<<blocks, block, 0, stream>>>(a);
  return cudaGetLastError();
}

template <class S, Kind kind, bool raw>
cudaError_t launch_backward(const PoolArgs& a, cudaStream_t stream) {
  const std::int64_t threads = pool_threads(a, kChannels<S>);
  if (threads == 0) return cudaSuccess;
  const int block = pool_block(threads);
  const unsigned blocks = static_cast<unsigned>(ceil_div(threads, block));
  if (a.chunks > 1) {
    compose_backward_kernel<S, kind, raw><<<blocks, block, 0, stream>>>(a);
    const cudaError_t error = launch_carry<S>(a, a.glast, true, stream);
    if (error != cudaSuccess) return error;
  }
  pool_backward_kernel<S, kind, raw><<<blocks, block, 0, stream>>>(a);
  return cudaGetLastError();
}

template <class S>
cudaError_t pool_forward_as(const PoolArgs& a, cudaStream_t stream) {
  switch (a.kind) {
    case Kind::f:
      return a.raw ? launch_forward<S, Kind::f, true>(a, stream)
                   : launch_forward<S, Kind::f, false>(a, stream);
    case Kind::fo:
      return a.raw ? launch_forward<S, Kind::fo, true>(a, stream)
                   : launch_forward<S, Kind::fo, false>(a, stream);
    case Kind::ifo:
      return a.raw ? launch_forward<S, Kind::ifo, true>(a, stream)
                   : launch_forward<S, Kind::ifo, false>(a, stream);
    case Kind::scan: return launch_forward<S, Kind::scan, false>(a, stream);
  }
  return cudaErrorInvalidValue;
}

template <class S>
cudaError_t pool_backward_as(const PoolArgs& a, cudaStream_t stream) {
  switch (a.kind) {
    case Kind::f:
      return a.raw ? launch_backward<S, Kind::f, true>(a, stream)
                   : launch_backward<S, Kind::f, false>(a, stream);
    case Kind::fo:
      return a.raw ? launch_backward<S, Kind::fo, true>(a, stream)
                   : launch_backward<S, Kind::fo, false>(a, stream);
    case Kind::ifo:
      return a.raw ? launch_backward<S, Kind::ifo, true>(a, stream)
                   : launch_backward<S, Kind::ifo, false>(a, stream);
    case Kind::scan: return launch_backward<S, Kind::scan, false>(a, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace pqrnn::cuda
