// Kernels of the recurrence: the linear scan and the QRNN poolings, forward and backward, and what
// goes with them: batch norm of gates, attention pooling, dropout.
//
// Element (s, t, c) of a tensor (sequence, step, channel) lies at
//   data + s * sequence + (offsets ? offsets[s] : 0) * step + t * step + c
// so one kernel serves [batch, time, width], [time, batch, width] and ragged [rows, width].
// Outputs may not alias inputs. Past the end of a sequence nothing is read; outputs are zero there.
//
// Work is cut into tasks that touch disjoint outputs; a kernel runs tasks [begin, end). The cut
// depends on shapes alone, so results are the same bits on any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

enum class Element : int { f32 = 0, bf16 = 1, f64 = 2 };  // arithmetic: float, float, double

struct Sequences {
  std::int64_t count;           // n
  std::int64_t steps;           // T: rows of a sequence in padded layouts; unused with offsets
  const std::int64_t* offsets;  // [n + 1] of a ragged layout, or nullptr
  const std::int64_t* lengths;  // [n], each in [0, T], or nullptr: all are T
};

struct View {
  void* data;
  std::int64_t sequence;  // strides in elements; channels are contiguous
  std::int64_t step;
};

static inline std::int64_t sequence_length(const Sequences& s, std::int64_t index) {
  if (s.offsets) return s.offsets[index + 1] - s.offsets[index];
  return s.lengths ? s.lengths[index] : s.steps;
}

// h[t] = f[t] * h[t-1] + x[t], from the first step (or from the last, when reverse).
struct ScanArgs {
  Sequences sequences;
  std::int64_t width;
  Element element;
  bool reverse;
  bool stream;      // outputs are larger than the cache: write around it
  View f, x, h;     // forward: f, x -> h
  View gh, gf, gx;  // backward: gh, f, h -> gf, gx
  void* h0;         // [n, width] or nullptr: zeros
  void* gh0;        // [n, width] or nullptr
};

// Gates in the order in which a kernel names them, whatever their order in memory.
enum GateSlot { gate_z = 0, gate_f = 1, gate_o = 2, gate_i = 3, gate_slots = 4 };
enum class Pooling : int { f = 0, fo = 1, ifo = 2 };

// c[t] = f[t]*c[t-1] + (1 - f[t])*z[t]   (ifo: i[t]*z[t] instead)      h[t] = o[t]*c[t]   (f: c[t])
//
// raw: a gate is the sum of `taps` pre-activations of neighbouring rows, normalised:
//   p[t] = sum_j g_j[t + j - (taps - 1)] in a forward direction, sum_j g_j[t + j] in a backward one
//   z = tanh((p - mean) * scale + shift); f, o, i = sigmoid(...)
// otherwise gates are given activated and taps is 1.
struct PoolArgs {
  Sequences sequences;
  std::int64_t width;  // H
  int directions;      // 1 or 2; direction d runs from the end when reverse[d]
  bool reverse[2];
  Pooling pooling;
  int taps;
  bool raw;
  Element element;
  bool stream;  // as in ScanArgs

  View gate[gate_slots];                 // direction 0, tap 0; unused slots have data == nullptr
  std::int64_t gate_direction;           // elements from direction 0 to direction 1
  std::int64_t gate_tap;                 // elements from tap j to tap j + 1
  std::int64_t coefficient[gate_slots];  // where the slot's channels start in mean, scale, shift
  std::int64_t coefficient_direction;    // elements there from direction 0 to direction 1
  const void *mean, *scale, *shift;      // arithmetic type; raw only

  std::uint32_t zoneout;  // keep c[t-1] where the random word is below it; 0: never
  std::uint64_t seed;

  View h, c;   // [.., directions * H]; pooling f writes h only, which is c
  void* h0;    // [n, directions, H] or nullptr: zeros
  void* last;  // [n, directions, H]: the state after the last step
  // backward
  View gh, gc;        // gc.data may be nullptr
  const void* glast;  // or nullptr
  View gate_gradient[gate_slots];
  void* gh0;   // or nullptr
  void* sums;  // [groups, 2, directions * G * H] in arithmetic type: per group of sequences
               // the sums over steps of dy and of dy * (p - mean), dy the gradient of
               // y = (p - mean) * scale + shift; raw only
};

// Batch norm of gates [rows, directions * taps * G * H] over the valid rows of each direction.
struct NormArgs {
  Sequences sequences;
  std::int64_t width;  // G * H
  int directions;
  bool reverse[2];
  int taps;
  Element element;
  bool stream;      // as in ScanArgs
  View gates;       // taps of direction d at (d * taps + j) * width
  View sum;         // [.., directions * width]: the sum over taps; data may be nullptr if taps == 1
  double* moments;  // [groups, 2, directions * width]: per group mean and sum of squared deviations
  // backward: d = dy + offset + (p - mean) * slope, p from `sum`; to every tap. dy may be gradient.
  View dy, gradient;
  const void *mean, *offset, *slope;  // [directions * width], arithmetic type
};

// Sums over the tokens of each sequence with weights softmax_t(logits), per head.
// v[n, p] = sum_t w[t, p / (width / heads)] * s[t, p]; no token: v = 0
struct AttendArgs {
  Sequences sequences;
  std::int64_t width;
  std::int64_t heads;
  Element element;
  View states;          // [.., width]
  View weights;         // [.., heads]: logits on entry of forward
  View out_weights;     // softmax
  void* pooled;         // [n, width]
  const void* gpooled;  // backward
  View gstates, glogits;
};

// y[i] = 0 where the random word of element i is below `threshold`, otherwise x[i] * scale; and as
// nothing but the seed is needed to draw the words again, the same on gradients is the gradient.
// Element i of a contiguous tensor takes output (i / 16) % 4 of Philox 4x32-10 with key = seed and
// counter = (low half of w, high half of w, 0, 2), w = 16 * (i / 64) + i % 16.
struct DropoutArgs {
  std::int64_t count;
  Element element;
  std::uint32_t threshold;  // the probability of zero, times 2^32
  std::uint64_t seed;
  double scale;
  const void* x;  // [count]
  void* y;        // [count]
};

constexpr std::int64_t kScanBlock = 1024;     // channels of a scan task: its state is 4 KiB, in L1
constexpr std::int64_t kPoolBlock = 256;      // channels of a pooling task: all scratch rows in L1
constexpr std::int64_t kGroup = 8;            // sequences of a pooling task
constexpr std::int64_t kDropoutBlock = 1024;  // elements of a dropout task, a multiple of 64

static inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
static inline std::int64_t scan_tasks(const ScanArgs& a) {
  return a.sequences.count * ceil_div(a.width, kScanBlock);
}
static inline std::int64_t pool_tasks(const PoolArgs& a) {
  return ceil_div(a.sequences.count, kGroup) * a.directions * ceil_div(a.width, kPoolBlock);
}
static inline std::int64_t norm_tasks(const NormArgs& a) {
  return ceil_div(a.sequences.count, kGroup) * a.directions * ceil_div(a.width, kPoolBlock);
}
static inline std::int64_t dropout_tasks(const DropoutArgs& a) {
  return ceil_div(a.count, kDropoutBlock);
}

struct RecurrenceKernels {
  void (*scan_forward)(const ScanArgs& args, std::int64_t begin, std::int64_t end);
  void (*scan_backward)(const ScanArgs& args, std::int64_t begin, std::int64_t end);
  void (*pool_forward)(const PoolArgs& args, std::int64_t begin, std::int64_t end);
  void (*pool_backward)(const PoolArgs& args, std::int64_t begin, std::int64_t end);
  void (*norm_forward)(const NormArgs& args, std::int64_t begin, std::int64_t end);
  void (*norm_backward)(const NormArgs& args, std::int64_t begin, std::int64_t end);
  void (*attend_forward)(const AttendArgs& args, std::int64_t begin, std::int64_t end);
  void (*attend_backward)(const AttendArgs& args, std::int64_t begin, std::int64_t end);
  void (*dropout)(const DropoutArgs& args, std::int64_t begin, std::int64_t end);
};

}  // namespace pqrnn
