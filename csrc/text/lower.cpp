#include "text/lower.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace pqrnn {
namespace {

void append(char32_t c, std::string& text) {
  char bytes[4];
  text.append(bytes, static_cast<std::size_t>(encode_utf8(c, bytes)));
}

}  // namespace

bool FoldRules::keeps(char32_t lowered) const {
  if (alphabetic_only && lowered != U' ' && !is_alphabetic(lowered)) return false;
  return vocabulary.empty() || std::binary_search(vocabulary.begin(), vocabulary.end(), lowered);
}

std::vector<char32_t> parse_vocabulary(std::string_view text) {
  std::vector<char32_t> set;
  const char* const end = text.data() + text.size();
  char32_t c = 0;
  for (const char* p = text.data(); p < end;) {
    const int length = decode_utf8(p, end, c);
    if (length == 0) break;
    p += length;
    if (c != kReplacement && !is_uppercase(c)) set.push_back(c);
  }
  std::sort(set.begin(), set.end());
  set.erase(std::unique(set.begin(), set.end()), set.end());
  return set;
}

CapFlags fold_token(std::string_view token, const FoldRules& rules, std::string& word) {
  word.clear();
  const char* const end = token.data() + token.size();
  std::size_t kept = 0, changed = 0;
  bool first_changed = false;
  for (const char* p = token.data(); p < end;) {
    char32_t c = kReplacement;
    int length = decode_utf8(p, end, c);
    if (length == 0) {
      if (!rules.replace_ill_formed) break;
      length = ill_formed_length(p, end);
    }
    p += length;
    const char32_t lowered = simple_lower(c);
    if (!rules.keeps(rules.lower ? lowered : c)) continue;
    append(rules.lower ? lowered : c, word);
    if (lowered != c) {
      if (kept == 0) first_changed = true;
      ++changed;
    }
    ++kept;
  }
  CapFlags flags;
  flags.first_cap = first_changed && changed == 1;
  flags.all_caps = kept > 0 && changed == kept;
  return flags;
}

}  // namespace pqrnn
