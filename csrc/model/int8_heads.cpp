// What follows the layers of the 8-bit engine: attention pooling, heads, and states as float32.
#include <algorithm>
#include <cmath>

#include "model/int8_engine.h"

namespace pqrnn {

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
    for (std::size_t begin = 0; begin < text.tokens; begin += kInt8PartRows) {
      if (stop.requested()) return false;
      const std::size_t count = std::min(kInt8PartRows, text.tokens - begin);
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

}  // namespace pqrnn
