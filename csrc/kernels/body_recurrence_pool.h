// QRNN pooling, forward. A task is kGroup sequences times one direction times kPoolBlock channels.
// Each step loads its gates into scratch rows in L1, so that storage types, taps, normalisation and
// activation are separate short loops.

template <class A>
struct PoolScratch {
  A gate[gate_slots][kPoolBlock];
  A centred[gate_slots][kPoolBlock];  // pre-activation minus mean; backward only
  A state[kPoolBlock];
  A row[kPoolBlock];
  std::uint32_t keep[kPoolBlock];
};

struct PoolTask {
  std::int64_t begin, end;    // sequences
  std::int64_t direction;
  std::int64_t first, count;  // channels
  bool reverse;
};

static PoolTask pool_task(std::int64_t task, std::int64_t sequences, int directions,
                          std::int64_t width, const bool* reverse) {
  const std::int64_t blocks = ceil_div(width, kPoolBlock);
  PoolTask out;
  out.first = task % blocks * kPoolBlock;
  out.count = width - out.first < kPoolBlock ? width - out.first : kPoolBlock;
  out.direction = task / blocks % directions;
  out.reverse = reverse[out.direction];
  out.begin = task / blocks / directions * kGroup;
  out.end = sequences - out.begin < kGroup ? sequences : out.begin + kGroup;
  return out;
}

// The row that tap j of step t reads; taps outside [0, steps) are zeros.
static inline std::int64_t tap_step(bool reverse, int taps, std::int64_t t, int j) {
  return reverse ? t + j : t + j - (taps - 1);
}

// out = the sum of the taps of step t. `origin` is tap 0 of the direction, in elements of a row.
// Prefetches the same taps `ahead` elements further.
template <class S, class A>
static void sum_taps(const View& view, const Sequences& q, const PoolTask& k, std::int64_t n,
                     std::int64_t t, std::int64_t steps, int taps, std::int64_t origin,
                     std::int64_t tap, std::int64_t ahead, A* PQRNN_RESTRICT out) {
  bool filled = false;
  for (int j = 0; j < taps; ++j) {
    const std::int64_t source = tap_step(k.reverse, taps, t, j);
    if (source < 0 || source >= steps) continue;
    const S* PQRNN_RESTRICT row = at<S>(view, q, n, source) + origin + j * tap + k.first;
    prefetch_row(row + ahead, k.count);
    if (!filled) {
      for (std::int64_t c = 0; c < k.count; ++c) out[c] = widen(row[c]);
    } else {
      for (std::int64_t c = 0; c < k.count; ++c) out[c] += widen(row[c]);
    }
    filled = true;
  }
}

// The mirror image: a gradient of that sum goes to each tap it came from. A tap of row t that no
// step reads gets zero; each row is met once when t runs over all steps.
template <class S, class A>
static void spread_taps(const View& view, const Sequences& q, const PoolTask& k, std::int64_t n,
                        std::int64_t t, std::int64_t steps, int taps, std::int64_t origin,
                        std::int64_t tap, bool stream, const A* gradient) {
  for (int j = 0; j < taps; ++j) {
    const std::int64_t offset = origin + j * tap + k.first;
    const std::int64_t source = tap_step(k.reverse, taps, t, j);
    if (source >= 0 && source < steps) {
      emit_row<S, A>(gradient, at<S>(view, q, n, source), offset, k.count, stream);
    }
    const std::int64_t reader = k.reverse ? t - j : t - j + (taps - 1);
    if (reader < 0 || reader >= steps) {
      S* row = at<S>(view, q, n, t) + offset;
      for (std::int64_t c = 0; c < k.count; ++c) row[c] = S{};
    }
  }
}

template <class A>
struct Coefficients {
  const A *mean, *scale, *shift;
};

template <class A>
static Coefficients<A> coefficients(const PoolArgs& a, const PoolTask& k, int slot) {
  const std::int64_t offset =
      a.coefficient[slot] + k.direction * a.coefficient_direction + k.first;
  return {static_cast<const A*>(a.mean) + offset, static_cast<const A*>(a.scale) + offset,
          static_cast<const A*>(a.shift) + offset};
}

template <bool is_tanh, class A>
static void activate(const Coefficients<A>& of_slot, std::int64_t count,
                     const A* PQRNN_RESTRICT centred, A* PQRNN_RESTRICT gate) {
  const A* PQRNN_RESTRICT scale = of_slot.scale;
  const A* PQRNN_RESTRICT shift = of_slot.shift;
  for (std::int64_t c = 0; c < count; ++c) {
    const A x = centred[c] * scale[c] + shift[c];
    gate[c] = is_tanh ? hyperbolic_tangent<A>(x) : sigmoid<A>(x);
  }
}

// Where zoneout holds the state, f = 1 and i = 0 make the step an exact identity.
template <class A>
static void hold(const std::uint32_t* PQRNN_RESTRICT keep, std::int64_t count, bool has_input,
                 A* PQRNN_RESTRICT f, A* PQRNN_RESTRICT i) {
  for (std::int64_t c = 0; c < count; ++c) f[c] = keep[c] ? 1 : f[c];
  if (!has_input) return;
  for (std::int64_t c = 0; c < count; ++c) i[c] = keep[c] ? 0 : i[c];
}

// All gates of one step, activated and with zoneout applied.
template <class S, class A>
static void load_step(const PoolArgs& a, const PoolTask& k, std::int64_t n, std::int64_t t,
                      std::int64_t steps, std::int64_t ahead, PoolScratch<A>& s) {
  for (int slot = 0; slot < gate_slots; ++slot) {
    if (!a.gate[slot].data) continue;
    if (!a.raw) {
      sum_taps<S, A>(a.gate[slot], a.sequences, k, n, t, steps, 1, 0, 0,
                     ahead * a.gate[slot].step, s.gate[slot]);
      continue;
    }
    const Coefficients<A> of_slot = coefficients<A>(a, k, slot);
    A* PQRNN_RESTRICT centred = s.centred[slot];
    sum_taps<S, A>(a.gate[slot], a.sequences, k, n, t, steps, a.taps,
                   k.direction * a.gate_direction, a.gate_tap, ahead * a.gate[slot].step, centred);
    for (std::int64_t c = 0; c < k.count; ++c) centred[c] -= of_slot.mean[c];
    if (slot == gate_z) activate<true, A>(of_slot, k.count, centred, s.gate[slot]);
    else activate<false, A>(of_slot, k.count, centred, s.gate[slot]);
  }
  if (a.zoneout) {
    zoneout_mask(a.seed, a.zoneout, n, t, k.direction, k.first, k.count, s.keep);
    hold<A>(s.keep, k.count, a.pooling == Pooling::ifo, s.gate[gate_f], s.gate[gate_i]);
  }
}

template <class A>
static void advance_state(const PoolScratch<A>& s, bool has_input, std::int64_t count,
                          A* PQRNN_RESTRICT state) {
  const A* PQRNN_RESTRICT z = s.gate[gate_z];
  const A* PQRNN_RESTRICT f = s.gate[gate_f];
  const A* PQRNN_RESTRICT i = s.gate[gate_i];
  if (has_input) {
    for (std::int64_t c = 0; c < count; ++c) state[c] = f[c] * state[c] + i[c] * z[c];
  } else {
    for (std::int64_t c = 0; c < count; ++c) state[c] = f[c] * state[c] + (1 - f[c]) * z[c];
  }
}

template <class S>
static void pool_forward_as(const PoolArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t all = a.directions * a.width;
  PoolScratch<A> s;
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    const std::int64_t channel = k.direction * a.width + k.first;
    for (std::int64_t n = k.begin; n < k.end; ++n) {
      const std::int64_t steps = sequence_length(q, n);
      if (a.h0) load_row<S>(a.h0, n * all + channel, k.count, s.state);
      else clear(s.state, k.count);
      for (std::int64_t index = 0; index < steps; ++index) {
        const std::int64_t t = k.reverse ? steps - 1 - index : index;
        load_step<S, A>(a, k, n, t, steps, k.reverse ? -1 : 1, s);
        advance_state<A>(s, a.pooling == Pooling::ifo, k.count, s.state);
        if (a.pooling == Pooling::f) {
          emit_row<S, A>(s.state, at<S>(a.h, q, n, t), channel, k.count, a.stream);
          continue;
        }
        const A* PQRNN_RESTRICT o = s.gate[gate_o];
        for (std::int64_t c = 0; c < k.count; ++c) s.row[c] = o[c] * s.state[c];
        emit_row<S, A>(s.state, at<S>(a.c, q, n, t), channel, k.count, a.stream);
        emit_row<S, A>(s.row, at<S>(a.h, q, n, t), channel, k.count, a.stream);
      }
      store_row<S>(s.state, a.last, n * all + channel, k.count);
      zero_rows<S>(a.h, q, n, channel, k.count);
      zero_rows<S>(a.c, q, n, channel, k.count);
    }
  }
  if (a.stream) finish_streams();
}

static void pool_forward(const PoolArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return pool_forward_as<float>(args, begin, end);
    case Element::bf16: return pool_forward_as<bf16>(args, begin, end);
    case Element::f64: return pool_forward_as<double>(args, begin, end);
  }
}
