// Kernel of decoding: one step of the search for the best sequence of tags.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

// For each tag `to` of a token
//   back[to] = the first `from` with the largest score[from] + transitions[from, to]
//   next[to] = that sum + logits[to]
// all less the largest next[to] when that is finite, so that scores of a long text stay exact.
// Every sum is rounded to float32 in the order written: all instruction sets give the same bits.
// A NaN loses against every number, and with nothing above -infinity the first tag wins.
struct ViterbiArgs {
  std::size_t tags;          // S, 1 to 65536
  const float* score;        // [S] of the token before
  const float* transitions;  // [S, S] from, to
  const float* logits;       // [S]
  float* next;               // [S]
  std::uint16_t* back;       // [S]
};

struct ViterbiKernels {
  void (*step)(const ViterbiArgs& args);
};

}  // namespace pqrnn
