// Normalisation of a whole text before it is split (specification section 4).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pqrnn {

// A text and where it came from: the bytes [b, e) of `bytes` stand for the bytes
// [origin[b], origin[e]) of the original. origin has one entry more than bytes.
struct TracedText {
  std::string bytes;
  std::vector<std::size_t> origin;

  // Working space, so that nothing is allocated once an object has grown: what a pass makes of
  // them, and where code points start.
  std::string next_bytes;
  std::vector<std::size_t> next_origin;
  std::vector<std::size_t> starts;
};

struct NormalizeRules {
  bool repetition = false;
  bool spaces = false;
  std::string separators;  // a set of bytes; the space in it counts for nothing
  // Ill-formed bytes become U+FFFD first. Without, the reference's rules hold in the repetition
  // pass: ill-formed UTF-8 ends the text, and so does a NUL byte in one too short to repeat.
  bool repair = false;

  bool any() const { return repetition || spaces || !separators.empty(); }
};

// The passes that `rules` asks for, in the order repair, repetition, spaces, separators.
void normalize(std::string_view text, const NormalizeRules& rules, TracedText& out);

// The repetition pass alone: three or more copies in a row of a pattern of one code point become
// two, then the same for patterns of two and of three code points. Patterns with a space or an
// ASCII digit stay.
void contract_repetition(bool repair, TracedText& text);

// `text` as it is, its origins the byte offsets.
void trace(std::string_view text, TracedText& out);

}  // namespace pqrnn
