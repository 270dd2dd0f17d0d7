#include "model/first_layer.h"

#include <algorithm>
#include <cstdint>

#include "model/token_rows.h"

namespace pqrnn {
namespace {

// Bottleneck of all misses: work.real.token_bottleneck [misses, widths.bottleneck].
void run_bottleneck(const Network& network, Workspace& work) {
  const Weights& weights = network.weights;
  const std::size_t count = work.misses.size();
  const std::size_t extra_count = network.projector.extra_count();
  expand_tokens(network.projector, work.misses, work);
  work.real.extras.resize(count * extra_count);
  work.real.numbers.resize(count);
  for (std::size_t m = 0; m < count; ++m) {
    for (std::size_t e = 0; e < extra_count; ++e) {
      // The size of a text without tokens is minus infinity; no feature is meant to be below -1.
      work.real.extras[m * extra_count + e] =
          std::max(work.projected.extras[work.misses[m] * extra_count + e], -1.0f);
    }
    work.real.numbers[m] = static_cast<std::uint32_t>(m);
  }
  TernaryArgs args = {};
  args.codes = work.codes.data();
  args.words = network.projector.words();
  args.extras = work.real.extras.data();
  args.extra_count = extra_count;
  args.weights = weights.bottleneck.data();
  args.extra_weights = weights.extras.data();
  args.bias = weights.bottleneck_bias.data();
  args.width = weights.widths.bottleneck;
  args.rows = work.real.numbers.data();
  args.count = count;
  args.output = work.real.token_bottleneck.data();
  network.kernels.dense.ternary(args);
}

// Rows of all misses: work.real.token_products [misses, first.row].
void run_products(const Network& network, Workspace& work) {
  const Weights::First& first = network.weights.first;
  const std::size_t width = network.weights.widths.bottleneck;
  work.real.token_products.resize(work.misses.size() * first.row);
  LinearArgs args = {};
  args.input = work.real.token_bottleneck.data();
  args.depth = width;
  args.weights = first.weights.data();
  args.bias = first.bias.data();
  args.columns = first.columns;
  args.count = work.misses.size();
  args.output = work.real.token_products.data();
  args.output_stride = first.row;
  network.kernels.dense.linear(args);
  if (!network.config.skip) return;
  for (std::size_t m = 0; m < work.misses.size(); ++m) {
    std::copy_n(work.real.token_bottleneck.data() + m * width, width,
                work.real.token_products.data() + m * first.row + first.columns);
  }
}

// work.real.products of all positions in the range.
void resolve(const Network& network, Workspace& work, Range range, bool again) {
  const std::size_t width = network.weights.widths.bottleneck;
  const std::size_t row_bytes = network.weights.first.row * sizeof(float);
  FloatBuffer& rows = work.real.token_bottleneck;
  find_tokens(network.projector, network.cache, work, range);
  if (!work.misses.empty()) {
    rows.resize(work.misses.size() * width);
    if (again) {
      take_rows(work, rows.data(), width * sizeof(float));
    } else {
      run_bottleneck(network, work);
      keep_rows(work, range, rows.data(), width * sizeof(float));
    }
    run_products(network, work);
  }
  const float* products = work.real.token_products.data();
  place_tokens(work, range, products, row_bytes);
  if (!again) offer_tokens(network.projector, network.cache, work, products, row_bytes);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    work.real.products[i] = static_cast<const float*>(work.token_rows[i]);
  }
}

void copy_bottleneck(const Network& network, Workspace& work, Range range) {
  const std::size_t width = network.weights.widths.bottleneck;
  for (std::size_t i = range.begin; i < range.end; ++i) {
    std::copy_n(work.real.products[i] + network.weights.first.columns, width,
                work.real.bottleneck.data() + work.rows[i] * width);
  }
}

}  // namespace

bool run_first_layer(const Network& network, Workspace& work, Stop& stop, float* output) {
  const ModelConfig& config = network.config;
  const Widths& widths = network.weights.widths;
  const std::size_t count = work.rows.size();
  work.real.products.resize(count);
  work.token_rows.resize(count);
  work.miss_of.resize(count);
  if (config.skip) work.real.bottleneck.resize(work.height * widths.bottleneck);

  TapsArgs args = {};
  args.kernel = config.kernel_size;
  args.gates = config.gates();
  args.state = widths.state;
  args.rows = work.rows.data();
  args.count = count;
  args.carry = work.carry.data();
  args.output_stride = widths.layer;
  args.products = work.real.products.data();
  const std::size_t parts = (count + kPartPositions - 1) / kPartPositions;
  work.kept.clear();
  work.kept_of.resize(parts > 1 && config.directions() > 1 ? count : 0);
  for (std::size_t direction = 0; direction < config.directions(); ++direction) {
    args.backward = direction == 1;
    args.offset = direction * network.weights.first.direction;
    args.output = output + direction * widths.state;
    for (std::size_t i = 0; i < parts; ++i) {
      if (stop.requested()) return false;
      args.begin = kPartPositions * (args.backward ? parts - 1 - i : i);
      args.end = std::min(args.begin + kPartPositions, count);
      const std::size_t reach = config.kernel_size - 1;
      if (parts > 1 || !args.backward) {
        resolve(network, work,
                {args.begin - std::min(reach, args.begin), std::min(args.end + reach, count)},
                args.backward);
        if (config.skip && !args.backward) copy_bottleneck(network, work, {args.begin, args.end});
      }
      network.kernels.dense.taps(args);
    }
  }
  return true;
}

}  // namespace pqrnn
