// Character n-grams to code words: features in which words of similar spelling are similar. The
// formulas stand in docs/how-it-works.md; models are trained with them, so they cannot change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "projection/hashed.h"
#include "projection/settings.h"

namespace pqrnn {

// The characters of tokens that follow each other without a gap, between two markers. Reuse one
// object: nothing is allocated once its buffers are warm.
class NgramRun {
 public:
  std::size_t tokens() const { return ends_.size(); }

  // One more token: the UTF-8 of its word, ill-formed bytes counting as U+FFFD.
  void add(std::string_view word);
  // Or by hand: write its characters, at most `count`, to room(count); then close_token() with
  // their number. Up to seven more may be overwritten.
  char32_t* room(std::size_t count) {
    if (characters_.size() < size_ + count + 8) grow(count);
    return characters_.data() + size_;
  }
  void close_token(std::size_t count) {
    size_ += count;
    ends_.push_back(size_);
  }

 private:
  friend class Ngrams;

  void grow(std::size_t count);

  std::vector<char32_t> characters_;  // begin marker, words, room
  std::size_t size_ = 1;              // of what is written there
  std::vector<std::size_t> ends_;     // of each token in characters_
};

class Ngrams {
 public:
  explicit Ngrams(const ProjectionSettings& settings);

  // Code words of a token; 0 without n-grams.
  std::size_t words() const { return words_; }

  // Writes the n-grams of token t of the run to codes[t * stride + w], w < words(), which must hold
  // 0. Starts the next run.
  void finish(NgramRun& run, std::uint64_t* codes, std::size_t stride) const;

 private:
  // How n-grams are written: into one word; into a word of each part; as hashed features.
  enum class Way { one_part, parts, hashed };

  template <Way way>
  void write(std::uint64_t hash, std::uint64_t* codes) const;
  template <std::size_t kMin, std::size_t kMax, Way way>
  void write_token(const char32_t* run, std::size_t size, std::size_t begin, std::size_t end,
                   std::uint64_t* codes) const;

  std::size_t words_;
  std::size_t min_;
  std::size_t max_;
  HashedPlaces parts_;     // of words that an n-gram is written to
  HashedPlaces features_;  // or of features, where there are any
};

}  // namespace pqrnn
