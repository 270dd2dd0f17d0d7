// Kernels of the 8-bit inference engine. Every instruction set computes the same bits: products are
// sums of integers, and everything else is single float32 operations in the order that
// python/pqrnn_native/reference/quantised.py writes down, none of them fused.
//
// Inputs are bytes on a grid with a zero point: the value of byte u is (u - zero) times a step that
// the multipliers know. Weights are signed bytes, -127..127, four inputs of a column side by side.
// A product is
//   sum[column] = init[column] + sum_d (input[d] - input_offset) * weight[d, column]
// in int32, where `input_offset` is what suits the instruction set: whoever packs the weights puts
// (input_offset - zero) times the column's weights into `init`.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

// Columns of products are multiples of it. Weights of padding are zero; its bytes may be anything.
constexpr std::size_t kInt8Padding = 32;

constexpr std::size_t kGatherColumns = 64;  // a cache line of a row of weights

// Weights that are -3, -1, 1 or 3 as codes 0 to 3: of each block of so many columns, the last one
// filled up, column j has 2 bits from bit 2 (j / q) on of byte j % q, where q is a quarter of it.
constexpr std::size_t kCodeBlock = 256;

constexpr int kStateZero = 128;  // zero point of states, which are -127..127; the bottleneck has 0

// What inputs are known to be. Sparse ones have the zero point 0, and most are 0: where
// Int8Kernels::sparse, linear leaves those out, and reads its weights from
// [columns / (4 lanes) rounded up, depth, 4 lanes], column c of such a block from byte
// c % lanes / 4 * 16 + c / lanes * 4 + c % 4 of each row.
enum class Int8Inputs {
  any,
  ternary,  // 0, 1 and 2: features whose zero point is 1
  sparse,
};

struct Int8LinearArgs {
  const std::uint8_t* input;  // [count, depth], rows `input_stride` bytes apart
  std::size_t input_stride;
  std::size_t depth;           // a multiple of 4
  const std::int8_t* weights;  // [columns / (2 lanes), depth / 4, 2, lanes, 4]
  const std::int32_t* init;    // [columns]
  std::size_t columns;         // a multiple of kInt8Padding
  std::size_t count;
  std::int32_t* output;  // [count, columns], rows `output_stride` numbers apart
  std::size_t output_stride;
  Int8Inputs inputs;
};

// The same, then output = round(min(max((before + sum) * multiplier + bias, 0), 255)).
struct Int8ReluArgs {
  Int8LinearArgs product;      // its output is not used
  const std::int32_t* before;  // [count, columns] sums over other inputs; or null: 0
  const float* multiplier;     // [columns]
  const float* bias;           // [columns]
  std::uint8_t* output;        // [count, columns]
};

// The same of inputs that are -1, 0 and +1 and mostly 0: the sum of the rows of weights that a
// token adds, less those that it takes away.
struct Int8GatherArgs {
  const std::uint32_t* rows;    // of all tokens, in either half of a token in any order
  const std::uint32_t* starts;  // [2 count + 1]: token i adds rows[starts[2i]] to the one before
                                // rows[starts[2i + 1]], and takes away those up to the next token's
  const std::int8_t* weights;   // [.., columns filled up to kGatherColumns], or null, and then
  const std::uint8_t* codes;    // [.., columns / kCodeBlock, kCodeBlock / 4], see there
  std::size_t columns;          // a multiple of kInt8Padding
  std::size_t count;
  const float* multiplier;  // [columns], like the next
  const float* bias;
  std::uint8_t* output;  // [count, columns]
};

// One direction of one QRNN layer from bytes to bytes, as QrnnArgs in dense.h: the gates over the
// window, their activations and the scan, without storing any gate. Gaps between texts hold the
// input's zero point. With a = sum * multiplier + bias, where the multipliers and biases of all
// gates but z are halved,
//   z = round(127 tanh(a_z)) / 127      f, i, o = round(127.5 tanh(a) + 127.5) / 255
//   c = f c + (1 - f) z (ifo: f c + i z)       h = o c (f: c)
//   output = 128 + round(min(max(127 h, -127), 127))
struct Int8QrnnArgs {
  const std::uint8_t* input;  // [.., channels]
  std::size_t channels;       // a multiple of 4
  std::size_t kernel;
  std::size_t gates;           // 2: z f; 3: z f o; 4: z i f o
  const std::int8_t* weights;  // [state / lanes, kernel * channels / 4, gates, lanes, 4]
  const std::int32_t* init;    // [state / lanes, gates, lanes], like the next two
  const float* multiplier;
  const float* bias;
  std::size_t state;  // a multiple of kInt8Padding / 2
  bool backward;
  const std::uint32_t* rows;  // [count] row list, see dense.h
  std::size_t count;
  std::size_t begin;
  std::size_t end;
  float* carry;  // [state]
  std::uint8_t* output;
  std::size_t output_stride;
};

// The same for the first layer from products of each token with all taps, see TapsArgs in dense.h.
struct Int8TapsArgs {
  const std::int32_t* const* products;  // [count] rows; from `offset` on
  std::size_t offset;                   // [kernel, state / lanes, gates, lanes]
  std::size_t kernel;
  std::size_t gates;
  const float* multiplier;  // [state / lanes, gates, lanes]
  const float* bias;
  std::size_t state;
  bool backward;
  const std::uint32_t* rows;
  std::size_t count;
  std::size_t begin;
  std::size_t end;
  float* carry;
  std::uint8_t* output;
  std::size_t output_stride;
};

struct Int8Kernels {
  std::size_t lanes;   // columns that one vector holds: 1, 4, 8 or 16
  int input_offset;    // 0 or 128, see above
  int ternary_offset;  // the same for ternary inputs; for sparse ones it is 0
  bool sparse;         // whether linear knows them

  void (*linear)(const Int8LinearArgs& args);
  void (*relu)(const Int8ReluArgs& args);
  void (*gather)(const Int8GatherArgs& args);
  void (*qrnn)(const Int8QrnnArgs& args);
  void (*taps)(const Int8TapsArgs& args);

  // sum_j a[j] b[j], any count.
  std::int32_t (*dot)(const std::uint8_t* a, const std::int8_t* b, std::size_t count);
  // y[j] += scale * (x[j] - zero), any count.
  void (*add_scaled)(float scale, const std::uint8_t* x, int zero, float* y, std::size_t count);

  // In place. softmax: exp(x - max) over its sum, taken from the first to the last, count > 0.
  // sigmoid: 1 / (1 + e) or, for negative x, e / (1 + e) with e = exp(-|x|).
  void (*softmax)(float* x, std::size_t count);
  void (*sigmoid)(float* x, std::size_t count);

  // What this machine can do at most, for benchmarks: `rounds` times as many products as registers
  // hold sums of. Returns the multiply-adds done, or 0 if a sum is wrong.
  std::int64_t (*peak)(std::int64_t rounds);
};

}  // namespace pqrnn
