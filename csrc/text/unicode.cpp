#include "text/unicode.h"

#include "text/properties.h"

namespace pqrnn {

namespace unicode_tables {

#include "text/unicode_tables.inc"

}  // namespace unicode_tables

const char* unicode_version() { return unicode_tables::kUnicodeVersion; }

char32_t simple_lower(char32_t code_point) {
  if (code_point < 0x80) return code_point - U'A' < 26 ? code_point | 0x20 : code_point;
  return code_point + static_cast<char32_t>(properties(code_point).lower_delta);
}

bool is_alphabetic(char32_t code_point) { return properties(code_point).alphabetic(); }
bool is_uppercase(char32_t code_point) { return properties(code_point).uppercase(); }
bool is_whitespace(char32_t code_point) { return properties(code_point).whitespace(); }

}  // namespace pqrnn
