// Fuzz target: bytes as a model file; what loads must also run.
//
//   clang++ -std=c++17 -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc -pthread
//     tests/fuzz/fuzz_model.cpp <build with -DPQRNN_SANITIZE=address,undefined>/libpqrnn.a -o
//     fuzz_model
//   ./fuzz_model -max_len=65536 corpus/        with small model files as the corpus
//
// Without -fsanitize=fuzzer, define PQRNN_FUZZ_REPLAY: main() then runs the files it is given.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "model/encoder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::unique_ptr<pqrnn::Model> model;
  const pqrnn::Status status = pqrnn::Model::load(data, size, model);
  if (status.ok() != (model != nullptr)) __builtin_trap();
  if (!model) return 0;
  const std::string_view texts[] = {"a few words", "", "a \xFF\xC3"};
  if (model->config().task == pqrnn::Task::parsing) {
    std::vector<float> intents(3 * model->config().intents.size());
    std::vector<pqrnn::ParsedTexts> groups;
    if (!model->parse(texts, 3, {}, intents.data(), groups).ok()) __builtin_trap();
  } else {
    std::vector<float> out(3 * model->output_size());
    if (!model->encode(texts, 3, {}, out.data()).ok()) __builtin_trap();
  }
  return 0;
}

#if defined(PQRNN_FUZZ_REPLAY)
#include <fstream>
#include <iterator>

int main(int count, char** files) {
  for (int i = 1; i < count; ++i) {
    std::ifstream file(files[i], std::ios::binary);
    const std::vector<char> data{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(data.data()), data.size());
  }
  return 0;
}
#endif
