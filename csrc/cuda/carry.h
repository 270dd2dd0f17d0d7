// The state before each chunk, from the maps of the chunks: c after = scale * c before + offset.
//
// A block has 32 channels of one sequence and kCarryGroups groups of neighbouring chunks, a thread
// each. Every thread composes its group's chunks; every thread then goes through the groups before
// its own and on through its group. Backward, chunks run from the last to the first.
#pragma once

#include "cuda/pool.h"

namespace pqrnn::cuda {

constexpr int kCarryGroups = 16;
constexpr int kCarryLoads = 8;  // chunks whose maps are loaded at once

template <class A>
struct Map {
  A scale, offset;
};

// One thread's chunks, in the order of the recurrence.
template <class A>
struct CarryWalk {
  A* maps;  // of the first chunk: scale; the offset is `row` further, the next chunk 2 * row
  std::int64_t row, begin, end, last;  // last: chunks - 1 when they are taken from the end, else 0
  bool backward;

  PQRNN_HD CarryWalk(const PoolArgs& a, std::int64_t n, std::int64_t channel, int group,
                     bool from_end) {
    row = a.directions * a.width;
    maps = static_cast<A*>(a.carries) + n * a.chunks * 2 * row + channel;
    const std::int64_t each = (a.chunks + kCarryGroups - 1) / kCarryGroups;
    begin = smaller(group * each, a.chunks);
    end = smaller(begin + each, a.chunks);
    last = a.chunks - 1;
    backward = from_end;
  }

  PQRNN_HD A* at(std::int64_t index) const {
    return maps + (backward ? last - index : index) * 2 * row;
  }

  PQRNN_HD void load(std::int64_t index, Map<A> (&out)[kCarryLoads]) const {
    PQRNN_UNROLL
    for (int j = 0; j < kCarryLoads; ++j) {
      out[j] = {1, 0};
      if (index + j < end) out[j] = {at(index + j)[0], at(index + j)[row]};
    }
  }

  // The map of the whole group.
  PQRNN_HD Map<A> compose() const {
    Map<A> out = {1, 0}, map[kCarryLoads];
    for (std::int64_t index = begin; index < end; index += kCarryLoads) {
      load(index, map);
      PQRNN_UNROLL
      for (int j = 0; j < kCarryLoads; ++j) {
        out = {map[j].scale * out.scale, map[j].scale * out.offset + map[j].offset};
      }
    }
    return out;
  }

  // Writes the state before each chunk of the group over the chunk's scale.
  PQRNN_HD void apply(A state) const {
    Map<A> map[kCarryLoads];
    for (std::int64_t index = begin; index < end; index += kCarryLoads) {
      load(index, map);
      PQRNN_UNROLL
      for (int j = 0; j < kCarryLoads; ++j) {
        if (index + j < end) at(index + j)[0] = state;
        state = map[j].scale * state + map[j].offset;
      }
    }
  }
};

// What enters the first chunk: h0 forward, glast backward; [n, D * H] of storage type.
template <class S>
PQRNN_HD Arithmetic<S> carry_start(const PoolArgs& a, std::int64_t n, std::int64_t channel,
                                   const void* initial) {
  if (!initial) return 0;
  return widen(static_cast<const S*>(initial)[n * a.directions * a.width + channel]);
}

}  // namespace pqrnn::cuda
