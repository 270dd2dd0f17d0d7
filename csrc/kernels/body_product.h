// The product at the heart of gates and heads: `rows` x (groups * kLanes) sums in registers.
// This header has no include guard on purpose: it belongs to body.h.

// All loops over a tile must unroll, or the compiler keeps the tile in memory.
#if defined(__clang__)
#define PQRNN_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define PQRNN_UNROLL _Pragma("GCC unroll 16")
#else
#define PQRNN_UNROLL
#endif

// Rows of a tile: as many as leave registers for one vector of each group of weights and one input.
template <int groups>
struct Tile {
  static constexpr int rows = (kRegisters - 1 - groups) / groups < 12
                                  ? (kRegisters - 1 - groups) / groups
                                  : 12;  // with more, their addresses outgrow the integer registers
};

// out[r, g, :] = bias[g, :] + sum_d input[r][d] * weights[d, g, :], summed in the order of d.
template <int rows, int groups>
static void tile_product(const float* const* input, std::size_t depth, const float* weights,
                         const float* bias, float* out) {
  V sum[rows][groups];
  PQRNN_UNROLL
  for (int r = 0; r < rows; ++r) {
    PQRNN_UNROLL
    for (int g = 0; g < groups; ++g) sum[r][g] = v_load(bias + g * kLanes);
  }
  const float* row[rows];
  PQRNN_UNROLL
  for (int r = 0; r < rows; ++r) row[r] = input[r];
  for (std::size_t d = 0; d < depth; ++d, weights += groups * kLanes) {
    V w[groups];
    PQRNN_UNROLL
    for (int g = 0; g < groups; ++g) w[g] = v_load(weights + g * kLanes);
    PQRNN_UNROLL
    for (int r = 0; r < rows; ++r) {
      const V x = v_set(row[r][d]);
      PQRNN_UNROLL
      for (int g = 0; g < groups; ++g) sum[r][g] = v_fma(x, w[g], sum[r][g]);
    }
  }
  PQRNN_UNROLL
  for (int r = 0; r < rows; ++r) {
    PQRNN_UNROLL
    for (int g = 0; g < groups; ++g) v_store(out + (r * groups + g) * kLanes, sum[r][g]);
  }
}

// The same for a number of rows known at run time, 1 <= rows <= Tile<groups>::rows.
template <int groups, int most = Tile<groups>::rows>
inline void tile_product(int rows, const float* const* input, std::size_t depth,
                         const float* weights, const float* bias, float* out) {
  if constexpr (most > 1) {
    if (rows < most) {
      return tile_product<groups, most - 1>(rows, input, depth, weights, bias, out);
    }
  }
  tile_product<most, groups>(input, depth, weights, bias, out);
}

// How many rows the next tile takes when `left` remain: evenly, so that no tile is much smaller
// than the others.
template <int groups>
inline int next_tile(std::size_t left) {
  const std::size_t most = Tile<groups>::rows;
  const std::size_t tiles = (left + most - 1) / most;
  return static_cast<int>((left + tiles - 1) / tiles);
}

static void linear(const LinearArgs& args) {
  constexpr int kGroups = 2;
  const std::size_t width = kGroups * kLanes;
  for (std::size_t column = 0; column < args.columns; column += width) {
    const float* weights = args.weights + column * args.depth;
    for (std::size_t i = 0; i < args.count;) {
      const float* input[Tile<kGroups>::rows];
      float sums[Tile<kGroups>::rows * kGroups * kLanes];
      const int rows = next_tile<kGroups>(args.count - i);
      for (int r = 0; r < rows; ++r) input[r] = args.input + (i + r) * args.depth;
      tile_product<kGroups>(rows, input, args.depth, weights, args.bias + column, sums);
      for (int r = 0; r < rows; ++r, ++i) {
        float* out = args.output + i * args.output_stride + column;
        for (std::size_t j = 0; j < width; ++j) out[j] = sums[r * width + j];
      }
    }
  }
}
