// The stages of a projection: normalise, split, fold, distort, hash, extra features.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "projection/ngrams.h"
#include "projection/projector.h"
#include "text/lower.h"
#include "text/normalize.h"

namespace pqrnn {

constexpr std::string_view kBos = "<BOS>";
constexpr std::string_view kEos = "<EOS>";

inline std::string_view slice(std::string_view text, Span span) {
  return text.substr(span.begin, span.end - span.begin);
}

enum class Extra { novelty, doc_size, first_cap, all_caps };

// Settings made ready. `random` may be null everywhere: nothing is then left to chance.
struct Projector::Impl {
  ProjectionSettings settings;
  FoldRules fold;
  NormalizeRules normalize;
  std::vector<std::pair<Extra, std::size_t>> extras;  // with their columns
  Ngrams ngrams;
  HashedPlaces hashed;      // of whole tokens, where there are any
  std::size_t whole_words;  // code words of whole tokens; those of n-grams follow
  std::size_t words;
  std::size_t seed_words;
  bool plain;  // nothing but lower-casing and murmur, unless words get distorted

  explicit Impl(ProjectionSettings s);

  // Spans of the tokens, in the returned text: `text` itself or its normalised form.
  std::string_view segment(std::string_view text, Projected& out) const;
  // Spans of the normalised text to spans of the original.
  void trace_spans(Projected& out) const;
  void hash(std::string_view word, std::uint64_t* seed) const;
  // Lower-cased, filtered, distorted.
  CapFlags make_word(std::string_view token, RandomStreams* random, std::string& word) const;
  void contract_word(std::string& word, TracedText& scratch) const;
  // A position without its n-grams.
  void append_position(std::string_view word, CapFlags flags, RandomStreams* random,
                       Projected& out) const;
  // The same as a run by itself.
  void append_alone(std::string_view word, CapFlags flags, RandomStreams* random,
                    Projected& out) const;
  // Whether a token begins another run than the token before it, which ends at `end`.
  bool starts_run(Span span, std::size_t end) const {
    return !settings.ngram_runs || span.begin != end;
  }
  // Writes the n-grams of the run so far, the last positions.
  void finish_run(Projected& out) const;
  // The usual settings: ASCII tokens are hashed where they stand.
  template <bool kNgrams>
  void append_plain(std::string_view source, Projected& out) const;
  void append_all(std::string_view source, RandomStreams* random, Projected& out) const;
  // Calls each(feature, whether +1) for those of a seed that are not zero, ascending.
  template <typename Each>
  void for_each_hashed(const std::uint64_t* seed, const Each& each) const;
  // Extras that depend on the whole text, positions from `first` on.
  void fill_text_extras(std::size_t first, std::size_t tokens, Projected& out) const;
};

}  // namespace pqrnn
