// Chooses the storage type of a pooling.
#include "cuda/launch.cuh"

namespace pqrnn::cuda {

// Each is instantiated in a file of its own.
template <class S>
cudaError_t pool_forward_as(const PoolArgs& a, cudaStream_t stream);
template <class S>
cudaError_t pool_backward_as(const PoolArgs& a, cudaStream_t stream);
extern template cudaError_t pool_forward_as<float>(const PoolArgs&, cudaStream_t);
extern template cudaError_t pool_forward_as<double>(const PoolArgs&, cudaStream_t);
extern template cudaError_t pool_forward_as<Half>(const PoolArgs&, cudaStream_t);
extern template cudaError_t pool_forward_as<Bfloat16>(const PoolArgs&, cudaStream_t);
extern template cudaError_t pool_backward_as<float>(const PoolArgs&, cudaStream_t);
extern template cudaError_t pool_backward_as<double>(const PoolArgs&, cudaStream_t);
extern template cudaError_t pool_backward_as<Half>(const PoolArgs&, cudaStream_t);
extern template cudaError_t pool_backward_as<Bfloat16>(const PoolArgs&, cudaStream_t);

cudaError_t pool_forward(const PoolArgs& args, cudaStream_t stream) {
  switch (args.element) {
    case Element::f32: return pool_forward_as<float>(args, stream);
    case Element::f64: return pool_forward_as<double>(args, stream);
    case Element::f16: return pool_forward_as<Half>(args, stream);
    case Element::bf16: return pool_forward_as<Bfloat16>(args, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t pool_backward(const PoolArgs& args, cudaStream_t stream) {
  switch (args.element) {
    case Element::f32: return pool_backward_as<float>(args, stream);
    case Element::f64: return pool_backward_as<double>(args, stream);
    case Element::f16: return pool_backward_as<Half>(args, stream);
    case Element::bf16: return pool_backward_as<Bfloat16>(args, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace pqrnn::cuda
