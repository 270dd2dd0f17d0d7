// A thread of the forward pass: a chunk's map, and the chunk itself.
#pragma once

#include "cuda/gates.h"

namespace pqrnn::cuda {

// (scale, offset) such that the state after the chunk is scale * (state before it) + offset:
//   scale = prod_t f[t]      offset = sum_t (prod_{u > t} f[u]) * in[t] * z[t]
// from the chunk's last step to its first, where pool_forward begins: what has been read last may
// still be in the L2 cache.
template <class S, int V, Kind kind, bool raw>
PQRNN_HD void compose_forward(const PoolArgs& a, const Item& item) {
  using A = Arithmetic<S>;
  const Walk w = walk_of(a, item);
  const Gates<S, V, kind> gates(a, item, w);
  const Norm<S, V, kind, raw> norm(a, item);
  const std::uint64_t seed = seed_of(a);
  A scale[V], offset[V];
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) scale[v] = 1, offset[v] = 0;
  Batch<S, V, kind> batch, next;
  const std::int64_t batches = (w.end - w.begin + kBatch - 1) / kBatch;
  std::int64_t index = w.begin + (batches - 1) * kBatch;
  if (batches > 0) batch.template load<kStateGates>(gates, index, w.end);
  for (; index >= w.begin; index -= kBatch) {
    if (index > w.begin) next.template load<kStateGates>(gates, index - kBatch, w.end);
    std::uint32_t kept[V];
    draw_kept(a, item, w, index, seed, kept);
    PQRNN_UNROLL
    for (int k = kBatch - 1; k >= 0; --k) {
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) {
        const Step<A, kind> step = step_of<kind, raw>(batch, norm, k, v, kept[v]);
        offset[v] += scale[v] * (step.in() * step.z);
        scale[v] *= step.f;
      }
    }
    batch = next;
  }
  store_real(scale, a.carries, carry_offset(a, item, 0));
  store_real(offset, a.carries, carry_offset(a, item, 1));
}

template <class S, int V, Kind kind, bool raw>
PQRNN_HD void pool_forward(const PoolArgs& a, const Item& item) {
  using A = Arithmetic<S>;
  const Walk w = walk_of(a, item);
  const Gates<S, V, kind> gates(a, item, w);
  const Norm<S, V, kind, raw> norm(a, item);
  const std::uint64_t seed = seed_of(a);
  const std::int64_t channel = item.direction * a.width + item.channel;
  const Lane<S> h = lane_of<S>(a.h, item, w, channel);
  S* checkpoint = static_cast<S*>(a.checkpoints);
  const std::int64_t row = a.directions * a.width;
  if (checkpoint) {
    if (item.chunk == 0) {
      clear_checkpoints<S, V>(a.sequences, item.n, w.length, checkpoint + channel, row);
    }
    checkpoint += (first_checkpoint(a.sequences, item.n) + w.begin / kBatch) * row + channel;
  }
  A state[V];
  load_carry<S>(a, item, a.h0, state);
  Batch<S, V, kind> batch, next;
  batch.load(gates, w.begin, w.end);
  for (std::int64_t index = w.begin; index < w.end; index += kBatch) {
    next.load(gates, index + kBatch, w.end);
    std::uint32_t kept[V];
    draw_kept(a, item, w, index, seed, kept);
    if (checkpoint) {
      store_pack<S, V>(state, checkpoint);
      checkpoint += row;
    }
    PQRNN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      A out[V];
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) {
        state[v] = step_of<kind, raw>(batch, norm, k, v, kept[v]).cell(state[v]);
        out[v] = state[v];
        if constexpr (has_output_gate(kind)) {
          out[v] *= norm.template gate<gate_o>(widen(batch.gate[gate_o][k].lane[v]), v);
        }
      }
      if (index + k < w.end) store_pack<S, V>(out, h.at(index + k));
    }
    batch = next;
  }
  const bool is_last = w.end == w.length && (w.begin < w.end || item.chunk == 0);
  if (a.last && is_last) store_state<S>(a, item, state, a.last);
  clear_padding<S, V>(a, a.h, item, w, channel);
}

}  // namespace pqrnn::cuda
