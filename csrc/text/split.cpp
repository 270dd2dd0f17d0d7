#include "text/split.h"

#include <array>
#include <cstring>

#include "text/utf8.h"

namespace pqrnn {
namespace {

std::size_t find_space(std::string_view text, std::size_t from) {
  // memchr pays for long tokens only; most words end within a few bytes.
  const std::size_t near = from + 16 < text.size() ? from + 16 : text.size();
  for (; from < near; ++from) {
    if (text[from] == ' ') return from;
  }
  const void* found =
      from < text.size() ? std::memchr(text.data() + from, ' ', text.size() - from) : nullptr;
  return found ? static_cast<std::size_t>(static_cast<const char*>(found) - text.data())
               : text.size();
}

std::size_t skip_spaces(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size() && text[i] == ' ') ++i;
  return i;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

using ByteSet = std::array<bool, 256>;

ByteSet byte_set(std::string_view bytes) {
  ByteSet set{};
  for (const char c : bytes) set[static_cast<unsigned char>(c)] = true;
  return set;
}

bool has(const ByteSet& set, char c) { return set[static_cast<unsigned char>(c)]; }

// First separator at or after `from`. A comma or dot before a digit hands the decision to that
// digit, so that numbers stay whole.
std::size_t find_separator(std::string_view text, const ByteSet& separators, std::size_t from) {
  for (std::size_t i = from; i < text.size(); ++i) {
    if (!has(separators, text[i])) continue;
    const bool may_join = text[i] == ',' || text[i] == '.';
    if (may_join && i + 1 < text.size() && is_digit(text[i + 1])) {
      ++i;
      if (!has(separators, text[i])) continue;
    }
    return i;
  }
  return text.size();
}

}  // namespace

void split_space(std::string_view text, long long limit, std::vector<Span>& tokens) {
  std::size_t begin = skip_spaces(text);
  std::size_t end = find_space(text, begin);
  for (long long count = 0; end < text.size() && (limit <= 0 || count < limit - 1);) {
    if (end > begin) {
      tokens.push_back({begin, end});
      ++count;
    }
    begin = end + 1;
    end = find_space(text, begin);
  }
  if (end > begin) tokens.push_back({begin, end});
}

void split_codepoints(std::string_view text, long long limit, std::vector<Span>& tokens) {
  const char* const end = text.data() + text.size();
  std::size_t begin = 0;
  for (long long count = 0; begin < text.size() && (limit <= 0 || count < limit); ++count) {
    char32_t c = 0;
    const int length = decode_utf8(text.data() + begin, end, c);
    if (length == 0) return;
    tokens.push_back({begin, begin + static_cast<std::size_t>(length)});
    begin = tokens.back().end;
  }
}

void split_english(std::string_view text, std::string_view separators, long long limit,
                   std::vector<Span>& tokens) {
  if (separators.empty()) return split_space(text, limit, tokens);
  const ByteSet set = byte_set(separators);
  std::size_t begin = skip_spaces(text);
  std::size_t end = find_separator(text, set, begin);
  for (long long count = 0; end < text.size() && (limit <= 0 || count < limit - 1);) {
    if (end > begin) {
      tokens.push_back({begin, end});
      ++count;
    }
    const char separator = text[end];
    if (separator != ' ' && separator != '\'') {
      tokens.push_back({end, end + 1});
      ++count;
    }
    begin = separator == '\'' ? end : end + 1;
    end = find_separator(text, set, end + 1);
  }
  if (end > begin) tokens.push_back({begin, end});
}

}  // namespace pqrnn
