// Kernels of the float32 inference engine: products, activations, reductions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

struct DenseKernels {
  // Filled by the engine; see body_dense.h.
};

}  // namespace pqrnn
