// The Viterbi kernel, included once per instruction set inside its own namespace.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

// The best way into each of `count` <= kTags tags from `first` on. With a constant count GCC keeps
// sums and places in registers.
constexpr std::size_t kTags = 32;

static inline void best_before(const ViterbiArgs& args, std::size_t first, std::size_t count) {
  float best[kTags];
  std::int32_t place[kTags];
  for (std::size_t j = 0; j < count; ++j) {
    best[j] = -INFINITY;
    place[j] = 0;
  }
  const float* row = args.transitions + first;
  for (std::size_t from = 0; from < args.tags; ++from, row += args.tags) {
    const float score = args.score[from];
    const std::int32_t own = static_cast<std::int32_t>(from);
    for (std::size_t j = 0; j < count; ++j) {
      const float sum = score + row[j];
      place[j] = sum > best[j] ? own : place[j];
      best[j] = sum > best[j] ? sum : best[j];
    }
  }
  for (std::size_t j = 0; j < count; ++j) {
    args.next[first + j] = best[j] + args.logits[first + j];
    args.back[first + j] = static_cast<std::uint16_t>(place[j]);
  }
}

static void viterbi_step(const ViterbiArgs& args) {
  std::size_t first = 0;
  for (; first + kTags <= args.tags; first += kTags) best_before(args, first, kTags);
  if (first < args.tags) best_before(args, first, args.tags - first);
  float largest = -INFINITY;
  for (std::size_t to = 0; to < args.tags; ++to) {
    largest = args.next[to] > largest ? args.next[to] : largest;
  }
  if (!(largest - largest == 0.0f)) return;  // not finite
  for (std::size_t to = 0; to < args.tags; ++to) args.next[to] -= largest;
}

static constexpr ViterbiKernels viterbi_kernels = {viterbi_step};
