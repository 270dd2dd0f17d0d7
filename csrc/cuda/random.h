// Random words of zoneout: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011), the same words for the
// same seed as csrc/kernels/body_recurrence_random.h.
#pragma once

#include "cuda/hd.h"

namespace pqrnn::cuda {

// With key = seed and counter = (16 * (c / 64) + c % 16, c1, c2, c3), channel c takes output
// (c / 16) % 4.
PQRNN_HD std::uint32_t random_word(std::uint64_t seed, std::int64_t channel, std::uint32_t c1,
                                   std::uint32_t c2, std::uint32_t c3) {
  std::uint32_t x0 = static_cast<std::uint32_t>(channel / 64 * 16 + channel % 16);
  std::uint32_t x1 = c1, x2 = c2, x3 = c3;
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  PQRNN_UNROLL
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * x0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * x2;
    x0 = static_cast<std::uint32_t>(p1 >> 32) ^ x1 ^ k0;
    x2 = static_cast<std::uint32_t>(p0 >> 32) ^ x3 ^ k1;
    x1 = static_cast<std::uint32_t>(p1);
    x3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const int output = static_cast<int>(channel / 16 % 4);
  return output == 0 ? x0 : output == 1 ? x1 : output == 2 ? x2 : x3;
}

}  // namespace pqrnn::cuda
