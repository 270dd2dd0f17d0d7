// Seeds to features, a block of positions at a time so that their codes stay in the L1 cache.
#include <algorithm>
#include <cstring>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

#include "kernels/kernels.h"
#include "projection/hashed.h"
#include "projection/hash.h"
#include "projection/pipeline.h"
#include "projection/projector.h"

namespace pqrnn {
namespace {

constexpr std::size_t kBlockWords = 1024;             // 8 KiB of codes
constexpr std::size_t kMaxWords = kMaxFeatures / 32;  // of one position

void expand(const Kernels& table, const std::uint64_t* codes, std::size_t count, std::int8_t* out) {
  table.expand.to_int8(codes, count, out);
}

void expand(const Kernels& table, const std::uint64_t* codes, std::size_t count, float* out) {
  table.expand.to_float(codes, count, out);
}

// Calls emit(codes, row, rows) with the codes [rows, whole_words] of consecutive positions.
template <typename Emit>
void for_each_block(const Projector& projector, const std::uint64_t* seeds, std::size_t count,
                    const Emit& emit) {
  const std::size_t words = projector.whole_words();
  const std::size_t seed_words = projector.seed_words();
  const std::size_t pairs = std::max<std::size_t>((words + 1) / 2, 1);
  const std::size_t block = std::max<std::size_t>(kBlockWords / (2 * pairs), 1);
  const bool murmur = projector.settings().hash == Hash::murmur;
  std::uint64_t codes[std::max(kBlockWords, kMaxWords)];
  for (std::size_t row = 0; row < count; row += block) {
    const std::size_t rows = std::min(block, count - row);
    if (murmur) {
      projector.expand_whole(seeds + row * seed_words, seed_words, rows, codes);
    } else {
      for (std::size_t r = 0; r < rows; ++r) {
        std::memcpy(codes + r * words, seeds + (row + r) * seed_words, words * sizeof(*codes));
      }
    }
    emit(codes, row, rows);
  }
}

template <typename T>
void write_ternary(const Projector& projector, const Projected& in, std::size_t first,
                   std::size_t count, T* out) {
  const Kernels& table = kernels();
  const std::size_t width = projector.settings().feature_size;
  const std::size_t ngrams = projector.settings().ngram_size;
  const std::size_t whole = width - ngrams;
  const std::size_t words = projector.whole_words();
  const std::size_t seed_words = projector.seed_words();
  const std::uint64_t* const seeds = in.seeds.data() + first * seed_words;
  const auto emit = [&](const std::uint64_t* codes, std::size_t row, std::size_t rows) {
    T* const to = out + row * width;
    if (ngrams == 0 && width % 32 == 0) return expand(table, codes, rows * width, to);
    for (std::size_t r = 0; r < rows; ++r) {
      expand(table, codes + r * words, whole, to + r * width);
      if (ngrams == 0) continue;
      expand(table, seeds + (row + r) * seed_words + 2, ngrams, to + r * width + whole);
    }
  };
  for_each_block(projector, seeds, count, emit);
}

// Overwrites the columns of the extra features by convert(value, extra).
template <typename T, typename Convert>
void write_extras(const Projector& projector, const Projected& in, std::size_t first,
                  std::size_t count, const Convert& convert, T* out) {
  const std::size_t width = projector.settings().feature_size;
  const std::size_t extras = projector.extra_count();
  for (std::size_t e = 0; e < extras; ++e) {
    const float* value = in.extras.data() + first * extras + e;
    T* to = out + projector.extra_column(e);
    for (std::size_t r = 0; r < count; ++r, value += extras, to += width) *to = convert(*value, e);
  }
}

#if defined(_MSC_VER) && !defined(__clang__)
std::size_t lowest_bit(std::uint64_t bits) {
  unsigned long place;
  _BitScanForward64(&place, bits);
  return place;
}
#else
std::size_t lowest_bit(std::uint64_t bits) {
  return static_cast<std::size_t>(__builtin_ctzll(bits));
}
#endif

// Calls each(column, whether +1) for the non-zero features of a code word, whose first is `first`.
template <typename Each>
void for_each_feature(std::uint64_t word, std::size_t first, const Each& each) {
  constexpr std::uint64_t kLow = 0x5555555555555555;
  for (std::uint64_t left = (word ^ word >> 1) & kLow; left != 0; left &= left - 1) {
    const std::size_t place = lowest_bit(left);
    each(first + place / 2, (word >> place & 3) == kPlus);
  }
}

// A value of the on-device coding with scale 1/127 and zero point 127, rounded half away from zero.
std::uint8_t quantize_extra(float value) {
  const float scaled = value * 127.0f + (value < 0 ? -0.5f : 0.5f);
  if (!(scaled > -127.0f)) return 0;  // also minus infinity, the size of a text without a token
  return static_cast<std::uint8_t>(std::min(static_cast<int>(scaled) + 127, 255));
}

std::uint8_t code_u8(int ternary) { return ternary > 0 ? 255 : ternary < 0 ? 0 : 127; }

}  // namespace

void Projector::features(const Projected& in, std::size_t first, std::size_t count,
                         std::int8_t* out) const {
  write_ternary(*this, in, first, count, out);
  const auto sign = [](float value, std::size_t) -> std::int8_t {
    return value > 0 ? 1 : value < 0 ? -1 : 0;
  };
  write_extras(*this, in, first, count, sign, out);
}

void Projector::features(const Projected& in, std::size_t first, std::size_t count,
                         float* out) const {
  write_ternary(*this, in, first, count, out);
  write_extras(*this, in, first, count, [](float value, std::size_t) { return value; }, out);
}

void Projector::features(const Projected& in, std::size_t first, std::size_t count,
                         std::uint8_t* out) const {
  std::int8_t* const ternary = reinterpret_cast<std::int8_t*>(out);
  write_ternary(*this, in, first, count, ternary);
  const std::size_t width = settings().feature_size;
  for (std::size_t i = 0; i < count * width; ++i) out[i] = code_u8(ternary[i]);
  const auto quantize = [&](float value, std::size_t e) {
    const bool cap_flag = extra_column(e) + 2 < width;
    return cap_flag ? code_u8(static_cast<int>(value)) : quantize_extra(value);
  };
  write_extras(*this, in, first, count, quantize, out);
}

template <typename Each>
void Projector::Impl::for_each_hashed(const std::uint64_t* seed, const Each& each) const {
  hashed.choose(seed[0], [&each](std::size_t feature, std::uint64_t bits) {
    each(feature, signed_group(bits) == kPlus);
  });
  for (std::size_t w = 0; w < ngrams.words(); ++w) {
    for_each_feature(seed[2 + w], 32 * (whole_words + w), each);
  }
}

void Projector::signed_features(const std::uint64_t* seed, std::vector<std::uint32_t>& plus,
                                std::vector<std::uint32_t>& minus) const {
  impl_->for_each_hashed(seed, [&](std::size_t feature, bool is_plus) {
    (is_plus ? plus : minus).push_back(static_cast<std::uint32_t>(feature));
  });
}

void Projector::nonzero(const Projected& in, Nonzero& out) const {
  out.starts.assign(1, 0);
  out.columns.clear();
  out.signs.clear();
  const std::size_t width = settings().feature_size;
  const auto add = [&](std::size_t column, bool plus) {
    if (column >= width) return;  // the last code word may have more groups
    out.columns.push_back(static_cast<std::int64_t>(column));
    out.signs.push_back(static_cast<std::int8_t>(plus ? 1 : -1));
  };
  std::vector<std::uint64_t> codes(words());
  for (std::size_t row = 0; row < in.positions; ++row) {
    const std::uint64_t* const seed = in.seeds.data() + row * seed_words();
    if (impl_->hashed.hashes() > 0) {
      impl_->for_each_hashed(seed, add);
    } else {
      expand(seed, 1, codes.data());
      for (std::size_t w = 0; w < codes.size(); ++w) for_each_feature(codes[w], 32 * w, add);
    }
    out.starts.push_back(static_cast<std::int64_t>(out.columns.size()));
  }
}

}  // namespace pqrnn
