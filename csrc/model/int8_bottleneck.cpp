// Words to their bottleneck, in 8 bits: each distinct one once, and known ones not at all.
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

Int8LinearArgs bottleneck_product(const Int8Columns& weights, std::size_t depth,
                                  std::size_t columns, bool ternary) {
  Int8LinearArgs args = {};
  args.input_stride = args.depth = depth;
  args.weights = weights.weights.data();
  args.init = weights.init.data();
  args.columns = args.output_stride = columns;
  args.inputs = ternary ? Int8Inputs::ternary : Int8Inputs::any;
  return args;
}

}  // namespace

// Features of a token as bytes, to row `place` of work.whole.features.
void Int8Engine::spread_codes(Workspace& work, std::size_t place, const std::uint64_t* codes,
                              std::size_t width) const {
  std::int8_t* ternary = work.whole.ternary.data();
  std::uint8_t* out = work.whole.features.data() + place * width;
  kernels_.expand.to_int8(codes, width, ternary);
  const int unit = projector_.extra_count() ? 127 : 1, zero = weights_.feature_zero;
  for (std::size_t j = 0; j < width; ++j) {
    out[j] = static_cast<std::uint8_t>(unit * ternary[j] + zero);
  }
}

void Int8Engine::spread_extras(Workspace& work, std::size_t place, std::size_t position) const {
  const std::size_t extras = projector_.extra_count();
  std::uint8_t* out = work.whole.features.data() + place * weights_.features;
  for (std::size_t e = 0; e < extras; ++e) {
    const float x = work.projected.extras[position * extras + e];
    // Also of what is infinite: a text without tokens has the size minus infinity.
    const float whole = std::nearbyint(std::min(std::max(x, -1.0f), 1.0f) * 127.0f);
    out[projector_.extra_column(e)] =
        static_cast<std::uint8_t>(static_cast<int>(whole) + weights_.feature_zero);
  }
}

// Bottleneck of all misses, to work.whole.token_bottleneck [misses, widths.bottleneck].
void Int8Engine::run_bottleneck(Workspace& work) const {
  Workspace::Int8& whole = work.whole;
  const std::size_t width = weights_.widths.bottleneck;
  const bool known = !depend_on_place(projector_);
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
  Workspace::Int8& whole = work.whole;
  const std::size_t fresh = whole.fresh.size(), columns = weights_.widths.bottleneck;
  const std::size_t width = weights_.features - weights_.shared;
  if (weights_.hashed) return gather_fresh(work);
  const bool apart = weights_.shared > 0;
  if (apart) {
    find_words(work);
    run_words(work);
  } else {
    expand_tokens(projector_, whole.fresh, work);
  }
  whole.fresh_bottleneck.resize(fresh * columns);
  Int8ReluArgs args = {};
  args.product =
      bottleneck_product(weights_.bottleneck, width, columns, projector_.extra_count() == 0);
  args.multiplier = weights_.bottleneck.multiplier.data();
  args.bias = weights_.bottleneck.bias.data();
  const std::size_t rows = feature_rows(width);
  whole.ternary.resize(width);
  whole.features.resize(rows * width);
  for (std::size_t first = 0; first < fresh; first += rows) {
    args.product.count = std::min(rows, fresh - first);
    for (std::size_t i = 0; i < args.product.count; ++i) {
      const std::size_t position = whole.fresh[first + i];
      if (apart) {
        spread_codes(work, i, token_seed(projector_, work, position) + kWordKey, width);
      } else {
        spread_codes(work, i, &work.codes[(first + i) * projector_.words()], width);
        spread_extras(work, i, position);
      }
    }
    if (apart) {
      take_sums(work, first, args.product.count);
      args.before = whole.sums.data();
    }
    args.product.input = whole.features.data();
    args.output = whole.fresh_bottleneck.data() + first * columns;
    kernels_.int8.relu(args);
  }
}

// The same where the projection names few features.
void Int8Engine::gather_fresh(Workspace& work) const {
  Workspace::Int8& whole = work.whole;
  whole.rows.clear();
  whole.starts.assign(1, 0);
  for (const std::size_t position : whole.fresh) {
    whole.minus.clear();
    projector_.signed_features(token_seed(projector_, work, position), whole.rows, whole.minus);
    whole.starts.push_back(static_cast<std::uint32_t>(whole.rows.size()));
    whole.rows.insert(whole.rows.end(), whole.minus.begin(), whole.minus.end());
    whole.starts.push_back(static_cast<std::uint32_t>(whole.rows.size()));
  }
  whole.fresh_bottleneck.resize(whole.fresh.size() * weights_.widths.bottleneck);
  Int8GatherArgs args = {};
  args.rows = whole.rows.data();
  args.starts = whole.starts.data();
  const bool coarse = weights_.feature_codes.size() > 0;
  args.weights = coarse ? nullptr : weights_.feature_rows.data();
  args.codes = coarse ? weights_.feature_codes.data() : nullptr;
  args.columns = weights_.widths.bottleneck;
  args.count = whole.fresh.size();
  args.multiplier = weights_.bottleneck.multiplier.data();
  args.bias = weights_.bottleneck.bias.data();
  args.output = whole.fresh_bottleneck.data();
  kernels_.int8.gather(args);
}

// Which words of fresh tokens have known sums, and the distinct others.
void Int8Engine::find_words(Workspace& work) const {
  Workspace::Int8& whole = work.whole;
  const std::size_t fresh = whole.fresh.size();
  whole.known.resize(fresh);
  whole.word_of.resize(fresh);
  whole.words.clear();
  whole.word_hashes.clear();
  work.table.reset(fresh);
  for (std::size_t i = 0; i < fresh; ++i) {
    const std::uint64_t* seed = token_seed(projector_, work, whole.fresh[i]);
    const std::uint64_t hash = TokenCache::hash(seed, kWordKey);
    whole.known[i] = static_cast<const std::int32_t*>(words_.find(seed, hash));
    if (whole.known[i]) continue;
    const std::size_t next = whole.words.size();
    whole.word_of[i] = work.table.number(hash, next, [&](std::size_t word) {
      const std::uint64_t* other = token_seed(projector_, work, whole.words[word]);
      return std::equal(seed, seed + kWordKey, other);
    });
    if (whole.word_of[i] < next) continue;
    whole.words.push_back(whole.fresh[i]);
    whole.word_hashes.push_back(hash);
  }
}

// Sums of these over the features of the word itself: work.whole.word_sums.
void Int8Engine::run_words(Workspace& work) const {
  Workspace::Int8& whole = work.whole;
  const std::size_t words = whole.words.size(), columns = weights_.widths.bottleneck;
  const std::size_t width = weights_.shared, rows = feature_rows(width);
  Int8LinearArgs args = bottleneck_product(weights_.words, width, columns, true);
  work.codes.resize(projector_.whole_words());
  whole.word_sums.resize(words * columns);
  whole.ternary.resize(width);
  whole.features.resize(rows * width);
  for (std::size_t first = 0; first < words; first += rows) {
    args.count = std::min(rows, words - first);
    for (std::size_t i = 0; i < args.count; ++i) {
      const std::uint64_t* seed = token_seed(projector_, work, whole.words[first + i]);
      projector_.expand_whole(seed, projector_.seed_words(), 1, work.codes.data());
      spread_codes(work, i, work.codes.data(), width);
    }
    args.input = whole.features.data();
    args.output = whole.word_sums.data() + first * columns;
    kernels_.int8.linear(args);
  }
  for (std::size_t w = 0; w < words; ++w) {
    words_.offer(token_seed(projector_, work, whole.words[w]), whole.word_hashes[w],
                 whole.word_sums.data() + w * columns);
  }
}

// Sums of the words of a part of the fresh tokens, to work.whole.sums.
void Int8Engine::take_sums(Workspace& work, std::size_t first, std::size_t count) const {
  Workspace::Int8& whole = work.whole;
  const std::size_t columns = weights_.widths.bottleneck;
  whole.sums.resize(count * columns);
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t* row = whole.known[first + i];
    if (!row) row = whole.word_sums.data() + whole.word_of[first + i] * columns;
    std::copy_n(row, columns, whole.sums.data() + i * columns);
  }
}

}  // namespace pqrnn
