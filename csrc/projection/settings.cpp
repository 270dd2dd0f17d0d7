#include "projection/settings.h"

#include <algorithm>

namespace pqrnn {
namespace {

// Written so that NaN fails.
bool in_unit_interval(float p) { return p >= 0.0f && p <= 1.0f; }

Status refuse(const char* field, const std::string& value, const char* must) {
  return Status::error(Code::invalid_argument,
                       std::string(field) + " must be " + must + ", got " + value);
}

}  // namespace

Status ProjectionSettings::validate() const {
  if (feature_size < 1 || feature_size > kMaxFeatures) {
    return refuse("feature_size", std::to_string(feature_size),
                  ("between 1 and " + std::to_string(kMaxFeatures)).c_str());
  }
  for (const auto& [field, p] : {std::pair<const char*, float>{"first_cap", first_cap},
                                 {"all_caps", all_caps},
                                 {"distortion", distortion}}) {
    if (!in_unit_interval(p)) return refuse(field, std::to_string(p), "between 0 and 1");
  }
  if (novelty_bits < 0 || novelty_bits > 7) {
    return refuse("novelty_bits", std::to_string(novelty_bits), "between 0 and 7");
  }
  if (doc_size_levels < 0 || doc_size_levels > 16) {
    return refuse("doc_size_levels", std::to_string(doc_size_levels), "between 0 and 16");
  }
  // An extra feature overwrites a column counted from the end; it must exist.
  const std::size_t columns = all_caps > 0 ? 4 : first_cap > 0 ? 3 : doc_size_levels > 0 ? 2 : 1;
  if (feature_size < columns) {
    return refuse("feature_size", std::to_string(feature_size),
                  ("at least " + std::to_string(columns) + " with these extra features").c_str());
  }
  if (alphabetic_only && !vocabulary.empty()) {
    return Status::error(Code::invalid_argument,
                         "alphabetic_only=True excludes a vocabulary, got one of " +
                             std::to_string(vocabulary.size()) + " bytes");
  }
  if (split_apostrophes && split != Split::words) {
    return Status::error(Code::invalid_argument, "split_apostrophes=True needs split='words'");
  }
  if (ngram_min < 1 || ngram_min > 8) {
    return refuse("ngram_min", std::to_string(ngram_min), "between 1 and 8");
  }
  if (ngram_max < ngram_min || ngram_max > 8) {
    return refuse("ngram_max", std::to_string(ngram_max), "between ngram_min and 8");
  }
  if (token_hashes > 0 && hash != Hash::murmur) {
    return Status::error(Code::invalid_argument, "token_hashes above 0 needs hash='murmur'");
  }
  if (token_hashes > 0 && feature_size % 32 != 0) {
    return refuse("feature_size", std::to_string(feature_size),
                  "a multiple of 32 with token_hashes");
  }
  if (ngram_hashes > (ngram_size > 0 ? ngram_size : feature_size)) {
    return refuse("ngram_hashes", std::to_string(ngram_hashes),
                  "at most ngram_size, or feature_size without n-grams");
  }
  if (token_hashes > feature_size - std::min(ngram_size, feature_size)) {
    return refuse("token_hashes", std::to_string(token_hashes),
                  "at most feature_size less ngram_size");
  }
  if (ngram_size == 0) return {};
  if (ngram_size > feature_size || ngram_size % 32 != 0) {
    return refuse("ngram_size", std::to_string(ngram_size),
                  "a multiple of 32 and at most feature_size");
  }
  if (feature_size % 32 != 0) {
    return refuse("feature_size", std::to_string(feature_size), "a multiple of 32 with n-grams");
  }
  if (hash != Hash::murmur) {
    return Status::error(Code::invalid_argument, "ngram_size above 0 needs hash='murmur'");
  }
  return {};
}

}  // namespace pqrnn
