// Kernels of the projection: fingerprints to codes, codes to features.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace pqrnn {

struct ExpandKernels {
  // codes [count, words] from murmur fingerprints `seeds` [count, 2] = (low, high), words <= 128.
  // All modulo 2^64, >> logical, mix(v) = v ^ (v >> 47). Pair p of a row is codes (2p, 2p + 1):
  //   pair 0 = (low, high);  a = mix(low) * K1;  next low = mix((high ^ a) * K2) * K2,
  //   next high = mix(a).  With words odd, the last high is left out.
  void (*extend)(const std::uint64_t* seeds, std::size_t count, std::size_t words,
                 std::uint64_t* codes);

  // features[j] for j < count from the 2-bit groups of `codes`, least significant first,
  // 32 groups per word: 0 -> 0, 1 -> +1, 2 -> -1, 3 -> 0. `codes` holds ceil(count / 32) words.
  void (*to_int8)(const std::uint64_t* codes, std::size_t count, std::int8_t* features);
  void (*to_float)(const std::uint64_t* codes, std::size_t count, float* features);
};

}  // namespace pqrnn
