#include "model/parser.h"

#include <cstdint>
#include <limits>

#include "kernels/kernels.h"
#include "model/tagging.h"

namespace pqrnn {
namespace {

// The first of the largest values; a NaN counts as larger than all numbers, as in NumPy's argmax.
std::size_t largest(const std::vector<float>& values) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size() && values[best] == values[best]; ++i) {
    if (!(values[i] <= values[best])) best = i;
  }
  return best;
}

}  // namespace

Parser::Parser(const Model& model) : model_(model) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const TagSet& tags = model.tags();
  const std::vector<float>& learned = model.transitions();
  const std::size_t count = tags.size();
  transitions_.resize(count * count);
  starts_.resize(count);
  for (std::size_t from = 0; from < count; ++from) {
    starts_[from] = tags.may_begin(from) ? 0.0f : kNever;
    for (std::size_t to = 0; to < count; ++to) {
      const std::size_t i = from * count + to;
      const float score = learned.empty() ? 0.0f : learned[i];
      transitions_[i] = tags.may_follow(to, from) ? score : kNever;
    }
  }
}

void Parser::forbid(std::size_t intent, FloatBuffer& logits, std::size_t tokens) const {
  if (model_.config().intent_tags.empty()) return;
  const std::vector<std::uint32_t>& allowed = model_.config().intent_tags[intent];
  if (allowed.empty()) return;
  const std::size_t count = model_.tags().size();
  std::vector<char> forbidden(count, 1);
  for (const std::uint32_t tag : allowed) forbidden[tag] = 0;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t k = 0; k < count; ++k) {
      if (forbidden[k]) logits[t * count + k] = -std::numeric_limits<float>::infinity();
    }
  }
}

Status Parser::parse(std::string_view text, Parse& parse) const {
  std::vector<float> intents(model_.config().intents.size());
  std::vector<ParsedTexts> groups;
  PQRNN_TRY(model_.parse(&text, 1, {}, intents.data(), groups));
  parse.intent = 0;
  parse.score = 1.0f;
  if (!intents.empty()) {
    parse.intent = largest(intents);
    parse.score = intents[parse.intent];
  }
  parse.slots.clear();
  ParsedTexts& found = groups[0];
  const std::size_t tokens = found.spans.size();
  forbid(parse.intent, found.slots, tokens);
  const std::int64_t offsets[] = {0, static_cast<std::int64_t>(tokens)};
  std::vector<std::int64_t> tags(tokens);
  best_tags(kernels(), {starts_.size(), transitions_.data(), starts_.data()}, found.slots.data(),
            offsets, 1, tags.data());
  model_.tags().decode(text, found.spans.data(), tags.data(), tokens, parse.slots);
  return {};
}

}  // namespace pqrnn
