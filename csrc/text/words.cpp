#include "text/words.h"

#include <cstdint>

#include "text/grapheme.h"
#include "text/properties.h"
#include "text/spelling.h"
#include "text/utf8.h"

namespace pqrnn {

namespace {

// Sets of word classes, one bit each.
using WordSet = std::uint32_t;

constexpr WordSet set(WordClass c) { return WordSet{1} << static_cast<int>(c); }

constexpr WordSet kNewline = set(WordClass::CR) | set(WordClass::LF) | set(WordClass::Newline);
constexpr WordSet kIgnored = set(WordClass::Extend) | set(WordClass::Format) | set(WordClass::ZWJ);
constexpr WordSet kHebrew = set(WordClass::Hebrew_Letter);
constexpr WordSet kLetter = set(WordClass::ALetter) | kHebrew;
constexpr WordSet kNumeric = set(WordClass::Numeric);
constexpr WordSet kKatakana = set(WordClass::Katakana);
constexpr WordSet kExtendNum = set(WordClass::ExtendNumLet);
constexpr WordSet kSingleQuote = set(WordClass::Single_Quote);
constexpr WordSet kDoubleQuote = set(WordClass::Double_Quote);
constexpr WordSet kMidBoth = set(WordClass::MidNumLet) | kSingleQuote;  // MidNumLetQ
constexpr WordSet kMidLetter = set(WordClass::MidLetter) | kMidBoth;
constexpr WordSet kMidNum = set(WordClass::MidNum) | kMidBoth;
constexpr WordSet kRegional = set(WordClass::Regional_Indicator);

// Classes that may follow `left` without a boundary whatever comes next.
constexpr WordSet joined_after(WordSet left) {
  if (left & kHebrew) return kLetter | kNumeric | kExtendNum | kSingleQuote;  // WB5, 9, 13a, 7a
  if (left & kLetter) return kLetter | kNumeric | kExtendNum;                 // WB5, 9, 13a
  if (left & kNumeric) return kLetter | kNumeric | kExtendNum;                // WB10, 8, 13a
  if (left & kKatakana) return kKatakana | kExtendNum;                        // WB13, 13a
  if (left & kExtendNum) return kLetter | kNumeric | kKatakana | kExtendNum;  // WB13b, 13a
  return 0;
}

// Classes that follow `left` without a boundary if what comes next is in joined_across().
constexpr WordSet perhaps_after(WordSet left) {
  if (left & kHebrew) return kMidLetter | kDoubleQuote;  // WB6, 7b
  if (left & kLetter) return kMidLetter;                 // WB6
  if (left & kNumeric) return kMidNum;                   // WB12
  return 0;
}

// Classes that `left middle` binds to; `middle` is in perhaps_after(left).
constexpr WordSet joined_across(WordSet left, WordSet middle) {
  if (middle & kDoubleQuote) return kHebrew;    // WB7b, 7c
  return left & kNumeric ? kNumeric : kLetter;  // WB11, 12; WB6, 7
}

struct Character {
  char32_t code_point;
  int length;  // bytes
  const Properties* properties;
  WordSet word;
};

// kApart: apostrophes are ordinary punctuation.
template <bool kApart>
Character read(const char* p, const char* end) {
  char32_t code_point = kReplacement;
  int length = decode_utf8(p, end, code_point);
  if (length == 0) length = ill_formed_length(p, end);
  const Properties* const found = &properties(code_point);
  const bool apart = kApart && (code_point == U'\'' || code_point == U'\u2019');
  return {code_point, length, found, set(apart ? WordClass::Other : found->word)};
}

struct Segment {
  const char* end;
  bool blank;
};

// The segment that starts at the boundary p < end. What lies before p has no say: the rules that
// look further to the left than the neighbour (WB7, 7c, 11, 16, GB9c, 11, 13) only look at text in
// which they or others forbid every boundary.
template <bool kApart>
Segment next_segment(const char* p, const char* end) {
  const Character first = read<kApart>(p, end);
  GraphemeState graphemes(first.properties->grapheme);
  SpellingState spelling;
  spelling.take(first.code_point);
  WordSet neighbour = first.word;  // of the code point before p
  WordSet left = neighbour;        // the same, past Extend, Format and ZWJ (WB4)
  WordSet across = 0;              // after `letter middle`: the classes WB7, 7c or 11 bind to it
  bool half_flag = (left & kRegional) != 0;
  bool blank = first.properties->blank();
  // Where the segment ends if `across` is not met; nullptr where a grapheme cluster forbids it.
  Segment doubtful = {nullptr, false};

  for (p += first.length; p < end;) {
    const Character next = read<kApart>(p, end);
    const WordSet right = next.word;
    const GraphemeClass grapheme = next.properties->grapheme;
    // WB3a, 3b are also GB4, 5, so that the clusters cannot object.
    if ((neighbour | right) & kNewline) {
      const bool crlf = neighbour == set(WordClass::CR) && right == set(WordClass::LF);
      if (!crlf) return doubtful.end ? doubtful : Segment{p, blank};
      return {p + next.length, blank};
    }
    if (right & kIgnored) {  // WB4
      neighbour = right;
    } else {
      const bool met = (right & across) != 0;
      if (across != 0 && !met && doubtful.end) return doubtful;
      doubtful.end = nullptr;
      across = 0;
      bool boundary = !met && !(right & joined_after(left));
      if (neighbour == set(WordClass::ZWJ) && grapheme == GraphemeClass::Pictographic) {
        boundary = false;  // WB3c
      } else if (neighbour & right & set(WordClass::WSegSpace)) {
        boundary = false;  // WB3d
      } else if (half_flag && (right & kRegional)) {
        boundary = false;  // WB15, 16
      }
      boundary = boundary && graphemes.boundary_before(grapheme) &&
                 !spelling.joins(next.code_point, p + next.length, end);
      if (right & perhaps_after(left)) {
        across = joined_across(left, right);
        if (boundary) doubtful = {p, blank};
      } else if (boundary) {
        return {p, blank};
      }
      half_flag = (right & kRegional) != 0 && !half_flag;
      neighbour = left = right;
    }
    graphemes.take(grapheme);
    spelling.take(next.code_point);
    blank = blank && next.properties->blank();
    p += next.length;
  }
  return doubtful.end ? doubtful : Segment{end, blank};
}

// What a byte means to the fast path.
enum Byte : std::uint8_t {
  kOther,   // a token by itself, for example '!'
  kBlank,   // control
  kSpace,   // U+0020
  kMiddle,  // may stand within a word or a number: ' , . : ;
  kDigit,
  kAlpha,
  kUnderscore,
  kForeign,  // not ASCII
};

struct ByteTable {
  Byte of[256];
  constexpr ByteTable() : of() {
    for (int c = 0; c < 256; ++c) {
      Byte b = kOther;
      if (c >= 0x80)
        b = kForeign;
      else if (c == ' ')
        b = kSpace;
      else if (c < 0x20 || c == 0x7F)
        b = kBlank;
      else if (c == '\'' || c == ',' || c == '.' || c == ':' || c == ';')
        b = kMiddle;
      else if (c >= '0' && c <= '9')
        b = kDigit;
      else if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        b = kAlpha;
      else if (c == '_')
        b = kUnderscore;
      of[c] = b;
    }
  }
};

constexpr ByteTable kBytes;

Byte byte_at(const char* p) { return kBytes.of[static_cast<unsigned char>(*p)]; }

// Whether the ASCII byte at p stands between two of a kind: WB6, 7 (letters) and WB11, 12 (digits).
// p[-1] and p[1] must be readable and ASCII.
template <bool kApart>
bool binds(const char* p) {
  if (kApart && *p == '\'') return false;
  const Byte left = byte_at(p - 1);
  if (left != byte_at(p + 1)) return false;
  if (left == kAlpha) return *p == '\'' || *p == '.' || *p == ':';
  return left == kDigit && *p != ':';
}

// End of the segment at p, if it and the byte after it are ASCII; nullptr otherwise.
template <bool kApart>
const char* ascii_segment(const char* p, const char* end) {
  if (byte_at(p) == kSpace) {  // WB3d
    while (p < end && byte_at(p) == kSpace) ++p;
  } else if (byte_at(p) < kDigit) {
    ++p;  // CR LF may be torn apart here, both are dropped
  } else {
    for (;;) {
      while (p < end && byte_at(p) >= kDigit && byte_at(p) != kForeign) ++p;
      if (p == end || byte_at(p) != kMiddle) break;
      if (p + 1 == end) return p;
      if (byte_at(p + 1) == kForeign) return nullptr;
      if (!binds<kApart>(p)) return p;
      ++p;
    }
  }
  return p < end && byte_at(p) == kForeign ? nullptr : p;
}

template <bool kApart>
void split(std::string_view text, std::vector<Span>& words) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  for (const char* p = begin; p < end;) {
    const Byte byte = byte_at(p);
    Segment segment = {nullptr, byte == kSpace || byte == kBlank};
    if (byte != kForeign) segment.end = ascii_segment<kApart>(p, end);
    if (segment.end == nullptr) segment = next_segment<kApart>(p, end);
    if (!segment.blank) {
      words.push_back(
          {static_cast<std::size_t>(p - begin), static_cast<std::size_t>(segment.end - begin)});
    }
    p = segment.end;
  }
}

}  // namespace

void split_words(std::string_view text, bool split_apostrophes, std::vector<Span>& words) {
  return split_apostrophes ? split<true>(text, words) : split<false>(text, words);
}

}  // namespace pqrnn
