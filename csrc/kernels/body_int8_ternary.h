// The bottleneck over ternary features. Inputs of 0, 1 and 2 leave room in 16 bits for the sums of
// many products, which instruction sets without dot products of bytes add twice as fast there.
// This header has no include guard on purpose: it belongs to body.h.

#ifdef PQRNN_BYTE_PAIRS

constexpr int kTernaryOffset = 0;

// Inputs whose sums of pairs fit int16: 64 times two products of at most 2 * 128.
constexpr std::size_t kPairedDepth = 256;

// out[r, g, :] = init[g, :] + sum_d input[r][d] * weights[d, g, :] of two groups, inputs up to 2.
template <int rows>
static void ternary_product(const std::uint8_t* const* input, std::size_t depth,
                            const std::int8_t* weights, const std::int32_t* init,
                            std::int32_t* out) {
  const std::uint8_t* row[rows];
  PQRNN_UNROLL
  for (int r = 0; r < rows; ++r) row[r] = input[r];
  for (int r = 0; r < rows; ++r) {
    for (int g = 0; g < 2; ++g) vi_store(out + (2 * r + g) * kLanes, vi_load(init + g * kLanes));
  }
  for (std::size_t d = 0; d < depth;) {
    const std::size_t end = depth - d < kPairedDepth ? depth : d + kPairedDepth;
    VI pairs[rows][2];
    PQRNN_UNROLL
    for (int r = 0; r < rows; ++r) pairs[r][0] = pairs[r][1] = vi_set(0);
    for (; d < end; d += 4, weights += 8 * kLanes) {
      const VI first = vi_load(reinterpret_cast<const std::int32_t*>(weights));
      const VI second = vi_load(reinterpret_cast<const std::int32_t*>(weights) + kLanes);
      PQRNN_UNROLL
      for (int r = 0; r < rows; ++r) {
        std::int32_t four;
        memcpy(&four, row[r] + d, 4);
        const VI x = vi_set(four);
        pairs[r][0] = vi_add_pairs(pairs[r][0], vi_pairs(x, first));
        pairs[r][1] = vi_add_pairs(pairs[r][1], vi_pairs(x, second));
      }
    }
    PQRNN_UNROLL
    for (int r = 0; r < rows; ++r) {
      PQRNN_UNROLL
      for (int g = 0; g < 2; ++g) {
        std::int32_t* at = out + (2 * r + g) * kLanes;
        vi_store(at, vi_join(vi_load(at), pairs[r][g]));
      }
    }
  }
}

struct TernaryProduct {
  // Beside the sums: two groups of weights, an input, a product.
  static constexpr int rows = (kRegisters - 4) / 2 < 12 ? (kRegisters - 4) / 2 : 12;

  template <int most = rows>
  static PQRNN_INLINE void run(int count, const std::uint8_t* const* input, std::size_t depth,
                               const std::int8_t* weights, const std::int32_t* init,
                               std::int32_t* out) {
    if constexpr (most > 1) {
      if (count < most) return run<most - 1>(count, input, depth, weights, init, out);
    }
    ternary_product<most>(input, depth, weights, init, out);
  }
};

#else

constexpr int kTernaryOffset = kInputOffset;

#endif

static void int8_linear(const Int8LinearArgs& args) {
#ifdef PQRNN_BYTE_PAIRS
  if (args.inputs == Int8Inputs::sparse) return sparse_linear(args);
  if (args.inputs == Int8Inputs::ternary) {
    return int8_panels<TernaryProduct>(args, int8_store_sums(args));
  }
#endif
  int8_panels(args, int8_store_sums(args));
}

static void int8_relu(const Int8ReluArgs& args) {
#ifdef PQRNN_BYTE_PAIRS
  if (args.product.inputs == Int8Inputs::ternary) {
    return int8_panels<TernaryProduct>(args.product, int8_store_relu(args));
  }
#endif
  int8_panels(args.product, int8_store_relu(args));
}
