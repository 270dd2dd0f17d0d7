// QRNN pooling, backward: walks each sequence from its last step to its first with the gradient of
// the state in L1. Gates are recomputed from their pre-activations; of the forward pass only the
// states c are read. With r the gradient that reaches c[t] from later steps:
//   gc = r + gh*o (+ gradient of c itself)          r = gc * f
//   go = gh*c   gf = gc * (c[t-1] - z)   gz = gc * (1 - f)      (ifo: gf = gc*c[t-1], gi = gc*z,
//                                                                  gz = gc*i)
// and, raw: times 1 - z^2 for z, s * (1 - s) for a sigmoid s; where zoneout held, gf = gi = 0.

template <class A>
struct BackwardScratch {
  A gradient[gate_slots][kPoolBlock];
  A sum[gate_slots][kPoolBlock], product[gate_slots][kPoolBlock];
  A now[kPoolBlock], before[kPoolBlock];  // c[t], c[t-1]
  A gh[kPoolBlock], gc[kPoolBlock];
};

// The gradient of gate `y` goes on to the pre-activation, and into the sums for its coefficients.
template <bool raw, int slot, class A>
static PQRNN_INLINE void put_gradient(const PoolScratch<A>& s, std::int64_t c, A gradient, A y,
                                      BackwardScratch<A>& b) {
  if constexpr (raw) {
    gradient *= slot == gate_z ? 1 - y * y : y * (1 - y);
    b.sum[slot][c] += gradient;
    b.product[slot][c] += gradient * (s.gate[slot][c] - s.mean[slot][c]);
    gradient *= s.scale[slot][c];
  }
  b.gradient[slot][c] = gradient;
}

template <Pooling pooling, bool raw, class A>
static void pool_step_backward(const PoolScratch<A>& s, std::int64_t count,
                               BackwardScratch<A>& PQRNN_RESTRICT b) {
  for (std::int64_t c = 0; c < count; ++c) {
    const A z = gate_at<raw, gate_z>(s, c), f = gate_at<raw, gate_f>(s, c);
    const bool held = s.keep[c] != 0;
    const A before = b.before[c];
    A gc = b.gc[c];
    if constexpr (pooling == Pooling::f) {
      gc += b.gh[c];
    } else {
      const A o = gate_at<raw, gate_o>(s, c);
      gc += b.gh[c] * o;
      put_gradient<raw, gate_o>(s, c, b.gh[c] * b.now[c], o, b);
    }
    const A live = held ? 0 : gc;  // what reaches the gates
    if constexpr (pooling == Pooling::ifo) {
      const A i = gate_at<raw, gate_i>(s, c);
      put_gradient<raw, gate_z>(s, c, live * i, z, b);
      put_gradient<raw, gate_i>(s, c, live * z, i, b);
      put_gradient<raw, gate_f>(s, c, live * before, f, b);
    } else {
      put_gradient<raw, gate_z>(s, c, live * (1 - f), z, b);
      put_gradient<raw, gate_f>(s, c, live * (before - z), f, b);
    }
    b.gc[c] = held ? gc : gc * f;
  }
}

template <class A>
using PoolStepBackward = void (*)(const PoolScratch<A>&, std::int64_t, BackwardScratch<A>&);

template <class A>
static PoolStepBackward<A> pool_step_backward_for(const PoolArgs& a) {
  switch (a.pooling) {
    case Pooling::f:
      return a.raw ? pool_step_backward<Pooling::f, true, A>
                   : pool_step_backward<Pooling::f, false, A>;
    case Pooling::fo:
      return a.raw ? pool_step_backward<Pooling::fo, true, A>
                   : pool_step_backward<Pooling::fo, false, A>;
    default:
      return a.raw ? pool_step_backward<Pooling::ifo, true, A>
                   : pool_step_backward<Pooling::ifo, false, A>;
  }
}

// The sums of one group of sequences.
template <class A>
static void store_sums(const PoolArgs& a, const PoolTask& k, const BackwardScratch<A>& b) {
  const std::int64_t channels = a.directions * a.coefficient_direction;
  A* group = static_cast<A*>(a.sums) + k.begin / kGroup * 2 * channels;
  for (int slot = 0; slot < gate_slots; ++slot) {
    if (!a.gate[slot].data) continue;
    const std::int64_t offset =
        a.coefficient[slot] + k.direction * a.coefficient_direction + k.first;
    store_row<A>(b.sum[slot], group, offset, k.count);
    store_row<A>(b.product[slot], group + channels, offset, k.count);
  }
}

template <class S>
static void pool_backward_as(const PoolArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t all = a.directions * a.width;
  const View& states = a.pooling == Pooling::f ? a.h : a.c;
  const PoolStepBackward<A> step = pool_step_backward_for<A>(a);
  PoolScratch<A> s;
  BackwardScratch<A> b;
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    const std::int64_t channel = k.direction * a.width + k.first;
    const std::int64_t next = k.reverse ? 1 : -1;  // walking back in time
    const std::int64_t ahead = next * rows_ahead<S>(k.count);
    set_coefficients(a, k, s);
    for (int slot = 0; slot < gate_slots; ++slot) {
      clear(b.sum[slot], k.count);
      clear(b.product[slot], k.count);
    }
    for (std::int64_t n = k.begin; n < k.end; ++n) {
      const std::int64_t steps = sequence_length(q, n);
      if (a.glast)
        load_row<S>(a.glast, n * all + channel, k.count, b.gc);
      else
        clear(b.gc, k.count);
      for (std::int64_t index = steps - 1; index >= 0; --index) {
        const std::int64_t t = k.reverse ? steps - 1 - index : index;
        load_step<S, A>(a, k, n, t, steps, ahead, s);
        prefetch_row(at<S>(a.gh, q, n, t) + channel + ahead * a.gh.step, k.count);
        load_row<S>(at<S>(a.gh, q, n, t), channel, k.count, b.gh);
        load_row<S>(at<S>(states, q, n, t), channel, k.count, b.now);
        if (index > 0) {
          const S* before = at<S>(states, q, n, t + next);
          prefetch_row(before + channel + ahead * states.step, k.count);
          load_row<S>(before, channel, k.count, b.before);
        } else if (a.h0) {
          load_row<S>(a.h0, n * all + channel, k.count, b.before);
        } else {
          clear(b.before, k.count);
        }
        if (a.gc.data) {
          const S* gc = at<S>(a.gc, q, n, t) + channel;
          for (std::int64_t c = 0; c < k.count; ++c) b.gc[c] += widen(gc[c]);
        }
        step(s, k.count, b);
        for (int slot = 0; slot < gate_slots; ++slot) {
          if (!a.gate[slot].data) continue;
          spread_taps<S, A>(a.gate_gradient[slot], q, k, n, t, steps, a.taps,
                            k.direction * a.gate_direction, a.gate_tap, a.stream, b.gradient[slot]);
        }
      }
      if (a.gh0) store_row<S>(b.gc, a.gh0, n * all + channel, k.count);
      for (int slot = 0; slot < gate_slots; ++slot) {
        for (int j = 0; j < a.taps && a.gate[slot].data; ++j) {
          zero_rows<S>(a.gate_gradient[slot], q, n,
                       k.first + k.direction * a.gate_direction + j * a.gate_tap, k.count);
        }
      }
    }
    if (a.sums) store_sums(a, k, b);
  }
  if (a.stream) finish_streams();
}

static void pool_backward(const PoolArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return pool_backward_as<float>(args, begin, end);
    case Element::bf16: return pool_backward_as<bf16>(args, begin, end);
    case Element::f64: return pool_backward_as<double>(args, begin, end);
  }
}
