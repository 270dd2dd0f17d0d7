// UTF-8, one code point at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/span.h"

namespace pqrnn {

constexpr char32_t kReplacement = 0xFFFD;

// Decodes the code point at [p, end), p < end. Returns its length in bytes (1-4) and stores it in
// `code_point`; returns 0 when the bytes there are ill-formed (stray or missing continuation bytes,
// overlong forms, surrogates, values above U+10FFFF). `code_point` is then not written.
int decode_utf8(const char* p, const char* end, char32_t& code_point);

// Length in bytes (>= 1) of the ill-formed run that one U+FFFD stands for, by the rule "maximal
// subpart" (Unicode 3.9, table 3-8), as Python's errors="replace" does. Only where decode_utf8
// gave 0.
int ill_formed_length(const char* p, const char* end);

// Writes `code_point` (a scalar value) to out[0..3]; returns the number of bytes.
int encode_utf8(char32_t code_point, char* out);

// Rewrites spans of `text` from byte offsets to code point offsets, as in the str that Python's
// text.decode("utf-8", "replace") gives. A span that cuts a code point gets the whole of it;
// offsets past the end count as the end. One pass over `text` when the offsets ascend; right in any
// order.
void to_char_spans(std::string_view text, Span* spans, std::size_t count);

}  // namespace pqrnn
