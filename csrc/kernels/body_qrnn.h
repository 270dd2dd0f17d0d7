// One direction of a QRNN layer. For each panel of kLanes states the texts are walked once: a tile
// of gate sums, their activations, the scan, the output. No gate is ever stored outside the tile.
//
//   z = tanh(g_z)   f, o, i = sigmoid(g_f, g_o, g_i)
//   f, fo:  c = f c + (1 - f) z        ifo:  c = f c + i z        h = o c  (f: h = c)
//
// This header has no include guard on purpose: it belongs to body.h.

// One step of one panel: gates[G, kLanes] are sums before activation; returns h, updates c.
template <int gates>
inline V pool_step(const float* sums, V& c) {
  constexpr int kForget = gates == 4 ? 2 : 1;
  const V z = v_tanh(v_load(sums));
  const V f = v_sigmoid(v_load(sums + kForget * kLanes));
  if (gates == 4) {
    const V i = v_sigmoid(v_load(sums + kLanes));
    c = v_fma(f, c, v_mul(i, z));
  } else {
    c = v_fma(f, v_sub(c, z), z);
  }
  if (gates == 2) return c;
  return v_mul(v_sigmoid(v_load(sums + (gates - 1) * kLanes)), c);
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
        starts[r] = args.backward ? at + 1 == args.count || args.rows[at + 1] != row + 1
                                  : at == 0 || args.rows[at - 1] + 1 != row;
        input[r] = args.input + row * args.channels - back;
        output[r] = args.output + row * args.output_stride + state;
      }
      tile_product<gates>(rows, input, depth, weights, bias, sums);
      for (int r = 0; r < rows; ++r) {
        if (starts[r]) c = v_set(0.0f);
        v_store(output[r], pool_step<gates>(sums + r * gates * kLanes, c));
      }
    }
    v_store(args.carry + state, c);
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
