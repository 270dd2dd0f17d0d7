// Places that hash functions choose: the words of code that an n-gram is written to, and the few
// features that are not zero. The formulas stand in docs/how-it-works.md; models are trained with
// them, so they cannot change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "projection/murmur.h"

namespace pqrnn {

// The group of two bits of +1 and of -1.
constexpr std::uint64_t kPlus = 1, kMinus = 2;

struct Part {
  std::size_t first;
  std::size_t count;
};

// Calls each(place, bits) with a place of the part and 64 more bits, the key of the next function.
template <typename Each>
inline std::uint64_t choose_place(Part part, std::uint64_t key, const Each& each) {
  key = mix(key) * kMul2;
  const std::size_t place = part.first + ((key >> 32) * part.count >> 32);
  key = mix(key) * kMul1;
  each(place, key);
  return key;
}

class HashedPlaces {
 public:
  // Functions number 0 to hashes - 1 choose among `size` places, each in its own part of them.
  HashedPlaces(std::size_t size, std::size_t hashes) {
    for (std::size_t part = 0; part < hashes; ++part) {
      const std::size_t first = part * size / hashes;
      parts_.push_back({first, (part + 1) * size / hashes - first});
    }
  }

  std::size_t hashes() const { return parts_.size(); }

  // Calls each(place, bits) for all that are chosen.
  template <typename Each>
  void choose(std::uint64_t key, const Each& each) const {
    for (const Part part : parts_) key = choose_place(part, key, each);
  }

 private:
  std::vector<Part> parts_;
};

// Of the bits that come with a place: the group of a feature there.
inline std::uint64_t signed_group(std::uint64_t bits) { return bits & 1 ? kPlus : kMinus; }

// Joins the chosen features with the code words by or: +1 and -1 make 3, which counts as 0.
inline void write_features(const HashedPlaces& features, std::uint64_t key, std::uint64_t* codes) {
  features.choose(key, [codes](std::size_t feature, std::uint64_t bits) {
    codes[feature / 32] |= signed_group(bits) << (2 * (feature % 32));
  });
}

}  // namespace pqrnn
