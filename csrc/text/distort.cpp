#include "text/distort.h"

#include "text/utf8.h"

namespace pqrnn {
namespace {

bool is_high_surrogate(char16_t unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool is_low_surrogate(char16_t unit) { return unit >= 0xDC00 && unit < 0xE000; }

std::u16string to_utf16(const std::string& text) {
  std::u16string units;
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    char32_t c = 0;
    p += decode_utf8(p, end, c);
    if (c < 0x10000) {
      units.push_back(static_cast<char16_t>(c));
    } else {
      units.push_back(static_cast<char16_t>(0xD800 + ((c - 0x10000) >> 10)));
      units.push_back(static_cast<char16_t>(0xDC00 + ((c - 0x10000) & 0x3FF)));
    }
  }
  return units;
}

// Unpaired surrogate halves become U+FFFD.
void to_utf8(const std::u16string& units, std::string& text) {
  text.clear();
  for (std::size_t i = 0; i < units.size(); ++i) {
    char32_t c = units[i];
    if (is_high_surrogate(units[i]) && i + 1 < units.size() && is_low_surrogate(units[i + 1])) {
      c = 0x10000 + ((c - 0xD800) << 10) + (units[++i] - 0xDC00u);
    } else if (is_high_surrogate(units[i]) || is_low_surrogate(units[i])) {
      c = kReplacement;
    }
    char bytes[4];
    text.append(bytes, static_cast<std::size_t>(encode_utf8(c, bytes)));
  }
}

}  // namespace

std::uint32_t Philox::next() {
  if (used_ == 4) {
    std::uint32_t x[4] = {static_cast<std::uint32_t>(counter_),
                          static_cast<std::uint32_t>(counter_ >> 32), 0, 0};
    std::uint32_t key0 = static_cast<std::uint32_t>(key_);
    std::uint32_t key1 = static_cast<std::uint32_t>(key_ >> 32);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53} * x[0];
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * x[2];
      x[0] = static_cast<std::uint32_t>(product1 >> 32) ^ x[1] ^ key0;
      x[1] = static_cast<std::uint32_t>(product1);
      x[2] = static_cast<std::uint32_t>(product0 >> 32) ^ x[3] ^ key1;
      x[3] = static_cast<std::uint32_t>(product0);
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    for (int i = 0; i < 4; ++i) block_[i] = x[i];
    ++counter_;
    used_ = 0;
  }
  return block_[used_++];
}

void Distorter::distort(float probability, std::string& word) {
  if (!(random_.uniform() < probability) || word.empty()) return;
  const float kind = random_.uniform();
  std::u16string units = to_utf16(word);
  const std::size_t at = random_.next() % units.size();
  if (kind < 0.33f) {
    remembered_ = units[at];
    units.erase(at, 1);
  } else if (kind < 0.66f) {
    if (units.size() > 2) {
      remembered_ = units[at];
      units.erase(at, 1);
      units.insert(random_.next() % units.size(), 1, remembered_);
    }
  } else if (remembered_ != 0) {
    units.insert(at, 1, remembered_);
  }
  to_utf8(units, word);
}

}  // namespace pqrnn
