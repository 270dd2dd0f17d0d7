// One direction of an 8-bit QRNN layer, panel by panel as in body_qrnn.h; formulas in int8.h.
// This header has no include guard on purpose: it belongs to body.h.

inline V int8_tanh(V x) {
  using namespace int8_math;
  x = v_min(v_max(x, v_set(-kTanhLimit)), v_set(kTanhLimit));
  const V u = v_mul(x, x);
  const V p = v_add(v_mul(v_add(v_mul(v_set(kTanhP[1]), u), v_set(kTanhP[0])), u), v_set(1.0f));
  const V q = v_add(v_mul(v_add(v_mul(v_set(kTanhQ[1]), u), v_set(kTanhQ[0])), u), v_set(1.0f));
  return v_div(v_mul(x, p), q);
}

// Of the grid of [-1, 1] and of [0, 1], from tanh(x) and tanh(x / 2).
inline V int8_candidate(V t) {
  return v_mul(v_round(v_mul(t, v_set(127.0f))), v_set(static_cast<float>(1.0 / 127.0)));
}
inline V int8_gate(V t) {
  const V y = v_add(v_mul(t, v_set(127.5f)), v_set(127.5f));
  return v_mul(v_round(y), v_set(static_cast<float>(1.0 / 255.0)));
}

// One step of one panel from the sums of its gates; stores kLanes bytes, updates c.
template <int gates>
inline void int8_step(const VI* sums, const float* multiplier, const float* bias, V& c,
                      std::uint8_t* out) {
  V t[gates];
  PQRNN_UNROLL
  for (int g = 0; g < gates; ++g) {
    const V a = v_mul(vi_to_float(sums[g]), v_load(multiplier + g * kLanes));
    t[g] = int8_tanh(v_add(a, v_load(bias + g * kLanes)));
  }
  const V z = int8_candidate(t[0]);
  const V f = int8_gate(t[gates == 4 ? 2 : 1]);
  const V i = gates == 4 ? int8_gate(t[1]) : v_sub(v_set(1.0f), f);
  c = v_add(v_mul(f, c), v_mul(i, z));
  const V h = gates == 2 ? c : v_mul(int8_gate(t[gates - 1]), c);
  const V scaled = v_mul(h, v_set(127.0f));
  v_store_bytes(out, v_min(v_max(scaled, v_set(-127.0f)), v_set(127.0f)), kStateZero);
}

template <int gates>
static void int8_qrnn_panels(const Int8QrnnArgs& args) {
  constexpr int kMost = Int8Tile<gates>::rows;
  const std::size_t depth = args.kernel * args.channels;
  const std::size_t back = args.backward ? 0 : (args.kernel - 1) * args.channels;
  for (std::size_t state = 0; state < args.state; state += kLanes) {
    const std::int8_t* weights = args.weights + state * gates * depth;
    const std::size_t first = state * gates;
    V c = v_load(args.carry + state);
    for (std::size_t i = args.begin; i < args.end;) {
      const std::uint8_t* input[kMost] = {};
      std::uint8_t* output[kMost];
      bool starts[kMost];
      std::int32_t sums[kMost * gates * kLanes];
      const int rows = next_int8_tile(args.end - i, kMost);
      for (int r = 0; r < rows; ++r, ++i) {
        const std::size_t at = args.backward ? args.begin + (args.end - 1 - i) : i;
        const std::size_t row = args.rows[at];
        starts[r] = starts_text(args.rows, args.count, at, args.backward);
        input[r] = args.input + row * args.channels - back;
        output[r] = args.output + row * args.output_stride + state;
      }
      int8_product<gates>(rows, input, depth, weights, args.init + first, sums);
      for (int r = 0; r < rows; ++r) {
        if (starts[r]) c = v_set(0.0f);
        VI sum[gates];
        for (int g = 0; g < gates; ++g) sum[g] = vi_load(sums + (r * gates + g) * kLanes);
        int8_step<gates>(sum, args.multiplier + first, args.bias + first, c, output[r]);
      }
    }
    v_store(args.carry + state, c);
  }
}

template <int gates>
static void int8_taps_steps(const Int8TapsArgs& args) {
  const std::size_t tap = args.state * gates;
  for (std::size_t i = args.begin; i < args.end; ++i) {
    const std::size_t at = args.backward ? args.begin + (args.end - 1 - i) : i;
    const std::size_t row = args.rows[at];
    if (starts_text(args.rows, args.count, at, args.backward)) {
      for (std::size_t j = 0; j < args.state; ++j) args.carry[j] = 0.0f;
    }
    const std::int32_t* sources[64];
    const int found = tap_sources(args, at, tap, sources);
    for (std::size_t state = 0; state < args.state; state += kLanes) {
      VI sum[gates];
      for (int g = 0; g < gates; ++g) sum[g] = vi_load(sources[0] + state * gates + g * kLanes);
      for (int s = 1; s < found; ++s) {
        for (int g = 0; g < gates; ++g) {
          sum[g] = vi_add(sum[g], vi_load(sources[s] + state * gates + g * kLanes));
        }
      }
      V c = v_load(args.carry + state);
      int8_step<gates>(sum, args.multiplier + state * gates, args.bias + state * gates, c,
                       args.output + row * args.output_stride + state);
      v_store(args.carry + state, c);
    }
  }
}

static void int8_qrnn(const Int8QrnnArgs& args) {
  if (args.gates == 2) {
    int8_qrnn_panels<2>(args);
  } else if (args.gates == 3) {
    int8_qrnn_panels<3>(args);
  } else {
    int8_qrnn_panels<4>(args);
  }
}

static void int8_taps(const Int8TapsArgs& args) {
  if (args.gates == 2) {
    int8_taps_steps<2>(args);
  } else if (args.gates == 3) {
    int8_taps_steps<3>(args);
  } else {
    int8_taps_steps<4>(args);
  }
}
