// Texts to an intent and slots: what pqrnn_native.Parser decides, from what a Model computes.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "model/buffer.h"
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
  // The model must be for parsing, and outlive the parser, which takes 4 bytes for each pair of
  // tags.
  explicit Parser(const Model& model);

  // Of all sequences of tags in which each "I-X" goes on a slot X and that the intent may have, the
  // one with the largest sum of logits and transitions.
  Status parse(std::string_view text, Parse& parse) const;

 private:
  void forbid(std::size_t intent, FloatBuffer& logits, std::size_t tokens) const;

  const Model& model_;
  FloatBuffer transitions_;  // [S, S], -infinity where one must not follow the other
  FloatBuffer starts_;       // [S]
};

}  // namespace pqrnn
