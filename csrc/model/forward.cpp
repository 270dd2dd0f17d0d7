#include "model/forward.h"

#include <algorithm>
#include <utility>

#include "model/engine.h"
#include "model/first_layer.h"

namespace pqrnn {
namespace {

// Rows that go through one kernel call: their windows and weights stay in the second-level cache,
// and a stop request is seen soon.
constexpr std::size_t kPartRows = 256;

bool run_direction(const Network& network, const Weights::Layer& layer, bool backward,
                   const float* input, float* output, Workspace& work, Stop& stop) {
  const Widths& widths = network.weights.widths;
  const Weights::Direction& direction = backward ? layer.backward : layer.forward;
  QrnnArgs args = {};
  args.input = input;
  args.channels = widths.layer;
  args.kernel = network.config.kernel_size;
  args.gates = network.config.gates();
  args.weights = direction.weights.data();
  args.bias = direction.bias.data();
  args.state = widths.state;
  args.backward = backward;
  args.rows = work.rows.data();
  args.count = work.rows.size();
  args.carry = work.carry.data();
  args.output = output + (backward ? widths.state : 0);
  args.output_stride = widths.layer;
  const std::size_t parts = (args.count + kPartRows - 1) / kPartRows;
  for (std::size_t i = 0; i < parts; ++i) {
    if (stop.requested()) return false;
    args.begin = kPartRows * (backward ? parts - 1 - i : i);
    args.end = std::min(args.begin + kPartRows, args.count);
    network.kernels.dense.qrnn(args);
  }
  return true;
}

// v[P] of one text: per head a softmax over its positions, then the weighted sum of its states.
void pool_text(const Network& network, const Workspace::Text& text, Workspace& work,
               float* pooled) {
  const DenseKernels& dense = network.kernels.dense;
  const Weights& weights = network.weights;
  const Widths& widths = weights.widths;
  const std::size_t heads = network.config.attention_heads;
  const std::size_t skip = network.config.skip ? widths.bottleneck : 0;
  const float* low = work.real.bottleneck.data() + text.first_row * widths.bottleneck;
  const float* top = work.real.top + text.first_row * widths.layer;

  for (std::size_t q = 0; q < heads; ++q) {
    const float* w = weights.attention.data() + q * widths.pooled;
    float* logits = work.attention.data() + q * text.positions;
    for (std::size_t t = 0; t < text.positions; ++t) {
      logits[t] = weights.attention_bias[q];
      if (skip) logits[t] += dense.dot(low + t * widths.bottleneck, w, skip);
      logits[t] += dense.dot(top + t * widths.layer, w + skip, widths.layer);
    }
    dense.softmax(logits, text.positions);
  }
  for (std::size_t t = 0; t < text.positions; ++t) {
    for (const PooledPart& part : weights.pooled_parts) {
      const float* states = part.begin < skip ? low + t * widths.bottleneck + part.begin
                                              : top + t * widths.layer + (part.begin - skip);
      dense.add_scaled(work.attention[part.head * text.positions + t], states, pooled + part.begin,
                       part.count);
    }
  }
}

void run_linear(const Network& network, const Weights::Head& head, const float* input,
                std::size_t count, FloatBuffer& output) {
  output.resize(count * head.columns);
  if (head.columns == 0) return;
  LinearArgs args = {};
  args.input = input;
  args.depth = network.weights.widths.pooled;
  args.weights = head.weights.data();
  args.bias = head.bias.data();
  args.columns = head.columns;
  args.count = count;
  args.output = output.data();
  args.output_stride = head.columns;
  network.kernels.dense.linear(args);
}

// Where the tokens of all texts stand, tags left out.
void list_tokens(const Network& network, Workspace& work) {
  const std::size_t before = network.config.projection.bos ? 1 : 0;
  work.text_of.clear();
  work.real.token_row.clear();
  for (std::size_t i = 0; i < work.texts.size(); ++i) {
    for (std::size_t t = 0; t < work.texts[i].tokens; ++t) {
      work.text_of.push_back(i);
      work.real.token_row.push_back(work.texts[i].first_row + before + t);
    }
  }
}

bool run_layers(const Network& network, Workspace& work, Stop& stop) {
  const Widths& widths = network.weights.widths;
  work.carry.resize(widths.state);
  std::fill_n(work.carry.data(), widths.state, 0.0f);
  for (FloatBuffer& buffer : work.real.layers) {
    buffer.resize(work.height * widths.layer);
    fill_gaps(work, network.config.kernel_size, widths.layer, 0.0f, buffer.data());
  }
  if (!run_first_layer(network, work, stop, work.real.layers[0].data())) return false;

  std::size_t turn = 0;
  for (const Weights::Layer& layer : network.weights.layers) {
    const float* input = work.real.layers[turn].data();
    float* output = work.real.layers[1 - turn].data();
    if (!run_direction(network, layer, false, input, output, work, stop)) return false;
    if (network.config.bidirectional &&
        !run_direction(network, layer, true, input, output, work, stop)) {
      return false;
    }
    turn = 1 - turn;
  }
  work.real.top = work.real.layers[turn].data();
  return true;
}

void run_head(const Network& network, Workspace& work) {
  const Weights& weights = network.weights;
  const std::size_t width = weights.widths.pooled;
  std::size_t longest = 0;
  for (const Workspace::Text& text : work.texts) longest = std::max(longest, text.positions);
  work.attention.resize(network.config.attention_heads * longest);
  work.pooled.resize(work.texts.size() * width);
  std::fill_n(work.pooled.data(), work.texts.size() * width, 0.0f);
  for (std::size_t i = 0; i < work.texts.size(); ++i) {
    const Workspace::Text& text = work.texts[i];
    if (text.positions) pool_text(network, text, work, work.pooled.data() + i * width);
  }

  work.output_stride = weights.head.columns;
  run_linear(network, weights.head, work.pooled.data(), work.texts.size(), work.outputs);
}

bool run_slots(const Network& network, Workspace& work, Stop& stop, float* out) {
  const Weights& weights = network.weights;
  const Widths& widths = weights.widths;
  const std::size_t skip = network.config.skip ? widths.bottleneck : 0;
  const std::size_t size = network.config.slots.size();
  run_linear(network, weights.context, work.pooled.data(), work.texts.size(), work.context);
  list_tokens(network, work);
  for (std::size_t begin = 0; begin < work.real.token_row.size(); begin += kPartRows) {
    if (stop.requested()) return false;
    const std::size_t count = std::min(kPartRows, work.real.token_row.size() - begin);
    work.real.token_states.resize(count * widths.pooled);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t row = work.real.token_row[begin + i];
      float* states = work.real.token_states.data() + i * widths.pooled;
      if (skip) std::copy_n(work.real.bottleneck.data() + row * widths.bottleneck, skip, states);
      std::copy_n(work.real.top + row * widths.layer, widths.layer, states + skip);
    }
    run_linear(network, weights.slots, work.real.token_states.data(), count, work.real.token_slots);
    for (std::size_t i = 0; i < count; ++i, out += size) {
      std::copy_n(work.real.token_slots.data() + i * weights.slots.columns, size, out);
      if (!network.config.slot_context) continue;
      const float* context =
          work.context.data() + work.text_of[begin + i] * weights.context.columns;
      network.kernels.dense.add_scaled(1.0f, context, out, size);
    }
  }
  return true;
}

void copy_states(const Network& network, const Workspace& work, std::size_t index, float* out) {
  const Widths& widths = network.weights.widths;
  const std::size_t skip = network.config.skip ? widths.bottleneck : 0;
  const Workspace::Text& text = work.texts[index];
  for (std::size_t t = 0; t < text.positions; ++t, out += network.config.pooled_size()) {
    const std::size_t row = text.first_row + t;
    for (const PooledPart& part : network.weights.pooled_parts) {
      const float* states = part.begin < skip
                                ? work.real.bottleneck.data() + row * widths.bottleneck + part.begin
                                : work.real.top + row * widths.layer + (part.begin - skip);
      std::copy_n(states, part.count, out + part.logical);
    }
  }
}

class FloatEngine final : public Engine {
 public:
  FloatEngine(const ModelConfig& config, const Projector& projector, const Kernels& kernels)
      : config_(config),
        projector_(projector),
        kernels_(kernels),
        weights_(config),
        cache_(projector.seed_words(), weights_.first.row * sizeof(float)) {}

  void load(const SafetensorsFile& file) {
    load_weights(file, config_, projector_, kernels_, weights_);
  }

  std::size_t weight_bytes() const override { return weights_.bytes(); }
  const std::vector<float>& transitions() const override { return weights_.transitions; }
  bool run_layers(Workspace& work, Stop& stop) const override {
    return pqrnn::run_layers(network(), work, stop);
  }
  void run_head(Workspace& work) const override { pqrnn::run_head(network(), work); }
  bool run_slots(Workspace& work, Stop& stop, float* out) const override {
    return pqrnn::run_slots(network(), work, stop, out);
  }
  void copy_states(const Workspace& work, std::size_t index, float* out) const override {
    pqrnn::copy_states(network(), work, index, out);
  }
  void softmax(float* logits, std::size_t count) const override {
    kernels_.dense.softmax(logits, count);
  }
  void sigmoid(float* logits, std::size_t count) const override {
    kernels_.dense.sigmoid(logits, count);
  }

 private:
  Network network() const { return {config_, projector_, weights_, kernels_, cache_}; }

  const ModelConfig& config_;
  const Projector& projector_;
  const Kernels& kernels_;
  Weights weights_;
  mutable TokenCache cache_;
};

}  // namespace

std::unique_ptr<Engine> load_float_engine(const SafetensorsFile& file, const ModelConfig& config,
                                          const Projector& projector, const Kernels& kernels) {
  auto engine = std::make_unique<FloatEngine>(config, projector, kernels);
  engine->load(file);
  return engine;
}

}  // namespace pqrnn
