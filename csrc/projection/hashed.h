// A few non-zero features instead of half of all: each of several hash functions chooses one, and
// its sign. The formulas stand in docs/how-it-works.md; models are trained with them, so they
// cannot change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "projection/murmur.h"

namespace pqrnn {

// The group of two bits of +1 and of -1.
constexpr std::uint64_t kPlus = 1, kMinus = 2;

class HashedFeatures {
 public:
  // Functions number 0 to hashes - 1 choose among `size` features, each in its own part of them.
  HashedFeatures(std::size_t size, std::size_t hashes) {
    for (std::size_t part = 0; part < hashes; ++part) {
      const std::size_t first = part * size / hashes;
      parts_.push_back({first, (part + 1) * size / hashes - first});
    }
  }

  std::size_t hashes() const { return parts_.size(); }

  // Calls each(feature, group) for all that are chosen.
  template <typename Each>
  void choose(std::uint64_t key, const Each& each) const {
    for (const Part part : parts_) {
      key = mix(key) * kMul2;
      const std::size_t feature = part.first + ((key >> 32) * part.count >> 32);
      key = mix(key) * kMul1;
      each(feature, key & 1 ? kPlus : kMinus);
    }
  }

  // Joins them with the code words by or: +1 and -1 make 3, which counts as 0.
  void write(std::uint64_t key, std::uint64_t* codes) const {
    choose(key, [codes](std::size_t feature, std::uint64_t group) {
      codes[feature / 32] |= group << (2 * (feature % 32));
    });
  }

 private:
  struct Part {
    std::size_t first;
    std::size_t count;
  };

  std::vector<Part> parts_;
};

}  // namespace pqrnn
