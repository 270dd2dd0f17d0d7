#include "model/tagging.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/buffer.h"

namespace pqrnn {
namespace {

constexpr std::size_t kSegment = 256;

// Back pointers are kept for one segment of a text at a time. The way forward notes the scores at
// the beginning of each segment; the way back computes the segments anew from those.
struct Search {
  const Kernels& kernels;
  const TagScores& scores;
  FloatBuffer marks;  // [segments, S] scores at the last token before each but the first
  FloatBuffer turns;  // [2, S]
  std::vector<std::uint16_t> back;  // [segment, S]

  // The scores at token end - 1 from those at begin - 1, and the way back between them.
  const float* run(const float* logits, std::size_t begin, std::size_t end, const float* score) {
    for (std::size_t t = begin; t < end; ++t) {
      float* const next = turns.data() + t % 2 * scores.tags;
      kernels.viterbi.step({scores.tags, score, scores.transitions, logits + t * scores.tags, next,
                            back.data() + (t - begin) * scores.tags});
      score = next;
    }
    return score;
  }

  void text(const float* logits, std::size_t tokens, std::int64_t* out) {
    const std::size_t tags = scores.tags;
    const auto root = static_cast<std::size_t>(std::sqrt(static_cast<double>(tokens)));
    const std::size_t segment = std::max(kSegment, root);
    // Token 0 has nothing before it; segment i is the tokens 1 + i * segment and so on.
    const std::size_t segments = std::max<std::size_t>(1, (tokens - 1 + segment - 1) / segment);
    marks.resize(segments * tags);
    turns.resize(2 * tags);
    back.resize(std::min(segment, tokens) * tags);
    for (std::size_t k = 0; k < tags; ++k) marks[k] = scores.starts[k] + logits[k];
    const float* score = marks.data();
    std::size_t begin = 1;
    for (std::size_t i = 0; i < segments; ++i, begin += segment) {
      if (i) std::copy_n(score, tags, marks.data() + i * tags);
      score = run(logits, begin, std::min(begin + segment, tokens), marks.data() + i * tags);
    }
    std::size_t best = 0;
    float largest = -std::numeric_limits<float>::infinity();
    for (std::size_t k = 0; k < tags; ++k) {
      if (!(score[k] > largest)) continue;
      largest = score[k];
      best = k;
    }
    std::size_t end = tokens;
    for (std::size_t i = segments; i-- > 0; end = begin) {
      begin = 1 + i * segment;
      if (i + 1 < segments) run(logits, begin, end, marks.data() + i * tags);
      for (std::size_t t = end; t-- > begin;) {
        out[t] = static_cast<std::int64_t>(best);
        best = back[(t - begin) * tags + best];
      }
    }
    out[0] = static_cast<std::int64_t>(best);
  }
};

}  // namespace

void best_tags(const Kernels& kernels, const TagScores& scores, const float* logits,
               const std::int64_t* offsets, std::size_t texts, std::int64_t* out) {
  Search search{kernels, scores, {}, {}, {}};
  for (std::size_t i = 0; i < texts; ++i) {
    const auto begin = static_cast<std::size_t>(offsets[i]);
    const auto tokens = static_cast<std::size_t>(offsets[i + 1]) - begin;
    if (tokens) search.text(logits + begin * scores.tags, tokens, out + begin);
  }
}

}  // namespace pqrnn
