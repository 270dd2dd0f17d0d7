#include "model/weights.h"

#include <algorithm>
#include <string>

#include "model/tensor_reader.h"

namespace pqrnn {
namespace {

FloatBuffer zeros(std::size_t size) {
  FloatBuffer buffer(size);
  std::fill_n(buffer.data(), size, 0.0f);
  return buffer;
}

// weight [B, F] row-major.
void pack_bottleneck(const std::vector<float>& weight, const ModelConfig& config,
                     const Projector& projector, std::size_t lanes, Weights& weights) {
  const std::size_t features = config.projection.feature_size;
  const std::size_t width = weights.widths.bottleneck;
  const std::size_t rows = round_up(projector.words(), 2) * 32;
  weights.bottleneck = zeros(rows * width);
  for (std::size_t b = 0; b < config.bottleneck_size; ++b) {
    const std::size_t first = b / ternary_block(lanes) * ternary_block(lanes);
    const std::size_t block = std::min(ternary_block(lanes), width - first);
    float* column = weights.bottleneck.data() + first * rows + (b - first);
    for (std::size_t f = 0; f < features; ++f) {
      column[ternary_row(f) * block] = weight[b * features + f];
    }
  }
  weights.extras = zeros(projector.extra_count() * width);
  for (std::size_t e = 0; e < projector.extra_count(); ++e) {
    for (std::size_t b = 0; b < config.bottleneck_size; ++b) {
      weights.extras[e * width + b] = weight[b * features + projector.extra_column(e)];
    }
  }
}

// Place of element (row, column) in LinearArgs::weights.
std::size_t linear_place(std::size_t row, std::size_t column, std::size_t depth,
                         std::size_t lanes) {
  const std::size_t group = 2 * lanes;
  return row / group * group * depth + column * group + row % group;
}

// weight [G*H, k, B] row-major.
void pack_first(const std::vector<float>& weight, const std::vector<float>& bias,
                const ModelConfig& config, bool backward, std::size_t lanes, Weights& weights) {
  Weights::First& first = weights.first;
  const std::size_t gates = config.gates(), states = config.state_size;
  const std::size_t kernel = config.kernel_size, inputs = config.bottleneck_size;
  const std::size_t depth = weights.widths.bottleneck;
  const std::size_t own_tap = backward ? 0 : kernel - 1;
  for (std::size_t g = 0; g < gates; ++g) {
    for (std::size_t h = 0; h < states; ++h) {
      const float* row = weight.data() + (g * states + h) * kernel * inputs;
      for (std::size_t j = 0; j < kernel; ++j) {
        const std::size_t column = (backward ? first.direction : 0) +
                                   j * gates * weights.widths.state +
                                   (h / lanes * gates + g) * lanes + h % lanes;
        if (j == own_tap) first.bias[column] = bias[g * states + h];
        for (std::size_t b = 0; b < inputs; ++b) {
          first.weights[linear_place(column, b, depth, lanes)] = row[j * inputs + b];
        }
      }
    }
  }
}

// weight [G*H, k, C] row-major, C = directions * H. Channel c of the layer below stands in column
// c / H * padded H + c % H, as both directions are padded on their own.
void pack_direction(const std::vector<float>& weight, const std::vector<float>& bias,
                    const ModelConfig& config, const Widths& widths, std::size_t lanes,
                    Weights::Direction& out) {
  const std::size_t gates = config.gates(), states = config.state_size;
  const std::size_t kernel = config.kernel_size, channels = config.directions() * states;
  out.weights = zeros(widths.state * gates * kernel * widths.layer);
  out.bias = zeros(widths.state * gates);
  for (std::size_t g = 0; g < gates; ++g) {
    for (std::size_t h = 0; h < states; ++h) {
      const std::size_t panel = h / lanes, lane = h % lanes;
      out.bias[(panel * gates + g) * lanes + lane] = bias[g * states + h];
      const float* row = weight.data() + (g * states + h) * kernel * channels;
      float* packed =
          out.weights.data() + (panel * kernel * widths.layer * gates + g) * lanes + lane;
      for (std::size_t j = 0; j < kernel; ++j) {
        for (std::size_t c = 0; c < channels; ++c) {
          const std::size_t column = j * widths.layer + c / states * widths.state + c % states;
          packed[column * gates * lanes] = row[j * channels + c];
        }
      }
    }
  }
}

void load_layers(const TensorReader& reader, const ModelConfig& config, std::size_t lanes,
                 Weights& weights) {
  std::vector<float> weight, bias;
  for (std::size_t l = 0; l < config.num_layers; ++l) {
    if (l > 0) weights.layers.emplace_back();
    for (const bool backward : {false, true}) {
      if (backward && !config.bidirectional) continue;
      const std::string name =
          "layers." + std::to_string(l) + (backward ? ".backward" : ".forward");
      reader.weight(name + ".weight", weight);
      reader.floats(name + ".bias", bias);
      if (l == 0) {
        if (!backward) {
          weights.first.weights = zeros(weights.first.columns * weights.widths.bottleneck);
          weights.first.bias = zeros(weights.first.columns);
        }
        pack_first(weight, bias, config, backward, lanes, weights);
      } else {
        Weights::Layer& layer = weights.layers.back();
        pack_direction(weight, bias, config, weights.widths, lanes,
                       backward ? layer.backward : layer.forward);
      }
    }
  }
}

void load_attention(const TensorReader& reader, const ModelConfig& config, Weights& weights) {
  std::vector<float> weight, bias;
  const std::size_t heads = config.attention_heads;
  reader.weight("attention.weight", weight);
  reader.floats("attention.bias", bias);
  weights.pooled_parts = pooled_parts(config, weights.widths);
  weights.attention = zeros(heads * weights.widths.pooled);
  weights.attention_bias = zeros(heads);
  for (std::size_t q = 0; q < heads; ++q) {
    weights.attention_bias[q] = bias[q];
    for (const PooledPart& part : weights.pooled_parts) {
      std::copy_n(weight.data() + q * config.pooled_size() + part.logical, part.count,
                  weights.attention.data() + q * weights.widths.pooled + part.begin);
    }
  }
}

// Without `biased` there is no such tensor, and the bias is zero.
void load_head(const TensorReader& reader, const std::string& name, std::size_t rows, bool biased,
               const ModelConfig& config, std::size_t lanes, const Weights& weights,
               Weights::Head& head) {
  std::vector<float> weight, bias(rows);
  reader.weight(name + ".weight", weight);
  if (biased) reader.floats(name + ".bias", bias);
  const std::size_t depth = weights.widths.pooled;
  head.columns = round_up(rows, 2 * kPadding);
  head.weights = zeros(head.columns * depth);
  head.bias = zeros(head.columns);
  for (std::size_t row = 0; row < rows; ++row) {
    head.bias[row] = bias[row];
    for (const PooledPart& part : weights.pooled_parts) {
      for (std::size_t j = 0; j < part.count; ++j) {
        head.weights[linear_place(row, part.begin + j, depth, lanes)] =
            weight[row * config.pooled_size() + part.logical + j];
      }
    }
  }
}

void load_heads(const TensorReader& reader, const ModelConfig& config, std::size_t lanes,
                Weights& weights) {
  const bool parsing = config.task == Task::parsing;
  if (const std::size_t rows = config.head_size()) {
    load_head(reader, parsing ? "intent" : "head", rows, true, config, lanes, weights,
              weights.head);
  }
  if (!parsing) return;
  const std::size_t rows = config.slots.size();
  load_head(reader, "slots", rows, true, config, lanes, weights, weights.slots);
  if (config.slot_context) {
    load_head(reader, "slots.context", rows, false, config, lanes, weights, weights.context);
  }
  if (config.crf) reader.weight("slots.transitions", weights.transitions);
}

}  // namespace

Widths::Widths(const ModelConfig& config, std::size_t bottleneck_padding)
    : bottleneck(round_up(config.bottleneck_size, bottleneck_padding)),
      state(round_up(config.state_size, kPadding)),
      layer(config.directions() * state),
      pooled(layer + (config.skip ? bottleneck : 0)) {}

std::vector<PooledPart> pooled_parts(const ModelConfig& config, const Widths& widths) {
  std::vector<PooledPart> parts;
  const std::size_t head_size = config.pooled_size() / config.attention_heads;
  std::size_t logical = 0, padded = 0;
  const auto append = [&](std::size_t count, std::size_t padded_count) {
    const std::size_t end = logical + count;
    std::size_t at = padded;
    while (logical < end) {
      const std::size_t head = logical / head_size;
      const std::size_t size = std::min(end, (head + 1) * head_size) - logical;
      parts.push_back({head, at, logical, size});
      logical += size;
      at += size;
    }
    padded += padded_count;
  };
  if (config.skip) append(config.bottleneck_size, widths.bottleneck);
  for (std::size_t d = 0; d < config.directions(); ++d) append(config.state_size, widths.state);
  return parts;
}

Weights::First::First(const ModelConfig& config, const Widths& widths)
    : direction(round_up(config.kernel_size * config.gates() * widths.state, 2 * kPadding)),
      columns(config.directions() * direction),
      row(columns + (config.skip ? widths.bottleneck : 0)) {}

Weights::Weights(const ModelConfig& config) : widths(config), first(config, widths) {}

std::size_t Weights::bytes() const {
  std::size_t floats = bottleneck.size() + bottleneck_bias.size() + extras.size() +
                       first.weights.size() + first.bias.size() + attention.size() +
                       attention_bias.size() + transitions.size();
  for (const Head* each : {&head, &slots, &context}) {
    floats += each->weights.size() + each->bias.size();
  }
  for (const Layer& layer : layers) {
    floats += layer.forward.weights.size() + layer.forward.bias.size() +
              layer.backward.weights.size() + layer.backward.bias.size();
  }
  return floats * sizeof(float);
}

void load_weights(const SafetensorsFile& file, const ModelConfig& config,
                  const Projector& projector, const Kernels& kernels, Weights& weights) {
  const std::size_t lanes = kernels.dense.lanes;
  const TensorReader reader(file);
  std::vector<float> weight, bias;
  reader.weight("bottleneck.weight", weight);
  reader.floats("bottleneck.bias", bias);
  pack_bottleneck(weight, config, projector, lanes, weights);
  weights.bottleneck_bias = zeros(weights.widths.bottleneck);
  std::copy(bias.begin(), bias.end(), weights.bottleneck_bias.data());
  load_layers(reader, config, lanes, weights);
  load_attention(reader, config, weights);
  load_heads(reader, config, lanes, weights);
}

}  // namespace pqrnn
