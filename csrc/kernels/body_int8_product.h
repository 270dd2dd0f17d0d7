// Products of the 8-bit engine: `rows` x (groups * kLanes) sums of int32 in registers.
// This header has no include guard on purpose: it belongs to body.h.

// Rows of a tile, beside the weights of each group and what one input takes.
template <int groups>
struct Int8Tile {
  static constexpr int left = kRegisters - kWeightRegisters * groups - kInputRegisters;
  static constexpr int rows = left / groups < 1 ? 1 : left / groups < 12 ? left / groups : 12;
};

// out[r, g, :] = init[g, :] + sum_d (input[r][d] - kInputOffset) * weights[d, g, :].
template <int rows, int groups>
static void int8_product(const std::uint8_t* const* input, std::size_t depth,
                         const std::int8_t* weights, const std::int32_t* init, std::int32_t* out) {
  VI sum[rows][groups];
  PQRNN_UNROLL
  for (int r = 0; r < rows; ++r) {
    PQRNN_UNROLL
    for (int g = 0; g < groups; ++g) sum[r][g] = vi_load(init + g * kLanes);
  }
  const std::uint8_t* row[rows];
  PQRNN_UNROLL
  for (int r = 0; r < rows; ++r) row[r] = input[r];
  for (std::size_t d = 0; d < depth; d += 4, weights += groups * kLanes * 4) {
    VW w[groups];
    PQRNN_UNROLL
    for (int g = 0; g < groups; ++g) w[g] = vw_load(weights + g * kLanes * 4);
    PQRNN_UNROLL
    for (int r = 0; r < rows; ++r) {
      std::int32_t four;
      memcpy(&four, row[r] + d, 4);
      const VX x = vx_set(four);
      PQRNN_UNROLL
      for (int g = 0; g < groups; ++g) sum[r][g] = vi_dot(sum[r][g], x, w[g]);
    }
  }
  PQRNN_UNROLL
  for (int r = 0; r < rows; ++r) {
    PQRNN_UNROLL
    for (int g = 0; g < groups; ++g) vi_store(out + (r * groups + g) * kLanes, sum[r][g]);
  }
}

// The same for a number of rows known at run time, 1 <= rows <= Int8Tile<groups>::rows.
template <int groups, int most = Int8Tile<groups>::rows>
inline void int8_product(int rows, const std::uint8_t* const* input, std::size_t depth,
                         const std::int8_t* weights, const std::int32_t* init, std::int32_t* out) {
  if constexpr (most > 1) {
    if (rows < most) {
      return int8_product<groups, most - 1>(rows, input, depth, weights, init, out);
    }
  }
  int8_product<most, groups>(input, depth, weights, init, out);
}

// As next_tile(), of at most `most` rows.
inline int next_int8_tile(std::size_t left, std::size_t most) {
  const std::size_t tiles = (left + most - 1) / most;
  return static_cast<int>((left + tiles - 1) / tiles);
}

// The product that int8_panels() is made of, and its largest tile.
struct Int8Product {
  static constexpr int rows = Int8Tile<2>::rows;
  static PQRNN_INLINE void run(int count, const std::uint8_t* const* input, std::size_t depth,
                               const std::int8_t* weights, const std::int32_t* init,
                               std::int32_t* out) {
    int8_product<2>(count, input, depth, weights, init, out);
  }
};

// Calls finish(row, column, sums [2 kLanes]) for every row and every 2 kLanes columns.
template <class Product = Int8Product, class Finish>
static PQRNN_INLINE void int8_panels(const Int8LinearArgs& args, Finish finish) {
  constexpr std::size_t width = 2 * kLanes;
  for (std::size_t column = 0; column < args.columns; column += width) {
    const std::int8_t* weights = args.weights + column * args.depth;
    for (std::size_t i = 0; i < args.count;) {
      const std::uint8_t* input[Product::rows] = {};
      std::int32_t sums[Product::rows * width];
      const int rows = next_int8_tile(args.count - i, Product::rows);
      for (int r = 0; r < rows; ++r) input[r] = args.input + (i + r) * args.input_stride;
      Product::run(rows, input, args.depth, weights, args.init + column, sums);
      for (int r = 0; r < rows; ++r, ++i) finish(i, column, sums + r * width);
    }
  }
}

// What linear and relu do with finished sums.
static PQRNN_INLINE auto int8_store_sums(const Int8LinearArgs& args) {
  return [&args](std::size_t row, std::size_t column, const std::int32_t* sums) {
    std::int32_t* out = args.output + row * args.output_stride + column;
    for (std::size_t j = 0; j < 2 * kLanes; j += kLanes) vi_store(out + j, vi_load(sums + j));
  };
}

static PQRNN_INLINE void store_relu(VI sum, const float* multiplier, const float* bias,
                                    std::uint8_t* out) {
  const V y = v_add(v_mul(vi_to_float(sum), v_load(multiplier)), v_load(bias));
  v_store_bytes(out, v_min(v_max(y, v_set(0.0f)), v_set(255.0f)), 0);
}

static PQRNN_INLINE auto int8_store_relu(const Int8ReluArgs& args) {
  return [&args](std::size_t row, std::size_t column, const std::int32_t* sums) {
    std::uint8_t* out = args.output + row * args.product.columns + column;
    const std::int32_t* before =
        args.before ? args.before + row * args.product.columns + column : nullptr;
    for (std::size_t j = 0; j < 2 * kLanes; j += kLanes) {
      VI sum = vi_load(sums + j);
      if (before) sum = vi_add(sum, vi_load(before + j));
      store_relu(sum, args.multiplier + column + j, args.bias + column + j, out + j);
    }
  };
}

static std::int32_t int8_dot(const std::uint8_t* a, const std::int8_t* b, std::size_t count) {
  std::int32_t sum = 0;
  for (std::size_t j = 0; j < count; ++j) sum += std::int32_t{a[j]} * b[j];
  return sum;
}
