// Words to 64-bit hash words (specification section 2). Bit order and widths are fixed by models
// that were trained with them: nothing here may depend on the compiler, its `char` or endianness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "projection/settings.h"

namespace pqrnn {

// First pair of the murmur code; all features of a word are a function of it.
struct Fingerprint {
  std::uint64_t low;
  std::uint64_t high;
};

// The text an empty word is hashed as.
constexpr std::string_view kNullWord = "<null>";

// Number of 64-bit words hash_word() emits: murmur and xfixhash come in pairs.
std::size_t emitted_words(Hash hash, std::size_t feature_size);

// codes[0 .. emitted_words) of `word`; an empty word counts as kNullWord.
void hash_word(Hash hash, CharMode mode, std::string_view word, std::size_t feature_size,
               std::uint64_t* codes);

// The 128-bit fingerprint of `word`, which must not be empty.
Fingerprint murmur_fingerprint(std::string_view word, CharMode mode);

// Fingerprint of the lower-cased `word` if it is all ASCII and not empty, without a copy of it;
// false (and `result` unwritten) otherwise. `context` is a text that contains `word`: bytes around
// the word may be read, never bytes outside the context.
bool ascii_lower_fingerprint(std::string_view word, std::string_view context, bool lower,
                             Fingerprint& result);
// The same, writing the lower-cased characters too; the room for them is a multiple of eight.
bool ascii_lower_fingerprint(std::string_view word, std::string_view context, bool lower,
                             Fingerprint& result, char32_t* characters);

}  // namespace pqrnn
