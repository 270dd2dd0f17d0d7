// Our tokens for programs that load no Python module: character spans of split="words" with
// apostrophes apart. Built by words.py, against the sources of the package.
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/words.h"

// Writes at most `limit` spans of UTF-8 `text` as pairs (first character, character after the
// last); returns how many there are.
extern "C" std::int64_t teach_words(const char* text, std::size_t size, std::int32_t* out,
                                    std::int64_t limit) {
  std::vector<pqrnn::Span> spans;
  const std::string_view view(text, size);
  pqrnn::split_words(view, true, spans);
  std::int32_t characters = 0;
  std::size_t at = 0;
  const auto position = [&](std::size_t byte) {
    for (; at < byte; ++at) characters += (static_cast<unsigned char>(view[at]) & 0xC0) != 0x80;
    return characters;
  };
  std::int64_t count = 0;
  for (const pqrnn::Span& span : spans) {
    if (count == limit) break;
    out[2 * count] = position(span.begin);
    out[2 * count + 1] = position(span.end);
    ++count;
  }
  return static_cast<std::int64_t>(spans.size());
}
