#include "projection/ngrams.h"

#include <algorithm>

#include "projection/murmur.h"
#include "text/utf8.h"

namespace pqrnn {
namespace {

constexpr char32_t kBegin = 2;  // START OF TEXT, END OF TEXT: no text to learn from has them
constexpr char32_t kEnd = 3;

constexpr std::uint64_t kSigns = 0x5555555555555555;  // the low bit of each group

// Group 1 (+1) where the low bit of a group is set in `bits`, group 2 (-1) elsewhere.
std::uint64_t signed_groups(std::uint64_t bits) { return 2 * kSigns - (bits & kSigns); }

}  // namespace

void NgramRun::grow(std::size_t count) { characters_.resize(2 * (size_ + count + 8)); }

void NgramRun::add(std::string_view word) {
  char32_t* const first = room(word.size());
  char32_t* to = first;
  const char* const end = word.data() + word.size();
  for (const char* p = word.data(); p < end; ++to) {
    *to = kReplacement;
    int length = decode_utf8(p, end, *to);
    if (length == 0) length = ill_formed_length(p, end);
    p += length;
  }
  close_token(static_cast<std::size_t>(to - first));
}

Ngrams::Ngrams(const ProjectionSettings& settings)
    : words_(settings.ngram_size / 32),
      min_(static_cast<std::size_t>(settings.ngram_min)),
      max_(static_cast<std::size_t>(settings.ngram_max)),
      parts_(words_, std::max<std::size_t>(settings.ngram_size / 512, 1)),
      features_(settings.ngram_size, settings.ngram_hashes) {}

template <Ngrams::Way way>
inline void Ngrams::write(std::uint64_t hash, std::uint64_t* codes) const {
  if constexpr (way == Way::hashed) return write_features(features_, hash, codes);
  const auto write_word = [codes](std::size_t word, std::uint64_t bits) {
    codes[word] |= signed_groups(bits);
  };
  if constexpr (way == Way::one_part) {
    choose_place({0, words_}, hash, write_word);
  } else {
    parts_.choose(hash, write_word);
  }
}

// The n-grams that have a character at `begin` <= place < `end`, by the place they start at.
template <std::size_t kMin, std::size_t kMax, Ngrams::Way way>
void Ngrams::write_token(const char32_t* run, std::size_t size, std::size_t begin, std::size_t end,
                         std::uint64_t* codes) const {
  const std::size_t min = kMin ? kMin : min_, max = kMax ? kMax : max_;
  const auto write_from = [&](std::size_t i, std::size_t shortest, std::size_t longest) {
    std::uint64_t hash = kMul2;
    for (std::size_t n = 1; n <= longest; ++n) {
      hash = (hash ^ run[i + n - 1]) * kMul1;
      if (n >= shortest) write<way>(hash, codes);
    }
  };
  // From where even the shortest reach the token; from where the longest pass the end of the run.
  // Usually a run is one token, and then the second loop alone has an unpredictable end.
  const std::size_t near = min > 1 ? begin - 1 : begin;
  const std::size_t tail = std::min(end, size - std::min(size, max - 1));
  std::size_t i = begin - std::min(begin, max - 1);
  for (; i < near; ++i) write_from(i, std::max(min, begin - i + 1), std::min(max, size - i));
  for (; i < tail; ++i) write_from(i, min, max);
  for (; i < end; ++i) write_from(i, min, std::min(max, size - i));
}

void Ngrams::finish(NgramRun& run, std::uint64_t* codes, std::size_t stride) const {
  *run.room(0) = kEnd;
  run.characters_[0] = kBegin;
  const char32_t* const characters = run.characters_.data();
  const std::size_t size = run.size_ + 1;
  const bool usual = min_ == 2 && max_ == 4, one_part = parts_.hashes() == 1;
  const bool hashed = features_.hashes() > 0;
  std::size_t begin = 1;
  for (const std::size_t end : run.ends_) {
    if (begin == end) {
      // no character is left
    } else if (usual && hashed) {
      write_token<2, 4, Way::hashed>(characters, size, begin, end, codes);
    } else if (hashed) {
      write_token<0, 0, Way::hashed>(characters, size, begin, end, codes);
    } else if (usual && one_part) {
      write_token<2, 4, Way::one_part>(characters, size, begin, end, codes);
    } else if (usual) {
      write_token<2, 4, Way::parts>(characters, size, begin, end, codes);
    } else {
      write_token<0, 0, Way::parts>(characters, size, begin, end, codes);
    }
    codes += stride;
    begin = end;
  }
  run.size_ = 1;
  run.ends_.clear();
}

}  // namespace pqrnn
