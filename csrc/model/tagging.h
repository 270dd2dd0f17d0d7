// The best sequence of tags of each text.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace pqrnn {

struct TagScores {
  std::size_t tags;          // S, 1 to 65536
  const float* transitions;  // [S, S] from, to; -infinity where one must not follow the other
  const float* starts;       // [S] of a text's first tag
};

// out [tokens]: for each text i, the tokens offsets[i] to offsets[i + 1] of logits [tokens, S], the
// tags with the largest sum of logits, transitions and start; of several sequences, at each token
// from the last on, the first tag. `offsets` [texts + 1] do not decrease.
// The work is linear in the tokens; the memory grows with the square root of the longest text.
void best_tags(const Kernels& kernels, const TagScores& scores, const float* logits,
               const std::int64_t* offsets, std::size_t texts, std::int64_t* out);

}  // namespace pqrnn
