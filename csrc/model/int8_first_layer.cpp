// Words to the first layer's states, in 8 bits: each distinct word's bottleneck and products once.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/int8_engine.h"

namespace pqrnn {
namespace {

// Tokens whose features are bytes at the same time: at most 256 KiB of them, for the second-level
// cache, but two tiles of a product.
std::size_t feature_rows(std::size_t width) {
  return std::clamp<std::size_t>((std::size_t{256} << 10) / width, 24, 64);
}

}  // namespace

// Features of `count` fresh tokens from `first` on as bytes, to work.whole.features.
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
      const float x = work.projected.extras[work.whole.fresh[first + i] * extras + e];
      // Also of what is infinite: a text without tokens has the size minus infinity.
      const float whole = std::nearbyint(std::min(std::max(x, -1.0f), 1.0f) * 127.0f);
      out[i * width + projector_.extra_column(e)] =
          static_cast<std::uint8_t>(static_cast<int>(whole) + zero);
    }
  }
}

// Bottleneck of all misses: work.whole.token_bottleneck [misses, widths.bottleneck].
void Int8Engine::run_bottleneck(Workspace& work) const {
  Workspace::Int8& whole = work.whole;
  const std::size_t width = weights_.widths.bottleneck;
  const bool known = !depend_on_place(projector_);
  whole.token_bottleneck.resize(work.misses.size() * width);
  whole.fresh.clear();
  for (std::size_t m = 0; m < work.misses.size(); ++m) {
    const std::uint64_t* seed = token_seed(projector_, work, work.misses[m]);
    const void* row = known ? bottlenecks_.find(seed, work.miss_hashes[m]) : nullptr;
    if (row) {
      std::memcpy(whole.token_bottleneck.data() + m * width, row, width);
    } else {
      whole.fresh.push_back(work.misses[m]);
    }
  }
  if (whole.fresh.empty()) return;
  run_fresh(work);
  for (std::size_t i = 0; i < whole.fresh.size(); ++i) {
    const std::size_t position = whole.fresh[i], m = work.miss_of[position];
    const std::uint8_t* row = whole.fresh_bottleneck.data() + i * width;
    std::memcpy(whole.token_bottleneck.data() + m * width, row, width);
    if (!known) continue;
    bottlenecks_.offer(token_seed(projector_, work, position), work.miss_hashes[m], row);
  }
}

// The same of fresh tokens alone, to work.whole.fresh_bottleneck.
void Int8Engine::run_fresh(Workspace& work) const {
  const std::size_t fresh = work.whole.fresh.size(), width = weights_.widths.bottleneck;
  expand_tokens(projector_, work.whole.fresh, work);
  work.whole.fresh_bottleneck.resize(fresh * width);
  Int8ReluArgs args = {};
  args.product.input_stride = args.product.depth = weights_.features;
  args.product.weights = weights_.bottleneck.weights.data();
  args.product.init = weights_.bottleneck.init.data();
  args.product.columns = width;
  args.multiplier = weights_.bottleneck.multiplier.data();
  args.bias = weights_.bottleneck.bias.data();
  args.ternary = projector_.extra_count() == 0;
  const std::size_t rows = feature_rows(weights_.features);
  for (std::size_t first = 0; first < fresh; first += rows) {
    args.product.count = std::min(rows, fresh - first);
    spread_features(work, first, args.product.count);
    args.product.input = work.whole.features.data();
    args.output = work.whole.fresh_bottleneck.data() + first * width;
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

}  // namespace pqrnn
