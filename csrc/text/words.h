// split="words": Unicode word boundaries (UAX #29), without white space.
#pragma once

#include <string_view>
#include <vector>

#include "text/span.h"

namespace pqrnn {

// Appends to `words` the byte spans of the tokens of `text`: the segments of UAX #29 word
// segmentation that are not only white space or controls. Scripts without spaces between words, where UAX #29 knows
// no boundary (Thai, Lao, Khmer, Myanmar, Han, Hiragana, ...), are split by grapheme cluster.
// Ill-formed bytes count as U+FFFD.
void split_words(std::string_view text, std::vector<Span>& words);

}  // namespace pqrnn
