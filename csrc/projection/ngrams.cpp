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

void NgramRun::clear() {
  size_ = 1;
  ends_.clear();
}

char32_t* NgramRun::room(std::size_t count) {
  if (characters_.size() < size_ + count + 1) characters_.resize(2 * (size_ + count + 1));
  return characters_.data() + size_;
}

void NgramRun::add(std::string_view word) {
  char32_t* to = room(word.size());
  const char* const end = word.data() + word.size();
  for (const char* p = word.data(); p < end; ++to) {
    *to = kReplacement;
    int length = decode_utf8(p, end, *to);
    if (length == 0) length = ill_formed_length(p, end);
    p += length;
  }
  size_ = static_cast<std::size_t>(to - characters_.data());
  ends_.push_back(size_);
}

void NgramRun::add_ascii(std::string_view token, bool lower) {
  char32_t* const to = room(token.size());
  for (std::size_t i = 0; i < token.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(token[i]);
    to[i] = lower && c >= 'A' && c <= 'Z' ? c + 32 : c;
  }
  size_ += token.size();
  ends_.push_back(size_);
}

Ngrams::Ngrams(const ProjectionSettings& settings)
    : words_(settings.ngram_size / 32),
      min_(static_cast<std::size_t>(settings.ngram_min)),
      max_(static_cast<std::size_t>(settings.ngram_max)) {
  const std::size_t count = std::max<std::size_t>(settings.ngram_size / 512, 1);
  for (std::size_t part = 0; part < count; ++part) {
    const std::size_t first = part * words_ / count;
    parts_.push_back({first, (part + 1) * words_ / count - first});
  }
}

template <bool kOnePart>
inline void Ngrams::write(std::uint64_t hash, std::uint64_t* codes) const {
  const auto write_part = [&](Part part) {
    hash = mix(hash) * kMul2;
    std::uint64_t& word = codes[part.first + ((hash >> 32) * part.count >> 32)];
    hash = mix(hash) * kMul1;
    word |= signed_groups(hash);
  };
  if (kOnePart) return write_part({0, words_});
  for (const Part part : parts_) write_part(part);
}

// The n-grams that have a character at `begin` <= place < `end`, by the place they start at.
template <bool kOnePart>
void Ngrams::write_token(const char32_t* run, std::size_t size, std::size_t begin, std::size_t end,
                         std::uint64_t* codes) const {
  for (std::size_t i = begin - std::min(begin, max_ - 1); i < end; ++i) {
    const std::size_t longest = std::min(max_, size - i);
    const std::size_t shortest = i < begin ? std::max(min_, begin - i + 1) : min_;
    std::uint64_t hash = kMul2;
    for (std::size_t n = 1; n <= longest; ++n) {
      hash = (hash ^ run[i + n - 1]) * kMul1;
      if (n >= shortest) write<kOnePart>(hash, codes);
    }
  }
}

void Ngrams::finish(NgramRun& run, std::uint64_t* codes, std::size_t stride) const {
  *run.room(0) = kEnd;
  char32_t* const characters = run.characters_.data();
  characters[0] = kBegin;
  const std::size_t size = run.size_ + 1;
  std::size_t begin = 1;
  for (const std::size_t end : run.ends_) {
    if (begin < end) {  // a token of which no character is left has no n-gram
      if (parts_.size() == 1) {
        write_token<true>(characters, size, begin, end, codes);
      } else {
        write_token<false>(characters, size, begin, end, codes);
      }
    }
    codes += stride;
    begin = end;
  }
  run.clear();
}

}  // namespace pqrnn
