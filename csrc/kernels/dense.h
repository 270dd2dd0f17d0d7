// Kernels of the float32 inference engine. Widths called "padded" are multiples of kPadding
// floats; the padding holds zeros on input and gets zeros on output. A "row list" names the rows of
// a buffer that are positions of texts, ascending; rows between them (gaps between texts) hold
// zeros: windows that reach outside a text read them, and nothing writes them.
//
// Each output row is summed in an order that depends on nothing but the shape of the weights, so a
// text gets the same bits alone as among others.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

constexpr std::size_t kPadding = 16;

// relu(bias + x W) for ternary x: adds the weight rows of the +1 features, subtracts those of the
// -1 features and never touches the others, about half of all.
struct TernaryArgs {
  const std::uint64_t* codes;  // [count, words]: 32 features a word, 1 -> +1, 2 -> -1, 0 and 3 -> 0
  std::size_t words;
  const float* extras;  // [count, extra_count] values of further input columns
  std::size_t extra_count;
  const float* weights;        // see ternary_block() for the order
  const float* extra_weights;  // [extra_count, width]
  const float* bias;           // [width]
  std::size_t width;           // padded
  const std::uint32_t* rows;   // [count] row list of `output`
  std::size_t count;
  float* output;  // [.., width]
};

// One direction of one QRNN layer, from the layer's input to its output: the gates over the window,
// their activations and the scan, without storing any gate. Walks the rows `begin` to `end` of the
// list, so that a long list can be walked in parts (backward: the last part first).
struct QrnnArgs {
  const float* input;    // [.., channels]; the window of row r starts at row r - (kernel - 1),
                         // backward at row r
  std::size_t channels;  // padded
  std::size_t kernel;    // k
  std::size_t gates;     // 2: z f (output c); 3: z f o; 4: z i f o
  const float* weights;  // [state / lanes, kernel * channels, gates, lanes]
  const float* bias;     // [state / lanes, gates, lanes]
  std::size_t state;     // padded
  bool backward;
  const std::uint32_t* rows;  // [count] row list of input and output; a text starts wherever two
  std::size_t count;          // entries are not neighbours
  std::size_t begin;
  std::size_t end;
  float* carry;   // [state] c at the end of one part and the beginning of the next
  float* output;  // first column of this direction
  std::size_t output_stride;
};

// The same for the first layer, whose input depends on nothing but the token: the products of each
// token with all k taps of the window are given, and only summed, activated and scanned here. The
// tap of the token itself includes the bias.
struct TapsArgs {
  const float* const* products;  // [count] of each position; from `offset` on a row is
  std::size_t offset;            // [kernel, state / lanes, gates, lanes], taps in the order of text
  std::size_t kernel;
  std::size_t gates;
  std::size_t state;
  bool backward;
  const std::uint32_t* rows;  // as in QrnnArgs, like all below
  std::size_t count;
  std::size_t begin;
  std::size_t end;
  float* carry;
  float* output;
  std::size_t output_stride;
};

// output[i, :] = bias + input[i, :] W.
struct LinearArgs {
  const float* input;    // [count, depth]
  std::size_t depth;     // padded
  const float* weights;  // [columns / (2 lanes), depth, 2, lanes]
  const float* bias;     // [columns]
  std::size_t columns;   // a multiple of 2 kPadding
  std::size_t count;
  float* output;  // [count, columns], rows `output_stride` floats apart
  std::size_t output_stride;
};

struct DenseKernels {
  std::size_t lanes;  // columns that one vector holds: 1, 2, 4, 8 or 16

  void (*ternary)(const TernaryArgs& args);
  void (*qrnn)(const QrnnArgs& args);
  void (*taps)(const TapsArgs& args);
  void (*linear)(const LinearArgs& args);

  // sum_j a[j] b[j], j < count, a padded width.
  float (*dot)(const float* a, const float* b, std::size_t count);
  // y[j] += scale * x[j], any count.
  void (*add_scaled)(float scale, const float* x, float* y, std::size_t count);

  // In place, any count. Error at most 4 units in the last place for sigmoid, 6 for tanh (which
  // never exceeds 1); NaN stays NaN.
  void (*sigmoid)(float* x, std::size_t count);
  void (*tanh)(float* x, std::size_t count);
  // exp(x - max) / sum, count > 0.
  void (*softmax)(float* x, std::size_t count);
};

// Columns of a block of ternary weights; the last block may be narrower (a multiple of lanes).
constexpr std::size_t ternary_block(std::size_t lanes) { return 8 * lanes; }

// The order of ternary weights: [blocks, 64 * ceil(words / 2), columns of the block]. Row p of the
// 64 rows of a pair of words holds feature 64 * pair + p / 2 + 32 * (p % 2), so that the masks of
// both words interleave into one.
constexpr std::size_t ternary_row(std::size_t feature) {
  return feature / 64 * 64 + feature % 32 * 2 + feature / 32 % 2;
}

}  // namespace pqrnn
