// Splitters, folding, normalisers, hashes, expansion kernels, the projector. Every text is copied
// to a heap block of exactly its size, so that AddressSanitizer sees any read outside it.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "kernels/kernels.h"
#include "projection/hash.h"
#include "projection/projector.h"
#include "text/distort.h"
#include "text/lower.h"
#include "text/normalize.h"
#include "text/split.h"

namespace {

struct Exact {
  explicit Exact(const std::string& text) : size(text.size()), data(new char[text.size()]) {
    if (size > 0) std::memcpy(data.get(), text.data(), size);
  }
  operator std::string_view() const { return {data.get(), size}; }
  std::size_t size;
  std::unique_ptr<char[]> data;
};

std::string joined(const std::string& text, const std::vector<pqrnn::Span>& spans) {
  std::string result;
  for (const pqrnn::Span& span : spans) {
    if (!result.empty()) result += '|';
    result += text.substr(span.begin, span.end - span.begin);
  }
  return result;
}

std::string space(const std::string& text, long long limit) {
  const Exact exact(text);
  std::vector<pqrnn::Span> spans;
  pqrnn::split_space(exact, limit, spans);
  return joined(text, spans);
}

std::string english(const std::string& text, const std::string& separators) {
  const Exact exact(text);
  std::vector<pqrnn::Span> spans;
  pqrnn::split_english(exact, separators, -1, spans);
  return joined(text, spans);
}

void splitters() {
  CHECK_EQ(space("  a b  c ", -1), "a|b|c");
  CHECK_EQ(space("", -1), "");
  CHECK_EQ(space("a\tb\xC2\xA0"
                 "c",
                 -1),
           "a\tb\xC2\xA0"
           "c");
  CHECK_EQ(space("a  b c", 2), "a");
  CHECK_EQ(space("a b  c", 2), "a|b");
  CHECK_EQ(space("a b c", 1), "a");
  CHECK_EQ(space(std::string(100, 'x') + " y", -1), std::string(100, 'x') + "|y");
  CHECK_EQ(english("I'm 1,000 .5, ok.", " ',."), "I|'m|1,000|.5|,|ok|.");
}

std::string normalized(const std::string& text, pqrnn::NormalizeRules rules) {
  const Exact exact(text);
  pqrnn::TracedText out;
  pqrnn::normalize(exact, rules, out);
  CHECK_EQ(out.origin.size(), out.bytes.size() + 1);
  for (std::size_t i = 0; i < out.bytes.size(); ++i) CHECK(out.origin[i] <= out.origin[i + 1]);
  CHECK(out.origin.back() <= text.size());
  return out.bytes;
}

void normalizers() {
  const pqrnn::NormalizeRules repetition{true, false, {}, false};
  CHECK_EQ(normalized("sooo hahaha 111 wowwowwow", repetition), "soo haha 111 wowwow");
  CHECK_EQ(normalized("ab\xFF"
                      "cd",
                      repetition),
           "ab");
  CHECK_EQ(normalized(std::string("a\0", 2), repetition), "a");
  CHECK_EQ(normalized(std::string("a\0", 2), {true, false, {}, true}).size(), 2u);
  CHECK_EQ(normalized("\xFF\xFF", {true, false, {}, true}), "\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK_EQ(normalized("  a  b ", {false, true, {}, false}), "a b");
  CHECK_EQ(normalized("   ", {false, true, {}, false}), "");
  CHECK_EQ(normalized("it's!! x", {false, false, "!' ", false}), "it 's ! ! x");
}

void folding() {
  pqrnn::FoldRules rules;
  std::string word;
  pqrnn::CapFlags flags = pqrnn::fold_token(Exact("Nato"), rules, word);
  CHECK_EQ(word, "nato");
  CHECK(flags.first_cap && !flags.all_caps);
  flags = pqrnn::fold_token(Exact("A\xFFZ"), rules, word);
  CHECK_EQ(word, "a");
  CHECK(flags.first_cap && flags.all_caps);
  rules.replace_ill_formed = true;
  pqrnn::fold_token(Exact("A\xFFZ"), rules, word);
  CHECK_EQ(word, "a\xEF\xBF\xBDz");
  rules.vocabulary = pqrnn::parse_vocabulary("zAa");
  CHECK_EQ(rules.vocabulary.size(), 2u);
  pqrnn::fold_token(Exact("A\xFFZ!"), rules, word);
  CHECK_EQ(word, "az");
}

// A word hashed where it stands equals its lower-cased copy, at every length and place in a text.
void words_hash_in_place() {
  for (std::size_t before = 0; before < 9; ++before) {
    for (std::size_t length = 1; length < 40; ++length) {
      for (std::size_t after = 0; after < 9; ++after) {
        std::string word(length, 'x');
        for (std::size_t i = 0; i < length; ++i) word[i] = static_cast<char>('0' + i * 7 % 75);
        const std::string text = std::string(before, 'Q') + word + std::string(after, '\x7F');
        const Exact exact(text);
        const std::string_view view = std::string_view(exact).substr(before, length);
        for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
        pqrnn::Fingerprint found{},
            expected = pqrnn::murmur_fingerprint(word, pqrnn::CharMode::signed_char);
        CHECK(pqrnn::ascii_lower_fingerprint(view, exact, true, found));
        CHECK(found.low == expected.low && found.high == expected.high);
      }
    }
  }
  pqrnn::Fingerprint unused{};
  for (std::size_t i = 0; i < 11; ++i) {
    std::string word(11, 'a');
    word[i] = '\xC3';
    CHECK(!pqrnn::ascii_lower_fingerprint(word, word, true, unused));
  }
  CHECK(!pqrnn::ascii_lower_fingerprint("", "", true, unused));
}

// Every kernel table against the table "reference", at counts around the register widths.
void kernels_agree() {
  pqrnn::Philox random;
  std::vector<std::uint64_t> seeds(2 * 37);
  for (std::uint64_t& seed : seeds) seed = std::uint64_t{random.next()} << 32 | random.next();
  CHECK(pqrnn::select_kernels("reference"));
  const pqrnn::ExpandKernels reference = pqrnn::kernels().expand;
  for (const pqrnn::Kernels* const* table = pqrnn::available_kernels(); *table; ++table) {
    const pqrnn::ExpandKernels& fast = (*table)->expand;
    for (const std::size_t rows : {0, 1, 7, 8, 9, 37}) {
      for (const std::size_t words : {1, 2, 3, 16, 128}) {
        std::vector<std::uint64_t> expected(rows * words), found(rows * words);
        reference.extend(seeds.data(), rows, words, expected.data());
        fast.extend(seeds.data(), rows, words, found.data());
        CHECK(found == expected);
      }
    }
    for (std::size_t count = 0; count <= 200; ++count) {
      const std::vector<std::uint64_t> codes(seeds.begin(), seeds.begin() + (count + 31) / 32);
      std::vector<std::int8_t> ternary(count), ternary_found(count);
      std::vector<float> real(count), real_found(count);
      reference.to_int8(codes.data(), count, ternary.data());
      fast.to_int8(codes.data(), count, ternary_found.data());
      reference.to_float(codes.data(), count, real.data());
      fast.to_float(codes.data(), count, real_found.data());
      CHECK(ternary == ternary_found && real == real_found);
      for (std::size_t j = 0; j < count; ++j) CHECK_EQ(real[j], static_cast<float>(ternary[j]));
    }
  }
}

void projected_codes_hold_no_extra_columns() {
  pqrnn::ProjectionSettings settings;
  settings.feature_size = 40;
  settings.split = pqrnn::Split::space;
  settings.novelty_bits = 2;
  settings.all_caps = 1.0f;
  settings.eos = true;
  CHECK(settings.validate().ok());
  const pqrnn::Projector projector(settings);
  pqrnn::Projected out;
  for (const char* text : {"some words", "other Words here", ""}) {
    CHECK(projector.project(Exact(text), out).ok());
    CHECK_EQ(out.positions, out.spans.size() + 1);
    CHECK_EQ(out.codes.size(), out.positions * 2);
    CHECK_EQ(out.extras.size(), out.positions * 2);
    std::vector<float> features(out.positions * 40), plain(out.positions * 40);
    projector.features(out, 0, out.positions, features.data());
    for (std::size_t p = 0; p < out.positions; ++p) {
      pqrnn::kernels().expand.to_float(out.codes.data() + 2 * p, 40, plain.data() + 40 * p);
      CHECK_EQ(plain[40 * p + 39], 0.0f);
      CHECK_EQ(plain[40 * p + 36], 0.0f);
      for (std::size_t e = 0; e < 2; ++e) {
        plain[40 * p + projector.extra_column(e)] = out.extras[2 * p + e];
      }
    }
    CHECK(plain == features);
  }
}

// ASCII tokens have their n-grams from where they stand, tokens that are given from a copy.
void ngrams_in_place() {
  for (const std::size_t size : {32, 512, 1056}) {
    for (const int longest : {1, 4, 8}) {
      pqrnn::ProjectionSettings settings;
      settings.feature_size = size + 64;
      settings.ngram_size = size;
      settings.ngram_min = longest == 4 ? 2 : 1;
      settings.ngram_max = longest;
      CHECK(settings.validate().ok());
      const pqrnn::Projector projector(settings);
      CHECK_EQ(projector.words(), (size + 64) / 32);
      CHECK_EQ(projector.whole_words(), 2u);
      CHECK_EQ(projector.seed_words(), 2 + size / 32);
      pqrnn::Projected text, tokens;
      for (std::size_t length = 1; length < 40; ++length) {
        std::string word(length, 'x');
        for (std::size_t i = 0; i < length; ++i) word[i] = static_cast<char>('A' + i * 7 % 26);
        for (const std::string& other : {std::string("b"), std::string("\xC3\xA9")}) {
          const Exact exact(word + "  " + other + " " + word);
          CHECK(projector.project(exact, text).ok());
          const std::string_view given[] = {word, other, word};
          tokens.clear();
          projector.append_tokens(given, 3, nullptr, tokens);
          CHECK(text.seeds == tokens.seeds);
          std::vector<std::uint64_t> codes;
          for (char& c : word) c = static_cast<char>(c | 32);
          projector.codes(word, codes);
          for (char& c : word) c = static_cast<char>(c & ~32);
          const auto last = text.codes.end() - static_cast<std::ptrdiff_t>(codes.size());
          CHECK(std::vector<std::uint64_t>(last, text.codes.end()) == codes);
        }
      }
    }
  }
}

// Code word of the n-grams "a", U+0002 "a" and "a" U+0003, worked out from the documentation.
void ngrams_known_answer() {
  pqrnn::ProjectionSettings settings;
  settings.feature_size = settings.ngram_size = 32;
  settings.ngram_min = 1;
  settings.ngram_max = 2;
  const pqrnn::Projector projector(settings);
  std::vector<std::uint64_t> codes;
  projector.codes("a", codes);
  CHECK_EQ(codes.size(), 1u);
  CHECK_EQ(codes[0], 0x996A95A55555569Au | 0x69A6A6A5959A6965u | 0x999565AA699A66A9u);
}

void bad_settings_are_refused() {
  pqrnn::ProjectionSettings settings;
  settings.feature_size = 65537;
  CHECK_EQ(settings.validate().message, "feature_size must be between 1 and 65536, got 65537");
  settings.feature_size = 3;
  CHECK(settings.validate().ok());
  settings.all_caps = 1.0f;
  CHECK(!settings.validate().ok());
  settings = {};
  settings.distortion = std::nanf("");
  CHECK(!settings.validate().ok());
  settings = {};
  settings.ngram_size = 33;
  CHECK_EQ(settings.validate().message,
           "ngram_size must be a multiple of 32 and at most feature_size, got 33");
  settings.ngram_size = 544;
  CHECK(!settings.validate().ok());
  settings.ngram_size = 512;
  CHECK(settings.validate().ok());
  settings.ngram_min = 5;
  CHECK_EQ(settings.validate().message, "ngram_max must be between ngram_min and 8, got 4");
  settings = {};
  settings.split_apostrophes = true;
  CHECK(settings.validate().ok());
  settings.split = pqrnn::Split::space;
  CHECK(!settings.validate().ok());
}

// Random123's test vector for key and counter 0.
void philox_known_answer() {
  pqrnn::Philox random(0);
  CHECK_EQ(random.next(), 0x6627E8D5u);
  CHECK_EQ(random.next(), 0xE169C58Du);
  CHECK_EQ(random.next(), 0xBC57AC4Cu);
  CHECK_EQ(random.next(), 0x9B00DBD8u);
}

}  // namespace

int main() {
  splitters();
  normalizers();
  folding();
  words_hash_in_place();
  kernels_agree();
  projected_codes_hold_no_extra_columns();
  ngrams_in_place();
  ngrams_known_answer();
  bad_settings_are_refused();
  philox_known_answer();
  return check::report();
}
