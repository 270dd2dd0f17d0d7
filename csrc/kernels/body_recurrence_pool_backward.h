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
  A gh[kPoolBlock], state[kPoolBlock];    // state: gc
};

template <class A>
static void step_gradients(const PoolScratch<A>& s, Pooling pooling, std::int64_t count,
                           BackwardScratch<A>& b) {
  const A* PQRNN_RESTRICT z = s.gate[gate_z];
  const A* PQRNN_RESTRICT f = s.gate[gate_f];
  const A* PQRNN_RESTRICT o = s.gate[gate_o];
  const A* PQRNN_RESTRICT i = s.gate[gate_i];
  A* PQRNN_RESTRICT gc = b.state;
  if (pooling == Pooling::f) {
    for (std::int64_t c = 0; c < count; ++c) gc[c] += b.gh[c];
  } else {
    A* PQRNN_RESTRICT go = b.gradient[gate_o];
    for (std::int64_t c = 0; c < count; ++c) {
      gc[c] += b.gh[c] * o[c];
      go[c] = b.gh[c] * b.now[c];
    }
  }
  A* PQRNN_RESTRICT gz = b.gradient[gate_z];
  A* PQRNN_RESTRICT gf = b.gradient[gate_f];
  A* PQRNN_RESTRICT gi = b.gradient[gate_i];
  if (pooling == Pooling::ifo) {
    for (std::int64_t c = 0; c < count; ++c) {
      gz[c] = gc[c] * i[c];
      gi[c] = gc[c] * z[c];
      gf[c] = gc[c] * b.before[c];
      gc[c] *= f[c];
    }
  } else {
    for (std::int64_t c = 0; c < count; ++c) {
      gz[c] = gc[c] * (1 - f[c]);
      gf[c] = gc[c] * (b.before[c] - z[c]);
      gc[c] *= f[c];
    }
  }
}

// From gradients of gates to those of normalised pre-activations, with their sums for the
// coefficients, then to those of the pre-activations.
template <class A>
static void through_activation(const A* PQRNN_RESTRICT gate, const A* PQRNN_RESTRICT centred,
                               const A* PQRNN_RESTRICT scale, bool is_tanh, std::int64_t count,
                               A* PQRNN_RESTRICT gradient, A* PQRNN_RESTRICT sum,
                               A* PQRNN_RESTRICT product) {
  for (std::int64_t c = 0; c < count; ++c) {
    const A slope = is_tanh ? 1 - gate[c] * gate[c] : gate[c] * (1 - gate[c]);
    const A g = gradient[c] * slope;
    sum[c] += g;
    product[c] += g * centred[c];
    gradient[c] = g * scale[c];
  }
}

template <class S>
static void pool_backward_as(const PoolArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t all = a.directions * a.width;
  const View& states = a.pooling == Pooling::f ? a.h : a.c;
  PoolScratch<A> s;
  BackwardScratch<A> b;
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    const std::int64_t channel = k.direction * a.width + k.first;
    for (int slot = 0; slot < gate_slots; ++slot) {
      clear(b.sum[slot], k.count);
      clear(b.product[slot], k.count);
    }
    for (std::int64_t n = k.begin; n < k.end; ++n) {
      const std::int64_t steps = sequence_length(q, n);
      if (a.glast) load_row<S>(a.glast, n * all + channel, k.count, b.state);
      else clear(b.state, k.count);
      for (std::int64_t index = steps - 1; index >= 0; --index) {
        const std::int64_t t = k.reverse ? steps - 1 - index : index;
        const std::int64_t next = k.reverse ? 1 : -1;
        load_step<S, A>(a, k, n, t, steps, next, s);
        prefetch_row(at<S>(a.gh, q, n, t) + channel + next * a.gh.step, k.count);
        load_row<S>(at<S>(a.gh, q, n, t), channel, k.count, b.gh);
        load_row<S>(at<S>(states, q, n, t), channel, k.count, b.now);
        if (index > 0) {
          const S* before = at<S>(states, q, n, t + next);
          prefetch_row(before + channel + next * states.step, k.count);
          load_row<S>(before, channel, k.count, b.before);
        } else if (a.h0) {
          load_row<S>(a.h0, n * all + channel, k.count, b.before);
        } else {
          clear(b.before, k.count);
        }
        if (a.gc.data) {
          load_row<S>(at<S>(a.gc, q, n, t), channel, k.count, s.row);
          for (std::int64_t c = 0; c < k.count; ++c) b.state[c] += s.row[c];
        }
        step_gradients<A>(s, a.pooling, k.count, b);
        if (a.zoneout) {
          for (std::int64_t c = 0; c < k.count; ++c) {
            b.gradient[gate_f][c] = s.keep[c] ? 0 : b.gradient[gate_f][c];
          }
          for (std::int64_t c = 0; a.pooling == Pooling::ifo && c < k.count; ++c) {
            b.gradient[gate_i][c] = s.keep[c] ? 0 : b.gradient[gate_i][c];
          }
        }
        for (int slot = 0; slot < gate_slots; ++slot) {
          if (!a.gate[slot].data) continue;
          if (a.raw) {
            through_activation<A>(s.gate[slot], s.centred[slot],
                                  coefficients<A>(a, k, slot).scale, slot == gate_z, k.count,
                                  b.gradient[slot], b.sum[slot], b.product[slot]);
          }
          spread_taps<S, A>(a.gate_gradient[slot], q, k, n, t, steps, a.taps,
                            k.direction * a.gate_direction, a.gate_tap, a.stream, b.gradient[slot]);
        }
      }
      if (a.gh0) store_row<S>(b.state, a.gh0, n * all + channel, k.count);
      for (int slot = 0; slot < gate_slots; ++slot) {
        for (int j = 0; j < a.taps && a.gate[slot].data; ++j) {
          zero_rows<S>(a.gate_gradient[slot], q, n,
                       k.first + k.direction * a.gate_direction + j * a.gate_tap, k.count);
        }
      }
    }
    if (!a.sums) continue;
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
  if (a.stream) finish_streams();
}

static void pool_backward(const PoolArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return pool_backward_as<float>(args, begin, end);
    case Element::bf16: return pool_backward_as<bf16>(args, begin, end);
    case Element::f64: return pool_backward_as<double>(args, begin, end);
  }
}
