// One direction of a QRNN layer. For each panel of kLanes states the texts are walked once: a tile
// of gate sums, their activations, the scan, the output. No gate is ever stored outside the tile.
//
//   z = tanh(g_z)   f, o, i = sigmoid(g_f, g_o, g_i)
//   f, fo:  c = f c + (1 - f) z        ifo:  c = f c + i z        h = o c  (f: h = c)
//
// This header has no include guard on purpose: it belongs to body.h.

// One step of one panel from its gates before activation; returns h, updates c.
template <int gates>
inline V pool_step(const V* gate, V& c) {
  const V z = v_tanh(gate[0]);
  const V f = v_sigmoid(gate[gates == 4 ? 2 : 1]);
  if (gates == 4) {
    c = v_fma(f, c, v_mul(v_sigmoid(gate[1]), z));
  } else {
    c = v_fma(f, v_sub(c, z), z);
  }
  if (gates == 2) return c;
  return v_mul(v_sigmoid(gate[gates - 1]), c);
}

// Whether a text starts at entry `at` of a row list, walking forward or backward.
inline bool starts_text(const std::uint32_t* rows, std::size_t count, std::size_t at,
                        bool backward) {
  if (backward) return at + 1 == count || rows[at + 1] != rows[at] + 1;
  return at == 0 || rows[at - 1] + 1 != rows[at];
}

template <int gates>
static void qrnn_panels(const QrnnArgs& args) {
  constexpr int kMost = Tile<gates>::rows;
  const std::size_t depth = args.kernel * args.channels;
  // The forward window begins k - 1 rows before its own row.
  const std::size_t back = args.backward ? 0 : (args.kernel - 1) * args.channels;
  for (std::size_t state = 0; state < args.state; state += kLanes) {
    const float* weights = args.weights + state * gates * depth;
    const float* bias = args.bias + state * gates;
    V c = v_load(args.carry + state);
    for (std::size_t i = args.begin; i < args.end;) {
      const float* input[kMost];
      float* output[kMost];
      bool starts[kMost];
      float sums[kMost * gates * kLanes];
      const int rows = next_tile<gates>(args.end - i);
      for (int r = 0; r < rows; ++r, ++i) {
        const std::size_t at = args.backward ? args.begin + (args.end - 1 - i) : i;
        const std::size_t row = args.rows[at];
        starts[r] = starts_text(args.rows, args.count, at, args.backward);
        input[r] = args.input + row * args.channels - back;
        output[r] = args.output + row * args.output_stride + state;
      }
      tile_product<gates>(rows, input, depth, weights, bias, sums);
      for (int r = 0; r < rows; ++r) {
        if (starts[r]) c = v_set(0.0f);
        V gate[gates];
        for (int g = 0; g < gates; ++g) gate[g] = v_load(sums + (r * gates + g) * kLanes);
        v_store(output[r], pool_step<gates>(gate, c));
      }
    }
    v_store(args.carry + state, c);
  }
}

// The products that meet at entry `at`, of the token itself first; neighbours outside the text have
// none. `tap` is the length of a product. For TapsArgs of any kind.
template <class Args, class Product>
inline int tap_sources(const Args& args, std::size_t at, std::size_t tap, const Product** sources) {
  const std::size_t own = args.backward ? 0 : args.kernel - 1;
  int found = 0;
  for (std::size_t distance = 0; distance < args.kernel; ++distance) {
    const bool inside =
        args.backward
            ? at + distance < args.count && args.rows[at + distance] == args.rows[at] + distance
            : distance <= at && args.rows[at - distance] + distance == args.rows[at];
    if (!inside) break;
    const std::size_t other = args.backward ? at + distance : at - distance;
    const std::size_t index = args.backward ? own + distance : own - distance;
    sources[found++] = args.products[other] + args.offset + index * tap;
  }
  return found;
}

template <int gates>
static void taps_steps(const TapsArgs& args) {
  const std::size_t tap = args.state * gates;
  for (std::size_t i = args.begin; i < args.end; ++i) {
    const std::size_t at = args.backward ? args.begin + (args.end - 1 - i) : i;
    const std::size_t row = args.rows[at];
    if (starts_text(args.rows, args.count, at, args.backward)) {
      for (std::size_t j = 0; j < args.state; ++j) args.carry[j] = 0.0f;
    }
    const float* sources[64];
    const int found = tap_sources(args, at, tap, sources);
    float* out = args.output + row * args.output_stride;
    for (std::size_t state = 0; state < args.state; state += kLanes) {
      V gate[gates];
      for (int g = 0; g < gates; ++g) gate[g] = v_load(sources[0] + state * gates + g * kLanes);
      for (int s = 1; s < found; ++s) {
        for (int g = 0; g < gates; ++g) {
          gate[g] = v_add(gate[g], v_load(sources[s] + state * gates + g * kLanes));
        }
      }
      V c = v_load(args.carry + state);
      v_store(out + state, pool_step<gates>(gate, c));
      v_store(args.carry + state, c);
    }
  }
}

static void taps(const TapsArgs& args) {
  if (args.gates == 2) {
    taps_steps<2>(args);
  } else if (args.gates == 3) {
    taps_steps<3>(args);
  } else {
    taps_steps<4>(args);
  }
}

static void qrnn(const QrnnArgs& args) {
  if (args.gates == 2) {
    qrnn_panels<2>(args);
  } else if (args.gates == 3) {
    qrnn_panels<3>(args);
  } else {
    qrnn_panels<4>(args);
  }
}
