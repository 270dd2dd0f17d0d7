// The C interface: what goes in and out, every error, several threads on one model.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "models.h"
#include "pqrnn/pqrnn.h"

#if !defined(PQRNN_NO_THREADS)
#include <thread>
#endif

namespace {

std::mt19937 rng(3);
const models::Sizes kSizes{70, 20, 10, 2};

pqrnn_text text(const char* data) { return {data, std::strlen(data)}; }

struct Model {
  explicit Model(const std::string& file) {
    std::string copy = file;
    CHECK_EQ(pqrnn_load(copy.data(), copy.size(), &get), PQRNN_OK);
    copy.assign(copy.size(), '?');  // nothing of it is needed any more
  }
  ~Model() { pqrnn_free(get); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  pqrnn_model* get = nullptr;
};

void expect(pqrnn_status found, pqrnn_status wanted, const char* part) {
  CHECK_EQ(found, wanted);
  if (!CHECK(std::strstr(pqrnn_error(), part))) std::fprintf(stderr, "  %s\n", pqrnn_error());
}

void test_encode() {
  const Model model(models::encoder(rng, kSizes, 9));
  CHECK_EQ(pqrnn_get_task(model.get), PQRNN_EMBEDDING);
  CHECK_EQ(pqrnn_dim(model.get), 9u);
  CHECK(pqrnn_label(model.get, 0) == nullptr);
  const pqrnn_text texts[] = {text("turn on the lights"), {nullptr, 0}, {"a \xFF", 3}, text("b")};
  std::vector<float> all(4 * 9 + 1, 77.0f);
  CHECK_EQ(pqrnn_encode(model.get, texts, 4, 0, all.data()), PQRNN_OK);
  CHECK(all.back() == 77.0f);
  for (std::size_t i = 0; i < 4; ++i) {
    float one[9];
    CHECK_EQ(pqrnn_encode(model.get, texts + i, 1, 1, one), PQRNN_OK);
    CHECK(std::memcmp(one, all.data() + 9 * i, sizeof one) == 0);
    double square = 0.0;
    for (const float x : one) square += double(x) * x;
    CHECK(std::fabs(square - (i == 1 ? 0.0 : 1.0)) < 1e-6);
  }
  CHECK_EQ(pqrnn_encode(model.get, nullptr, 0, 1, nullptr), PQRNN_OK);
}

void test_classify() {
  const Model model(models::classifier(rng, kSizes, models::Stored::i8));
  CHECK_EQ(pqrnn_get_task(model.get), PQRNN_CLASSIFICATION);
  CHECK_EQ(pqrnn_dim(model.get), 3u);
  CHECK_EQ(std::string(pqrnn_label(model.get, 2)), "so-so");
  CHECK(pqrnn_label(model.get, 3) == nullptr);
  const pqrnn_text texts[] = {text("what a film"), {"", 0}};
  float out[6];
  CHECK_EQ(pqrnn_classify(model.get, texts, 2, 2, out), PQRNN_OK);
  for (int i = 0; i < 2; ++i) {
    CHECK(std::fabs(out[3 * i] + out[3 * i + 1] + out[3 * i + 2] - 1.0f) < 1e-6f);
  }
}

// A file whose biases are so large that every token gets the tag "O@-2|B-me", each text intent "b".
std::string decided(const std::string& tags) {
  std::string file = models::parser(rng, kSizes, false, models::Stored::f32, tags, 2);
  const auto bias = [&](const char* name, float first, float second) {
    const std::size_t entry = file.find(std::string("\"") + name + "\"");
    const std::size_t offsets = file.find("\"data_offsets\":[", entry) + 16;
    std::uint64_t header = 0;
    std::memcpy(&header, file.data(), 4);
    const std::size_t place = 8 + header + std::stoul(file.substr(offsets, 12));
    std::memcpy(&file[place], &first, 4);
    std::memcpy(&file[place + 4], &second, 4);
  };
  bias("slots.bias", 0.0f, 1000.0f);
  bias("intent.bias", 0.0f, 1000.0f);
  return file;
}

void test_parse() {
  const Model model(decided(R"(["O","O@-2|B-me"])"));
  CHECK_EQ(pqrnn_get_task(model.get), PQRNN_PARSING);
  CHECK_EQ(pqrnn_dim(model.get), 2u);
  CHECK_EQ(std::string(pqrnn_label(model.get, 1)), "b");
  const pqrnn_text given = text("recu\xC3\xA9rdame \xC3\xA9t\xC3\xA9 x");
  const pqrnn_slot unused = {77, 77, nullptr};
  for (const std::size_t capacity : {5, 3, 2, 0}) {
    pqrnn_slot slots[5] = {unused, unused, unused, unused, unused};
    pqrnn_parse_result result;
    CHECK_EQ(pqrnn_parse(model.get, given, &result, capacity ? slots : nullptr, capacity),
             PQRNN_OK);
    CHECK_EQ(std::string(result.intent), "b");
    CHECK(result.score > 0.999f && result.score <= 1.0f);
    CHECK_EQ(result.slot_count, 3u);
    const std::size_t begins[] = {9, 14, 18, 77, 77}, ends[] = {11, 17, 19, 77, 77};
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK_EQ(slots[i].begin, i < capacity ? begins[i] : 77);
      CHECK_EQ(slots[i].end, i < capacity ? ends[i] : 77);
      CHECK_EQ(std::string(slots[i].label ? slots[i].label : ""),
               i < capacity && i < 3 ? "me" : "");
    }
  }
  pqrnn_parse_result result;
  CHECK_EQ(pqrnn_parse(model.get, {nullptr, 0}, &result, nullptr, 0), PQRNN_OK);
  CHECK_EQ(result.slot_count, 0u);

  const Model tagger(models::parser(rng, kSizes, true));
  CHECK_EQ(pqrnn_dim(tagger.get), 0u);
  CHECK_EQ(pqrnn_parse(tagger.get, given, &result, nullptr, 0), PQRNN_OK);
  CHECK_EQ(std::string(result.intent), "");
  CHECK(result.score == 1.0f);
}

void test_errors() {
  CHECK_EQ(std::string(pqrnn_version()), PQRNN_EXPECTED_VERSION);
  pqrnn_free(nullptr);
  pqrnn_model* none = reinterpret_cast<pqrnn_model*>(1);
  expect(pqrnn_load(nullptr, 1, &none), PQRNN_INVALID_ARGUMENT, "data is null");
  CHECK(none == nullptr);
  expect(pqrnn_load("x", 1, nullptr), PQRNN_INVALID_ARGUMENT, "model is null");
  expect(pqrnn_load("x", 1, &none), PQRNN_CORRUPT_FILE, "damaged model file: it has 1 bytes");
  std::string bad = models::encoder(rng, kSizes, 4);
  const std::size_t place = bad.find("feature_size");
  bad[place] = 'F';
  expect(pqrnn_load(bad.data(), bad.size(), &none), PQRNN_CORRUPT_FILE, "unknown key");
  bad = models::parser(rng, kSizes, false, models::Stored::f32, R"(["O","\u00e9\u00e9"])", 2);
  expect(pqrnn_load(bad.data(), bad.size(), &none), PQRNN_CORRUPT_FILE, "a tag is 'O'");

  const Model encoder(models::encoder(rng, kSizes, 4)), parser(models::parser(rng, kSizes, false));
  const pqrnn_text good = text("a"), bad_text = {nullptr, 3};
  float out[4];
  pqrnn_parse_result result;
  expect(pqrnn_encode(nullptr, &good, 1, 1, out), PQRNN_INVALID_ARGUMENT, "model is null");
  expect(pqrnn_encode(encoder.get, nullptr, 1, 1, out), PQRNN_INVALID_ARGUMENT, "texts is null");
  expect(pqrnn_encode(encoder.get, &good, 1, 1, nullptr), PQRNN_INVALID_ARGUMENT, "output is null");
  expect(pqrnn_encode(encoder.get, &good, 1, -1, out), PQRNN_INVALID_ARGUMENT, "threads");
  expect(pqrnn_encode(encoder.get, &bad_text, 1, 1, out), PQRNN_INVALID_ARGUMENT,
         "texts[0].data is null");
  expect(pqrnn_encode(parser.get, &good, 1, 1, out), PQRNN_WRONG_TASK, "embedding");
  expect(pqrnn_classify(encoder.get, &good, 1, 1, out), PQRNN_WRONG_TASK, "classification");
  expect(pqrnn_classify(nullptr, &good, 1, 1, out), PQRNN_INVALID_ARGUMENT, "model is null");
  expect(pqrnn_parse(encoder.get, good, &result, nullptr, 0), PQRNN_WRONG_TASK, "parsing");
  expect(pqrnn_parse(nullptr, good, &result, nullptr, 0), PQRNN_INVALID_ARGUMENT, "model is null");
  expect(pqrnn_parse(parser.get, bad_text, &result, nullptr, 0), PQRNN_INVALID_ARGUMENT,
         "text.data is null");
  expect(pqrnn_parse(parser.get, good, nullptr, nullptr, 0), PQRNN_INVALID_ARGUMENT,
         "result is null");
  expect(pqrnn_parse(parser.get, good, &result, nullptr, 1), PQRNN_INVALID_ARGUMENT,
         "slots is null");
}

#if !defined(PQRNN_NO_THREADS)
void test_threads() {
  const Model model(models::encoder(rng, kSizes, 9));
  const pqrnn_text texts[] = {text("turn on the lights"), text("in the kitchen"), text("now")};
  float expected[27];
  CHECK_EQ(pqrnn_encode(model.get, texts, 3, 1, expected), PQRNN_OK);
  std::vector<std::thread> threads;
  int good[4] = {};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      bool same = std::strcmp(pqrnn_error(), "") == 0;  // of this thread alone
      for (int repeat = 0; repeat < 20; ++repeat) {
        float found[27];
        same = same && pqrnn_encode(model.get, texts, 3, 1 + i % 2, found) == PQRNN_OK &&
               std::memcmp(found, expected, sizeof found) == 0;
      }
      pqrnn_encode(model.get, nullptr, 1, 1, nullptr);
      good[i] = same && std::strcmp(pqrnn_error(), "texts is null") == 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int each : good) CHECK(each);
  CHECK(std::strcmp(pqrnn_error(), "texts is null") != 0);
}

// Memory that is not there is a status: 2^61 texts.
void test_out_of_memory() {
  const Model model(models::encoder(rng, kSizes, 9));
  const pqrnn_text one = text("a");
  float out[9];
  expect(pqrnn_encode(model.get, &one, std::numeric_limits<std::size_t>::max() / 8, 1, out),
         PQRNN_OUT_OF_MEMORY, "out of memory");
}
#endif

}  // namespace

int main() {
  test_encode();
  test_classify();
  test_parse();
  test_errors();
#if !defined(PQRNN_NO_THREADS)
  test_threads();
  test_out_of_memory();
#endif
  return check::report();
}
