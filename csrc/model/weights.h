// The weights of a model as the kernels of one instruction set want them.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/kernels.h"
#include "model/buffer.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "projection/projector.h"

namespace pqrnn {

// Widths rounded up to kPadding; the padding of all weights and biases is zero.
struct Widths {
  std::size_t bottleneck;  // of B
  std::size_t state;       // of H
  std::size_t layer;       // directions * state
  std::size_t pooled;      // [bottleneck if skip] [state forward] [state backward]

  explicit Widths(const ModelConfig& config, std::size_t bottleneck_padding = kPadding);
};

// A stretch of pooled columns that belong to one attention head.
struct PooledPart {
  std::size_t head;
  std::size_t begin;    // column of the padded pooled vector
  std::size_t logical;  // column of the model's definition
  std::size_t count;
};

// Where the pooled columns of the model's definition stand, cut at the borders of heads.
std::vector<PooledPart> pooled_parts(const ModelConfig& config, const Widths& widths);

struct Weights {
  Widths widths;

  FloatBuffer bottleneck;       // TernaryArgs::weights
  FloatBuffer bottleneck_bias;  // [widths.bottleneck]
  FloatBuffer extras;           // TernaryArgs::extra_weights

  // The first layer as one product of a token with all taps of both directions. A row of its output
  // is [direction, kernel, state / lanes, gates, lanes]; directions are padded to 2 kPadding.
  struct First {
    std::size_t direction;  // columns of one direction
    std::size_t columns;    // of all directions
    std::size_t row;        // columns, and with skip the bottleneck's output behind them
    FloatBuffer weights;    // LinearArgs::weights
    FloatBuffer bias;       // [columns], at the tap of the token itself

    explicit First(const ModelConfig& config, const Widths& widths);
  };
  First first;

  struct Direction {
    FloatBuffer weights;  // QrnnArgs::weights
    FloatBuffer bias;     // QrnnArgs::bias
  };
  struct Layer {
    Direction forward;
    Direction backward;  // empty when not bidirectional
  };
  std::vector<Layer> layers;  // from the second on; their input is widths.layer wide

  FloatBuffer attention;       // [A, widths.pooled]
  FloatBuffer attention_bias;  // [A]
  std::vector<PooledPart> pooled_parts;

  struct Head {
    std::size_t columns = 0;  // padded to 2 kPadding
    FloatBuffer weights;      // LinearArgs::weights
    FloatBuffer bias;         // [columns]
  };
  Head head;     // of the pooled vector; parsing: the intents, without columns when there are none
  Head slots;    // of each token, parsing only
  Head context;  // of the pooled vector, added to the slots of each token; slot_context only

  std::vector<float> transitions;  // [S, S] between slot tags, from and to; crf only

  explicit Weights(const ModelConfig& config);
  std::size_t bytes() const;
};

// Reads and packs every tensor of a file that has passed check_tensors(). F16 and I8 become
// float32.
void load_weights(const SafetensorsFile& file, const ModelConfig& config,
                  const Projector& projector, const Kernels& kernels, Weights& weights);

}  // namespace pqrnn
