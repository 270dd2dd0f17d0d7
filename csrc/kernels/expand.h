// Kernels of the projection: 2-bit codes to features.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

struct ExpandKernels {
  // features[j] for j < count from the 2-bit groups of `codes`, least significant first,
  // 32 groups per word: 0 -> 0, 1 -> +1, 2 -> -1, 3 -> 0. `codes` holds ceil(count / 32) words.
  void (*to_int8)(const std::uint64_t* codes, std::size_t count, std::int8_t* features);
  void (*to_float)(const std::uint64_t* codes, std::size_t count, float* features);
};

}  // namespace pqrnn
