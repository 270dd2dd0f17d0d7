// QRNN pooling, forward. A task is kGroup sequences times one direction times kPoolBlock channels.
// Each step first sums its taps into scratch rows in L1, so that storage types stay out of the
// arithmetic; then one loop over the channels does everything else.

struct PoolTask {
  std::int64_t begin, end;  // sequences
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

// What a step reads: pre-activations (raw) or gates, and the coefficients of each slot.
template <class A>
struct PoolScratch {
  A gate[gate_slots][kPoolBlock];
  std::uint32_t keep[kPoolBlock];  // zeros without zoneout
  const A *mean[gate_slots], *scale[gate_slots], *shift[gate_slots];
};

template <class A>
static void set_coefficients(const PoolArgs& a, const PoolTask& k, PoolScratch<A>& s) {
  for (int slot = 0; slot < gate_slots && a.raw; ++slot) {
    const std::int64_t offset =
        a.coefficient[slot] + k.direction * a.coefficient_direction + k.first;
    s.mean[slot] = static_cast<const A*>(a.mean) + offset;
    s.scale[slot] = static_cast<const A*>(a.scale) + offset;
    s.shift[slot] = static_cast<const A*>(a.shift) + offset;
  }
  for (std::int64_t c = 0; c < k.count && !a.zoneout; ++c) s.keep[c] = 0;
}

template <class S, class A>
static void load_step(const PoolArgs& a, const PoolTask& k, std::int64_t n, std::int64_t t,
                      std::int64_t steps, std::int64_t ahead, PoolScratch<A>& s) {
  for (int slot = 0; slot < gate_slots; ++slot) {
    if (!a.gate[slot].data) continue;
    sum_taps<S, A>(a.gate[slot], a.sequences, k, n, t, steps, a.taps,
                   k.direction * a.gate_direction, a.gate_tap, ahead * a.gate[slot].step,
                   s.gate[slot]);
  }
  if (a.zoneout) {
    random_mask(a.seed, a.zoneout, static_cast<std::uint32_t>(t), static_cast<std::uint32_t>(n),
                static_cast<std::uint32_t>(k.direction), k.first, k.count, s.keep);
  }
}

// One slot's coefficients at one channel are applied and the gate activated.
template <bool raw, int slot, class A>
static PQRNN_INLINE A gate_at(const PoolScratch<A>& s, std::int64_t c) {
  if constexpr (!raw) return s.gate[slot][c];
  const A x = fused(s.gate[slot][c] - s.mean[slot][c], s.scale[slot][c], s.shift[slot][c]);
  if constexpr (slot == gate_z) return hyperbolic_tangent<A>(x);
  return sigmoid<A>(x);
}

// Where zoneout holds the state, f = 1 and i = 0 make the step an exact identity.
template <Pooling pooling, bool raw, class A>
static void pool_step(const PoolScratch<A>& s, std::int64_t count, A* PQRNN_RESTRICT state,
                      A* PQRNN_RESTRICT h) {
  for (std::int64_t c = 0; c < count; ++c) {
    const A z = gate_at<raw, gate_z>(s, c);
    const A free = gate_at<raw, gate_f>(s, c);
    const A f = s.keep[c] ? 1 : free;
    A in = 1 - f;
    if constexpr (pooling == Pooling::ifo) {
      const A i = gate_at<raw, gate_i>(s, c);
      in = s.keep[c] ? 0 : i;
    }
    const A cell = f * state[c] + in * z;
    state[c] = cell;
    if constexpr (pooling != Pooling::f) h[c] = gate_at<raw, gate_o>(s, c) * cell;
  }
}

template <class A>
using PoolStep = void (*)(const PoolScratch<A>&, std::int64_t, A*, A*);

template <class A>
static PoolStep<A> pool_step_for(const PoolArgs& a) {
  switch (a.pooling) {
    case Pooling::f:
      return a.raw ? pool_step<Pooling::f, true, A> : pool_step<Pooling::f, false, A>;
    case Pooling::fo:
      return a.raw ? pool_step<Pooling::fo, true, A> : pool_step<Pooling::fo, false, A>;
    default: return a.raw ? pool_step<Pooling::ifo, true, A> : pool_step<Pooling::ifo, false, A>;
  }
}

template <class S>
static void pool_forward_as(const PoolArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t all = a.directions * a.width;
  const PoolStep<A> step = pool_step_for<A>(a);
  PoolScratch<A> s;
  A state[kPoolBlock], h[kPoolBlock];
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    const std::int64_t channel = k.direction * a.width + k.first;
    const std::int64_t ahead = (k.reverse ? -1 : 1) * rows_ahead<S>(k.count);
    set_coefficients(a, k, s);
    for (std::int64_t n = k.begin; n < k.end; ++n) {
      const std::int64_t steps = sequence_length(q, n);
      if (a.h0)
        load_row<S>(a.h0, n * all + channel, k.count, state);
      else
        clear(state, k.count);
      for (std::int64_t index = 0; index < steps; ++index) {
        const std::int64_t t = k.reverse ? steps - 1 - index : index;
        load_step<S, A>(a, k, n, t, steps, ahead, s);
        step(s, k.count, state, h);
        if (a.pooling == Pooling::f) {
          emit_row<S, A>(state, at<S>(a.h, q, n, t), channel, k.count, a.stream);
          continue;
        }
        emit_row<S, A>(state, at<S>(a.c, q, n, t), channel, k.count, a.stream);
        emit_row<S, A>(h, at<S>(a.h, q, n, t), channel, k.count, a.stream);
      }
      store_row<S>(state, a.last, n * all + channel, k.count);
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
