// The Viterbi kernel, included once per instruction set inside its own namespace. Plain loops over
// arrays would do for AVX2 and AVX-512, but GCC 12 takes the generic build apart into branches.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

// The best way into each of the tags of n vectors from `first` on.
template <int n>
static void best_before(const ViterbiArgs& args, std::size_t first) {
  V best[n], place[n];  // places are whole numbers below 2^16, exact as floats
  for (int k = 0; k < n; ++k) {
    best[k] = v_set(-INFINITY);
    place[k] = v_set(0.0f);
  }
  const float* row = args.transitions + first;
  for (std::size_t from = 0; from < args.tags; ++from, row += args.tags) {
    const V score = v_set(args.score[from]);
    const V own = v_set(static_cast<float>(from));
    for (int k = 0; k < n; ++k) {
      const V sum = v_add(score, v_load(row + k * kLanes));
      place[k] = v_if_greater(sum, best[k], own, place[k]);
      best[k] = v_max(sum, best[k]);
    }
  }
  for (int k = 0; k < n; ++k) {
    const std::size_t to = first + k * kLanes;
    float places[kLanes];
    v_store(places, place[k]);
    v_store(args.next + to, v_add(best[k], v_load(args.logits + to)));
    for (std::size_t j = 0; j < kLanes; ++j) {
      args.back[to + j] = static_cast<std::uint16_t>(places[j]);
    }
  }
}

// All tags, where there are enough for n vectors. The last ones may be worked out twice.
template <int n>
static void best_before_all(const ViterbiArgs& args) {
  constexpr std::size_t width = n * kLanes;
  for (std::size_t first = 0; first + width < args.tags; first += width) {
    best_before<n>(args, first);
  }
  best_before<n>(args, args.tags - width);
}

static void best_before_one(const ViterbiArgs& args, std::size_t to) {
  float best = -INFINITY;
  args.back[to] = 0;
  for (std::size_t from = 0; from < args.tags; ++from) {
    const float sum = args.score[from] + args.transitions[from * args.tags + to];
    if (!(sum > best)) continue;
    best = sum;
    args.back[to] = static_cast<std::uint16_t>(from);
  }
  args.next[to] = best + args.logits[to];
}

static void viterbi_step(const ViterbiArgs& args) {
  if (args.tags >= 4 * kLanes) {
    best_before_all<4>(args);
  } else if (args.tags >= kLanes) {
    best_before_all<1>(args);
  } else {
    for (std::size_t to = 0; to < args.tags; ++to) best_before_one(args, to);
  }
  float largest = -INFINITY;
  for (std::size_t to = 0; to < args.tags; ++to) {
    largest = args.next[to] > largest ? args.next[to] : largest;
  }
  if (!(largest - largest == 0.0f)) return;  // not finite
  for (std::size_t to = 0; to < args.tags; ++to) args.next[to] -= largest;
}

static constexpr ViterbiKernels viterbi_kernels = {viterbi_step};
