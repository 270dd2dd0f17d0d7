// QRNN pooling and its gradient, see body_recurrence_pool.h and body_recurrence_pool_backward.h.

struct PoolTask {
  std::int64_t begin, end, direction;
  bool reverse;
  Channels channels;
};

static PoolTask pool_task(std::int64_t task, std::int64_t sequences, int directions,
                          std::int64_t width, const bool* reverse) {
  const std::int64_t blocks = ceil_div(width, kPoolBlock);
  const std::int64_t direction = task / blocks % directions;
  const std::int64_t begin = task / blocks / directions * kGroup;
  return {begin, begin + kGroup < sequences ? begin + kGroup : sequences, direction,
          reverse[direction], channels_of(task % blocks, kPoolBlock, width)};
}

static double sum_of_taps(const View& view, const Sequences& q, Element e, bool reverse, int taps,
                          std::int64_t n, std::int64_t t, std::int64_t steps, std::int64_t origin,
                          std::int64_t tap) {
  double sum = 0;
  for (int j = 0; j < taps; ++j) {
    const std::int64_t u = reverse ? t + j : t + j - (taps - 1);
    if (u >= 0 && u < steps) sum += get(view.data, e, at(view, q, n, u) + origin + j * tap);
  }
  return sum;
}

static void spread_to_taps(const View& view, const Sequences& q, Element e, bool reverse, int taps,
                           std::int64_t n, std::int64_t t, std::int64_t steps, std::int64_t origin,
                           std::int64_t tap, double gradient) {
  for (int j = 0; j < taps; ++j) {
    const std::int64_t u = reverse ? t + j : t + j - (taps - 1);
    if (u >= 0 && u < steps) put(view.data, e, at(view, q, n, u) + origin + j * tap, gradient);
  }
}

// Zeros for all rows and taps of one channel; spread_to_taps then fills those that are read.
static void clear_taps(const View& view, const Sequences& q, Element e, int taps, std::int64_t n,
                       std::int64_t origin, std::int64_t tap) {
  const std::int64_t rows = q.offsets ? sequence_length(q, n) : q.steps;
  for (std::int64_t t = 0; t < rows; ++t) {
    for (int j = 0; j < taps; ++j) put(view.data, e, at(view, q, n, t) + origin + j * tap, 0);
  }
}

struct Step {
  double centred[gate_slots], gate[gate_slots], scale[gate_slots];
  bool held;
};

static Step step_of(const PoolArgs& a, const PoolTask& k, std::int64_t n, std::int64_t t,
                    std::int64_t steps, std::int64_t c) {
  Step out = {};
  for (int slot = 0; slot < gate_slots; ++slot) {
    if (!a.gate[slot].data) continue;
    double p = sum_of_taps(a.gate[slot], a.sequences, a.element, k.reverse, a.taps, n, t, steps,
                           k.direction * a.gate_direction + c, a.gate_tap);
    if (a.raw) {
      const std::int64_t channel = a.coefficient[slot] + k.direction * a.coefficient_direction + c;
      const Element e = arithmetic(a.element);
      out.centred[slot] = p - get(a.mean, e, channel);
      out.scale[slot] = get(a.scale, e, channel);
      p = out.centred[slot] * out.scale[slot] + get(a.shift, e, channel);
      p = slot == gate_z ? tanh(p) : 1 / (1 + exp(-p));
    }
    out.gate[slot] = p;
  }
  out.held = a.zoneout && is_chosen(a.seed, a.zoneout, c, t, n, k.direction);
  if (out.held) {
    out.gate[gate_f] = 1;
    out.gate[gate_i] = 0;
  }
  return out;
}

static void pool_forward(const PoolArgs& a, std::int64_t begin, std::int64_t end) {
  const Sequences& q = a.sequences;
  const Element e = a.element;
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    const std::int64_t base = k.direction * a.width;
    for (std::int64_t n = k.begin; n < k.end; ++n) {
      const std::int64_t steps = sequence_length(q, n);
      for (std::int64_t c = k.channels.first; c < k.channels.first + k.channels.count; ++c) {
        const std::int64_t state = n * a.directions * a.width + base + c;
        double cell = a.h0 ? get(a.h0, e, state) : 0;
        for (std::int64_t i = 0; i < steps; ++i) {
          const std::int64_t t = k.reverse ? steps - 1 - i : i;
          const Step s = step_of(a, k, n, t, steps, c);
          const double in = a.pooling == Pooling::ifo ? s.gate[gate_i] : 1 - s.gate[gate_f];
          cell = s.gate[gate_f] * cell + in * s.gate[gate_z];
          if (a.pooling == Pooling::f) {
            put(a.h.data, e, at(a.h, q, n, t) + base + c, cell);
          } else {
            put(a.c.data, e, at(a.c, q, n, t) + base + c, cell);
            put(a.h.data, e, at(a.h, q, n, t) + base + c, s.gate[gate_o] * cell);
          }
        }
        put(a.last, e, state, cell);
      }
      clear_padding(a.h, q, e, n, base + k.channels.first, k.channels.count);
      clear_padding(a.c, q, e, n, base + k.channels.first, k.channels.count);
    }
  }
}

static void pool_backward_channel(const PoolArgs& a, const PoolTask& k, std::int64_t n,
                                  std::int64_t c, double* sum, double* product) {
  const Sequences& q = a.sequences;
  const Element e = a.element;
  const std::int64_t steps = sequence_length(q, n), base = k.direction * a.width;
  const std::int64_t state = n * a.directions * a.width + base + c;
  const View& states = a.pooling == Pooling::f ? a.h : a.c;
  double carry = a.glast ? get(a.glast, e, state) : 0;
  for (std::int64_t i = steps - 1; i >= 0; --i) {
    const std::int64_t t = k.reverse ? steps - 1 - i : i;
    const Step s = step_of(a, k, n, t, steps, c);
    double before = a.h0 ? get(a.h0, e, state) : 0;
    if (i > 0) before = get(states.data, e, at(states, q, n, k.reverse ? t + 1 : t - 1) + base + c);
    const double gh = get(a.gh.data, e, at(a.gh, q, n, t) + base + c);
    double gc = carry + gh * (a.pooling == Pooling::f ? 1 : s.gate[gate_o]);
    if (a.gc.data) gc += get(a.gc.data, e, at(a.gc, q, n, t) + base + c);
    double gradient[gate_slots] = {};
    const double z = s.gate[gate_z], f = s.gate[gate_f];
    if (a.pooling != Pooling::f) {
      gradient[gate_o] = gh * get(states.data, e, at(states, q, n, t) + base + c);
    }
    if (a.pooling == Pooling::ifo) {
      gradient[gate_z] = gc * s.gate[gate_i];
      gradient[gate_i] = s.held ? 0 : gc * z;
      gradient[gate_f] = s.held ? 0 : gc * before;
    } else {
      gradient[gate_z] = gc * (1 - f);
      gradient[gate_f] = s.held ? 0 : gc * (before - z);
    }
    carry = gc * f;
    for (int slot = 0; slot < gate_slots; ++slot) {
      if (!a.gate[slot].data) continue;
      double g = gradient[slot];
      if (a.raw) {
        const double y = s.gate[slot];
        g *= slot == gate_z ? 1 - y * y : y * (1 - y);
        sum[slot] += g;
        product[slot] += g * s.centred[slot];
        g *= s.scale[slot];
      }
      spread_to_taps(a.gate_gradient[slot], q, e, k.reverse, a.taps, n, t, steps,
                     k.direction * a.gate_direction + c, a.gate_tap, g);
    }
  }
  if (a.gh0) put(a.gh0, e, state, carry);
}

static void pool_backward(const PoolArgs& a, std::int64_t begin, std::int64_t end) {
  const std::int64_t channels = a.directions * a.coefficient_direction;
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, a.sequences.count, a.directions, a.width, a.reverse);
    for (std::int64_t c = k.channels.first; c < k.channels.first + k.channels.count; ++c) {
      double sum[gate_slots] = {}, product[gate_slots] = {};
      for (std::int64_t n = k.begin; n < k.end; ++n) {
        for (int slot = 0; slot < gate_slots; ++slot) {
          if (a.gate[slot].data) {
            clear_taps(a.gate_gradient[slot], a.sequences, a.element, a.taps, n,
                       k.direction * a.gate_direction + c, a.gate_tap);
          }
        }
        pool_backward_channel(a, k, n, c, sum, product);
      }
      for (int slot = 0; slot < gate_slots && a.sums; ++slot) {
        if (!a.gate[slot].data) continue;
        const std::int64_t index = k.begin / kGroup * 2 * channels + a.coefficient[slot] +
                                   k.direction * a.coefficient_direction + c;
        put(a.sums, arithmetic(a.element), index, sum[slot]);
        put(a.sums, arithmetic(a.element), index + channels, product[slot]);
      }
    }
  }
}
