// The gates of a batch of steps: loads ahead of their use, activation, zoneout.
#pragma once

#include <type_traits>

#include "cuda/activation.h"
#include "cuda/pool.h"

namespace pqrnn::cuda {

template <class S, int V, Kind kind>
struct Gates {
  Lane<const S> lane[gate_slots];

  PQRNN_HD Gates(const PoolArgs& a, const Item& item, const Walk& w) {
    const std::int64_t channel = item.direction * a.gate_direction + item.channel;
    PQRNN_UNROLL
    for (int slot = 0; slot < gate_slots; ++slot) {
      if (has_slot(kind, slot)) lane[slot] = lane_of<const S>(a.gate[slot], item, w, channel);
    }
  }
};

constexpr unsigned kAllGates = 15, kStateGates = 15 & ~(1u << gate_o),
                   kPathGates = 1u << gate_f | 1u << gate_o;

// Steps index .. index + kBatch - 1 as they lie in memory, zeros from `end` on.
template <class S, int V, Kind kind>
struct Batch {
  Pack<S, V> gate[gate_slots][kBatch];

  template <unsigned slots = kAllGates>
  PQRNN_HD void load(const Gates<S, V, kind>& gates, std::int64_t index, std::int64_t end) {
    PQRNN_UNROLL
    for (int slot = 0; slot < gate_slots; ++slot) {
      if (!has_slot(kind, slot) || !(slots >> slot & 1u)) continue;
      PQRNN_UNROLL
      for (int k = 0; k < kBatch; ++k) {
        gate[slot][k] = {};
        if (index + k < end) gate[slot][k] = load_pack<S, V>(gates.lane[slot].at(index + k));
      }
    }
  }
};

// (p - mean) * scale + shift, and the activation.
template <class S, int V, Kind kind, bool raw>
struct Norm {
  using A = Arithmetic<S>;
  A mean[gate_slots][V], scale[gate_slots][V], shift[gate_slots][V];

  PQRNN_HD Norm(const PoolArgs& a, const Item& item) {
    if constexpr (raw) {
      PQRNN_UNROLL
      for (int slot = 0; slot < gate_slots; ++slot) {
        if (!has_slot(kind, slot)) continue;
        const std::int64_t at =
            a.coefficient[slot] + item.direction * a.coefficient_direction + item.channel;
        load_real(a.coefficients, at, mean[slot]);
        load_real(a.coefficients, a.channels + at, scale[slot]);
        load_real(a.coefficients, 2 * a.channels + at, shift[slot]);
      }
    }
  }

  template <int slot>
  PQRNN_HD A gate(A p, int v) const {
    if constexpr (!raw) {
      return p;
    } else {
      const A y = (p - mean[slot][v]) * scale[slot][v] + shift[slot][v];
      if constexpr (std::is_same_v<S, Bfloat16>) {
        return slot == gate_z ? coarse_tangent(y) : 0.5f + 0.5f * coarse_tangent(0.5f * y);
      }
      return slot == gate_z ? hyperbolic_tangent(y) : sigmoid(y);
    }
  }
};

// Bit k of kept[v]: step index + k keeps the state of channel v, by zoneout or because there is no
// such step: then nothing else needs to ask where the sequence ends.
template <int V>
PQRNN_HD void draw_kept(const PoolArgs& a, const Item& item, const Walk& w, std::int64_t index,
                        std::uint64_t seed, std::uint32_t (&kept)[V]) {
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) {
    kept[v] = index + kBatch <= w.end ? 0 : 0xFFFFFFFFu << static_cast<int>(w.end - index);
  }
  if (!a.zoneout) return;
  PQRNN_ROLLED
  for (int k = 0; k < kBatch; ++k) {
    PQRNN_UNROLL
    for (int v = 0; v < V; ++v) {
      const std::uint32_t word = random_word(
          seed, item.channel + v, static_cast<std::uint32_t>(w.step(index + k)),
          static_cast<std::uint32_t>(item.n), static_cast<std::uint32_t>(item.direction));
      kept[v] |= static_cast<std::uint32_t>(word < a.zoneout) << k;
    }
  }
}

PQRNN_HD std::uint64_t seed_of(const PoolArgs& a) { return a.zoneout ? *a.seed : 0; }

// c = f * c + in * z; where zoneout holds the state, f = 1 and in = 0 make that an exact identity.
// Only ifo has to keep `in`: otherwise it is 1 - f, or 1 for the scan, whose z past the end is 0.
template <class A, Kind kind>
struct Step {
  A z, f, input_gate;

  PQRNN_HD A in() const {
    if constexpr (kind == Kind::scan) return 1;
    return kind == Kind::ifo ? input_gate : 1 - f;
  }
  PQRNN_HD A cell(A before) const { return f * before + in() * z; }
};

template <Kind kind, bool raw, class S, int V>
PQRNN_HD Step<Arithmetic<S>, kind> step_of(const Batch<S, V, kind>& batch,
                                           const Norm<S, V, kind, raw>& norm, int k, int v,
                                           std::uint32_t kept) {
  using A = Arithmetic<S>;
  const bool held = (kept >> k) & 1u;
  Step<A, kind> step = {};
  step.z = norm.template gate<gate_z>(widen(batch.gate[gate_z][k].lane[v]), v);
  const A f = norm.template gate<gate_f>(widen(batch.gate[gate_f][k].lane[v]), v);
  step.f = held ? A(1) : f;
  if constexpr (kind == Kind::ifo) {
    const A in = norm.template gate<gate_i>(widen(batch.gate[gate_i][k].lane[v]), v);
    step.input_gate = held ? A(0) : in;
  }
  return step;
}

}  // namespace pqrnn::cuda
