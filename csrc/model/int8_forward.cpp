// The 8-bit engine: the forward pass of python/pqrnn_native/reference/quantised.py over a group of
// texts, on one thread.
#include <algorithm>
#include <cmath>
#include <utility>

#include "model/engine.h"
#include "model/int8_weights.h"
#include "model/token_cache.h"
#include "model/token_rows.h"

namespace pqrnn {
namespace {

// Rows that go through one kernel call: their windows and weights stay in the second-level cache,
// and a stop request is seen soon.
constexpr std::size_t kPartRows = 256;
// Tokens whose features are bytes at the same time.
constexpr std::size_t kFeatureRows = 64;

class Int8Engine final : public Engine {
 public:
  Int8Engine(const ModelConfig& config, const Projector& projector, const Kernels& kernels)
      : config_(config),
        projector_(projector),
        kernels_(kernels),
        weights_(config),
        skip_(config.skip ? weights_.widths.bottleneck : 0),
        cache_(projector.seed_words(), weights_.first.row * sizeof(std::int32_t)) {}

  void load(const SafetensorsFile& file) {
    load_int8_weights(file, config_, projector_, kernels_, weights_);
  }

  std::size_t weight_bytes() const override { return weights_.bytes(); }
  const std::vector<float>& transitions() const override { return weights_.transitions; }
  void softmax(float* x, std::size_t count) const override { kernels_.int8.softmax(x, count); }
  void sigmoid(float* x, std::size_t count) const override { kernels_.int8.sigmoid(x, count); }

  bool run_layers(Workspace& work, Stop& stop) const override;
  void run_head(Workspace& work) const override;
  bool run_slots(Workspace& work, Stop& stop, float* out) const override;
  void copy_states(const Workspace& work, std::size_t index, float* out) const override;

 private:
  void spread_features(Workspace& work, std::size_t first, std::size_t count) const;
  void run_bottleneck(Workspace& work) const;
  void run_products(Workspace& work) const;
  void resolve(Workspace& work, Range range) const;
  bool run_first_layer(Workspace& work, Stop& stop, std::uint8_t* output) const;
  bool run_direction(const Int8Columns& weights, bool backward, const std::uint8_t* input,
                     std::uint8_t* output, Workspace& work, Stop& stop) const;
  void pool_text(const Workspace::Text& text, Workspace& work, float* sums) const;
  void run_linear(const Int8Weights::Head& head, const std::uint8_t* low, std::size_t low_stride,
                  const std::uint8_t* high, std::size_t high_stride, std::size_t count,
                  Workspace& work, float* out, std::size_t out_stride) const;
  void run_text_head(const Int8Weights::Head& head, Workspace& work, FloatBuffer& out) const;

  const ModelConfig& config_;
  const Projector& projector_;
  const Kernels& kernels_;
  Int8Weights weights_;
  const std::size_t skip_;  // bytes of the bottleneck's part of pooled vectors
  mutable TokenCache cache_;
};

// Features of `count` misses from `first` on as bytes, to work.whole.features.
void Int8Engine::spread_features(Workspace& work, std::size_t first, std::size_t count) const {
  const std::size_t width = weights_.features, words = projector_.words();
  work.whole.ternary.resize(count * width);
  work.whole.features.resize(count * width);
  kernels_.expand.to_int8(&work.codes[first * words], count * width, work.whole.ternary.data());
  const std::int8_t* ternary = work.whole.ternary.data();
  std::uint8_t* out = work.whole.features.data();
  const std::size_t extras = projector_.extra_count();
  const int unit = extras ? 127 : 1, zero = weights_.feature_zero;
  for (std::size_t j = 0; j < count * width; ++j) {
    out[j] = static_cast<std::uint8_t>(unit * ternary[j] + zero);
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t e = 0; e < extras; ++e) {
      const float x = work.projected.extras[work.misses[first + i] * extras + e];
      // Also of what is infinite: a text without tokens has the size minus infinity.
      const float whole = std::nearbyint(std::min(std::max(x, -1.0f), 1.0f) * 127.0f);
      out[i * width + projector_.extra_column(e)] =
          static_cast<std::uint8_t>(static_cast<int>(whole) + zero);
    }
  }
}

// Bottleneck of all misses: work.whole.token_bottleneck [misses, widths.bottleneck].
void Int8Engine::run_bottleneck(Workspace& work) const {
  const std::size_t misses = work.misses.size(), width = weights_.widths.bottleneck;
  expand_misses(projector_, work);
  work.whole.token_bottleneck.resize(misses * width);
  Int8ReluArgs args = {};
  args.product.input_stride = args.product.depth = weights_.features;
  args.product.weights = weights_.bottleneck.weights.data();
  args.product.init = weights_.bottleneck.init.data();
  args.product.columns = width;
  args.multiplier = weights_.bottleneck.multiplier.data();
  args.bias = weights_.bottleneck.bias.data();
  for (std::size_t first = 0; first < misses; first += kFeatureRows) {
    args.product.count = std::min(kFeatureRows, misses - first);
    spread_features(work, first, args.product.count);
    args.product.input = work.whole.features.data();
    args.output = work.whole.token_bottleneck.data() + first * width;
    kernels_.int8.relu(args);
  }
}

// Rows of all misses: work.whole.token_products [misses, first.row].
void Int8Engine::run_products(Workspace& work) const {
  const Int8Weights::First& first = weights_.first;
  const std::size_t misses = work.misses.size(), width = weights_.widths.bottleneck;
  work.whole.token_products.resize(misses * first.row);
  Int8LinearArgs args = {};
  args.input = work.whole.token_bottleneck.data();
  args.input_stride = args.depth = width;
  args.weights = first.columns_of.weights.data();
  args.init = first.columns_of.init.data();
  args.columns = first.columns;
  args.count = misses;
  args.output = work.whole.token_products.data();
  args.output_stride = first.row;
  kernels_.int8.linear(args);
  if (!config_.skip) return;
  for (std::size_t m = 0; m < misses; ++m) {
    std::int32_t* behind = work.whole.token_products.data() + m * first.row + first.columns;
    std::copy_n(args.input + m * width, width, reinterpret_cast<std::uint8_t*>(behind));
  }
}

// work.whole.products of all positions in the range.
void Int8Engine::resolve(Workspace& work, Range range) const {
  find_tokens(projector_, cache_, work, range);
  if (!work.misses.empty()) {
    run_bottleneck(work);
    run_products(work);
  }
  place_tokens(projector_, cache_, work, range, work.whole.token_products.data(),
               weights_.first.row * sizeof(std::int32_t));
  for (std::size_t i = range.begin; i < range.end; ++i) {
    work.whole.products[i] = static_cast<const std::int32_t*>(work.token_rows[i]);
    if (!config_.skip) continue;
    const std::int32_t* behind = work.whole.products[i] + weights_.first.columns;
    std::copy_n(reinterpret_cast<const std::uint8_t*>(behind), skip_,
                work.whole.bottleneck.data() + work.rows[i] * skip_);
  }
}

bool Int8Engine::run_first_layer(Workspace& work, Stop& stop, std::uint8_t* output) const {
  const Widths& widths = weights_.widths;
  const std::size_t count = work.rows.size(), reach = config_.kernel_size - 1;
  const std::size_t scales = config_.gates() * widths.state;
  work.token_rows.resize(count);
  work.miss_of.resize(count);
  work.whole.products.resize(count);
  if (config_.skip) work.whole.bottleneck.resize(work.height * skip_);

  Int8TapsArgs args = {};
  args.products = work.whole.products.data();
  args.kernel = config_.kernel_size;
  args.gates = config_.gates();
  args.state = widths.state;
  args.rows = work.rows.data();
  args.count = count;
  args.carry = work.carry.data();
  args.output_stride = widths.layer;
  const std::size_t parts = (count + kPartPositions - 1) / kPartPositions;
  for (std::size_t direction = 0; direction < config_.directions(); ++direction) {
    args.backward = direction == 1;
    args.offset = direction * weights_.first.direction;
    args.multiplier = weights_.first.columns_of.multiplier.data() + direction * scales;
    args.bias = weights_.first.columns_of.bias.data() + direction * scales;
    args.output = output + direction * widths.state;
    for (std::size_t i = 0; i < parts; ++i) {
      if (stop.requested()) return false;
      args.begin = kPartPositions * (args.backward ? parts - 1 - i : i);
      args.end = std::min(args.begin + kPartPositions, count);
      if (parts > 1 || !args.backward) {
        resolve(work,
                {args.begin - std::min(reach, args.begin), std::min(args.end + reach, count)});
      }
      kernels_.int8.taps(args);
    }
  }
  return true;
}

bool Int8Engine::run_direction(const Int8Columns& weights, bool backward, const std::uint8_t* input,
                               std::uint8_t* output, Workspace& work, Stop& stop) const {
  const Widths& widths = weights_.widths;
  Int8QrnnArgs args = {};
  args.input = input;
  args.channels = widths.layer;
  args.kernel = config_.kernel_size;
  args.gates = config_.gates();
  args.weights = weights.weights.data();
  args.init = weights.init.data();
  args.multiplier = weights.multiplier.data();
  args.bias = weights.bias.data();
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
    kernels_.int8.qrnn(args);
  }
  return true;
}

bool Int8Engine::run_layers(Workspace& work, Stop& stop) const {
  const Widths& widths = weights_.widths;
  work.carry.resize(widths.state);
  std::fill_n(work.carry.data(), widths.state, 0.0f);
  for (Buffer<std::uint8_t>& buffer : work.whole.layers) {
    buffer.resize(work.height * widths.layer);
    fill_gaps(work, config_.kernel_size, widths.layer, static_cast<std::uint8_t>(kStateZero),
              buffer.data());
  }
  if (!run_first_layer(work, stop, work.whole.layers[0].data())) return false;
  std::size_t turn = 0;
  for (const Int8Weights::Layer& layer : weights_.layers) {
    for (std::size_t d = 0; d < config_.directions(); ++d) {
      if (!run_direction(layer.directions[d], d == 1, work.whole.layers[turn].data(),
                         work.whole.layers[1 - turn].data(), work, stop)) {
        return false;
      }
    }
    turn = 1 - turn;
  }
  work.whole.top = work.whole.layers[turn].data();
  return true;
}

// Sums [P] of one text: per attention head a softmax over its positions, then the weighted sum.
void Int8Engine::pool_text(const Workspace::Text& text, Workspace& work, float* sums) const {
  const Int8Kernels& kernels = kernels_.int8;
  const Int8Weights::Attention& attention = weights_.attention;
  const std::size_t layer = weights_.widths.layer;
  const std::uint8_t* low = work.whole.bottleneck.data() + text.first_row * skip_;
  const std::uint8_t* top = work.whole.top + text.first_row * layer;
  for (std::size_t q = 0; q < config_.attention_heads; ++q) {
    const std::int8_t* w = attention.weights.data() + q * weights_.widths.pooled;
    float* logits = work.attention.data() + q * text.positions;
    for (std::size_t t = 0; t < text.positions; ++t) {
      const std::int32_t high =
          kernels.dot(top + t * layer, w + skip_, layer) + attention.high_init[q];
      float y = static_cast<float>(high) * attention.high[q];
      if (skip_) {
        const std::int32_t sum = kernels.dot(low + t * skip_, w, skip_);
        y = static_cast<float>(sum) * attention.low[q] + y;
      }
      logits[t] = y + attention.bias[q];
    }
    kernels.softmax(logits, text.positions);
  }
  for (std::size_t t = 0; t < text.positions; ++t) {
    for (const PooledPart& part : weights_.pooled_parts) {
      const bool is_low = part.begin < skip_;
      const std::uint8_t* states =
          is_low ? low + t * skip_ + part.begin : top + t * layer + (part.begin - skip_);
      kernels.add_scaled(work.attention[part.head * text.positions + t], states,
                         is_low ? 0 : kStateZero, sums + part.begin, part.count);
    }
  }
}

// out [count, head.rows] of inputs on their grids.
void Int8Engine::run_linear(const Int8Weights::Head& head, const std::uint8_t* low,
                            std::size_t low_stride, const std::uint8_t* high,
                            std::size_t high_stride, std::size_t count, Workspace& work, float* out,
                            std::size_t out_stride) const {
  if (head.rows == 0) return;
  const auto product = [&](const Int8Columns& columns, const std::uint8_t* input,
                           std::size_t stride, std::size_t depth, Buffer<std::int32_t>& sums) {
    sums.resize(count * head.columns);
    Int8LinearArgs args = {};
    args.input = input;
    args.input_stride = stride;
    args.depth = depth;
    args.weights = columns.weights.data();
    args.init = columns.init.data();
    args.columns = head.columns;
    args.count = count;
    args.output = sums.data();
    args.output_stride = head.columns;
    kernels_.int8.linear(args);
  };
  product(head.high, high, high_stride, weights_.widths.layer, work.whole.high);
  if (skip_) product(head.low, low, low_stride, skip_, work.whole.low);
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t* high_sums = work.whole.high.data() + i * head.columns;
    float* row = out + i * out_stride;
    for (std::size_t j = 0; j < head.rows; ++j) {
      row[j] = static_cast<float>(high_sums[j]) * head.high.multiplier[j];
    }
    if (skip_) {
      const std::int32_t* low_sums = work.whole.low.data() + i * head.columns;
      for (std::size_t j = 0; j < head.rows; ++j) {
        row[j] = static_cast<float>(low_sums[j]) * head.low.multiplier[j] + row[j];
      }
    }
    for (std::size_t j = 0; j < head.rows; ++j) row[j] = row[j] + head.high.bias[j];
  }
}

void Int8Engine::run_text_head(const Int8Weights::Head& head, Workspace& work,
                               FloatBuffer& out) const {
  const std::size_t width = weights_.widths.pooled;
  const std::uint8_t* pooled = work.whole.pooled.data();
  out.resize(work.texts.size() * head.columns);
  run_linear(head, pooled, width, pooled + skip_, width, work.texts.size(), work, out.data(),
             head.columns);
}

void Int8Engine::run_head(Workspace& work) const {
  const std::size_t width = weights_.widths.pooled, count = work.texts.size();
  std::size_t longest = 0;
  for (const Workspace::Text& text : work.texts) longest = std::max(longest, text.positions);
  work.attention.resize(config_.attention_heads * longest);
  work.pooled.resize(count * width);
  work.whole.pooled.resize(count * width);
  std::fill_n(work.pooled.data(), count * width, 0.0f);
  for (std::size_t i = 0; i < count; ++i) {
    float* sums = work.pooled.data() + i * width;
    if (work.texts[i].positions) pool_text(work.texts[i], work, sums);
    std::uint8_t* bytes = work.whole.pooled.data() + i * width;
    for (std::size_t j = 0; j < width; ++j) {
      const bool low = j < skip_;
      const float x = sums[j] * (low ? weights_.pooled_low : weights_.pooled_high);
      const float inside = std::min(std::max(x, low ? 0.0f : -127.0f), low ? 255.0f : 127.0f);
      const int whole = static_cast<int>(std::nearbyint(inside)) + (low ? 0 : kStateZero);
      bytes[j] = static_cast<std::uint8_t>(whole);
    }
  }
  work.output_stride = weights_.head.columns;
  run_text_head(weights_.head, work, work.outputs);
}

bool Int8Engine::run_slots(Workspace& work, Stop& stop, float* out) const {
  const std::size_t size = weights_.slots.rows, layer = weights_.widths.layer;
  const std::size_t before = config_.projection.bos ? 1 : 0;
  if (config_.slot_context) run_text_head(weights_.context, work, work.context);
  for (std::size_t i = 0; i < work.texts.size(); ++i) {
    const Workspace::Text& text = work.texts[i];
    for (std::size_t begin = 0; begin < text.tokens; begin += kPartRows) {
      if (stop.requested()) return false;
      const std::size_t count = std::min(kPartRows, text.tokens - begin);
      const std::size_t row = text.first_row + before + begin;
      run_linear(weights_.slots, work.whole.bottleneck.data() + row * skip_, skip_,
                 work.whole.top + row * layer, layer, count, work, out, size);
      for (std::size_t t = 0; t < count; ++t, out += size) {
        if (!config_.slot_context) continue;
        const float* context = work.context.data() + i * weights_.context.columns;
        for (std::size_t j = 0; j < size; ++j) out[j] = out[j] + context[j];
      }
    }
  }
  return true;
}

void Int8Engine::copy_states(const Workspace& work, std::size_t index, float* out) const {
  const Workspace::Text& text = work.texts[index];
  for (std::size_t t = 0; t < text.positions; ++t, out += config_.pooled_size()) {
    const std::size_t row = text.first_row + t;
    for (const PooledPart& part : weights_.pooled_parts) {
      for (std::size_t j = 0; j < part.count; ++j) {
        const std::size_t place = part.begin + j;
        out[part.logical + j] =
            place < skip_
                ? static_cast<float>(work.whole.bottleneck[row * skip_ + place]) * weights_.low_unit
                : static_cast<float>(
                      int{work.whole.top[row * weights_.widths.layer + place - skip_]} -
                      kStateZero) *
                      weights_.high_unit;
      }
    }
  }
}

}  // namespace

std::unique_ptr<Engine> load_int8_engine(const SafetensorsFile& file, const ModelConfig& config,
                                         const Projector& projector, const Kernels& kernels) {
  auto engine = std::make_unique<Int8Engine>(config, projector, kernels);
  engine->load(file);
  return engine;
}

}  // namespace pqrnn
