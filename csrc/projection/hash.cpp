#include "projection/hash.h"

#include "projection/murmur.h"
#include "text/utf8.h"

namespace pqrnn {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080;

// 'A'-'Z' to 'a'-'z' in eight ASCII bytes at once. With every byte below 0x80, adding
// 0x80 - 'A' sets a byte's top bit iff byte >= 'A', adding 0x7F - 'Z' iff byte > 'Z'.
std::uint64_t lower_ascii(std::uint64_t v) {
  const std::uint64_t from_a = v + 0x3f3f3f3f3f3f3f3f;
  const std::uint64_t above_z = v + 0x2525252525252525;
  return v | (((from_a & ~above_z) & kHighBits) >> 2);
}

// The last `count` in 1..7 bytes of a word, from p on, by one wide load where the context allows.
std::uint64_t load_tail(const char* p, std::size_t count, std::string_view context) {
  const std::size_t unused_bits = 64 - 8 * count;
  const std::size_t left = static_cast<std::size_t>(context.data() + context.size() - p);
  if (left >= 8) return load_le(p, 8) << unused_bits >> unused_bits;
  const std::size_t before = static_cast<std::size_t>(p - context.data());
  if (before + count >= 8) return load_le(p + count - 8, 8) >> unused_bits;
  return load_le(p, count);
}

// Eight characters of one byte each, first byte lowest.
char32_t* widen(std::uint64_t bytes, char32_t* characters) {
  for (int i = 0; i < 8; ++i) characters[i] = bytes >> (8 * i) & 0xff;
  return characters + 8;
}

void extend(Fingerprint f, std::size_t pairs, std::uint64_t* codes) {
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    codes[2 * pair] = f.low;
    codes[2 * pair + 1] = f.high;
    next_pair(f.low, f.high);
  }
}

// Section 2.3. `word` is not empty.
void xfix_hash(std::string_view word, unsigned width, std::size_t pairs, std::uint64_t* codes) {
  const std::size_t n = word.size();
  const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  std::uint64_t low = n * kMul1, high = n * kMul2, front = kMul1, back = kMul2;
  std::size_t i = 0;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    // The first pair keeps `width` bits of the length on top, so it takes one byte less.
    for (unsigned step = pair == 0 ? 1 : 0; step < 64 / width; ++step) {
      front = ((front << 8) | static_cast<unsigned char>(word[i])) * kMul1;
      back = ((back << 8) | static_cast<unsigned char>(word[n - 1 - i])) * kMul2;
      low = (low << width) | (front & mask);
      high = (high << width) | (back & mask);
      i = i + 1 == n ? 0 : i + 1;
    }
    codes[2 * pair] = low;
    codes[2 * pair + 1] = high;
  }
}

// Section 2.4: the top `width` bits of code point * K1, earlier code points in lower bits.
void unicode_hash(std::string_view word, unsigned width, std::size_t feature_size,
                  std::size_t words, std::uint64_t* codes) {
  const std::size_t capacity = 2 * feature_size / width;
  const char* const end = word.data() + word.size();
  std::size_t count = 0;
  char32_t c = 0;
  for (const char* p = word.data(); p < end; ++count) {
    const int length = decode_utf8(p, end, c);
    if (length == 0) break;
    p += length;
  }
  std::size_t skip = count > capacity ? (count - capacity) / 2 : 0;
  std::size_t left = count > capacity ? capacity : count;
  const char* p = word.data();
  for (; skip > 0; --skip) p += decode_utf8(p, end, c);

  std::uint64_t running = 0;
  for (std::size_t w = 0; w < words; ++w) {
    for (unsigned step = 0; step < 64 / width; ++step) {
      running >>= width;
      if (left == 0) continue;
      --left;
      p += decode_utf8(p, end, c);
      running |= (static_cast<std::uint64_t>(c) * kMul1) >> (64 - width) << (64 - width);
    }
    codes[w] = running;
  }
}

}  // namespace

std::size_t emitted_words(Hash hash, std::size_t feature_size) {
  if (hash == Hash::unicodehash8 || hash == Hash::unicodehash16) return (feature_size + 31) / 32;
  return 2 * ((feature_size + 63) / 64);
}

void hash_word(Hash hash, CharMode mode, std::string_view word, std::size_t feature_size,
               std::uint64_t* codes) {
  if (word.empty()) word = kNullWord;
  const std::size_t words = emitted_words(hash, feature_size);
  switch (hash) {
    case Hash::murmur: extend(murmur_fingerprint(word, mode), words / 2, codes); break;
    case Hash::xfixhash8: xfix_hash(word, 8, words / 2, codes); break;
    case Hash::xfixhash16: xfix_hash(word, 16, words / 2, codes); break;
    case Hash::xfixhash32: xfix_hash(word, 32, words / 2, codes); break;
    case Hash::unicodehash8: unicode_hash(word, 8, feature_size, words, codes); break;
    case Hash::unicodehash16: unicode_hash(word, 16, feature_size, words, codes); break;
  }
}

Fingerprint murmur_fingerprint(std::string_view word, CharMode mode) {
  const bool is_signed = mode == CharMode::signed_char;
  MurmurState state(word.size());
  const char* p = word.data();
  std::size_t left = word.size();
  for (; left >= 8; left -= 8, p += 8) {
    const std::uint64_t d = load_le(p, 8);
    state.block(is_signed ? smear_sign(d) : d);
  }
  if (left > 0) {
    const std::uint64_t d = load_le(p, left);
    state.tail(is_signed ? smear_sign(d) : d);
  }
  Fingerprint result;
  state.finish(result.low, result.high);
  return result;
}

namespace {

template <bool kKeep>
bool hash_in_place(std::string_view word, std::string_view context, bool lower, Fingerprint& result,
                   char32_t* characters) {
  if (word.empty()) return false;
  MurmurState state(word.size());
  const char* p = word.data();
  std::size_t left = word.size();
  for (; left >= 8; left -= 8, p += 8) {
    const std::uint64_t d = load_le(p, 8);
    if (d & kHighBits) return false;
    const std::uint64_t lowered = lower ? lower_ascii(d) : d;
    state.block(lowered);
    if (kKeep) characters = widen(lowered, characters);
  }
  if (left > 0) {
    const std::uint64_t d = load_tail(p, left, context);
    if (d & kHighBits) return false;
    const std::uint64_t lowered = lower ? lower_ascii(d) : d;
    state.tail(lowered);
    if (kKeep) widen(lowered, characters);
  }
  state.finish(result.low, result.high);
  return true;
}

}  // namespace

bool ascii_lower_fingerprint(std::string_view word, std::string_view context, bool lower,
                             Fingerprint& result) {
  return hash_in_place<false>(word, context, lower, result, nullptr);
}

bool ascii_lower_fingerprint(std::string_view word, std::string_view context, bool lower,
                             Fingerprint& result, char32_t* characters) {
  return hash_in_place<true>(word, context, lower, result, characters);
}

}  // namespace pqrnn
