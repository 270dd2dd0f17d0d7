#include "model/int8_weights.h"

#include <algorithm>
#include <string>

#include "model/tensor_reader.h"

namespace pqrnn {
namespace {

// A weight of the file and what makes its sums real.
struct Tensor {
  std::vector<std::int8_t> weight;  // [rows, columns]
  std::vector<float> scale;         // [rows]
  std::vector<float> bias;          // [rows]
};

void read(const TensorReader& reader, const std::string& name, bool biased, Tensor& tensor) {
  reader.whole_weight(name + ".weight", tensor.weight, tensor.scale);
  tensor.bias.assign(tensor.scale.size(), 0.0f);
  if (biased) reader.floats(name + ".bias", tensor.bias);
}

constexpr std::size_t kTurnedRows = 256;  // at once, which stay in a cache

// Row by row of features: what Int8GatherArgs reads.
void turn_rows(const std::vector<std::int8_t>& weight, std::size_t outputs, std::size_t features,
               std::size_t width, Buffer<std::int8_t>& rows) {
  width = round_up(width, kGatherColumns);
  rows = zero_buffer<std::int8_t>(features * width);
  for (std::size_t first = 0; first < features; first += kTurnedRows) {
    const std::size_t end = std::min(features, first + kTurnedRows);
    for (std::size_t b = 0; b < outputs; ++b) {
      for (std::size_t f = first; f < end; ++f) rows[f * width + b] = weight[b * features + f];
    }
  }
}

void turn_codes(const std::vector<std::int8_t>& weight, std::size_t outputs, std::size_t features,
                std::size_t width, Buffer<std::uint8_t>& codes) {
  constexpr std::size_t quarter = kCodeBlock / 4;
  const std::size_t stride = round_up(width, kCodeBlock) / 4;
  codes = zero_buffer<std::uint8_t>(features * stride);
  for (std::size_t first = 0; first < features; first += kTurnedRows) {
    const std::size_t end = std::min(features, first + kTurnedRows);
    for (std::size_t b = 0; b < outputs; ++b) {
      const std::size_t place = b / kCodeBlock * quarter + b % quarter;
      const unsigned shift = static_cast<unsigned>(2 * (b % kCodeBlock / quarter));
      for (std::size_t f = first; f < end; ++f) {
        const unsigned code = static_cast<unsigned>(weight[b * features + f] + 3) / 2;
        codes[f * stride + place] =
            static_cast<std::uint8_t>(codes[f * stride + place] | code << shift);
      }
    }
  }
}

void load_bottleneck(const TensorReader& reader, const ModelConfig& config,
                     const Projector& projector, const Kernels& kernels, double range,
                     Int8Weights& weights) {
  const std::size_t features = config.projection.feature_size;
  Tensor tensor;
  read(reader, "bottleneck", true, tensor);
  const bool extras = projector.extra_count() > 0;
  const std::size_t width = weights.widths.bottleneck, shared = weights.shared;
  const std::size_t rest = weights.hashed ? 0 : weights.features - shared;
  const int zero = weights.feature_zero;
  const Int8Inputs inputs = extras ? Int8Inputs::any : Int8Inputs::ternary;
  Int8Packer words(kernels, shared, width, 2, zero, weights.words, inputs);
  Int8Packer packer(kernels, rest, width, 2, zero, weights.bottleneck, inputs);
  if (weights.hashed && reader.coarse("bottleneck.weight")) {
    turn_codes(tensor.weight, config.bottleneck_size, features, width, weights.feature_codes);
  } else if (weights.hashed) {
    turn_rows(tensor.weight, config.bottleneck_size, features, width, weights.feature_rows);
  }
  const double grid = 255.0 / range;
  for (std::size_t b = 0; b < config.bottleneck_size; ++b) {
    const std::int8_t* row = tensor.weight.data() + b * features;
    words.put_column(b, row, shared);
    if (rest > 0) packer.put_column(b, row + shared, features - shared);
    weights.bottleneck.multiplier[b] =
        static_cast<float>(double{tensor.scale[b]} * grid / (extras ? 127 : 1));
    weights.bottleneck.bias[b] = static_cast<float>(double{tensor.bias[b]} * grid);
  }
}

// Channel c of a layer's output stands in column c / H * padded H + c % H.
std::size_t channel_place(const ModelConfig& config, const Widths& widths, std::size_t channel) {
  return channel / config.state_size * widths.state + channel % config.state_size;
}

// Multipliers and biases of one direction from `first` on, [state / lanes, gates, lanes]; those of
// gates other than z are halved, because sigmoid(x) comes from tanh(x / 2).
void place_scales(const Tensor& tensor, const ModelConfig& config, std::size_t lanes, double unit,
                  std::size_t first, Int8Columns& out) {
  const std::size_t gates = config.gates(), states = config.state_size;
  for (std::size_t g = 0; g < gates; ++g) {
    const double half = g == 0 ? 1.0 : 0.5;
    for (std::size_t h = 0; h < states; ++h) {
      const std::size_t place = first + (h / lanes * gates + g) * lanes + h % lanes;
      const std::size_t row = g * states + h;
      out.multiplier[place] = static_cast<float>(double{tensor.scale[row]} * unit * half);
      out.bias[place] = static_cast<float>(double{tensor.bias[row]} * half);
    }
  }
}

void load_first(const TensorReader& reader, const ModelConfig& config, const Kernels& kernels,
                double unit, Int8Weights& weights) {
  Int8Weights::First& first = weights.first;
  const std::size_t gates = config.gates(), states = config.state_size;
  const std::size_t kernel = config.kernel_size, inputs = config.bottleneck_size;
  const std::size_t lanes = kernels.int8.lanes, scales = gates * weights.widths.state;
  Int8Packer packer(kernels, weights.widths.bottleneck, first.columns, 2, 0, first.columns_of,
                    first_inputs(kernels));
  first.columns_of.multiplier = zero_buffer<float>(config.directions() * scales);
  first.columns_of.bias = zero_buffer<float>(config.directions() * scales);
  for (std::size_t d = 0; d < config.directions(); ++d) {
    const std::string name = d ? "layers.0.backward" : "layers.0.forward";
    Tensor tensor;
    read(reader, name, true, tensor);
    place_scales(tensor, config, lanes, unit, d * scales, first.columns_of);
    for (std::size_t row = 0; row < gates * states; ++row) {
      const std::size_t g = row / states, h = row % states;
      for (std::size_t j = 0; j < kernel; ++j) {
        const std::size_t column =
            d * first.direction + j * scales + (h / lanes * gates + g) * lanes + h % lanes;
        packer.put_column(column, tensor.weight.data() + (row * kernel + j) * inputs, inputs);
      }
    }
  }
}

void load_direction(const TensorReader& reader, const std::string& name, const ModelConfig& config,
                    const Kernels& kernels, const Widths& widths, Int8Columns& out) {
  const std::size_t gates = config.gates(), states = config.state_size;
  const std::size_t kernel = config.kernel_size, channels = config.directions() * states;
  const std::size_t lanes = kernels.int8.lanes;
  Tensor tensor;
  read(reader, name, true, tensor);
  Int8Packer packer(kernels, kernel * widths.layer, gates * widths.state, gates, kStateZero, out);
  place_scales(tensor, config, lanes, 1.0 / 127.0, 0, out);
  for (std::size_t row = 0; row < gates * states; ++row) {
    const std::size_t g = row / states, h = row % states;
    const std::size_t column = (h / lanes * gates + g) * lanes + h % lanes;
    for (std::size_t j = 0; j < kernel; ++j) {
      for (std::size_t c = 0; c < channels; ++c) {
        packer.put(column, j * widths.layer + channel_place(config, widths, c),
                   tensor.weight[(row * kernel + j) * channels + c]);
      }
    }
  }
}

void load_attention(const TensorReader& reader, const ModelConfig& config, double low_unit,
                    Int8Weights& weights) {
  Int8Weights::Attention& attention = weights.attention;
  const std::size_t heads = config.attention_heads, size = config.pooled_size();
  const std::size_t width = weights.widths.pooled;
  const std::size_t skip = config.skip ? weights.widths.bottleneck : 0;
  Tensor tensor;
  read(reader, "attention", true, tensor);
  attention.weights = zero_buffer<std::int8_t>(heads * width);
  attention.high_init.assign(heads, 0);
  attention.bias = tensor.bias;
  for (std::size_t q = 0; q < heads; ++q) {
    std::int8_t* packed = attention.weights.data() + q * width;
    for (const PooledPart& part : weights.pooled_parts) {
      for (std::size_t j = 0; j < part.count; ++j) {
        const std::int8_t weight = tensor.weight[q * size + part.logical + j];
        packed[part.begin + j] = weight;
        if (part.begin >= skip) attention.high_init[q] -= kStateZero * weight;
      }
    }
    attention.low.push_back(static_cast<float>(double{tensor.scale[q]} * low_unit));
    attention.high.push_back(static_cast<float>(double{tensor.scale[q]} * (1.0 / 127.0)));
  }
}

// Steps of the grids of a head's input.
struct Units {
  double low;
  double high;
};

void load_head(const TensorReader& reader, const std::string& name, std::size_t rows, bool biased,
               const ModelConfig& config, const Kernels& kernels, Units units,
               const Int8Weights& weights, Int8Weights::Head& head) {
  const std::size_t size = config.pooled_size();
  const std::size_t skip = config.skip ? weights.widths.bottleneck : 0;
  Tensor tensor;
  read(reader, name, biased, tensor);
  head.rows = rows;
  head.columns = round_up(rows, kInt8Padding);
  Int8Packer low(kernels, skip, head.columns, 2, 0, head.low);
  Int8Packer high(kernels, weights.widths.layer, head.columns, 2, kStateZero, head.high);
  for (std::size_t row = 0; row < rows; ++row) {
    head.low.multiplier[row] = static_cast<float>(double{tensor.scale[row]} * units.low);
    head.high.multiplier[row] = static_cast<float>(double{tensor.scale[row]} * units.high);
    head.high.bias[row] = tensor.bias[row];
    for (const PooledPart& part : weights.pooled_parts) {
      for (std::size_t j = 0; j < part.count; ++j) {
        const std::int8_t weight = tensor.weight[row * size + part.logical + j];
        const std::size_t input = part.begin + j;
        if (input < skip) {
          low.put(row, input, weight);
        } else {
          high.put(row, input - skip, weight);
        }
      }
    }
  }
}

void load_heads(const TensorReader& reader, const ModelConfig& config, const Kernels& kernels,
                Units token, Units text, Int8Weights& weights) {
  const bool parsing = config.task == Task::parsing;
  if (const std::size_t rows = config.head_size()) {
    load_head(reader, parsing ? "intent" : "head", rows, true, config, kernels, text, weights,
              weights.head);
  }
  if (!parsing) return;
  const std::size_t rows = config.slots.size();
  load_head(reader, "slots", rows, true, config, kernels, token, weights, weights.slots);
  if (config.slot_context) {
    load_head(reader, "slots.context", rows, false, config, kernels, text, weights,
              weights.context);
  }
  if (config.crf) reader.weight("slots.transitions", weights.transitions);
}

// Whether a token has so few non-zero features that to name them is best.
bool few_features(const Projector& projector) {
  const ProjectionSettings& settings = projector.settings();
  return settings.token_hashes > 0 && (settings.ngram_size == 0 || settings.ngram_hashes > 0) &&
         projector.extra_count() == 0;
}

std::size_t shared_features(const Projector& projector) {
  const ProjectionSettings& settings = projector.settings();
  const bool varying = settings.ngram_size > 0 && settings.ngram_runs;
  const bool apart = varying && projector.extra_count() == 0 && !few_features(projector);
  return apart ? 32 * projector.whole_words() : 0;
}

std::size_t first_direction(const ModelConfig& config, const Widths& widths) {
  return round_up(config.kernel_size * config.gates() * widths.state, kInt8Padding);
}

}  // namespace

Int8Weights::Int8Weights(const ModelConfig& config, const Projector& projector)
    : widths(config, kInt8Padding),
      feature_zero(projector.extra_count() > 0 ? 128 : 1),
      features(32 * projector.words()),
      shared(shared_features(projector)),
      hashed(few_features(projector)) {
  first.direction = first_direction(config, widths);
  first.columns = config.directions() * first.direction;
  first.row = first.columns + (config.skip ? widths.bottleneck / sizeof(std::int32_t) : 0);
}

std::size_t Int8Weights::bytes() const {
  std::size_t total = bottleneck.bytes() + words.bytes() + feature_rows.size() +
                      feature_codes.size() + first.columns_of.bytes() + attention.weights.size() +
                      transitions.size() * sizeof(float);
  for (const Layer& layer : layers) {
    total += layer.directions[0].bytes() + layer.directions[1].bytes();
  }
  for (const Head* each : {&head, &slots, &context})
    total += each->low.bytes() + each->high.bytes();
  return total;
}

void load_int8_weights(const SafetensorsFile& file, const ModelConfig& config,
                       const Projector& projector, const Kernels& kernels, Int8Weights& weights) {
  const TensorReader reader(file);
  std::vector<float> bottleneck, pooled;
  reader.floats("bottleneck.range", bottleneck);
  reader.floats("pooled.range", pooled);
  const double range = bottleneck[0];
  load_bottleneck(reader, config, projector, kernels, range, weights);
  load_first(reader, config, kernels, range / 255.0, weights);
  for (std::size_t l = 1; l < config.num_layers; ++l) {
    weights.layers.emplace_back();
    for (std::size_t d = 0; d < config.directions(); ++d) {
      load_direction(reader, "layers." + std::to_string(l) + (d ? ".backward" : ".forward"), config,
                     kernels, weights.widths, weights.layers.back().directions[d]);
    }
  }
  weights.pooled_parts = pooled_parts(config, weights.widths);
  load_attention(reader, config, range / 255.0, weights);
  weights.low_unit = static_cast<float>(range / 255.0);
  weights.high_unit = static_cast<float>(1.0 / 127.0);
  weights.pooled_low = static_cast<float>(range / double{pooled.front()});
  weights.pooled_high = static_cast<float>(1.0 / double{pooled.back()});
  load_heads(reader, config, kernels, {range / 255.0, 1.0 / 127.0},
             {double{pooled.front()} / 255.0, double{pooled.back()} / 127.0}, weights);
}

}  // namespace pqrnn
