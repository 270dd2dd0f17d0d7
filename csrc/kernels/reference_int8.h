// Kernels of the 8-bit engine as obvious loops, one lane: the oracle for every other build. Of
// floats they do exactly what int8.h says, since here the bits are the result.

static std::int32_t reference_sum(const std::uint8_t* input, const std::int8_t* weights,
                                  std::size_t depth, std::size_t groups, std::int32_t sum) {
  for (std::size_t d = 0; d < depth; ++d) {
    sum += std::int32_t{input[d]} * weights[d / 4 * 4 * groups + d % 4];
  }
  return sum;
}

static void reference_int8_linear(const Int8LinearArgs& args) {
  for (std::size_t i = 0; i < args.count; ++i) {
    for (std::size_t column = 0; column < args.columns; ++column) {
      const std::int8_t* weights = args.weights + column / 2 * 2 * args.depth + column % 2 * 4;
      args.output[i * args.output_stride + column] = reference_sum(
          args.input + i * args.input_stride, weights, args.depth, 2, args.init[column]);
    }
  }
}

static std::uint8_t reference_byte(float x, float low, float high, int offset) {
  const float above = x > low ? x : low;  // low when NaN, as everywhere
  const float inside = above < high ? above : high;
  return static_cast<std::uint8_t>(static_cast<int>(nearbyintf(inside)) + offset);
}

static void reference_int8_relu(const Int8ReluArgs& args) {
  const Int8LinearArgs& product = args.product;
  for (std::size_t i = 0; i < product.count; ++i) {
    for (std::size_t column = 0; column < product.columns; ++column) {
      const std::int8_t* weights =
          product.weights + column / 2 * 2 * product.depth + column % 2 * 4;
      const std::int32_t before =
          args.before ? args.before[i * product.columns + column] : std::int32_t{0};
      const std::int32_t sum = reference_sum(product.input + i * product.input_stride, weights,
                                             product.depth, 2, before + product.init[column]);
      const float y = static_cast<float>(sum) * args.multiplier[column];
      args.output[i * product.columns + column] =
          reference_byte(y + args.bias[column], 0.0f, 255.0f, 0);
    }
  }
}

static std::int32_t reference_gathered_weight(const Int8GatherArgs& args, std::uint32_t row,
                                              std::size_t column) {
  const std::size_t panels = (args.columns + kGatherColumns - 1) / kGatherColumns;
  if (!args.codes) return args.weights[row * panels * kGatherColumns + column];
  const std::size_t blocks = (args.columns + kCodeBlock - 1) / kCodeBlock, quarter = kCodeBlock / 4;
  const std::size_t block = column / kCodeBlock, j = column % kCodeBlock;
  const int byte = args.codes[(row * blocks + block) * quarter + j % quarter];
  return 2 * (byte >> 2 * (j / quarter) & 3) - 3;
}

static void reference_int8_gather(const Int8GatherArgs& args) {
  for (std::size_t i = 0; i < args.count; ++i) {
    for (std::size_t column = 0; column < args.columns; ++column) {
      std::int32_t sum = 0;
      for (std::uint32_t r = args.starts[2 * i]; r < args.starts[2 * i + 2]; ++r) {
        const std::int32_t weight = reference_gathered_weight(args, args.rows[r], column);
        sum += r < args.starts[2 * i + 1] ? weight : -weight;
      }
      const float y = static_cast<float>(sum) * args.multiplier[column];
      args.output[i * args.columns + column] =
          reference_byte(y + args.bias[column], 0.0f, 255.0f, 0);
    }
  }
}

static float reference_int8_tanh(float x) {
  using namespace int8_math;
  x = x > -kTanhLimit ? x : -kTanhLimit;
  x = x < kTanhLimit ? x : kTanhLimit;
  const float u = x * x;
  const float p = x * ((kTanhP[1] * u + kTanhP[0]) * u + 1.0f);
  return p / ((kTanhQ[1] * u + kTanhQ[0]) * u + 1.0f);
}

static float reference_int8_gate(float t) {
  return nearbyintf(t * 127.5f + 127.5f) * static_cast<float>(1.0 / 255.0);
}

// One step of one state from the sums of its gates; returns its byte, updates c.
static std::uint8_t reference_int8_step(const std::int32_t* sums, const float* multiplier,
                                        const float* bias, std::size_t gates, float& c) {
  float t[4] = {};
  for (std::size_t g = 0; g < gates; ++g) {
    t[g] = reference_int8_tanh(static_cast<float>(sums[g]) * multiplier[g] + bias[g]);
  }
  const float z = nearbyintf(t[0] * 127.0f) * static_cast<float>(1.0 / 127.0);
  const float f = reference_int8_gate(t[gates == 4 ? 2 : 1]);
  const float i = gates == 4 ? reference_int8_gate(t[1]) : 1.0f - f;
  c = f * c + i * z;
  const float h = gates == 2 ? c : reference_int8_gate(t[gates - 1]) * c;
  return reference_byte(h * 127.0f, -127.0f, 127.0f, kStateZero);
}

static void reference_int8_qrnn(const Int8QrnnArgs& args) {
  const std::size_t depth = args.kernel * args.channels;
  const std::size_t gates = args.gates;
  for (std::size_t state = 0; state < args.state; ++state) {
    const std::int8_t* weights = args.weights + state * depth * gates;
    float c = args.carry[state];
    for (std::size_t i = 0; i < args.end - args.begin; ++i) {
      const std::size_t at = args.backward ? args.end - 1 - i : args.begin + i;
      const std::size_t row = args.rows[at];
      if (reference_starts(args.rows, args.count, at, args.backward)) c = 0.0f;
      const std::size_t first = args.backward ? row : row - (args.kernel - 1);
      std::int32_t sums[4];
      for (std::size_t g = 0; g < gates; ++g) {
        sums[g] = reference_sum(args.input + first * args.channels, weights + 4 * g, depth, gates,
                                args.init[state * gates + g]);
      }
      args.output[row * args.output_stride + state] = reference_int8_step(
          sums, args.multiplier + state * gates, args.bias + state * gates, gates, c);
    }
    args.carry[state] = c;
  }
}

static void reference_int8_taps(const Int8TapsArgs& args) {
  const std::size_t k = args.kernel, gates = args.gates;
  for (std::size_t state = 0; state < args.state; ++state) {
    float c = args.carry[state];
    for (std::size_t i = 0; i < args.end - args.begin; ++i) {
      const std::size_t at = args.backward ? args.end - 1 - i : args.begin + i;
      if (reference_starts(args.rows, args.count, at, args.backward)) c = 0.0f;
      std::int32_t sums[4] = {};
      for (std::size_t j = 0; j < k; ++j) {
        const std::size_t source = args.backward ? at + j : at + j - (k - 1);  // wraps below zero
        if (source >= args.count) continue;
        if (args.rows[source] - args.rows[at] != static_cast<std::uint32_t>(source - at)) continue;
        for (std::size_t g = 0; g < gates; ++g) {
          sums[g] += args.products[source][args.offset + (j * args.state + state) * gates + g];
        }
      }
      args.output[args.rows[at] * args.output_stride + state] = reference_int8_step(
          sums, args.multiplier + state * gates, args.bias + state * gates, gates, c);
    }
    args.carry[state] = c;
  }
}

static std::int32_t reference_int8_dot(const std::uint8_t* a, const std::int8_t* b,
                                       std::size_t count) {
  std::int32_t sum = 0;
  for (std::size_t j = 0; j < count; ++j) sum += std::int32_t{a[j]} * b[j];
  return sum;
}

static void reference_int8_add_scaled(float scale, const std::uint8_t* x, int zero, float* y,
                                      std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) y[j] = y[j] + scale * static_cast<float>(x[j] - zero);
}

static float reference_int8_exp(float x) {
  using namespace int8_math;
  x = x > kExpLeast ? x : kExpLeast;
  const float n = nearbyintf(x * kLog2E);
  const float r = (x - n * kLog2High) - n * kLog2Low;
  float p = kExpP[0];
  for (int k = 1; k < 5; ++k) p = p * r + kExpP[k];
  return ldexpf((p * (r * r) + r) + 1.0f, static_cast<int>(n));
}

static void reference_int8_softmax(float* x, std::size_t count) {
  float largest = x[0], sum = 0.0f;
  for (std::size_t j = 1; j < count; ++j) largest = x[j] > largest ? x[j] : largest;
  for (std::size_t j = 0; j < count; ++j) x[j] = reference_int8_exp(x[j] - largest);
  for (std::size_t j = 0; j < count; ++j) sum = sum + x[j];
  for (std::size_t j = 0; j < count; ++j) x[j] = x[j] / sum;
}

static void reference_int8_sigmoid(float* x, std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) {
    const float e = reference_int8_exp(x[j] < 0.0f ? x[j] : -x[j]);
    x[j] = (x[j] < 0.0f ? e : 1.0f) / (1.0f + e);
  }
}

static std::int64_t reference_int8_peak(std::int64_t rounds) {
  const std::uint8_t inputs[4] = {1, 1, 1, 1};
  const std::int8_t weights[4] = {0, 1, 2, 0};
  std::uint32_t sum = 0;
  for (std::int64_t i = 0; i < rounds; ++i) {
    sum += static_cast<std::uint32_t>(reference_int8_dot(inputs, weights, 4));
  }
  return sum == 3 * static_cast<std::uint32_t>(rounds) ? 4 * rounds : 0;
}

static constexpr Int8Kernels int8_kernels = {1,
                                             0,
                                             0,
                                             false,
                                             reference_int8_linear,
                                             reference_int8_relu,
                                             reference_int8_gather,
                                             reference_int8_qrnn,
                                             reference_int8_taps,
                                             reference_int8_dot,
                                             reference_int8_add_scaled,
                                             reference_int8_softmax,
                                             reference_int8_sigmoid,
                                             reference_int8_peak};
