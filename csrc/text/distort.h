// Random edits of words for training (specification section 7), and their generator.
#pragma once

#include <cstdint>
#include <string>

namespace pqrnn {

// Philox 4x32 with 10 rounds, a counter-based generator: block i depends on the key and i alone.
class Philox {
 public:
  // The reference's key, so that a fresh generator starts the published sequence.
  static constexpr std::uint64_t kReferenceKey = 171;

  explicit Philox(std::uint64_t key = kReferenceKey) : key_(key) {}

  std::uint32_t next();
  // In [0, 1), from the low 23 bits of one draw.
  float uniform() { return static_cast<float>(next() & 0x7fffff) / 8388608.0f; }

 private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
  std::uint32_t block_[4] = {};
  unsigned used_ = 4;
};

// Deletes, moves or inserts one UTF-16 code unit of about every 1/probability-th word.
class Distorter {
 public:
  explicit Distorter(std::uint64_t key = Philox::kReferenceKey) : random_(key) {}

  // `word` is well-formed UTF-8 and stays so. probability > 0; a number is drawn even for an
  // empty word.
  void distort(float probability, std::string& word);

 private:
  Philox random_;
  char16_t remembered_ = 0;  // the last unit taken out of any word, what insertion puts in
};

}  // namespace pqrnn
