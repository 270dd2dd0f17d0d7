// QRNN pooling and the plain scan: what a launch is told, and what one of its threads finds out.
//
//   c[t] = f[t]*c[t-1] + (1 - f[t])*z[t]   (ifo: i[t]*z[t], scan: z[t] instead)
//   h[t] = o[t]*c[t]                       (f, scan: c[t])
// raw: z = tanh((p - mean) * scale + shift) of pre-activations p, and f, o, i by sigmoid likewise.
//
// A thread has one chunk of one sequence and direction, and one pack of channels. With one chunk a
// sequence that is all. With several, three launches: each chunk's map from the state before it to
// the state after it, which is affine (compose); the state before each chunk (carry.h); the chunk
// itself (forward or backward).
//
// Of the forward pass only the states before every kBatch-th step are kept. The backward pass reads
// a batch's gates once and computes its states again.
#pragma once

#include "cuda/layout.h"
#include "cuda/random.h"
#include "cuda/storage.h"

namespace pqrnn::cuda {

enum GateSlot { gate_z = 0, gate_f = 1, gate_o = 2, gate_i = 3, gate_slots = 4 };
enum class Kind : int { f = 0, fo = 1, ifo = 2, scan = 3 };

PQRNN_HD constexpr bool has_output_gate(Kind kind) { return kind == Kind::fo || kind == Kind::ifo; }
PQRNN_HD constexpr bool has_input_gate(Kind kind) { return kind == Kind::ifo; }
PQRNN_HD constexpr bool has_slot(Kind kind, int slot) {
  return slot < 2 || (slot == gate_o && has_output_gate(kind)) || has_input_gate(kind);
}

// Steps that a thread loads at once, the next such batch before it works on this one.
constexpr int kBatch = 8;

struct PoolArgs {
  Sequences sequences;
  std::int64_t width;  // H
  int directions;      // 1 or 2; direction d runs from the end when reverse[d]
  bool reverse[2];
  Kind kind;
  bool raw;
  Element element;

  View gate[gate_slots];                 // direction 0
  std::int64_t gate_direction;           // elements from direction 0 to direction 1
  const void* coefficients;              // [3, channels]: mean, scale, shift; raw only
  std::int64_t channels;                 // D * G * H
  std::int64_t coefficient[gate_slots];  // where the slot's channels start in a row of those
  std::int64_t coefficient_direction;    // elements there from direction 0 to direction 1

  std::uint32_t zoneout;      // keep c[t-1] where the random word is below it; 0: never
  const std::uint64_t* seed;  // in device memory

  View h;             // [.., D * H]
  void* checkpoints;  // [checkpoint_slots, D * H], or nullptr: keep none
  const void* h0;     // [n, D, H] or nullptr: zeros
  void* last;         // [n, D, H] or nullptr: the state after the last step
  // backward
  View states;        // scan only: h of the forward pass
  View gh;            // [.., D * H]
  const void* glast;  // [n, D, H] or nullptr
  View gradient[gate_slots];
  void* gh0;   // [n, D, H] or nullptr
  void* sums;  // [n * chunks, 2, channels] of arithmetic type: sums over a chunk's steps of dy and
               // dy * (p - mean), dy the gradient of y = (p - mean) * scale + shift; raw only

  std::int64_t chunks;       // of a sequence
  std::int64_t chunk_steps;  // a multiple of kBatch; with one chunk, at least the longest length
  void* carries;             // [n, chunks, 2, D * H] of arithmetic type; several chunks only
};

// Checkpoints of sequence n start at first_checkpoint. A ragged sequence of y rows from row x on
// has ceil(y / K) of them and the next one starts floor((x + y) / K) - floor(x / K) + 1 later,
// which is no less.
PQRNN_HD constexpr std::int64_t checkpoint_slots(const Sequences& q) {
  return q.offsets ? q.rows / kBatch + q.count : q.count * ceil_div(q.steps, kBatch);
}

PQRNN_HD std::int64_t first_checkpoint(const Sequences& q, std::int64_t n) {
  return q.offsets ? sequence_begin(q, n) / kBatch + n : n * ((q.steps + kBatch - 1) / kBatch);
}

// Of the slots up to the next sequence's, those that this one's steps leave over.
template <class S, int V>
PQRNN_HD void clear_checkpoints(const Sequences& q, std::int64_t n, std::int64_t length, S* channel,
                                std::int64_t row) {
  const std::int64_t last = n + 1 == q.count ? checkpoint_slots(q) : first_checkpoint(q, n + 1);
  std::int64_t slot = first_checkpoint(q, n) + (length + kBatch - 1) / kBatch;
  for (; slot < last; ++slot) store_zeros<S, V>(channel + slot * row);
}

// A thread's share of the work. Steps are counted in the order of the direction: index 0 is the
// last row of a sequence that is walked from its end.
struct Item {
  std::int64_t n, chunk, channel;  // channel in [0, H)
  int direction;
};

PQRNN_HD Item item_of(std::int64_t thread, const PoolArgs& a, int channels_each, bool last_first) {
  const std::int64_t packs = a.width / channels_each;
  Item item;
  item.channel = thread % packs * channels_each;
  thread /= packs;
  item.chunk = thread % a.chunks;
  // The chunks that the launch before has read last may still be in the L2 cache.
  if (last_first) item.chunk = a.chunks - 1 - item.chunk;
  thread /= a.chunks;
  item.direction = static_cast<int>(thread % a.directions);
  item.n = thread / a.directions;
  return item;
}

PQRNN_HD constexpr std::int64_t pool_threads(const PoolArgs& a, int channels_each) {
  return a.sequences.count * a.directions * a.chunks * (a.width / channels_each);
}

// The steps of an item: indices [begin, end), of a sequence of `length` steps.
struct Walk {
  std::int64_t row0, length, begin, end;
  bool reverse;

  PQRNN_HD std::int64_t step(std::int64_t index) const {
    return reverse ? length - 1 - index : index;
  }
};

PQRNN_HD Walk walk_of(const PoolArgs& a, const Item& item) {
  Walk w;
  w.row0 = sequence_begin(a.sequences, item.n);
  w.length = sequence_length(a.sequences, item.n);
  w.begin = smaller(item.chunk * a.chunk_steps, w.length);
  w.end = smaller(w.begin + a.chunk_steps, w.length);
  w.reverse = a.reverse[item.direction];
  return w;
}

// A gate's (or gradient's) elements along an item's walk: index i is at data + i * stride.
template <class S>
struct Lane {
  S* data;
  std::int64_t stride;

  PQRNN_HD S* at(std::int64_t index) const { return data + index * stride; }
};

template <class S>
PQRNN_HD Lane<S> lane_of(const View& view, const Item& item, const Walk& w, std::int64_t channel) {
  const std::int64_t first = w.length ? w.step(0) : 0;
  return {row_at<S>(view, item.n, w.row0, first) + channel, w.reverse ? -view.step : view.step};
}

// Zeros to this chunk's share of the padding.
template <class S, int V>
PQRNN_HD void clear_padding(const PoolArgs& a, const View& view, const Item& item, const Walk& w,
                            std::int64_t channel) {
  const std::int64_t room = sequence_room(a.sequences, w.length);
  std::int64_t t = item.chunk * a.chunk_steps;
  const std::int64_t end = smaller(t + a.chunk_steps, room);
  for (t = t < w.length ? w.length : t; t < end; ++t) {
    store_zeros<S, V>(row_at<S>(view, item.n, w.row0, t) + channel);
  }
}

template <class A, int V>
PQRNN_HD void load_real(const void* from, std::int64_t offset, A (&to)[V]) {
  const A* data = static_cast<const A*>(from) + offset;
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) to[v] = data[v];
}

template <class A, int V>
PQRNN_HD void store_real(const A (&from)[V], void* to, std::int64_t offset) {
  A* data = static_cast<A*>(to) + offset;
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) data[v] = from[v];
}

// Where an item's map or incoming state is in the carries.
PQRNN_HD std::int64_t carry_offset(const PoolArgs& a, const Item& item, int part) {
  const std::int64_t row = (item.n * a.chunks + item.chunk) * 2 + part;
  return row * a.directions * a.width + item.direction * a.width + item.channel;
}

// `initial` [n, D, H], or zero.
template <class S, int V, class A>
PQRNN_HD void load_initial(const PoolArgs& a, const Item& item, const void* initial,
                           A (&state)[V]) {
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) state[v] = 0;
  if (!initial) return;
  const std::int64_t offset = (item.n * a.directions + item.direction) * a.width + item.channel;
  const Pack<S, V> pack = load_pack<S, V>(static_cast<const S*>(initial) + offset);
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) state[v] = widen(pack.lane[v]);
}

// The state that enters a chunk: that of the launch before, or `initial`.
template <class S, int V, class A>
PQRNN_HD void load_carry(const PoolArgs& a, const Item& item, const void* initial, A (&state)[V]) {
  if (a.chunks > 1) {
    load_real(a.carries, carry_offset(a, item, 0), state);
  } else {
    load_initial<S>(a, item, initial, state);
  }
}

template <class S, int V, class A>
PQRNN_HD void store_state(const PoolArgs& a, const Item& item, const A (&state)[V], void* to) {
  const std::int64_t offset = (item.n * a.directions + item.direction) * a.width + item.channel;
  store_pack<S, V>(state, static_cast<S*>(to) + offset);
}

}  // namespace pqrnn::cuda
