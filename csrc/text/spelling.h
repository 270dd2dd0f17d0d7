// Where Thai and Lao spelling allows no word to end, though a grapheme cluster does: syllables are
// written as a consonant among vowel signs, some of which are characters of their own.
#pragma once

#include <cstdint>

#include "text/utf8.h"

namespace pqrnn {

// Reads code points one at a time. Of the text to the left of a position it needs no more than the
// grapheme cluster before it, so a segmenter may start it anew at each boundary it finds.
class SpellingState {
 public:
  // Whether a syllable goes on over the gap before `next`, which is followed by the UTF-8 between
  // p and end.
  bool joins(char32_t next, const char* p, const char* end) const {
    if (!is_letter_or_mark(previous_)) return false;
    if (is_vowel_before(previous_)) return is_consonant(next);
    if (is_vowel_after(next)) return true;
    return is_consonant(next) && (open_ || is_silenced(p, end));
  }

  // Moves past a code point.
  void take(char32_t next) {
    previous_ = next;
    // Sara uee and the Thai and Lao mai kan are written only before a final consonant.
    if (next == 0x0E31 || next == 0x0E37 || next == 0x0EB1) {
      open_ = true;
    } else if (!is_tone(next)) {
      open_ = false;
    }
  }

 private:
  static bool is_letter_or_mark(char32_t c) {
    const bool thai =
        (c >= 0x0E01 && c <= 0x0E3A && c != 0x0E2F) || (c >= 0x0E40 && c <= 0x0E4E && c != 0x0E46);
    const bool lao =
        (c >= 0x0E81 && c <= 0x0ECD && c != 0x0EAF && c != 0x0EC6) || (c >= 0x0EDC && c <= 0x0EDF);
    return thai || lao;
  }
  static bool is_consonant(char32_t c) {
    return (c >= 0x0E01 && c <= 0x0E2E) || (c >= 0x0E81 && c <= 0x0EAE) ||
           (c >= 0x0EDC && c <= 0x0EDF);
  }
  static bool is_vowel_before(char32_t c) {
    return (c >= 0x0E40 && c <= 0x0E44) || (c >= 0x0EC0 && c <= 0x0EC4);
  }
  static bool is_vowel_after(char32_t c) {
    return c == 0x0E30 || c == 0x0E32 || c == 0x0E45 || c == 0x0EB0 || c == 0x0EB2;
  }
  static bool is_tone(char32_t c) {
    return (c >= 0x0E48 && c <= 0x0E4B) || (c >= 0x0EC8 && c <= 0x0ECB);
  }

  // Whether a consonant before p is mute: thanthakhat follows, perhaps over a sara i or u.
  static bool is_silenced(const char* p, const char* end) {
    char32_t c = 0;
    int length = p < end ? decode_utf8(p, end, c) : 0;
    if (length && (c == 0x0E34 || c == 0x0E38)) {
      p += length;
      length = p < end ? decode_utf8(p, end, c) : 0;
    }
    return length && (c == 0x0E4C || c == 0x0ECC);
  }

  char32_t previous_ = 0;
  bool open_ = false;
};

}  // namespace pqrnn
