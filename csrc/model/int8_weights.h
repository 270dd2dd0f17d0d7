// The weights of a model with precision int8, packed for the kernels of one instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "model/buffer.h"
#include "model/config.h"
#include "model/int8_pack.h"
#include "model/safetensors.h"
#include "model/weights.h"
#include "projection/projector.h"

namespace pqrnn {

struct Int8Weights {
  Widths widths;

  // Features as bytes: t + 1 for ternary t, or, where some features are extras, 127 t + 128.
  int feature_zero;
  std::size_t features;              // F padded
  std::size_t shared;                // of these, the ones that are multiplied apart: see Int8Engine
  Int8Columns bottleneck;            // Int8ReluArgs, of the features from `shared` on
  Int8Columns words;                 // Int8LinearArgs, of those before
  bool hashed;                       // or, where few features are not zero: Int8GatherArgs
  Buffer<std::int8_t> feature_rows;  // its weights, or
  Buffer<std::uint8_t> feature_codes;  // their codes, where they have 2 bits

  // The first layer as one product of a token with all taps of both directions, see
  // Weights::First. Multipliers and biases are [direction, state / lanes, gates, lanes].
  struct First {
    std::size_t direction;  // columns of one direction
    std::size_t columns;
    std::size_t row;  // int32s: columns, and with skip the bottleneck's bytes behind them
    Int8Columns columns_of;
  };
  First first;

  struct Layer {
    Int8Columns directions[2];  // Int8QrnnArgs; the second is empty when not bidirectional
  };
  std::vector<Layer> layers;  // from the second on

  struct Attention {
    Buffer<std::int8_t> weights;          // [A, widths.pooled]
    std::vector<std::int32_t> high_init;  // [A] what the zero point of states adds
    std::vector<float> low, high, bias;   // [A]
  };
  Attention attention;
  std::vector<PooledPart> pooled_parts;
  float pooled_low = 0.0f;  // from sums on the grid of states to the grid of pooled vectors
  float pooled_high = 0.0f;
  float low_unit = 0.0f;  // steps of the bottleneck's and the states' grid
  float high_unit = 0.0f;

  // A head: low is its product with the bottleneck's part (with skip only), high with the states.
  struct Head {
    std::size_t rows = 0;
    std::size_t columns = 0;  // padded
    Int8Columns low;          // without bias
    Int8Columns high;
  };
  Head head;
  Head slots;
  Head context;

  std::vector<float> transitions;

  Int8Weights(const ModelConfig& config, const Projector& projector);
  std::size_t bytes() const;
};

// Reads and packs every tensor of a file that has passed check_tensors().
void load_int8_weights(const SafetensorsFile& file, const ModelConfig& config,
                       const Projector& projector, const Kernels& kernels, Int8Weights& weights);

}  // namespace pqrnn
