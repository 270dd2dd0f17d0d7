#include "cuda/norm.h"

#include "cuda/launch.cuh"

namespace pqrnn::cuda {
namespace {

constexpr int kRowGroups = 8;      // of a block, each with rows of its own
constexpr int kFinishGroups = 16;  // threads that merge one channel's row blocks

// grid (ceil(packs / 32), row_blocks), block (32, kRowGroups)
template <class S>
__global__ void moments_kernel(const NormArgs a) {
  using A = Arithmetic<S>;
  constexpr int V = kChannels<S>;
  __shared__ Moments<A> found[kRowGroups][32][V];
  const std::int64_t channels = a.directions * a.width;
  const std::int64_t channel = (std::int64_t{blockIdx.x} * 32 + threadIdx.x) * V;
  const std::int64_t rows = total_rows(a.sequences);
  const std::int64_t each = ceil_div(rows, a.row_blocks * kRowGroups);
  const std::int64_t first = (std::int64_t{blockIdx.y} * kRowGroups + threadIdx.y) * each;
  Moments<A> own[V];
  if (channel < channels) {
    sum_rows<S>(a, smaller(first, rows), smaller(first + each, rows), channel, own);
  }
  if (!a.moments) return;
  for (int v = 0; v < V; ++v) found[threadIdx.y][threadIdx.x][v] = own[v];
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  A* out = static_cast<A*>(a.partial) + std::int64_t{blockIdx.y} * 3 * channels + channel;
  for (int v = 0; v < V; ++v) {
    Moments<A> all = own[v];
    for (int y = 1; y < kRowGroups; ++y) all = merged(all, found[y][threadIdx.x][v]);
    out[v] = all.count;
    out[channels + v] = all.mean;
    out[2 * channels + v] = all.square;
  }
}

// grid ceil(channels / 32), block (32, kFinishGroups)
template <class A>
__global__ void finish_kernel(const NormArgs a) {
  __shared__ Moments<double> found[kFinishGroups][32];
  const std::int64_t channel = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
  const bool inside = channel < a.directions * a.width;
  Moments<double> own = {0, 0, 0};
  if (inside) own = merge_blocks<A>(a, channel, threadIdx.y, kFinishGroups);
  found[threadIdx.y][threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.y != 0 || !inside) return;
  for (int y = 1; y < kFinishGroups; ++y) own = merged(own, found[y][threadIdx.x]);
  finish_moments<A>(a, channel, own);
}

template <class S>
__global__ void spread_kernel(const NormArgs a) {
  constexpr int V = kChannels<S>;
  const std::int64_t packs = a.directions * a.width / V, thread = thread_index();
  if (thread < packs * total_rows(a.sequences)) {
    spread_row<S, V>(a, thread / packs, thread % packs * V);
  }
}

template <class S>
cudaError_t moments_as(const NormArgs& a, cudaStream_t stream) {
  using A = Arithmetic<S>;
  const std::int64_t channels = a.directions * a.width;
  if (channels == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(ceil_div(channels / kChannels<S>, 32)),
                  static_cast<unsigned>(a.row_blocks));
  moments_kernel<S><<<grid, dim3(32, kRowGroups), 0, stream>>>(a);
  if (a.moments) {
    const unsigned blocks = static_cast<unsigned>(ceil_div(channels, 32));
    finish_kernel<A><<<blocks, dim3(32, kFinishGroups), 0, stream>>>(a);
  }
  return cudaGetLastError();
}

template <class S>
cudaError_t spread_as(const NormArgs& a, cudaStream_t stream) {
  const std::int64_t threads = a.directions * a.width / kChannels<S> * total_rows(a.sequences);
  if (threads == 0) return cudaSuccess;
  spread_kernel<S><<<static_cast<unsigned>(ceil_div(threads, 256)), 256, 0, stream>>>(a);
  return cudaGetLastError();
}

}  // namespace

cudaError_t gate_moments(const NormArgs& args, cudaStream_t stream) {
  switch (args.element) {
    case Element::f32: return moments_as<float>(args, stream);
    case Element::f64: return moments_as<double>(args, stream);
    case Element::f16: return moments_as<Half>(args, stream);
    case Element::bf16: return moments_as<Bfloat16>(args, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t spread_gates(const NormArgs& args, cudaStream_t stream) {
  switch (args.element) {
    case Element::f32: return spread_as<float>(args, stream);
    case Element::f64: return spread_as<double>(args, stream);
    case Element::f16: return spread_as<Half>(args, stream);
    case Element::bf16: return spread_as<Bfloat16>(args, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace pqrnn::cuda
