// From a model file in memory to vectors, without Python: readers, weights, encoder, token cache.
// Small on purpose, so that it runs under sanitizers and emulators.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "check.h"
#include "kernels/kernels.h"
#include "model/encoder.h"
#include "model/json.h"
#include "model/safetensors.h"
#include "model/token_cache.h"
#include "models.h"

using namespace pqrnn;

namespace {

std::mt19937 rng(2);

void test_json_strings() {
  const std::pair<const char*, const char*> good[] = {
      {R"("")", ""},
      {R"( "a\"b\\c\/d" )", "a\"b\\c/d"},
      {R"("\b\f\n\r\t")", "\b\f\n\r\t"},
      {R"("\u00e9\u4f60\ud83d\ude42")", "\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x99\x82"},
      {"\"\xC3\xA9\"", "\xC3\xA9"},
  };
  for (const auto& [text, expected] : good) {
    JsonReader json(text);
    std::string value;
    CHECK(json.read_string(value) && json.end());
    CHECK_EQ(value, expected);
  }
  for (const char* text : {"", "a", "\"", "\"\\", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"",
                           "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\\u0000\"", "\"\n\"", "\"\\x\"",
                           "\"\xFF\"", "\"\xC3\"", "\"a\" b", "'a'"}) {
    JsonReader json(text);
    std::string value;
    CHECK(!(json.read_string(value) && json.end()));
    CHECK(!json.status().ok());
  }
}

void test_json_numbers() {
  for (const double expected : {0.0, 1.0, -1.0, 0.1, 0.3, 1e-5, 1.5e10, 123456.789, 2.5e-308, 1e308,
                                4503599627370497.0, 0.30000001192092896}) {
    char text[64];
    std::snprintf(text, sizeof text, "%.17g", expected);
    JsonReader json(text);
    double value = 77.0;
    CHECK(json.read_number(value) && json.end());
    CHECK(std::fabs(value - expected) <= 4.5e-16 * std::fabs(expected));
  }
  std::int64_t integer = 0;
  CHECK(JsonReader("9223372036854775807").read_integer(integer) && integer == INT64_MAX);
  CHECK(JsonReader("-12").read_integer(integer) && integer == -12);
  for (const char* text : {"9223372036854775808", "1.0", "1e3", "01", "+1", "-", "", "1x", "--1",
                           "0x10", "Infinity"}) {
    JsonReader json(text);
    CHECK(!(json.read_integer(integer) && json.end()));
  }
  for (const char* text : {"1e999", "-1e999", ".5", "1.", "1e", "1e+", "NaN", "00", "1,"}) {
    JsonReader json(text);
    double value;
    CHECK(!(json.read_number(value) && json.end()));
  }
}

void test_json_structure() {
  const auto skips = [](std::string_view text) {
    JsonReader json(text);
    return json.skip_value() && json.end();
  };
  for (const char* text : {"{}", "[]", "[1, [2, {\"a\": null}], true]", "{\"a\": {}, \"b\": []}",
                           " null ", "false", "-0.5e-3"}) {
    CHECK(skips(text));
  }
  for (const char* text : {"", "{", "[", "{]", "[}", "[1,]", "{\"a\":1,}", "[1 2]", "{\"a\" 1}",
                           "{1: 2}", "{} {}", "nul", "tru", "[,]", "{,}", "]"}) {
    CHECK(!skips(text));
  }
  CHECK(skips(std::string(JsonReader::kMaxDepth, '[') + std::string(JsonReader::kMaxDepth, ']')));
  CHECK(!skips(std::string(JsonReader::kMaxDepth + 1, '[') +
               std::string(JsonReader::kMaxDepth + 1, ']')));
  CHECK(!skips(std::string(1000000, '[')));
}

const std::string_view kTexts[] = {"turn on the lights",
                                   "",
                                   "the lights of the city, the lights",
                                   "\xFF\xFE",
                                   "na\xC3\xAFve \xE4\xBD\xA0\xE5\xA5\xBD",
                                   "a"};
constexpr std::size_t kCount = sizeof kTexts / sizeof kTexts[0];

std::vector<float> encode(const Model& model, const EncodeOptions& options) {
  std::vector<float> out(kCount * model.output_size(), 77.0f);
  CHECK(model.encode(kTexts, kCount, options, out.data()).ok());
  return out;
}

void test_encoder() {
  const std::string file = models::encoder(rng, {70, 20, 10, 2}, 9);
  std::vector<float> expected;
  for (const Kernels* const* entry = available_kernels(); *entry; ++entry) {
    CHECK(select_kernels((*entry)->name));
    std::unique_ptr<Model> model;
    const Status status = Model::load(file.data(), file.size(), model);
    CHECK_EQ(status.message, "");
    if (!model) return;
    CHECK_EQ(std::string(model->isa()), (*entry)->name);
    EncodeOptions options;
    const std::vector<float> cold = encode(*model, options);
    for (int repeat = 0; repeat < 3; ++repeat) CHECK(encode(*model, options) == cold);  // cached
    options.threads = 3;
    options.batch_size = 1;
    CHECK(encode(*model, options) == cold);
    if (expected.empty()) expected = cold;
    for (std::size_t i = 0; i < kCount; ++i) {
      double length = 0.0;
      for (std::size_t j = 0; j < 9; ++j) {
        length += double(cold[9 * i + j]) * cold[9 * i + j];
        CHECK(std::fabs(cold[9 * i + j] - expected[9 * i + j]) < 1e-5);
      }
      CHECK(std::fabs(length - (kTexts[i].empty() ? 0.0 : 1.0)) < 1e-6);
    }
    std::vector<float> states;
    std::vector<Span> spans;
    CHECK(model->encode_tokens(kTexts[0], {}, states, spans).ok());
    CHECK_EQ(spans.size(), std::size_t{4});
    CHECK_EQ(states.size(), std::size_t{80});
    CHECK(spans[3].begin == 12 && spans[3].end == 18);
  }
  select_kernels(available_kernels()[0]->name);
}

struct Parses {
  std::vector<float> intents;
  std::vector<std::size_t> tokens;
  std::vector<Span> spans;
  std::vector<float> slots;
};

Parses parse(const Model& model, const EncodeOptions& options) {
  Parses out;
  out.intents.assign(kCount * model.config().intents.size(), 77.0f);
  std::vector<ParsedTexts> groups;
  CHECK(model.parse(kTexts, kCount, options, out.intents.data(), groups).ok());
  for (const ParsedTexts& group : groups) {
    out.tokens.insert(out.tokens.end(), group.tokens.begin(), group.tokens.end());
    out.spans.insert(out.spans.end(), group.spans.begin(), group.spans.end());
    const float* slots = group.slots.data();
    out.slots.insert(out.slots.end(), slots, slots + group.slots.size());
  }
  CHECK_EQ(out.tokens.size(), kCount);
  CHECK_EQ(out.slots.size(), out.spans.size() * model.config().slots.size());
  return out;
}

void test_parser() {
  for (const bool tagger : {false, true}) {
    const std::string file = models::parser(rng, {70, 20, 10, 2}, tagger);
    Parses expected;
    for (const Kernels* const* entry = available_kernels(); *entry; ++entry) {
      CHECK(select_kernels((*entry)->name));
      std::unique_ptr<Model> model;
      const Status status = Model::load(file.data(), file.size(), model);
      CHECK_EQ(status.message, "");
      if (!model) return;
      EncodeOptions options;
      const Parses cold = parse(*model, options);
      CHECK(cold.tokens == std::vector<std::size_t>({4, 0, 8, 2, 3, 1}));
      CHECK(cold.spans[3].begin == 12 && cold.spans[3].end == 18);
      for (int repeat = 0; repeat < 3; ++repeat) {
        options.threads = 1 + repeat;
        options.batch_size = static_cast<std::size_t>(repeat);
        const Parses again = parse(*model, options);
        CHECK(again.slots == cold.slots && again.intents == cold.intents);
      }
      for (std::size_t i = 0; i < cold.intents.size(); i += 2) {
        CHECK(std::fabs(cold.intents[i] + cold.intents[i + 1] - 1.0f) < 1e-6f);
      }
      if (expected.slots.empty()) expected = cold;
      for (std::size_t i = 0; i < cold.slots.size(); ++i) {
        CHECK(std::fabs(cold.slots[i] - expected.slots[i]) < 1e-5f);
      }
      std::vector<ParsedTexts> none;
      CHECK(model->parse(nullptr, 0, {}, nullptr, none).ok() && none.empty());
      float unused[3];
      CHECK(!model->encode(kTexts, 1, {}, unused).ok());
    }
  }
  select_kernels(available_kernels()[0]->name);
}

void test_token_cache() {
  TokenCache cache(2, 3 * sizeof(float));
  const auto key_of = [](std::uint64_t i, std::uint64_t (&key)[2]) {
    key[0] = i * 0x123456789ABCDEFu;
    key[1] = i;
    return TokenCache::hash(key, 2);
  };
  std::uint64_t key[2];
  std::size_t kept = 0;
  for (std::uint64_t i = 1; i < 3 * TokenCache::kMostRows; ++i) {
    const std::uint64_t hash = key_of(i, key);
    const float row[3] = {float(i), float(i) + 0.25f, -float(i)};
    CHECK(cache.find(key, hash) == nullptr);
    cache.offer(key, hash, row);
    CHECK(cache.find(key, hash) == nullptr);  // seen once
    cache.offer(key, hash, row);
    cache.offer(key, hash, row);  // a third time changes nothing
    kept += cache.find(key, hash) != nullptr;
  }
  CHECK(kept <= TokenCache::kMostRows && kept > TokenCache::kMostRows * 9 / 10);
  for (std::uint64_t i = 0; i < 3 * TokenCache::kMostRows; ++i) {
    const auto* row = static_cast<const float*>(cache.find(key, key_of(i, key)));
    if (row) CHECK(row[0] == float(i) && row[1] == float(i) + 0.25f && row[2] == -float(i));
  }
  TokenCache wide(TokenCache::kMostBytes / 64,
                  sizeof(float));  // keys count too: room for 7 of them
  std::vector<std::uint64_t> wide_key(TokenCache::kMostBytes / 64);
  const float row[1] = {1.0f};
  kept = 0;
  for (std::uint64_t i = 0; i < 20; ++i) {
    wide_key.back() = i;
    const std::uint64_t hash = TokenCache::hash(wide_key.data(), wide_key.size());
    wide.offer(wide_key.data(), hash, row);
    wide.offer(wide_key.data(), hash, row);
    kept += wide.find(wide_key.data(), hash) != nullptr;
  }
  CHECK_EQ(kept, 7u);
  TokenCache many(1, sizeof(float), 4 * TokenCache::kMostRows);
  kept = 0;
  for (std::uint64_t i = 0; i < 8 * TokenCache::kMostRows; ++i) {
    const std::uint64_t hash = TokenCache::hash(&i, 1);
    many.offer(&i, hash, row);
    many.offer(&i, hash, row);
    kept += many.find(&i, hash) != nullptr;
  }
  CHECK(kept <= 4 * TokenCache::kMostRows && kept > 4 * TokenCache::kMostRows * 9 / 10);
  // Words behind the second count too.
  const std::uint64_t longer[2][3] = {{1, 2, 3}, {1, 2, 4}};
  CHECK(TokenCache::hash(longer[0], 3) != TokenCache::hash(longer[1], 3));
  TokenCache tiny(1, TokenCache::kMostBytes);  // a row that is larger than the whole budget
  const std::uint64_t one = 1;
  const float none = 0.0f;
  tiny.offer(&one, 9, &none);
  tiny.offer(&one, 9, &none);
  CHECK(tiny.find(&one, 9) == nullptr);
}

}  // namespace

int main() {
  test_json_strings();
  test_json_numbers();
  test_json_structure();
  test_token_cache();
  test_encoder();
  test_parser();
  return check::report();
}
