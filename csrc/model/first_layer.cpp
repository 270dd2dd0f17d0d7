#include "model/first_layer.h"

#include <algorithm>
#include <cstdint>

namespace pqrnn {
namespace {

// Positions that are resolved together. A group of short texts is one part; a long text takes more,
// so that its tokens' products stay in the cache.
constexpr std::size_t kPartPositions = 512;
constexpr std::uint32_t kNone = 0xffffffff;

struct Range {
  std::size_t begin;
  std::size_t end;
};

const std::uint64_t* seed_of(const Network& network, const Workspace& work, std::size_t position) {
  return work.projected.seeds.data() + position * network.projector.seed_words();
}

// Finds work.products of the positions in the range that are cached, and collects the first
// position of every other distinct token in work.misses; work.miss_of says which one a position
// waits for.
void find_tokens(const Network& network, Workspace& work, Range range) {
  const std::size_t words = network.projector.seed_words();
  const bool distinct = network.projector.extra_count() > 0;  // columns that vary with the place
  work.misses.clear();
  work.miss_hashes.clear();
  std::size_t slots = 16;
  while (slots < 2 * (range.end - range.begin)) slots *= 2;
  work.table.assign(slots, kNone);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const std::uint64_t* seed = seed_of(network, work, i);
    const std::uint64_t hash = TokenCache::hash(seed, words);
    work.miss_of[i] = kNone;
    std::size_t slot = hash % slots;
    if (!distinct) {
      work.products[i] = network.cache.find(seed, hash);
      if (work.products[i]) continue;
      while (work.table[slot] != kNone) {
        const std::uint32_t miss = work.table[slot];
        if (std::equal(seed, seed + words, seed_of(network, work, work.misses[miss]))) {
          work.miss_of[i] = miss;
          break;
        }
        slot = (slot + 1) % slots;
      }
    }
    if (work.miss_of[i] == kNone) {
      work.miss_of[i] = static_cast<std::uint32_t>(work.misses.size());
      if (!distinct) work.table[slot] = work.miss_of[i];
      work.misses.push_back(i);
      work.miss_hashes.push_back(hash);
    }
  }
}

// Bottleneck of all misses: work.token_bottleneck [misses, widths.bottleneck].
void run_bottleneck(const Network& network, Workspace& work) {
  const Weights& weights = network.weights;
  const std::size_t count = work.misses.size();
  const std::size_t words = network.projector.words();
  const std::size_t extra_count = network.projector.extra_count();
  work.codes.resize(count * words);
  work.extras.resize(count * extra_count);
  work.numbers.resize(count);
  work.token_bottleneck.resize(count * weights.widths.bottleneck);
  for (std::size_t m = 0; m < count; ++m) {
    network.projector.expand(seed_of(network, work, work.misses[m]), 1, &work.codes[m * words]);
    for (std::size_t e = 0; e < extra_count; ++e) {
      // The size of a text without tokens is minus infinity; no feature is meant to be below -1.
      work.extras[m * extra_count + e] =
          std::max(work.projected.extras[work.misses[m] * extra_count + e], -1.0f);
    }
    work.numbers[m] = static_cast<std::uint32_t>(m);
  }
  TernaryArgs args = {};
  args.codes = work.codes.data();
  args.words = words;
  args.extras = work.extras.data();
  args.extra_count = extra_count;
  args.weights = weights.bottleneck.data();
  args.extra_weights = weights.extras.data();
  args.bias = weights.bottleneck_bias.data();
  args.width = weights.widths.bottleneck;
  args.rows = work.numbers.data();
  args.count = count;
  args.output = work.token_bottleneck.data();
  network.kernels.dense.ternary(args);
}

// Rows of all misses: work.token_rows [misses, first.row].
void run_products(const Network& network, Workspace& work) {
  const Weights::First& first = network.weights.first;
  const std::size_t width = network.weights.widths.bottleneck;
  work.token_rows.resize(work.misses.size() * first.row);
  LinearArgs args = {};
  args.input = work.token_bottleneck.data();
  args.depth = width;
  args.weights = first.weights.data();
  args.bias = first.bias.data();
  args.columns = first.columns;
  args.count = work.misses.size();
  args.output = work.token_rows.data();
  args.output_stride = first.row;
  network.kernels.dense.linear(args);
  if (!network.config.skip) return;
  for (std::size_t m = 0; m < work.misses.size(); ++m) {
    std::copy_n(work.token_bottleneck.data() + m * width, width,
                work.token_rows.data() + m * first.row + first.columns);
  }
}

// work.products of all positions in the range.
void resolve(const Network& network, Workspace& work, Range range) {
  find_tokens(network, work, range);
  if (!work.misses.empty()) {
    run_bottleneck(network, work);
    run_products(network, work);
  }
  const std::size_t row = network.weights.first.row;
  for (std::size_t i = range.begin; i < range.end; ++i) {
    if (work.miss_of[i] != kNone) work.products[i] = work.token_rows.data() + work.miss_of[i] * row;
  }
  if (network.projector.extra_count() > 0) return;
  for (std::size_t m = 0; m < work.misses.size(); ++m) {
    network.cache.offer(seed_of(network, work, work.misses[m]), work.miss_hashes[m],
                        work.token_rows.data() + m * row);
  }
}

void copy_bottleneck(const Network& network, Workspace& work, Range range) {
  const std::size_t width = network.weights.widths.bottleneck;
  for (std::size_t i = range.begin; i < range.end; ++i) {
    std::copy_n(work.products[i] + network.weights.first.columns, width,
                work.bottleneck.data() + work.rows[i] * width);
  }
}

}  // namespace

bool run_first_layer(const Network& network, Workspace& work, Stop& stop, float* output) {
  const ModelConfig& config = network.config;
  const Widths& widths = network.weights.widths;
  const std::size_t count = work.rows.size();
  work.products.resize(count);
  work.miss_of.resize(count);
  if (config.skip) work.bottleneck.resize(work.height * widths.bottleneck);

  TapsArgs args = {};
  args.kernel = config.kernel_size;
  args.gates = config.gates();
  args.state = widths.state;
  args.rows = work.rows.data();
  args.count = count;
  args.carry = work.carry.data();
  args.output_stride = widths.layer;
  args.products = work.products.data();
  const std::size_t parts = (count + kPartPositions - 1) / kPartPositions;
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
                {args.begin - std::min(reach, args.begin), std::min(args.end + reach, count)});
        if (config.skip && !args.backward) copy_bottleneck(network, work, {args.begin, args.end});
      }
      network.kernels.dense.taps(args);
    }
  }
  return true;
}

}  // namespace pqrnn
