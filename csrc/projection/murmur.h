// Building blocks of the murmur code (specification sections 2.1 and 2.2). All arithmetic is
// modulo 2^64.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

constexpr std::uint64_t kMul1 = 0xc6a4a7935bd1e995;
constexpr std::uint64_t kMul2 = 0x9e3779b97f4a7835;

inline std::uint64_t mix(std::uint64_t v) { return v ^ (v >> 47); }

// Little-endian load of `count` <= 8 bytes; compilers turn the fixed count 8 into one instruction.
inline std::uint64_t load_le(const char* p, std::size_t count) {
  std::uint64_t v = 0;
  for (std::size_t i = 0; i < count; ++i) {
    v |= static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])) << (8 * i);
  }
  return v;
}

// What a load through a signed 8-bit char gives: all ones above the lowest byte >= 0x80.
inline std::uint64_t smear_sign(std::uint64_t v) {
  const std::uint64_t high_bits = v & 0x8080808080808080;
  if (high_bits == 0) return v;
  const std::uint64_t lowest = high_bits & (~high_bits + 1);
  return v | ~((lowest << 1) - 1);
}

// The two accumulators while blocks come in: h mixes, g collects.
struct MurmurState {
  std::uint64_t h;
  std::uint64_t g = 0;

  explicit MurmurState(std::size_t length) : h(length * kMul1) {}

  void block(std::uint64_t d) {
    h = (h ^ (mix(d * kMul1) * kMul1)) * kMul1;
    g ^= h;
  }
  // The 1-7 last bytes are not mixed before they enter.
  void tail(std::uint64_t d) {
    h = (h ^ d) * kMul1;
    g ^= h;
  }
  void finish(std::uint64_t& low, std::uint64_t& high) {
    h = mix(h) * kMul1;
    g ^= h;
    low = mix(h);
    high = mix(g * kMul2) * kMul2;
  }
};

// One pair to the next. Mind the crossing: the new high depends on the old low alone.
inline void next_pair(std::uint64_t& low, std::uint64_t& high) {
  const std::uint64_t a = mix(low) * kMul1;
  low = mix((high ^ a) * kMul2) * kMul2;
  high = mix(a);
}

}  // namespace pqrnn
