// Lower-casing and filtering of one token (specification section 5).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pqrnn {

// What happens to the code points of a token.
struct FoldRules {
  bool lower = true;
  bool alphabetic_only = false;      // keep U+0020 and the property Alphabetic only
  bool replace_ill_formed = false;   // U+FFFD for ill-formed bytes; otherwise they end the word
  std::vector<char32_t> vocabulary;  // sorted; empty: every character is kept

  bool keeps(char32_t lowered) const;
};

// The set of code points of a UTF-8 text, up to the first ill-formed sequence, without U+FFFD and
// characters of the property Uppercase. Sorted, without repeats.
std::vector<char32_t> parse_vocabulary(std::string_view text);

// Over the kept characters; "changed" means that lower-casing gives another character.
struct CapFlags {
  bool first_cap = false;  // the first one changed and no other did
  bool all_caps = false;   // every one changed, and there is one
};

// Replaces `word` by the folded `token`.
CapFlags fold_token(std::string_view token, const FoldRules& rules, std::string& word);

}  // namespace pqrnn
