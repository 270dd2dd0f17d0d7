// Products of the 8-bit engine by AMX: a tile holds 16 rows of 64 bytes, and one instruction adds
// to 16 x 16 sums the products of 64 inputs of each row.
//
// Tiles 0-3 are the sums of each group of kLanes columns, 4 is the input and 6 the weights, with 3
// in turns where it holds no sums; 5 and 7 are these for the last inputs where the depth is no
// multiple of 64.
// This header has no include guard on purpose: it belongs to amx.cpp.

constexpr std::size_t kTileRows = 16;
constexpr std::size_t kTileBytes = 64;

// Makes tiles of this thread for products of one depth; until _tile_release().
static void amx_configure(std::size_t depth) {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {};
    std::uint8_t rows[16] = {};
  } shape;
  const auto last = static_cast<std::uint8_t>(depth % kTileBytes);
  for (int tile = 0; tile < 8; ++tile) {
    shape.bytes[tile] = tile == 5 ? last : kTileBytes;
    shape.rows[tile] = tile == 7 ? last / 4 : kTileRows;
  }
  if (!last) shape.bytes[5] = shape.rows[5] = shape.bytes[7] = shape.rows[7] = 0;
  // GCC's intrinsics do not say that they read memory.
  __asm__ __volatile__("" : : "r"(&shape) : "memory");
  _tile_loadconfig(&shape);
}

// As int8_product() for kTileRows rows `stride` bytes apart.
template <int groups>
static void amx_product(const std::uint8_t* input, std::size_t stride, std::size_t depth,
                        const std::int8_t* weights, const std::int32_t* init, std::int32_t* out) {
  static_assert(groups >= 2 && groups <= 4, "sums are in tiles 0 to 3");
  constexpr std::size_t row = groups * kTileBytes;  // bytes of four inputs' weights
  __asm__ __volatile__("" : : : "memory");
  // Rows 0 bytes apart: every row starts with the same sums.
  _tile_loadd(0, init, 0);
  _tile_loadd(1, init + kLanes, 0);
  if constexpr (groups > 2) _tile_loadd(2, init + 2 * kLanes, 0);
  if constexpr (groups > 3) _tile_loadd(3, init + 3 * kLanes, 0);
  std::size_t d = 0;
  for (; d + kTileBytes <= depth; d += kTileBytes, weights += row * kTileRows) {
    _tile_loadd(4, input + d, stride);
    _tile_loadd(6, weights, row);
    _tile_dpbusd(0, 4, 6);
    if constexpr (groups < 4) {
      _tile_loadd(3, weights + kTileBytes, row);
      _tile_dpbusd(1, 4, 3);
    } else {
      _tile_loadd(6, weights + kTileBytes, row);
      _tile_dpbusd(1, 4, 6);
    }
    if constexpr (groups > 2) {
      _tile_loadd(6, weights + 2 * kTileBytes, row);
      _tile_dpbusd(2, 4, 6);
    }
    if constexpr (groups > 3) {
      _tile_loadd(6, weights + 3 * kTileBytes, row);
      _tile_dpbusd(3, 4, 6);
    }
  }
  if (d < depth) {
    _tile_loadd(5, input + d, stride);
    _tile_loadd(7, weights, row);
    _tile_dpbusd(0, 5, 7);
    _tile_loadd(7, weights + kTileBytes, row);
    _tile_dpbusd(1, 5, 7);
    if constexpr (groups > 2) {
      _tile_loadd(7, weights + 2 * kTileBytes, row);
      _tile_dpbusd(2, 5, 7);
    }
    if constexpr (groups > 3) {
      _tile_loadd(7, weights + 3 * kTileBytes, row);
      _tile_dpbusd(3, 5, 7);
    }
  }
  _tile_stored(0, out, row);
  _tile_stored(1, out + kLanes, row);
  if constexpr (groups > 2) _tile_stored(2, out + 2 * kLanes, row);
  if constexpr (groups > 3) _tile_stored(3, out + 3 * kLanes, row);
}

// As int8_panels(), for count >= kTileRows.
template <class Finish>
static PQRNN_INLINE void amx_panels(const Int8LinearArgs& args, Finish finish) {
  constexpr std::size_t width = 2 * kLanes;
  amx_configure(args.depth);
  for (std::size_t column = 0; column < args.columns; column += width) {
    const std::int8_t* weights = args.weights + column * args.depth;
    for (std::size_t i = 0; i < args.count;) {
      // The last tile may begin with rows that are done.
      const std::size_t first = i + kTileRows <= args.count ? i : args.count - kTileRows;
      alignas(64) std::int32_t sums[kTileRows * width];
      amx_product<2>(args.input + first * args.input_stride, args.input_stride, args.depth, weights,
                     args.init + column, sums);
      for (; i < first + kTileRows; ++i) finish(i, column, sums + (i - first) * width);
    }
  }
  _tile_release();
}

static void amx_linear(const Int8LinearArgs& args) {
  if (args.count < kTileRows) return int8_linear(args);
  amx_panels(args, int8_store_sums(args));
}

static void amx_relu(const Int8ReluArgs& args) {
  if (args.product.count < kTileRows) return int8_relu(args);
  amx_panels(args.product, int8_store_relu(args));
}

// As int8_qrnn_panels(). A tile reads rows as they lie in memory, the gaps between texts included.
template <int gates>
static void amx_qrnn_panels(const Int8QrnnArgs& args) {
  const std::size_t depth = args.kernel * args.channels;
  const std::size_t back = args.backward ? 0 : (args.kernel - 1) * args.channels;
  const std::size_t lowest = args.rows[args.begin], highest = args.rows[args.end - 1];
  amx_configure(depth);
  for (std::size_t state = 0; state < args.state; state += kLanes) {
    const std::int8_t* weights = args.weights + state * gates * depth;
    const std::size_t first = state * gates;
    V c = v_load(args.carry + state);
    for (std::size_t i = args.begin; i < args.end;) {
      const auto place = [&] { return args.backward ? args.begin + (args.end - 1 - i) : i; };
      const std::size_t next = args.rows[place()];
      std::size_t base = next;
      if (args.backward) {
        base = next - lowest < kTileRows ? lowest : next - (kTileRows - 1);
      } else if (highest - next < kTileRows) {
        base = highest - (kTileRows - 1);
      }
      alignas(64) std::int32_t sums[kTileRows * gates * kLanes];
      amx_product<gates>(args.input + base * args.channels - back, args.channels, depth, weights,
                         args.init + first, sums);
      for (; i < args.end; ++i) {
        const std::size_t at = place(), row = args.rows[at];
        if (row < base || row >= base + kTileRows) break;
        if (starts_text(args.rows, args.count, at, args.backward)) c = v_set(0.0f);
        VI sum[gates];
        for (int g = 0; g < gates; ++g) {
          sum[g] = vi_load(sums + ((row - base) * gates + g) * kLanes);
        }
        int8_step<gates>(sum, args.multiplier + first, args.bias + first, c,
                         args.output + row * args.output_stride + state);
      }
    }
    v_store(args.carry + state, c);
  }
  _tile_release();
}

static void amx_qrnn(const Int8QrnnArgs& args) {
  if (args.begin == args.end || args.rows[args.end - 1] - args.rows[args.begin] + 1 < kTileRows) {
    return int8_qrnn(args);
  }
  if (args.gates == 2) {
    amx_qrnn_panels<2>(args);
  } else if (args.gates == 3) {
    amx_qrnn_panels<3>(args);
  } else {
    amx_qrnn_panels<4>(args);
  }
}

// Independent products of tiles, as int8_peak().
static std::int64_t amx_peak(std::int64_t rounds) {
  alignas(64) std::uint8_t inputs[kTileRows * kTileBytes];
  alignas(64) std::int8_t weights[kTileRows * kTileBytes];
  alignas(64) std::int32_t sums[kTileRows * kLanes] = {};
  for (std::size_t j = 0; j < kTileRows * kTileBytes; ++j) {
    inputs[j] = static_cast<std::uint8_t>(1 + j / kTileBytes);
    weights[j] = static_cast<std::int8_t>(j % kTileBytes / 4 % 7);
  }
  amx_configure(kTileBytes);
  __asm__ __volatile__("" : : "r"(inputs), "r"(weights), "r"(sums) : "memory");
  _tile_loadd(0, sums, kTileBytes);
  _tile_loadd(1, sums, kTileBytes);
  _tile_loadd(2, sums, kTileBytes);
  _tile_loadd(3, sums, kTileBytes);
  _tile_loadd(4, inputs, kTileBytes);
  _tile_loadd(6, weights, kTileBytes);
  for (std::int64_t i = 0; i < rounds; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 6);
    _tile_dpbusd(2, 4, 6);
    _tile_dpbusd(3, 4, 6);
  }
  std::uint32_t found[kTileRows * kLanes] = {};
  const auto add = [&] {
    for (std::size_t j = 0; j < kTileRows * kLanes; ++j) {
      found[j] += static_cast<std::uint32_t>(sums[j]);
    }
  };
  _tile_stored(0, sums, kTileBytes);
  add();
  _tile_stored(1, sums, kTileBytes);
  add();
  _tile_stored(2, sums, kTileBytes);
  add();
  _tile_stored(3, sums, kTileBytes);
  add();
  _tile_release();
  const auto times =
      static_cast<std::uint32_t>(4 * kTileBytes * static_cast<std::size_t>(rounds));  // modulo 2^32
  for (std::size_t j = 0; j < kTileRows * kLanes; ++j) {
    const auto once = static_cast<std::uint32_t>((1 + j / kLanes) * (j % kLanes % 7));
    if (found[j] != once * times) return 0;
  }
  return rounds * 4 * static_cast<std::int64_t>(kTileRows * kLanes * kTileBytes);
}
