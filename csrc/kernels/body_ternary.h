// The bottleneck over ternary features: only the weight rows of non-zero features are read.
// This header has no include guard on purpose: it belongs to body.h.

#if defined(_MSC_VER) && !defined(__clang__)
inline int lowest_bit(std::uint64_t mask) {
  unsigned long index;
  _BitScanForward64(&index, mask);
  return static_cast<int>(index);
}
#else
inline int lowest_bit(std::uint64_t mask) { return __builtin_ctzll(mask); }
#endif

// Rows of one pair of code words, as masks in the order of the weights: bit p is feature
// 64 * pair + p / 2 + 32 * (p % 2).
struct PairMasks {
  std::uint64_t plus;
  std::uint64_t minus;
};

inline PairMasks pair_masks(const std::uint64_t* codes, std::size_t pair, std::size_t words) {
  const std::uint64_t even = 0x5555555555555555u;
  const std::uint64_t a = codes[2 * pair];
  const std::uint64_t b = 2 * pair + 1 < words ? codes[2 * pair + 1] : 0;
  const std::uint64_t low = (a & even) | (b & even) << 1;    // bit 0 of each code
  const std::uint64_t high = (a >> 1 & even) | (b & ~even);  // bit 1 of each code
  return {low & ~high, high & ~low};
}

// sum += the rows of one pair, for `vectors` * kLanes columns. The weights of a pair are 64 rows of
// at most 512 bytes: they stay in the first-level cache while all tokens pass.
template <int vectors>
static void ternary_pair(const TernaryArgs& args, std::size_t pair, const float* weights,
                         std::size_t column) {
  for (std::size_t i = 0; i < args.count; ++i) {
    const PairMasks masks = pair_masks(args.codes + i * args.words, pair, args.words);
    float* out = args.output + args.rows[i] * args.width + column;
    V sum[vectors];
    PQRNN_UNROLL
    for (int v = 0; v < vectors; ++v) sum[v] = v_load(out + v * kLanes);
    for (std::uint64_t left = masks.plus; left; left &= left - 1) {
      const float* w = weights + lowest_bit(left) * (vectors * kLanes);
      PQRNN_UNROLL
      for (int v = 0; v < vectors; ++v) sum[v] = v_add(sum[v], v_load(w + v * kLanes));
    }
    for (std::uint64_t left = masks.minus; left; left &= left - 1) {
      const float* w = weights + lowest_bit(left) * (vectors * kLanes);
      PQRNN_UNROLL
      for (int v = 0; v < vectors; ++v) sum[v] = v_sub(sum[v], v_load(w + v * kLanes));
    }
    PQRNN_UNROLL
    for (int v = 0; v < vectors; ++v) v_store(out + v * kLanes, sum[v]);
  }
}

// For a number of vectors known at run time, 1 <= vectors <= 8.
template <int most = 8>
inline void ternary_pair(int vectors, const TernaryArgs& args, std::size_t pair,
                         const float* weights, std::size_t column) {
  if constexpr (most > 1) {
    if (vectors < most) return ternary_pair<most - 1>(vectors, args, pair, weights, column);
  }
  ternary_pair<most>(args, pair, weights, column);
}

static void ternary(const TernaryArgs& args) {
  for (std::size_t i = 0; i < args.count; ++i) {
    float* out = args.output + args.rows[i] * args.width;
    for (std::size_t j = 0; j < args.width; ++j) out[j] = args.bias[j];
  }
  const std::size_t pairs = (args.words + 1) / 2;
  const float* weights = args.weights;
  for (std::size_t column = 0; column < args.width; column += ternary_block(kLanes)) {
    const std::size_t left = args.width - column;
    const std::size_t width = left < ternary_block(kLanes) ? left : ternary_block(kLanes);
    for (std::size_t pair = 0; pair < pairs; ++pair, weights += 64 * width) {
      ternary_pair(static_cast<int>(width / kLanes), args, pair, weights, column);
    }
  }
  for (std::size_t i = 0; i < args.count; ++i) {
    float* out = args.output + args.rows[i] * args.width;
    for (std::size_t e = 0; e < args.extra_count; ++e) {
      const float* w = args.extra_weights + e * args.width;
      const V x = v_set(args.extras[i * args.extra_count + e]);
      for (std::size_t j = 0; j < args.width; j += kLanes) {
        v_store(out + j, v_fma(x, v_load(w + j), v_load(out + j)));
      }
    }
    for (std::size_t j = 0; j < args.width; j += kLanes) {
      v_store(out + j, v_max(v_set(0.0f), v_load(out + j)));
    }
  }
}
