// Products of inputs of which most are 0, as those of a bottleneck behind its ReLU: four others at
// a time, wherever they stand, whose rows of weights are put side by side on the way.
// This header has no include guard on purpose: it belongs to body.h.

#ifdef PQRNN_BYTE_PAIRS

constexpr bool kSparse = true;

constexpr std::size_t kSparseDepth = 256;  // inputs at once, of
constexpr std::size_t kSparseRows = 16;    // so many rows, which then take 24 KiB

// What is not 0 of a row, in groups of four. Two products of 128 and 127 fit 16 bits, so that an
// input above 128 stands there twice, as 128 and the rest.
struct SparseRow {
  std::size_t groups;
  std::uint16_t place[2 * kSparseDepth];  // of its row of weights, in bytes
  std::uint8_t value[2 * kSparseDepth];
};

static void find_inputs(const std::uint8_t* input, std::size_t depth, SparseRow& row) {
  std::size_t count = 0;
  for (std::size_t d = 0; d < depth; d += 4) {
    std::uint32_t four;
    memcpy(&four, input + d, 4);
    if (four == 0) continue;
    for (std::size_t j = d; j < d + 4; ++j) {
      const int x = input[j], most = 128;
      row.place[count] = static_cast<std::uint16_t>(j * 4 * kLanes);
      row.value[count] = static_cast<std::uint8_t>(x < most ? x : most);
      count += x > 0;
      if (x <= most) continue;
      row.place[count] = static_cast<std::uint16_t>(j * 4 * kLanes);
      row.value[count++] = static_cast<std::uint8_t>(x - most);
    }
  }
  for (; count % 4 > 0; ++count) row.place[count] = row.value[count] = 0;
  row.groups = count / 4;
}

// out[g, :] = init[g, :] + what the row's inputs add to 4 kLanes columns, of which the first
// `groups` vectors are wanted.
static void sparse_product(const SparseRow& row, const std::int8_t* weights,
                           const std::int32_t* init, std::int32_t* out, std::size_t groups) {
  constexpr std::size_t width = 4 * kLanes;
  VI sum[4];
  PQRNN_UNROLL
  for (std::size_t g = 0; g < 4; ++g) sum[g] = g < groups ? vi_load(init + g * kLanes) : vi_set(0);
  const std::uint16_t* place = row.place;
  const std::uint8_t* value = row.value;
  for (std::size_t left = row.groups; left > 0; --left, place += 4, value += 4) {
    VI w[4];
    PQRNN_UNROLL
    for (int j = 0; j < 4; ++j) {
      w[j] = vi_load(reinterpret_cast<const std::int32_t*>(weights + place[j]));
    }
    std::int32_t four;
    memcpy(&four, value, 4);
    const VI x = vi_set(four);
    const VI low[2] = {vi_zip_bytes_low(w[0], w[1]), vi_zip_bytes_low(w[2], w[3])};
    const VI high[2] = {vi_zip_bytes_high(w[0], w[1]), vi_zip_bytes_high(w[2], w[3])};
    sum[0] = vi_join(sum[0], vi_pairs(x, vi_zip_pairs_low(low[0], low[1])));
    sum[1] = vi_join(sum[1], vi_pairs(x, vi_zip_pairs_high(low[0], low[1])));
    sum[2] = vi_join(sum[2], vi_pairs(x, vi_zip_pairs_low(high[0], high[1])));
    sum[3] = vi_join(sum[3], vi_pairs(x, vi_zip_pairs_high(high[0], high[1])));
  }
  PQRNN_UNROLL
  for (std::size_t g = 0; g < 4; ++g) {
    if (g < groups) vi_store(out + g * kLanes, sum[g]);
  }
}

static void sparse_linear(const Int8LinearArgs& args) {
  constexpr std::size_t width = 4 * kLanes;
  SparseRow rows[kSparseRows];
  for (std::size_t first = 0; first < args.count; first += kSparseRows) {
    const std::size_t left = args.count - first, count = left < kSparseRows ? left : kSparseRows;
    for (std::size_t d = 0; d < args.depth; d += kSparseDepth) {
      const std::size_t rest = args.depth - d, depth = rest < kSparseDepth ? rest : kSparseDepth;
      for (std::size_t r = 0; r < count; ++r) {
        find_inputs(args.input + (first + r) * args.input_stride + d, depth, rows[r]);
      }
      for (std::size_t column = 0; column < args.columns; column += width) {
        const std::int8_t* weights = args.weights + column * args.depth + d * width;
        const std::size_t groups =
            args.columns - column < width ? (args.columns - column) / kLanes : 4;
        for (std::size_t r = 0; r < count; ++r) {
          std::int32_t* out = args.output + (first + r) * args.output_stride + column;
          sparse_product(rows[r], weights, d == 0 ? args.init + column : out, out, groups);
        }
      }
    }
  }
}

#else

constexpr bool kSparse = false;

#endif
