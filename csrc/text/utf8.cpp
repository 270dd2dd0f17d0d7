#include "text/utf8.h"

#include <cstring>

namespace pqrnn {

namespace {

// What a lead byte promises (The Unicode Standard, table 3-7): the number of continuation bytes and
// the range of the first one, which excludes overlong forms, surrogates and values past U+10FFFF.
struct Lead {
  int continuations;  // -1: no lead byte
  unsigned char low;
  unsigned char high;
};

Lead read_lead(unsigned char byte) {
  if (byte < 0x80) return {0, 0, 0};
  if (byte < 0xC2) return {-1, 0, 0};
  if (byte < 0xE0) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte < 0xF0) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte < 0xF4) return {3, 0x80, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {-1, 0, 0};
}

// Number of bytes at p, the lead included, that fit `lead`: 1 + continuations when well-formed.
int matching_bytes(const char* p, const char* end, Lead lead) {
  int count = 1;
  while (count <= lead.continuations && p + count < end) {
    const unsigned char byte = static_cast<unsigned char>(p[count]);
    const unsigned char low = count == 1 ? lead.low : 0x80;
    const unsigned char high = count == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) break;
    ++count;
  }
  return count;
}

}  // namespace

int decode_utf8(const char* p, const char* end, char32_t& code_point) {
  const unsigned char first = static_cast<unsigned char>(*p);
  if (first < 0x80) {
    code_point = first;
    return 1;
  }
  const Lead lead = read_lead(first);
  if (lead.continuations < 0) return 0;
  const int length = 1 + lead.continuations;
  if (matching_bytes(p, end, lead) != length) return 0;
  char32_t value = first & (0x7Fu >> length);
  for (int i = 1; i < length; ++i) value = value << 6 | (static_cast<unsigned char>(p[i]) & 0x3F);
  code_point = value;
  return length;
}

int ill_formed_length(const char* p, const char* end) {
  return matching_bytes(p, end, read_lead(static_cast<unsigned char>(*p)));
}

int encode_utf8(char32_t code_point, char* out) {
  if (code_point < 0x80) {
    out[0] = static_cast<char>(code_point);
    return 1;
  }
  const int length = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
  for (int i = length - 1; i > 0; --i) {
    out[i] = static_cast<char>(0x80 | (code_point & 0x3F));
    code_point >>= 6;
  }
  // length ones and a zero on top: 0xC0, 0xE0, 0xF0
  out[0] = static_cast<char>((0xF00u >> length & 0xFF) | code_point);
  return length;
}

namespace {

// A place in a text: code point number `index` starts at byte `begin`.
struct Place {
  std::size_t begin;
  std::size_t index;
};

// The place of the code point that byte `offset` lies in, found from `place` at or before it.
Place find(std::string_view text, Place place, std::size_t offset) {
  const char* const data = text.data();
  const char* const end = data + text.size();
  while (place.begin < offset) {
    std::uint64_t eight;
    if (place.begin + sizeof eight <= offset) {
      std::memcpy(&eight, data + place.begin, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        place.begin += sizeof eight;
        place.index += sizeof eight;
        continue;
      }
    }
    char32_t code_point;
    const char* const p = data + place.begin;
    int length = decode_utf8(p, end, code_point);
    if (length == 0) length = ill_formed_length(p, end);
    if (place.begin + static_cast<std::size_t>(length) > offset) break;
    place.begin += static_cast<std::size_t>(length);
    ++place.index;
  }
  return place;
}

}  // namespace

void to_char_spans(std::string_view text, Span* spans, std::size_t count) {
  Place place = {0, 0};
  const auto seek = [&](std::size_t offset) {
    if (offset > text.size()) offset = text.size();
    place = find(text, offset < place.begin ? Place{0, 0} : place, offset);
    return place.begin < offset;  // within a code point
  };
  for (Span* span = spans; span != spans + count; ++span) {
    seek(span->begin);
    span->begin = place.index;
    const bool cut = seek(span->end);
    span->end = place.index + (cut ? 1 : 0);
  }
}

}  // namespace pqrnn
