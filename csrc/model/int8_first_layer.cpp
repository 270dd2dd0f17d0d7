// Words to the first layer's states, in 8 bits: each distinct word's products once. Its bottleneck
// is in int8_bottleneck.cpp.
#include <algorithm>

#include "model/int8_engine.h"

namespace pqrnn {

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
  args.inputs = first_inputs(kernels_);
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
void Int8Engine::resolve(Workspace& work, Range range, bool again) const {
  const std::size_t width = weights_.widths.bottleneck;
  const std::size_t row_bytes = weights_.first.row * sizeof(std::int32_t);
  Buffer<std::uint8_t>& rows = work.whole.token_bottleneck;
  find_tokens(projector_, cache_, work, range);
  if (!work.misses.empty()) {
    rows.resize(work.misses.size() * width);
    if (again) {
      take_rows(work, rows.data(), width);
    } else {
      run_bottleneck(work);
      keep_rows(work, range, rows.data(), width);
    }
    run_products(work);
  }
  const std::int32_t* products = work.whole.token_products.data();
  place_tokens(work, range, products, row_bytes);
  if (!again) offer_tokens(projector_, cache_, work, products, row_bytes);
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
  work.kept.clear();
  work.kept_of.resize(parts > 1 && config_.directions() > 1 ? count : 0);
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
        resolve(work, {args.begin - std::min(reach, args.begin), std::min(args.end + reach, count)},
                args.backward);
      }
      kernels_.int8.taps(args);
    }
  }
  return true;
}

}  // namespace pqrnn
