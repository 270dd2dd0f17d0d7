// Damaged model files: each is refused with a message, or loads and works; none costs more than
// twice its size of memory. The same files each time.
//
//   mutate_model [COUNT [MODEL...]]
//
// COUNT files (20,000 unless given), made from small models of every task, precision and dtype, and
// from the model files that are named.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../cpp/allocations.h"
#include "../cpp/check.h"
#include "../cpp/files.h"
#include "../cpp/models.h"
#include "mutations.h"
#include "pqrnn/pqrnn.h"

namespace {

// Messages and names.
constexpr std::size_t kSlack = std::size_t{8} << 10;

struct Original {
  std::string name;
  std::string file;
  std::size_t peak = 0;  // bytes that loading it takes
};

struct Loaded {
  explicit Loaded(const std::string& file) {
    // At an odd address, in a block that ends where the file does.
    const std::unique_ptr<char[]> block(new char[file.size() + 1]);
    std::memcpy(block.get() + 1, file.data(), file.size());
    const std::size_t before = allocations::live;
    allocations::reset_peak();
    status = pqrnn_load(block.get() + 1, file.size(), &model);
    peak = allocations::peak - before;
    kept = allocations::live - before;
  }
  ~Loaded() { pqrnn_free(model); }
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;

  pqrnn_model* model = nullptr;
  pqrnn_status status;
  std::size_t peak, kept;
};

void use(const pqrnn_model* model) {
  const pqrnn_text texts[] = {{"a few words", 11}, {nullptr, 0}, {"a \xFF\xC3", 4}};
  if (pqrnn_get_task(model) == PQRNN_PARSING) {
    for (const pqrnn_text& text : texts) {
      pqrnn_parse_result result;
      pqrnn_slot slots[8];
      CHECK_EQ(pqrnn_parse(model, text, &result, slots, 8), PQRNN_OK);
      for (std::size_t i = 0; i < result.slot_count && i < 8; ++i) {
        CHECK(slots[i].begin <= slots[i].end && slots[i].end <= text.size);
      }
    }
    return;
  }
  std::vector<float> out(3 * pqrnn_dim(model));
  const bool encodes = pqrnn_get_task(model) == PQRNN_EMBEDDING;
  CHECK_EQ((encodes ? pqrnn_encode : pqrnn_classify)(model, texts, 3, 1, out.data()), PQRNN_OK);
}

std::vector<Original> originals(int count, char** paths) {
  std::mt19937 rng(7);
  std::vector<Original> all;
  const auto add = [&](std::string name, std::string file) {
    all.push_back({std::move(name), std::move(file)});
  };
  using models::Stored;
  for (const auto& [suffix, stored] : {std::pair<const char*, Stored>{" f32", Stored::f32},
                                       {" f16", Stored::f16},
                                       {" i8", Stored::i8},
                                       {" u4", Stored::u4},
                                       {" u2", Stored::u2}}) {
    const models::Sizes small{33, 3, 2, 2}, large{256, 64, 48, 2};
    add(std::string("encoder") + suffix, models::encoder(rng, small, 4, stored));
    add(std::string("classifier") + suffix, models::classifier(rng, small, stored));
    add(std::string("parser") + suffix, models::parser(rng, small, false, stored));
    add(std::string("tagger") + suffix, models::parser(rng, small, true, stored));
    add(std::string("large encoder") + suffix, models::encoder(rng, large, 64, stored));
  }
  for (int i = 0; i < count; ++i) add(paths[i], read_file(paths[i]));
  for (Original& each : all) {
    const Loaded loaded(each.file);
    if (!CHECK_EQ(loaded.status, PQRNN_OK)) std::fprintf(stderr, "  %s\n", each.name.c_str());
    each.peak = loaded.peak;
    if (loaded.model) use(loaded.model);
  }
  return all;
}

std::string container(const std::string& header, std::size_t data = 0) {
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    file[i] = static_cast<char>(std::uint64_t{header.size()} >> (8 * i));
  }
  return file + header + std::string(data, '\0');
}

std::string repeated(std::size_t count, const std::string& item) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += (i ? "," : "") + item;
  return all;
}

std::string with_config(const std::string& json) {
  return container(R"({"__metadata__":{"format":"pqrnn","format_version":"1","config":")" + json +
                   "\"}}");
}

// Headers that ask for much: each is refused, for no more than twice its size of memory, and 40
// bytes for each name of the configuration.
void test_hostile() {
  const std::string tensor = R"({"dtype":"I8","shape":[0],"data_offsets":[0,0]})";
  std::string tensors;
  for (int i = 0; i < 1024; ++i) tensors += (i ? ",\"" : "\"") + std::to_string(i) + "\":" + tensor;
  const std::string zeros = R"("a":{"dtype":"F32","shape":[8192,4096],"data_offsets":[0,)";
  const struct {
    const char* what;
    std::string file;
    std::size_t names;
  } cases[] = {
      {"tensors", container("{" + tensors + "}"), 0},
      {"too many tensors", container("{" + tensors + ",\"a\":" + tensor + "}"), 0},
      {"metadata", container("{\"__metadata__\":{\"a\":\"" + std::string(1 << 20, 'x') + "\"}}"),
       0},
      {"escapes", container("{\"" + repeated(1 << 17, "\\n") + "\":0}"), 0},
      {"string without end", container("{\"" + std::string(1 << 20, 'x')), 0},
      {"depth", container("{\"a\":" + std::string(1 << 20, '[')), 0},
      {"dimensions", container("{\"a\":{\"shape\":[" + repeated(1 << 18, "1") + "]}}"), 0},
      {"beyond the file", container("{" + zeros + "134217728]}}"), 0},
      {"sizes", with_config(R"({\"bottleneck_size\":8192,\"state_size\":8192,\"num_layers\":64})"),
       0},
      {"labels", with_config(R"({\"labels\":[)" + repeated(65536, R"(\"\")") + "]}"), 65536},
      {"too many labels", with_config(R"({\"labels\":[)" + repeated(65537, R"(\"\")") + "]}"), 0},
      {"rows", with_config(R"({\"intent_tags\":[)" + repeated(65536, "[]") + "]}"), 65536},
      {"key", with_config("{\\\"" + std::string(1 << 20, 'k') + "\\\":1}"), 0},
  };
  for (const auto& each : cases) {
    const Loaded result(each.file);
    const std::size_t limit = 2 * each.file.size() + kSlack + 40 * each.names;
    const bool good = CHECK_EQ(result.status, PQRNN_CORRUPT_FILE) & CHECK(result.peak <= limit) &
                      CHECK_EQ(result.kept, std::size_t{0});
    if (!good) std::fprintf(stderr, "  %s: peak %zu, %s\n", each.what, result.peak, pqrnn_error());
  }
}

}  // namespace

int main(int argument_count, char** arguments) {
  const long count = argument_count > 1 ? std::strtol(arguments[1], nullptr, 10) : 20000;
  originals(0, nullptr);  // what is allocated once in a process
  test_hostile();
  const std::vector<Original> files = originals(argument_count - 2, arguments + 2);
  mutations::Mutator mutator(2024);
  long refused = 0, loaded = 0;
  for (long i = 0; i < count; ++i) {
    const Original& original = files[static_cast<std::size_t>(i) % files.size()];
    const std::string bad = mutator.damage(original.file);
    const std::size_t before = allocations::live;
    {
      const Loaded result(bad);
      bool good;
      if (result.model) {
        ++loaded;
        // Its sizes are those of the original, as the data are.
        good = CHECK_EQ(result.status, PQRNN_OK) &
               CHECK(result.peak <= original.peak + original.peak / 4 + kSlack);
        use(result.model);
      } else {
        ++refused;
        good = CHECK_EQ(result.status, PQRNN_CORRUPT_FILE) & CHECK(pqrnn_error()[0] != '\0') &
               CHECK_EQ(result.kept, std::size_t{0}) &
               CHECK(result.peak <= 2 * bad.size() + kSlack);
      }
      if (!good) {
        std::fprintf(stderr, "  file %ld of %s: %zu bytes, peak %zu, kept %zu, %s\n", i,
                     original.name.c_str(), bad.size(), result.peak, result.kept, pqrnn_error());
      }
    }
    CHECK_EQ(allocations::live.load(), before);
  }
  std::printf("%zu models, %ld files: %ld refused, %ld loaded\n", files.size(), count, refused,
              loaded);
  CHECK(refused > count / 2 && loaded > count / 50);
  return check::report();
}
