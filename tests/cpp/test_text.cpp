// UTF-8, Unicode properties and word segmentation. Every text is copied to a heap block of exactly
// its size, so that AddressSanitizer sees any read outside it.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "text/grapheme.h"
#include "text/properties.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "text/words.h"

using pqrnn::Span;

namespace {

struct Exact {
  explicit Exact(const std::string& text) : size(text.size()), data(new char[text.size()]) {
    std::memcpy(data.get(), text.data(), size);
  }
  operator std::string_view() const { return {data.get(), size}; }
  std::size_t size;
  std::unique_ptr<char[]> data;
};

std::vector<Span> split(const std::string& text) {
  const Exact exact(text);
  std::vector<Span> words;
  pqrnn::split_words(exact, false, words);
  return words;
}

// Tokens of `text` with a bar between them.
std::string tokens(const std::string& text) {
  std::string result;
  for (const Span& word : split(text)) {
    if (!result.empty()) result += '|';
    result += text.substr(word.begin, word.end - word.begin);
  }
  return result;
}

std::string repeat(const std::string& part, std::size_t times) {
  std::string result;
  for (std::size_t i = 0; i < times; ++i) result += part;
  return result;
}

// Lengths of the pieces of `bytes`, ill-formed ones negative.
std::string pieces(const std::string& bytes) {
  const Exact exact(bytes);
  const char* const end = exact.data.get() + exact.size;
  std::string result;
  for (const char* p = exact.data.get(); p < end;) {
    char32_t code_point = 0;
    int length = pqrnn::decode_utf8(p, end, code_point);
    const bool good = length != 0;
    if (!good) length = pqrnn::ill_formed_length(p, end);
    result += (result.empty() ? "" : " ") + std::to_string(good ? length : -length);
    p += length;
  }
  return result;
}

void every_scalar_value_round_trips() {
  bool all = true;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    char bytes[4];
    const int length = pqrnn::encode_utf8(c, bytes);
    char32_t back = 0;
    all &= length == (c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
    all &= pqrnn::decode_utf8(bytes, bytes + length, back) == length && back == c;
    for (int cut = 1; cut < length; ++cut) {  // a truncated one is one ill-formed run
      all &= pqrnn::decode_utf8(bytes, bytes + cut, back) == 0;
      all &= pqrnn::ill_formed_length(bytes, bytes + cut) == cut;
    }
  }
  CHECK(all);
}

// The Unicode Standard, tables 3-8 to 3-11.
void ill_formed_runs_are_maximal_subparts() {
  CHECK_EQ(pieces("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "-1 -1 -1 -1 -1 -1 -1 -1 1");
  CHECK_EQ(pieces("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "-1 -1 -1 -1 -1 -1 -1 -1 1");
  CHECK_EQ(pieces("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "-1 -1 -1 -1 -1 1 -1 -1 1");
  CHECK_EQ(pieces("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "-2 -1 -3 -2 1");
}

void properties_of_known_characters() {
  CHECK_EQ(std::string(pqrnn::unicode_version()), "18.0.0");
  CHECK(pqrnn::simple_lower(U'Z') == U'z' && pqrnn::simple_lower(U'[') == U'[');
  CHECK(pqrnn::simple_lower(U'@') == U'@' && pqrnn::simple_lower(0x0130) == U'i');
  CHECK(pqrnn::simple_lower(0x03A3) == 0x03C3 && pqrnn::simple_lower(0x1E9E) == 0x00DF);
  CHECK(pqrnn::is_alphabetic(0x00AA) && !pqrnn::is_alphabetic(U'1'));
  CHECK(pqrnn::is_uppercase(0x2160) && !pqrnn::is_uppercase(0x01C5));
  CHECK(pqrnn::is_whitespace(0x3000) && !pqrnn::is_whitespace(0x200B));
  for (char32_t c : {0x110000u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    CHECK(pqrnn::simple_lower(c) == c && !pqrnn::is_alphabetic(c) && !pqrnn::is_whitespace(c));
  }
}

// Number of code points in each extended grapheme cluster of `text`.
std::string clusters(const std::u32string& text) {
  using pqrnn::properties;
  std::string result;
  pqrnn::GraphemeState state(properties(text[0]).grapheme);
  int length = 1;
  for (std::size_t i = 1; i < text.size(); ++i) {
    const pqrnn::GraphemeClass next = properties(text[i]).grapheme;
    if (state.boundary_before(next)) {
      result += std::to_string(length) + ' ';
      length = 0;
    }
    state.take(next);
    ++length;
  }
  return result + std::to_string(length);
}

void clusters_of_known_texts() {
  CHECK_EQ(clusters(U"ab"), "1 1");
  CHECK_EQ(clusters(U"\r\n\n\r\u0308"), "2 1 1 1");        // GB3-5
  CHECK_EQ(clusters(U"\u1100\u1161\u11A8\u1161"), "3 1");  // GB6-8
  CHECK_EQ(clusters(U"\u1100\uAC00\u1161\uAC01\u11A8\u1100"), "3 2 1");
  CHECK_EQ(clusters(U"a\u0308\u200D\u0903 \u0308"), "4 2");      // GB9, 9a
  CHECK_EQ(clusters(U"\u0600\u0600a\u0600\r"), "3 1 1");         // GB9b
  CHECK_EQ(clusters(U"\u0915\u094D\u200D\u0937\u0937"), "4 1");  // GB9c
  CHECK_EQ(clusters(U"a\u094D\u0915"), "3");                     // GB9c: since Unicode 18
  CHECK_EQ(clusters(U"\u0915\u094D\u200C\u0937"), "3 1");        // ZWNJ undoes the link
  CHECK_EQ(clusters(U"\u0915\u094Da\u0937"), "2 1 1");
  CHECK_EQ(clusters(U"\U0001F469\u0308\u200D\U0001F469"), "4");  // GB11
  CHECK_EQ(clusters(U"\U0001F469\u200D\u0308\U0001F469"), "3 1");
  CHECK_EQ(clusters(U"\U0001F469\u200D\u200D\U0001F469"), "3 1");
  CHECK_EQ(clusters(U"a\u200D\U0001F469"), "2 1");
  CHECK_EQ(clusters(U"\U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7\U0001F1F7"), "2 2 1");  // GB12
  CHECK_EQ(clusters(U"a\U0001F1E9\U0001F1EA\U0001F1EB"), "1 2 1");                     // GB13
  CHECK_EQ(clusters(U"\U0001F1E9\u0308\U0001F1EA\U0001F1EB"), "2 2");
}

void words_of_known_texts() {
  CHECK_EQ(tokens(""), "");
  CHECK_EQ(tokens(" \t\r\n"), "");
  CHECK_EQ(tokens("Don't pay $3.14, e-mail a_b@c.org!"),
           "Don't|pay|$|3.14|,|e|-|mail|a_b|@|c.org|!");
  CHECK_EQ(tokens("a:b 1:2 a.1 1.a a,b 1;2"), "a:b|1|:|2|a|.|1|1|.|a|a|,|b|1;2");
  CHECK_EQ(tokens("a.\xC3\xA9 a.\xE2\x82\xAC"), "a.\xC3\xA9|a|.|\xE2\x82\xAC");
  CHECK_EQ(tokens("a\xFF\xFE"
                  "b"),
           "a|\xFF|\xFE|b");
  // Thai: a final consonant, vowels before consonants, a silenced one; a character cut short.
  CHECK_EQ(tokens(u8"\u0e27\u0e31\u0e19"), u8"\u0e27\u0e31\u0e19");
  CHECK_EQ(tokens(u8"\u0e44\u0e1b\u0e40\u0e17\u0e35\u0e48\u0e22\u0e27"),
           u8"\u0e44\u0e1b|\u0e40\u0e17\u0e35\u0e48|\u0e22|\u0e27");
  CHECK_EQ(tokens(u8"\u0e28\u0e38\u0e01\u0e23\u0e4c"), u8"\u0e28\u0e38|\u0e01\u0e23\u0e4c");
  CHECK_EQ(tokens("\xE0\xB9\x84\xE0\xB8"), "\xE0\xB9\x84|\xE0\xB8");
}

// A million characters of one thing each; counts by hand. Quadratic code would not return.
void long_runs() {
  const std::size_t n = 1000000;
  const std::string mark = "\xCC\x88";          // U+0308
  const std::string flag = "\xF0\x9F\x87\xA9";  // U+1F1E9
  const std::string woman = "\xF0\x9F\x91\xA9", joiner = "\xE2\x80\x8D";
  CHECK_EQ(split(repeat("a", n)).size(), 1u);
  CHECK_EQ(split(repeat("a.", n)).size(), 2u);
  CHECK_EQ(split(repeat("a.", n) + mark).size(), 2u);
  CHECK_EQ(split(repeat("1,", n) + "\xC3\xA9").size(), 3u);
  CHECK_EQ(split(repeat(".", n)).size(), n);
  CHECK_EQ(split(repeat(" ", n) + mark).size(), 1u);
  CHECK_EQ(split("a:" + repeat(mark, n)).size(), 2u);
  CHECK_EQ(split("a:" + repeat(mark, n) + "b").size(), 1u);
  CHECK_EQ(split(repeat(flag, n)).size(), n / 2);
  CHECK_EQ(split(repeat(flag, n + 1)).size(), n / 2 + 1);
  CHECK_EQ(split(repeat(woman + joiner, n)).size(), 1u);
  CHECK_EQ(split(repeat("\xE6\xBC\xA2", n)).size(), n);
  CHECK_EQ(split(repeat("\xE1\x80\x80\xE1\x80\xB9", n)).size(), 1u);  // stacked Myanmar ka
  CHECK_EQ(split(repeat("\xE0\xB9\x84\xE0\xB8\x81", n)).size(), n);   // Thai ai, ko kai
  CHECK_EQ(split(repeat("\xE0\xB8\x81\xE0\xB9\x8C", n)).size(), 1u);  // all silenced
  CHECK_EQ(split(repeat("\xFF", n)).size(), n);
}

// A segment depends on nothing before it: cutting at any token end leaves the later tokens alone.
// The texts are random, from characters that take part in rules; the generator is xorshift.
void tokens_do_not_depend_on_what_precedes_them() {
  const std::string parts[] = {"a",
                               "\xD7\x90",
                               "1",
                               "_",
                               "'",
                               "\"",
                               ".",
                               ",",
                               " ",
                               "\r",
                               "\n",
                               "\xCC\x88",
                               "\xC2\xAD",
                               "\xE2\x80\x8D",
                               "\xE3\x82\xA2",
                               "\xE6\xBC\xA2",
                               "\xE0\xB8\xB3",
                               "\xE0\xB5\x8E",
                               "\xE1\x80\x80",
                               "\xE1\x80\xB9",
                               "\xF0\x9F\x91\xA9",
                               "\xF0\x9F\x87\xA9",
                               "\xE1\x84\x80",
                               "\xE1\x85\xA1",
                               "\xE1\x86\xA8",
                               "\xE0\xA4\x83",
                               "\xFF",
                               "\xE2\x82"};
  std::uint64_t state = 88172645463325252u;
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      text += parts[state % (sizeof parts / sizeof parts[0])];
    }
    const std::vector<Span> whole = split(text);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const std::vector<Span> rest = split(text.substr(whole[i].end));
      bool same = rest.size() == whole.size() - i - 1;
      for (std::size_t j = 0; same && j < rest.size(); ++j) {
        same = rest[j].begin + whole[i].end == whole[i + 1 + j].begin &&
               rest[j].end + whole[i].end == whole[i + 1 + j].end;
      }
      if (!same) {
        CHECK_EQ("text that differs: " + text, "");
        return;
      }
    }
  }
  CHECK(true);
}

void spans_become_characters() {
  // a, e acute (2 bytes), ill-formed (2), euro sign (3), eight ASCII
  const Exact text(
      "a\xC3\xA9\xE2\x82\xE2\x82\xAC"
      "abcdefgh");
  std::vector<Span> spans = {{0, 1},   {1, 3}, {3, 5}, {5, 8}, {8, 16},
                             {16, 16}, {2, 2}, {2, 4}, {6, 7}, {0, 99}};
  pqrnn::to_char_spans(text, spans.data(), spans.size());
  std::string result;
  for (const Span& s : spans) {
    result += std::to_string(s.begin) + '-' + std::to_string(s.end) + ' ';
  }
  CHECK_EQ(result, "0-1 1-2 2-3 3-4 4-12 12-12 1-2 1-3 3-4 0-12 ");
  pqrnn::to_char_spans({}, nullptr, 0);
}

}  // namespace

int main() {
  every_scalar_value_round_trips();
  ill_formed_runs_are_maximal_subparts();
  properties_of_known_characters();
  clusters_of_known_texts();
  words_of_known_texts();
  long_runs();
  tokens_do_not_depend_on_what_precedes_them();
  spans_become_characters();
  return check::report();
}
