// The reference's ways to split a text (specification sections 3 and 8.4). split="words" is
// words.h.
#pragma once

#include <string_view>
#include <vector>

#include "text/span.h"

namespace pqrnn {

// Appends the spans of tokens separated by byte 0x20 and nothing else; runs make no empty tokens.
// limit >= 1: at most that many, the rest of the text is dropped, and a double space right at the
// limit costs one more token. limit <= 0: all.
void split_space(std::string_view text, long long limit, std::vector<Span>& tokens);

// Appends one span per code point; stops at the first ill-formed sequence or after `limit` >= 1.
void split_codepoints(std::string_view text, long long limit, std::vector<Span>& tokens);

// The stand-alone English tokenizer: `separators` (bytes) are tokens of their own, except the
// space; an apostrophe stays on the front of the next token; "1,000.5" stays whole. Without
// separators it is split_space.
void split_english(std::string_view text, std::string_view separators, long long limit,
                   std::vector<Span>& tokens);

}  // namespace pqrnn
