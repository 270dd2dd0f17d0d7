// Nothing is allocated per token once buffers are warm: a call takes as much from the heap for two
// hundred tokens as for two, on every instruction set and with both engines.
//
//   test_allocations [FOLDER]      with the 8-bit models of tests/golden
#include <algorithm>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "allocations.h"
#include "check.h"
#include "files.h"
#include "kernels/kernels.h"
#include "model/encoder.h"
#include "model/token_cache.h"
#include "models.h"

using namespace pqrnn;

namespace {

std::string words(std::size_t first, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += (i ? " Word" : "Word") + std::to_string(first + i) + (i % 3 ? "" : " na\xC3\xAFve");
  }
  return text;
}

std::size_t allocations_of(const Model& model, std::string_view text) {
  const EncodeOptions options;
  std::vector<float> out(std::max<std::size_t>(model.config().head_size(), 1));
  const std::size_t before = allocations::count;
  CHECK(model.encode(&text, 1, options, out.data()).ok());
  return allocations::count - before;
}

void check_model(const std::string& name, const std::string& file) {
  std::unique_ptr<Model> model;
  CHECK_EQ(Model::load(file.data(), file.size(), model).message, "");
  if (!model || model->config().task == Task::parsing) return;
  const std::string small = words(0, 2), large = words(0, 200);
  // The third time nothing is new: buffers have grown, and frequent tokens are in the cache.
  for (int repeat = 0; repeat < 3; ++repeat) {
    allocations_of(*model, large);
    allocations_of(*model, small);
  }
  const std::size_t few = allocations_of(*model, small), many = allocations_of(*model, large);
  CHECK(few > 0 && few < 20);  // of the call: the groups of its texts
  if (!CHECK_EQ(many, few)) std::fprintf(stderr, "  %s on %s\n", name.c_str(), model->isa());
}

// Words that were never seen: those that come for the second time enter the cache, which is memory
// that stays, until it is full.
void check_full_cache(const std::string& file) {
  std::unique_ptr<Model> model;
  CHECK(Model::load(file.data(), file.size(), model).ok());
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (std::size_t first = 1000; first < 1000 + 2 * TokenCache::kMostRows; first += 200) {
      allocations_of(*model, words(first, 200));
    }
  }
  const std::size_t few = allocations_of(*model, words(0, 2));
  CHECK_EQ(allocations_of(*model, words(9000, 200)), few);
  CHECK_EQ(allocations_of(*model, words(9000, 200)), few);
}

}  // namespace

int main(int count, char** arguments) {
  std::mt19937 rng(5);
  const models::Sizes sizes{96, 20, 10, 2};
  std::vector<std::pair<std::string, std::string>> files = {
      {"encoder", models::encoder(rng, sizes, 9)},
      {"classifier", models::classifier(rng, sizes)},
  };
  for (const char* projection :
       {R"(,"ngram_size":64,"eos":true)", R"(,"split":"space","normalize_repetition":true)",
        R"(,"hash":"xfixhash16","split":"codepoints","separators":".,")",
        R"(,"novelty_bits":2,"first_cap":1.0,"doc_size_levels":3)"}) {
    files.emplace_back(projection, models::encoder(rng, {96, 20, 10, 2, projection}, 9));
  }
  for (const Kernels* const* entry = available_kernels(); *entry; ++entry) {
    CHECK(select_kernels((*entry)->name));
    for (const auto& [name, file] : files) check_model(name, file);
    for (int i = 1; i < count; ++i) {
      for (const char* name : {"embedding", "embedding-ifo-skip", "classes"}) {
        check_model(name, read_file(std::string(arguments[i]) + "/" + name + ".safetensors"));
      }
    }
  }
  select_kernels(available_kernels()[0]->name);
  check_full_cache(files[0].second);
  return check::report();
}
