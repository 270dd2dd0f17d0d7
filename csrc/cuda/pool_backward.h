// A thread of the backward pass. With r the gradient that reaches c[t] from later steps:
//   gc = r + gh*o          r = gc * f
//   go = gh*c   gf = gc * (c[t-1] - z)   gz = gc * (1 - f)      (ifo: gf = gc*c[t-1], gi = gc*z,
//                                        gz = gc*i; scan: gf = gc*c[t-1], gz = gc)
// and, raw: times 1 - z^2 for z, s * (1 - s) for a sigmoid s; where zoneout held, gf = gi = gz = 0.
#pragma once

#include "cuda/gates.h"

namespace pqrnn::cuda {

// What a batch reads beside its gates; zeros from `end` on.
template <class S, int V, Kind kind>
struct Incoming {
  Pack<S, V> gh[kBatch], before[kBatch];  // before: c[t-1], scan only

  PQRNN_HD void load(const Lane<const S>& from, std::int64_t index, std::int64_t end) {
    PQRNN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      gh[k] = {};
      if (index + k < end) gh[k] = load_pack<S, V>(from.at(index + k));
    }
  }
  PQRNN_HD void load_states(const Lane<const S>& from, std::int64_t index, std::int64_t end) {
    PQRNN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      before[k] = {};
      if (index + k > 0 && index + k < end) before[k] = load_pack<S, V>(from.at(index + k - 1));
    }
  }
};

// (scale, offset): r before the chunk is scale * (r after the chunk) + offset:
//   scale = prod_t f[t]      offset = sum_t (prod_{u <= t} f[u]) * gh[t] * o[t]
// from the chunk's first step to its last, where pool_backward begins.
template <class S, int V, Kind kind, bool raw>
PQRNN_HD void compose_backward(const PoolArgs& a, const Item& item) {
  using A = Arithmetic<S>;
  const Walk w = walk_of(a, item);
  const Gates<S, V, kind> gates(a, item, w);
  const Norm<S, V, kind, raw> norm(a, item);
  const Lane<const S> gh = lane_of<const S>(a.gh, item, w, item.direction * a.width + item.channel);
  const std::uint64_t seed = seed_of(a);
  A scale[V], offset[V];
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) scale[v] = 1, offset[v] = 0;
  Batch<S, V, kind> batch, next;
  Incoming<S, V, kind> incoming, next_incoming;
  batch.template load<kPathGates>(gates, w.begin, w.end);
  incoming.load(gh, w.begin, w.end);
  for (std::int64_t index = w.begin; index < w.end; index += kBatch) {
    next.template load<kPathGates>(gates, index + kBatch, w.end);
    next_incoming.load(gh, index + kBatch, w.end);
    std::uint32_t kept[V];
    draw_kept(a, item, w, index, seed, kept);
    PQRNN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) {
        A in = widen(incoming.gh[k].lane[v]);
        if constexpr (has_output_gate(kind)) {
          in *= norm.template gate<gate_o>(widen(batch.gate[gate_o][k].lane[v]), v);
        }
        const A free = norm.template gate<gate_f>(widen(batch.gate[gate_f][k].lane[v]), v);
        scale[v] *= (kept[v] >> k) & 1u ? A(1) : free;
        offset[v] += scale[v] * in;
      }
    }
    batch = next;
    incoming = next_incoming;
  }
  store_real(scale, a.carries, carry_offset(a, item, 0));
  store_real(offset, a.carries, carry_offset(a, item, 1));
}

// The gradient of a gate goes on to its pre-activation, and into the sums for its coefficients.
template <class S, int V, Kind kind, bool raw>
struct Sums {
  using A = Arithmetic<S>;
  A dy[gate_slots][V], product[gate_slots][V];

  PQRNN_HD Sums() {
    PQRNN_UNROLL
    for (int slot = 0; slot < gate_slots; ++slot) {
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) dy[slot][v] = product[slot][v] = 0;
    }
  }

  // gradient of the gate, its value y and pre-activation p -> gradient of p
  template <int slot>
  PQRNN_HD A put(const Norm<S, V, kind, raw>& norm, A gradient, A y, A p, int v) {
    if constexpr (!raw) {
      return gradient;
    } else {
      gradient *= slot == gate_z ? 1 - y * y : y * (1 - y);
      dy[slot][v] += gradient;
      product[slot][v] += gradient * (p - norm.mean[slot][v]);
      return gradient * norm.scale[slot][v];
    }
  }

  PQRNN_HD void store(const PoolArgs& a, const Item& item) const {
    PQRNN_UNROLL
    for (int slot = 0; slot < gate_slots; ++slot) {
      if (!has_slot(kind, slot)) continue;
      const std::int64_t at = (item.n * a.chunks + item.chunk) * 2 * a.channels +
                              a.coefficient[slot] + item.direction * a.coefficient_direction +
                              item.channel;
      store_real(dy[slot], a.sums, at);
      store_real(product[slot], a.sums, at + a.channels);
    }
  }
};

template <class S, int V, Kind kind, bool raw>
PQRNN_HD void pool_backward(const PoolArgs& a, const Item& item) {
  using A = Arithmetic<S>;
  const Walk w = walk_of(a, item);
  const Gates<S, V, kind> gates(a, item, w);
  const Norm<S, V, kind, raw> norm(a, item);
  const std::uint64_t seed = seed_of(a);
  const std::int64_t channel = item.direction * a.width + item.channel;
  const std::int64_t gate_channel = item.direction * a.gate_direction + item.channel;
  const Lane<const S> gh = lane_of<const S>(a.gh, item, w, channel);
  Lane<const S> states = {};
  if (kind == Kind::scan) states = lane_of<const S>(a.states, item, w, channel);
  Lane<S> gradient[gate_slots];
  PQRNN_UNROLL
  for (int slot = 0; slot < gate_slots; ++slot) {
    if (has_slot(kind, slot)) gradient[slot] = lane_of<S>(a.gradient[slot], item, w, gate_channel);
  }
  const S* checkpoints = static_cast<const S*>(a.checkpoints);
  const std::int64_t row = a.directions * a.width;
  if (kind != Kind::scan) checkpoints += first_checkpoint(a.sequences, item.n) * row + channel;

  A r[V];
  load_carry<S>(a, item, a.glast, r);
  Sums<S, V, kind, raw> sums;
  const std::int64_t batches = (w.end - w.begin + kBatch - 1) / kBatch;
  Batch<S, V, kind> batch, next;
  Incoming<S, V, kind> incoming, next_incoming;
  std::int64_t index = w.begin + (batches - 1) * kBatch;
  if (batches > 0) {
    batch.load(gates, index, w.end);
    incoming.load(gh, index, w.end);
    if constexpr (kind == Kind::scan) incoming.load_states(states, index, w.end);
  }
  for (; index >= w.begin; index -= kBatch) {
    A state[V];
    if constexpr (kind != Kind::scan) {
      const Pack<S, V> kept_state = load_pack<S, V>(checkpoints + index / kBatch * row);
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) state[v] = widen(kept_state.lane[v]);
    }
    if (index > w.begin) {
      next.load(gates, index - kBatch, w.end);
      next_incoming.load(gh, index - kBatch, w.end);
      if constexpr (kind == Kind::scan) next_incoming.load_states(states, index - kBatch, w.end);
    }
    std::uint32_t kept[V];
    draw_kept(a, item, w, index, seed, kept);

    A before[kBatch][V];
    Step<A, kind> steps[kBatch][V];
    PQRNN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) {
        steps[k][v] = step_of<kind, raw>(batch, norm, k, v, kept[v]);
        if constexpr (kind == Kind::scan) {
          before[k][v] = widen(incoming.before[k].lane[v]);
        } else {
          before[k][v] = state[v];
          state[v] = steps[k][v].cell(state[v]);
        }
      }
    }
    if constexpr (kind == Kind::scan) {
      if (index == 0) load_initial<S>(a, item, a.h0, before[0]);
    }

    PQRNN_UNROLL
    for (int k = kBatch - 1; k >= 0; --k) {
      A out[gate_slots][V];
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) {
        const bool held = (kept[v] >> k) & 1u;
        const Step<A, kind>& step = steps[k][v];
        const auto p = [&](int slot) { return widen(batch.gate[slot][k].lane[v]); };
        A gc = r[v];
        const A g = widen(incoming.gh[k].lane[v]);
        if constexpr (has_output_gate(kind)) {
          const A o = norm.template gate<gate_o>(p(gate_o), v);
          gc += g * o;
          out[gate_o][v] =
              sums.template put<gate_o>(norm, g * step.cell(before[k][v]), o, p(gate_o), v);
        } else {
          gc += g;
        }
        const A live = held ? A(0) : gc;  // what reaches the gates
        const A past =
            kind == Kind::ifo || kind == Kind::scan ? before[k][v] : before[k][v] - step.z;
        out[gate_z][v] = sums.template put<gate_z>(norm, live * step.in(), step.z, p(gate_z), v);
        out[gate_f][v] = sums.template put<gate_f>(norm, live * past, step.f, p(gate_f), v);
        if constexpr (has_input_gate(kind)) {
          out[gate_i][v] = sums.template put<gate_i>(norm, live * step.z, step.in(), p(gate_i), v);
        }
        r[v] = step.f * gc;
      }
      PQRNN_UNROLL
      for (int slot = 0; slot < gate_slots; ++slot) {
        if (!has_slot(kind, slot) || index + k >= w.end) continue;
        store_pack<S, V>(out[slot], gradient[slot].at(index + k));
      }
    }
    batch = next;
    incoming = next_incoming;
  }
  if (a.gh0 && item.chunk == 0) store_state<S>(a, item, r, a.gh0);
  if (raw && a.sums) sums.store(a, item);
  PQRNN_UNROLL
  for (int slot = 0; slot < gate_slots; ++slot) {
    if (has_slot(kind, slot)) clear_padding<S, V>(a, a.gradient[slot], item, w, gate_channel);
  }
}

}  // namespace pqrnn::cuda
