// Texts to an intent and slots: what pqrnn_native.Parser decides, from what a Model computes.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "model/encoder.h"
#include "model/tags.h"
#include "status.h"

namespace pqrnn {

struct Parse {
  std::size_t intent = 0;  // index into config().intents, where there are any
  float score = 1.0f;      // probability of that intent; 1 where there are none
  std::vector<LabelledSpan> slots;
};

// Immutable, safe to share between threads.
class Parser {
 public:
  // The model must be for parsing, and outlive the parser. An error where its tags are none.
  static Status make(const Model& model, std::unique_ptr<Parser>& parser);

  const std::vector<std::string>& labels() const { return tags_.labels(); }
  // Of all sequences of tags in which each "I-X" goes on a slot X and that the intent may have, the
  // one with the largest sum of logits and transitions.
  Status parse(std::string_view text, Parse& parse) const;

 private:
  explicit Parser(const Model& model) : model_(model) {}
  void forbid(std::size_t intent, FloatBuffer& logits, std::size_t tokens) const;

  const Model& model_;
  TagSet tags_;
};

}  // namespace pqrnn
