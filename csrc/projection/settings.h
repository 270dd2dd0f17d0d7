// Everything that decides which features a text gets. Field names follow the Python class
// pqrnn_native.Projection; the published names are in specification section 8.1.
#pragma once

#include <cstddef>
#include <string>

#include "status.h"

namespace pqrnn {

enum class Split { words, space, codepoints };
enum class Hash { murmur, xfixhash8, xfixhash16, xfixhash32, unicodehash8, unicodehash16 };
enum class CharMode { unsigned_char, signed_char };

constexpr std::size_t kMaxFeatures = 65536;

struct ProjectionSettings {
  std::size_t feature_size = 512;  // F, 1..kMaxFeatures
  Split split = Split::words;
  bool split_apostrophes = false;  // U+0027 and U+2019 are tokens of their own
  Hash hash = Hash::murmur;
  CharMode char_mode = CharMode::unsigned_char;
  bool lower = true;
  bool bos = false;
  bool eos = false;
  long long max_tokens = -1;     // <= 0: no limit
  std::string vocabulary;        // UTF-8; empty: every character
  bool alphabetic_only = false;  // exclude_nonalphaspace_unicodes
  bool normalize_repetition = false;
  bool normalize_spaces = false;
  std::string separators;  // token_separators: a set of bytes
  float first_cap = 0.0f;  // probabilities, specification section 6
  float all_caps = 0.0f;
  int novelty_bits = 0;
  int doc_size_levels = 0;
  float distortion = 0.0f;     // training only; an inference model ignores it
  std::size_t ngram_size = 0;  // the last features, made of character n-grams; multiple of 32
  int ngram_min = 2;           // characters of an n-gram, 1..8
  int ngram_max = 4;
  bool ngram_runs = true;        // n-grams reach into tokens that follow without a gap
  std::size_t token_hashes = 0;  // non-zero features of a whole token; 0: half of them
  std::size_t ngram_hashes = 0;  // of an n-gram; 0: 32 of every 512

  // Ranges and combinations; the message names the field and its value.
  Status validate() const;
};

}  // namespace pqrnn
