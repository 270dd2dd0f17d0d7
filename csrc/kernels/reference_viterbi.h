// The Viterbi kernel as obvious loops. In float32 as every other build: its sums define the result.

static void reference_viterbi_step(const ViterbiArgs& args) {
  float largest = -INFINITY;
  for (std::size_t to = 0; to < args.tags; ++to) {
    float best = -INFINITY;
    std::size_t place = 0;
    for (std::size_t from = 0; from < args.tags; ++from) {
      const float sum = args.score[from] + args.transitions[from * args.tags + to];
      if (!(sum > best)) continue;
      best = sum;
      place = from;
    }
    args.back[to] = static_cast<std::uint16_t>(place);
    args.next[to] = best + args.logits[to];
    if (args.next[to] > largest) largest = args.next[to];
  }
  if (!(largest - largest == 0.0f)) return;  // not finite
  for (std::size_t to = 0; to < args.tags; ++to) args.next[to] -= largest;
}

static constexpr ViterbiKernels viterbi_kernels = {reference_viterbi_step};
