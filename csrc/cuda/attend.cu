#include "cuda/attend.h"

#include "cuda/launch.cuh"

namespace pqrnn::cuda {
namespace {

constexpr int kWarps = 4;  // of a backward block, which has one head of one sequence

template <class S>
__global__ void attend_kernel(const AttendArgs a) {
  const std::int64_t thread = thread_index();
  if (thread < a.sequences.count * a.width) {
    attend_channel<S>(a, thread / a.width, thread % a.width);
  }
}

template <class A>
__device__ A warp_sum(A value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
  }
  return value;
}

// grid (heads, n), block (32, kWarps): a warp takes every kWarps-th step, twice
template <class S>
__global__ void attend_backward_kernel(const AttendArgs a) {
  using A = Arithmetic<S>;
  __shared__ A partial[kWarps];
  const int lane = threadIdx.x, warp = threadIdx.y;
  const std::int64_t head = blockIdx.x;
  for (std::int64_t n = blockIdx.y; n < a.sequences.count; n += gridDim.y) {
    const std::int64_t begin = sequence_begin(a.sequences, n);
    const std::int64_t length = sequence_length(a.sequences, n);
    A sum = 0;
    for (std::int64_t t = warp; t < length; t += kWarps) {
      const A weight = widen(row_at<const S>(a.weights, n, begin, t)[head]);
      sum += weight * warp_sum(attend_dot<S>(a, n, begin, t, head, lane, 32, false));
    }
    if (lane == 0) partial[warp] = sum;
    __syncthreads();
    A mean = 0;
    for (int w = 0; w < kWarps; ++w) mean += partial[w];
    for (std::int64_t t = warp; t < length; t += kWarps) {
      const A dot = warp_sum(attend_dot<S>(a, n, begin, t, head, lane, 32, true));
      const A weight = widen(row_at<const S>(a.weights, n, begin, t)[head]);
      if (lane == 0) narrow(weight * (dot - mean), row_at<S>(a.glogits, n, begin, t)[head]);
    }
    for (std::int64_t t = length + warp; t < sequence_room(a.sequences, length); t += kWarps) {
      attend_clear<S>(a, n, t, head, lane, 32);
    }
    __syncthreads();
  }
}

template <class S>
cudaError_t forward_as(const AttendArgs& a, cudaStream_t stream) {
  const std::int64_t threads = a.sequences.count * a.width;
  if (threads == 0) return cudaSuccess;
  attend_kernel<S><<<static_cast<unsigned>(ceil_div(threads, 128)), 128, 0, stream>>>(a);
  return cudaGetLastError();
}

template <class S>
cudaError_t backward_as(const AttendArgs& a, cudaStream_t stream) {
  if (a.sequences.count == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(a.heads),
                  static_cast<unsigned>(smaller<std::int64_t>(a.sequences.count, 65535)));
  attend_backward_kernel<S><<<grid, dim3(32, kWarps), 0, stream>>>(a);
  return cudaGetLastError();
}

}  // namespace

cudaError_t attend_forward(const AttendArgs& args, cudaStream_t stream) {
  switch (args.element) {
    case Element::f32: return forward_as<float>(args, stream);
    case Element::f64: return forward_as<double>(args, stream);
    case Element::f16: return forward_as<Half>(args, stream);
    case Element::bf16: return forward_as<Bfloat16>(args, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t attend_backward(const AttendArgs& args, cudaStream_t stream) {
  switch (args.element) {
    case Element::f32: return backward_as<float>(args, stream);
    case Element::f64: return backward_as<double>(args, stream);
    case Element::f16: return backward_as<Half>(args, stream);
    case Element::bf16: return backward_as<Bfloat16>(args, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace pqrnn::cuda
