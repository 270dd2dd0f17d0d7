// UTF-8, one code point at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

constexpr char32_t kReplacement = 0xFFFD;

// Decodes the code point at [p, end), p < end. Returns its length in bytes (1-4) and stores it in
// `code_point`; returns 0 when the bytes there are ill-formed (stray or missing continuation bytes,
// overlong forms, surrogates, values above U+10FFFF). `code_point` is then not written.
int decode_utf8(const char* p, const char* end, char32_t& code_point);

// Length in bytes (>= 1) of the ill-formed run that one U+FFFD stands for, by the rule "maximal
// subpart" (Unicode 3.9, table 3-8), as Python's errors="replace" does. Only where decode_utf8 gave 0.
int ill_formed_length(const char* p, const char* end);

// Writes `code_point` (a scalar value) to out[0..3]; returns the number of bytes.
int encode_utf8(char32_t code_point, char* out);

}  // namespace pqrnn
