#include "model/forward.h"

#include <algorithm>
#include <limits>

#include "model/first_layer.h"

namespace pqrnn {
namespace {

// Rows that go through one kernel call: their windows and weights stay in the second-level cache,
// and a stop request is seen soon.
constexpr std::size_t kPartRows = 256;

std::size_t gap_rows(const ModelConfig& config) {
  return std::max<std::size_t>(1, config.kernel_size - 1);
}

// Rows between texts must read as zeros; everything else is written by the kernels.
void clear_gaps(const Network& network, const Workspace& work, std::size_t width, float* buffer) {
  const std::size_t gap = gap_rows(network.config);
  std::fill_n(buffer, gap * width, 0.0f);
  for (const Workspace::Text& text : work.texts) {
    std::fill_n(buffer + (text.first_row + text.positions) * width, gap * width, 0.0f);
  }
}

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
  const float* low = work.bottleneck.data() + text.first_row * widths.bottleneck;
  const float* top = work.top + text.first_row * widths.layer;

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
  work.token_row.clear();
  for (std::size_t i = 0; i < work.texts.size(); ++i) {
    for (std::size_t t = 0; t < work.texts[i].tokens; ++t) {
      work.text_of.push_back(i);
      work.token_row.push_back(work.texts[i].first_row + before + t);
    }
  }
}

}  // namespace

std::size_t Workspace::bytes() const {
  const std::size_t floats =
      bottleneck.capacity() + layers[0].capacity() + layers[1].capacity() + carry.capacity() +
      attention.capacity() + pooled.capacity() + outputs.capacity() + token_bottleneck.capacity() +
      token_rows.capacity() + context.capacity() + token_states.capacity() + token_slots.capacity();
  const std::size_t per_position = sizeof(rows[0]) + sizeof(products[0]) + sizeof(miss_of[0]);
  return floats * sizeof(float) + rows.capacity() * per_position +
         projected.seeds.capacity() * sizeof(projected.seeds[0]) +
         projected.spans.capacity() * sizeof(projected.spans[0]) +
         (text_of.capacity() + token_row.capacity()) * sizeof(std::size_t) +
         projected.extras.capacity() * sizeof(float);
}

void clear_group(Workspace& work) {
  work.projected.clear();
  work.texts.clear();
  work.rows.clear();
  work.height = 0;
}

Status append_text(const Network& network, std::string_view text, Workspace& work) {
  const std::size_t before = work.projected.positions;
  network.projector.append(text, nullptr, work.projected);
  const std::size_t positions = work.projected.positions - before;
  const std::size_t gap = gap_rows(network.config);
  if (work.height == 0) work.height = gap;
  if (positions + gap > std::numeric_limits<std::uint32_t>::max() - work.height) {
    return Status::error(Code::invalid_argument,
                         "text of " + std::to_string(text.size()) + " bytes is too long");
  }
  work.texts.push_back({work.height, positions, work.projected.spans.size()});
  for (std::size_t t = 0; t < positions; ++t) {
    work.rows.push_back(static_cast<std::uint32_t>(work.height + t));
  }
  work.height += positions + gap;
  return {};
}

bool run_layers(const Network& network, Workspace& work, Stop& stop) {
  const Widths& widths = network.weights.widths;
  work.carry.resize(widths.state);
  std::fill_n(work.carry.data(), widths.state, 0.0f);
  for (FloatBuffer& buffer : work.layers) {
    buffer.resize(work.height * widths.layer);
    clear_gaps(network, work, widths.layer, buffer.data());
  }
  if (!run_first_layer(network, work, stop, work.layers[0].data())) return false;

  std::size_t turn = 0;
  for (const Weights::Layer& layer : network.weights.layers) {
    const float* input = work.layers[turn].data();
    float* output = work.layers[1 - turn].data();
    if (!run_direction(network, layer, false, input, output, work, stop)) return false;
    if (network.config.bidirectional &&
        !run_direction(network, layer, true, input, output, work, stop)) {
      return false;
    }
    turn = 1 - turn;
  }
  work.top = work.layers[turn].data();
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

  run_linear(network, weights.head, work.pooled.data(), work.texts.size(), work.outputs);
}

bool run_slots(const Network& network, Workspace& work, Stop& stop, float* out) {
  const Weights& weights = network.weights;
  const Widths& widths = weights.widths;
  const std::size_t skip = network.config.skip ? widths.bottleneck : 0;
  const std::size_t size = network.config.slots.size();
  run_linear(network, weights.context, work.pooled.data(), work.texts.size(), work.context);
  list_tokens(network, work);
  for (std::size_t begin = 0; begin < work.token_row.size(); begin += kPartRows) {
    if (stop.requested()) return false;
    const std::size_t count = std::min(kPartRows, work.token_row.size() - begin);
    work.token_states.resize(count * widths.pooled);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t row = work.token_row[begin + i];
      float* states = work.token_states.data() + i * widths.pooled;
      if (skip) std::copy_n(work.bottleneck.data() + row * widths.bottleneck, skip, states);
      std::copy_n(work.top + row * widths.layer, widths.layer, states + skip);
    }
    run_linear(network, weights.slots, work.token_states.data(), count, work.token_slots);
    for (std::size_t i = 0; i < count; ++i, out += size) {
      std::copy_n(work.token_slots.data() + i * weights.slots.columns, size, out);
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
                                ? work.bottleneck.data() + row * widths.bottleneck + part.begin
                                : work.top + row * widths.layer + (part.begin - skip);
      std::copy_n(states, part.count, out + part.logical);
    }
  }
}

}  // namespace pqrnn
