// Dense kernels as obvious loops, accumulating in double: the oracle for every other build. One
// lane, so a panel of weights is one column wide.

static double reference_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static void reference_ternary(const TernaryArgs& args) {
  for (std::size_t i = 0; i < args.count; ++i) {
    const std::uint64_t* codes = args.codes + i * args.words;
    for (std::size_t column = 0; column < args.width; ++column) {
      const std::size_t block = ternary_block(1);
      const std::size_t first = column / block * block;
      const std::size_t width = args.width - first < block ? args.width - first : block;
      const float* weights = args.weights + first * 64 * ((args.words + 1) / 2);
      double sum = args.bias[column];
      for (std::size_t feature = 0; feature < 32 * args.words; ++feature) {
        const std::uint64_t code = codes[feature / 32] >> (2 * (feature % 32)) & 3;
        const double w = weights[ternary_row(feature) * width + column - first];
        if (code == 1) sum += w;
        if (code == 2) sum -= w;
      }
      for (std::size_t e = 0; e < args.extra_count; ++e) {
        const double x = args.extras[i * args.extra_count + e];
        sum += x * args.extra_weights[e * args.width + column];
      }
      args.output[args.rows[i] * args.width + column] = static_cast<float>(sum < 0.0 ? 0.0 : sum);
    }
  }
}

// One step of one state from its gates before activation; returns h, updates c.
static float reference_step(const double* gate, std::size_t gates, float& c) {
  const double z = tanh(gate[0]);
  const double f = reference_sigmoid(gate[gates == 4 ? 2 : 1]);
  const double in = gates == 4 ? reference_sigmoid(gate[1]) : 1.0 - f;
  const double o = gates == 2 ? 1.0 : reference_sigmoid(gate[gates - 1]);
  c = static_cast<float>(f * c + in * z);
  return static_cast<float>(o * c);
}

static bool reference_starts(const std::uint32_t* rows, std::size_t count, std::size_t at,
                             bool backward) {
  return backward ? at + 1 == count || rows[at + 1] != rows[at] + 1
                  : at == 0 || rows[at - 1] + 1 != rows[at];
}

static void reference_taps(const TapsArgs& args) {
  const std::size_t k = args.kernel;
  for (std::size_t state = 0; state < args.state; ++state) {
    float c = args.carry[state];
    for (std::size_t i = 0; i < args.end - args.begin; ++i) {
      const std::size_t at = args.backward ? args.end - 1 - i : args.begin + i;
      if (reference_starts(args.rows, args.count, at, args.backward)) c = 0.0f;
      double gate[4] = {};
      for (std::size_t j = 0; j < k; ++j) {
        const std::size_t source = args.backward ? at + j : at + j - (k - 1);  // wraps below zero
        if (source >= args.count) continue;
        if (args.rows[source] - args.rows[at] != static_cast<std::uint32_t>(source - at)) continue;
        for (std::size_t g = 0; g < args.gates; ++g) {
          gate[g] += args.products[source][args.offset + (j * args.state + state) * args.gates + g];
        }
      }
      args.output[args.rows[at] * args.output_stride + state] = reference_step(gate, args.gates, c);
    }
    args.carry[state] = c;
  }
}

static void reference_qrnn(const QrnnArgs& args) {
  const std::size_t depth = args.kernel * args.channels;
  const std::size_t gates = args.gates;
  for (std::size_t state = 0; state < args.state; ++state) {
    const float* weights = args.weights + state * depth * gates;
    float c = args.carry[state];  // of the same type wherever a long text is cut
    for (std::size_t i = 0; i < args.end - args.begin; ++i) {
      const std::size_t at = args.backward ? args.end - 1 - i : args.begin + i;
      const std::size_t row = args.rows[at];
      if (reference_starts(args.rows, args.count, at, args.backward)) c = 0.0f;
      const std::size_t first = args.backward ? row : row - (args.kernel - 1);
      double gate[4] = {};
      for (std::size_t g = 0; g < gates; ++g) {
        gate[g] = args.bias[state * gates + g];
        for (std::size_t d = 0; d < depth; ++d) {
          gate[g] += double(args.input[first * args.channels + d]) * weights[d * gates + g];
        }
      }
      args.output[row * args.output_stride + state] = reference_step(gate, gates, c);
    }
    args.carry[state] = c;
  }
}

static void reference_linear(const LinearArgs& args) {
  for (std::size_t i = 0; i < args.count; ++i) {
    const float* input = args.input + i * args.depth;
    for (std::size_t column = 0; column < args.columns; ++column) {
      const float* weights = args.weights + column / 2 * 2 * args.depth + column % 2;
      double sum = args.bias[column];
      for (std::size_t d = 0; d < args.depth; ++d) sum += double(input[d]) * weights[2 * d];
      args.output[i * args.output_stride + column] = static_cast<float>(sum);
    }
  }
}

static float reference_dot(const float* a, const float* b, std::size_t count) {
  double sum = 0.0;
  for (std::size_t j = 0; j < count; ++j) sum += double(a[j]) * b[j];
  return static_cast<float>(sum);
}

static void reference_add_scaled(float scale, const float* x, float* y, std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) y[j] = static_cast<float>(y[j] + double(scale) * x[j]);
}

static void reference_sigmoid_in_place(float* x, std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) x[j] = static_cast<float>(reference_sigmoid(x[j]));
}

static void reference_tanh_in_place(float* x, std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) x[j] = static_cast<float>(tanh(double(x[j])));
}

static void reference_softmax_in_place(float* x, std::size_t count) {
  double largest = x[0];
  for (std::size_t j = 1; j < count; ++j) largest = x[j] > largest ? x[j] : largest;
  double sum = 0.0;
  for (std::size_t j = 0; j < count; ++j) sum += exp(x[j] - largest);
  for (std::size_t j = 0; j < count; ++j) {
    x[j] = static_cast<float>(exp(x[j] - largest) / sum);
  }
}

static constexpr DenseKernels dense_kernels = {1,
                                               reference_ternary,
                                               reference_qrnn,
                                               reference_taps,
                                               reference_linear,
                                               reference_dot,
                                               reference_add_scaled,
                                               reference_sigmoid_in_place,
                                               reference_tanh_in_place,
                                               reference_softmax_in_place};
