// Features of texts as written down, on every instruction set of whatever machine this runs on:
//
//   test_golden FILE...        with files as scripts/make_golden_projection.py writes them
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "files.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "projection/projector.h"

using namespace pqrnn;

namespace {

std::uint64_t fnv1a(const std::vector<std::int8_t>& data) {
  std::uint64_t value = 0xCBF29CE484222325u;
  for (const std::int8_t byte : data) {
    value = (value ^ static_cast<std::uint8_t>(byte)) * 0x100000001B3u;
  }
  return value;
}

std::string from_hex(const std::string& hex) {
  std::string text;
  if (hex == "-") return text;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return text;
}

void check_text(const Projector& projector, const std::string& text, std::size_t positions,
                std::uint64_t digest) {
  Projected out;
  CHECK(projector.project(text, out).ok());
  CHECK_EQ(out.positions, positions);
  std::vector<std::int8_t> features(out.positions * projector.settings().feature_size);
  projector.features(out, 0, out.positions, features.data());
  CHECK_EQ(fnv1a(features), digest);
}

void check_file(const char* path) {
  std::istringstream file(read_file(path));
  std::string line;
  Projector projector{ProjectionSettings{}};
  std::size_t texts = 0;
  while (std::getline(file, line)) {
    if (line[0] == '{') {
      ModelConfig config;
      const Status status = parse_config(line, config);
      CHECK_EQ(status.message, "");
      projector = Projector(config.projection);
      continue;
    }
    const std::size_t first = line.find(' '), second = line.find(' ', first + 1);
    const std::string text = from_hex(line.substr(0, first));
    const std::size_t positions = std::stoul(line.substr(first + 1));
    const std::uint64_t digest = std::stoull(line.substr(second + 1), nullptr, 16);
    for (const Kernels* const* entry = available_kernels(); *entry; ++entry) {
      CHECK(select_kernels((*entry)->name));
      check_text(projector, text, positions, digest);
    }
    ++texts;
  }
  std::printf("%s: %zu texts\n", path, texts);
  CHECK(texts > 200);
}

}  // namespace

int main(int count, char** files) {
  std::printf("instruction sets:");
  for (const Kernels* const* entry = available_kernels(); *entry; ++entry) {
    std::printf(" %s", (*entry)->name);
  }
  std::printf("\n");
  for (int i = 1; i < count; ++i) check_file(files[i]);
  return check::report();
}
