// Attention pooling: v[n, p] = sum_t softmax_t(logits)[t, head of p] * s[t, p], and its gradient
//   gs[t] = w[t] * gv      gw[t] = <gv, s[t]>      glogit[t] = w[t] * (gw[t] - sum_u w[u] * gw[u])
#pragma once

#include "cuda/activation.h"
#include "cuda/layout.h"
#include "cuda/storage.h"

namespace pqrnn::cuda {

struct AttendArgs {
  Sequences sequences;
  std::int64_t width;  // P
  std::int64_t heads;
  Element element;
  View states;          // [.., P]
  View logits;          // [.., heads], forward
  View weights;         // [.., heads]: forward writes, backward reads
  void* pooled;         // [n, P]
  const void* gpooled;  // [n, P], backward
  View gstates, glogits;
};

// One channel of one sequence: sums are rescaled whenever a larger logit comes.
template <class S>
PQRNN_HD void attend_channel(const AttendArgs& a, std::int64_t n, std::int64_t channel) {
  using A = Arithmetic<S>;
  const std::int64_t begin = sequence_begin(a.sequences, n);
  const std::int64_t length = sequence_length(a.sequences, n);
  const std::int64_t size = a.width / a.heads, head = channel / size;
  A largest = 0, total = 0, sum = 0;
  for (std::int64_t t = 0; t < length; ++t) {
    const A logit = widen(row_at<const S>(a.logits, n, begin, t)[head]);
    const A state = widen(row_at<const S>(a.states, n, begin, t)[channel]);
    if (t == 0) largest = logit;
    if (logit > largest) {
      const A factor = fast_exp(largest - logit);
      total *= factor;
      sum *= factor;
      largest = logit;
    }
    const A weight = fast_exp(logit - largest);
    total += weight;
    sum += weight * state;
  }
  narrow(length ? sum / total : A(0), static_cast<S*>(a.pooled)[n * a.width + channel]);
  if (channel != head * size) return;
  for (std::int64_t t = 0; t < sequence_room(a.sequences, length); ++t) {
    A weight = 0;
    if (t < length) {
      const A logit = widen(row_at<const S>(a.logits, n, begin, t)[head]);
      weight = fast_exp(logit - largest) / total;
    }
    narrow(weight, row_at<S>(a.weights, n, begin, t)[head]);
  }
}

// A lane's share of <gv, s[t]> over a head's channels, and of gs[t] = w[t] * gv.
template <class S>
PQRNN_HD Arithmetic<S> attend_dot(const AttendArgs& a, std::int64_t n, std::int64_t begin,
                                  std::int64_t t, std::int64_t head, int lane, int lanes,
                                  bool write) {
  using A = Arithmetic<S>;
  const std::int64_t size = a.width / a.heads, first = head * size;
  const S* gv = static_cast<const S*>(a.gpooled) + n * a.width + first;
  const S* state = row_at<const S>(a.states, n, begin, t) + first;
  S* gstate = row_at<S>(a.gstates, n, begin, t) + first;
  const A weight = widen(row_at<const S>(a.weights, n, begin, t)[head]);
  A dot = 0;
  for (std::int64_t c = lane; c < size; c += lanes) {
    const A g = widen(gv[c]);
    dot += g * widen(state[c]);
    if (write) narrow(weight * g, gstate[c]);
  }
  return dot;
}

// Zeros to the padding of both gradients, by the lanes of one head.
template <class S>
PQRNN_HD void attend_clear(const AttendArgs& a, std::int64_t n, std::int64_t t, std::int64_t head,
                           int lane, int lanes) {
  const std::int64_t size = a.width / a.heads;
  S* gstate = row_at<S>(a.gstates, n, 0, t) + head * size;
  for (std::int64_t c = lane; c < size; c += lanes) gstate[c] = S{};
  if (lane == 0) row_at<S>(a.glogits, n, 0, t)[head] = S{};
}

}  // namespace pqrnn::cuda
