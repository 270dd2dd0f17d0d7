// split="words": Unicode word boundaries (UAX #29), without white space.
#pragma once

#include <string_view>
#include <vector>

#include "text/span.h"

namespace pqrnn {

// Appends to `words` the byte spans of the tokens of `text`: what lies between two neighbouring
// boundaries, unless it is all blank (white space, controls, invisible format characters). A
// boundary is a default word boundary of UAX #29 that is also the boundary of an extended grapheme
// cluster and lies within no syllable of Thai or Lao (see spelling.h). So scripts without spaces
// between words, in whose letters UAX #29 sees no words (Khmer, Myanmar, Han, Hiragana, ...), are
// split by grapheme cluster, Thai and Lao a little coarser, and no rule ever cuts a character as
// readers see it. Ill-formed bytes count as U+FFFD, one per maximal subpart.
// With `split_apostrophes`, U+0027 and U+2019 are ordinary punctuation (word class Other), which
// joins nothing.
// Linear in the length of `text`, whatever it holds; allocates nothing but room in `words`.
void split_words(std::string_view text, bool split_apostrophes, std::vector<Span>& words);

}  // namespace pqrnn
