// The 8-bit engine: kernels of every instruction set against the reference's, activations against
// float64, and the golden vectors of tests/golden (a folder given as the first argument), which
// NumPy worked out.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "files.h"
#include "kernels/kernels.h"
#include "model/encoder.h"
#include "model/json.h"

using namespace pqrnn;

namespace {

std::mt19937 rng(1);

template <class Number>
std::vector<Number> whole(std::size_t size, int low, int high) {
  std::uniform_int_distribution<int> uniform(low, high);
  std::vector<Number> values(size);
  for (Number& value : values) value = static_cast<Number>(uniform(rng));
  return values;
}

std::vector<float> real(std::size_t size, float scale) {
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> values(size);
  for (float& value : values) value = uniform(rng);
  return values;
}

// weights [columns, depth] to [columns / (groups lanes), depth / 4, groups, lanes, 4].
std::vector<std::int8_t> pack(const std::vector<std::int8_t>& weights, std::size_t depth,
                              std::size_t width) {
  std::vector<std::int8_t> packed(weights.size());
  for (std::size_t c = 0; c < weights.size() / depth; ++c) {
    for (std::size_t d = 0; d < depth; ++d) {
      packed[c / width * width * depth + d / 4 * 4 * width + c % width * 4 + d % 4] =
          weights[c * depth + d];
    }
  }
  return packed;
}

void test_linear(const Int8Kernels& kernels) {
  for (const std::size_t depth : {4, 64, 132, 1024}) {
    for (const std::size_t columns : {32, 96}) {
      for (const std::size_t count : {1, 2, 11, 12, 13, 40}) {
        const bool ternary = count % 2 == 1;
        auto input = whole<std::uint8_t>(count * depth, 0, ternary ? 2 : 255);
        auto weights = whole<std::int8_t>(columns * depth, -127, 127);
        // A row and two columns whose sums are the largest that there can be.
        std::fill_n(input.begin(), depth, static_cast<std::uint8_t>(ternary ? 2 : 0));
        std::fill_n(weights.begin(), depth, std::int8_t{-127});
        std::fill_n(weights.begin() + static_cast<std::ptrdiff_t>(depth), depth, std::int8_t{127});
        const auto init = whole<std::int32_t>(columns, -1000, 1000);
        const auto packed = pack(weights, depth, 2 * kernels.lanes);
        std::vector<std::int32_t> found(count * columns, 77);
        Int8LinearArgs args = {};
        args.input = input.data();
        args.input_stride = args.depth = depth;
        args.weights = packed.data();
        args.init = init.data();
        args.columns = args.output_stride = columns;
        args.count = count;
        args.output = found.data();
        args.inputs = ternary ? Int8Inputs::ternary : Int8Inputs::any;
        kernels.linear(args);
        const auto multiplier = real(columns, 1e-3f), bias = real(columns, 200.0f);
        const auto others = whole<std::int32_t>(count * columns, -50000, 50000);
        const std::int32_t* before = count % 4 < 2 ? nullptr : others.data();
        std::vector<std::uint8_t> bytes(count * columns);
        kernels.relu({args, before, multiplier.data(), bias.data(), bytes.data()});
        bool equal = true;
        for (std::size_t i = 0; i < count; ++i) {
          for (std::size_t c = 0; c < columns; ++c) {
            const int offset = ternary ? kernels.ternary_offset : kernels.input_offset;
            std::int64_t sum = init[c];
            for (std::size_t d = 0; d < depth; ++d) {
              sum += std::int64_t{input[i * depth + d] - offset} * weights[c * depth + d];
            }
            equal &= found[i * columns + c] == sum;
            if (before) sum += before[i * columns + c];
            const float scaled = static_cast<float>(sum) * multiplier[c];
            const float y = std::fmin(std::fmax(scaled + bias[c], 0.0f), 255.0f);
            equal &= bytes[i * columns + c] == std::nearbyint(y);
          }
        }
        CHECK(equal);
        std::int32_t dot = 0;
        for (std::size_t d = 0; d < depth; ++d) dot += input[d] * weights[d];
        CHECK_EQ(kernels.dot(input.data(), weights.data(), depth), dot);
        CHECK_EQ(kernels.dot(input.data(), weights.data(), depth - 1),
                 dot - input[depth - 1] * weights[depth - 1]);
      }
    }
  }
}

// Inputs between none and all of them not 0, and the largest sums of two that there can be.
void test_sparse(const Int8Kernels& kernels) {
  if (!kernels.sparse) return;
  const std::size_t lanes = kernels.lanes, width = 4 * lanes;
  for (const std::size_t depth : {4, 224, 256, 260, 1024}) {
    for (const std::size_t columns : {32, 96, 1536}) {
      for (const std::size_t count : {1, 15, 16, 33}) {
        const std::size_t stride = depth + 4;
        auto input = whole<std::uint8_t>(count * stride, 0, 255);
        for (std::size_t i = 1; i < count; ++i) {
          for (std::size_t d = 0; d < depth; ++d) {
            if (rng() % 16 > i % 17) input[i * stride + d] = 0;
          }
        }
        std::fill_n(input.begin(), depth, std::uint8_t{255});
        auto weights = whole<std::int8_t>(columns * depth, -127, 127);
        std::fill_n(weights.begin(), depth, std::int8_t{-127});
        std::fill_n(weights.begin() + static_cast<std::ptrdiff_t>(depth), depth, std::int8_t{127});
        std::vector<std::int8_t> packed((columns + width - 1) / width * width * depth);
        for (std::size_t c = 0; c < columns; ++c) {
          const std::size_t place = c % lanes / 4 * 16 + c / lanes % 4 * 4 + c % 4;
          for (std::size_t d = 0; d < depth; ++d) {
            packed[(c / width * depth + d) * width + place] = weights[c * depth + d];
          }
        }
        const auto init = whole<std::int32_t>(columns, -1000, 1000);
        std::vector<std::int32_t> found(count * (columns + 8), 77);
        Int8LinearArgs args = {};
        args.input = input.data();
        args.input_stride = stride;
        args.depth = depth;
        args.weights = packed.data();
        args.init = init.data();
        args.columns = columns;
        args.count = count;
        args.output = found.data();
        args.output_stride = columns + 8;
        args.inputs = Int8Inputs::sparse;
        kernels.linear(args);
        bool equal = true;
        for (std::size_t i = 0; i < count; ++i) {
          for (std::size_t c = 0; c < columns + 8; ++c) {
            std::int64_t sum = c < columns ? init[c] : 77;
            for (std::size_t d = 0; c < columns && d < depth; ++d) {
              sum += std::int64_t{input[i * stride + d]} * weights[c * depth + d];
            }
            equal &= found[i * (columns + 8) + c] == sum;
          }
        }
        CHECK(equal);
      }
    }
  }
}

bool near_half(double x) { return std::fabs(x - std::floor(x) - 0.5) < 0.01; }

// A layer of one text whose weights are zero: gates come from the biases alone, and the scan can be
// followed in float64. Tests activations, grids and the order of states.
void test_gates(const Int8Kernels& kernels) {
  constexpr std::size_t kState = 16, kGates = 3, kRows = 9;
  const std::vector<std::uint8_t> input((kRows + 2) * 32, kStateZero);
  const std::vector<std::int8_t> weights(kState * kGates * 2 * 32, 0);
  const std::vector<std::int32_t> init(kState * kGates, 0);
  auto bias = real(kState * kGates, 5.0f);
  // Not between two points of a grid, where the kernels' tanh may round to the other one.
  for (float& b : bias) {
    while (near_half(127.0 * std::tanh(double{b})) ||
           near_half(127.5 + 127.5 * std::tanh(double{b}))) {
      b = real(1, 5.0f)[0];
    }
  }
  const std::vector<float> multiplier(kState * kGates, 1.0f);
  std::vector<float> carry(kState, 0.0f);
  std::vector<std::uint32_t> rows;
  for (std::uint32_t r = 1; r <= kRows; ++r) rows.push_back(r);
  for (const bool backward : {false, true}) {
    std::vector<std::uint8_t> output((kRows + 2) * kState, 7);
    Int8QrnnArgs args = {};
    args.input = input.data();
    args.channels = 32;
    args.kernel = 2;
    args.gates = kGates;
    args.weights = weights.data();
    args.init = init.data();
    args.multiplier = multiplier.data();
    args.bias = bias.data();
    args.state = kState;
    args.backward = backward;
    args.rows = rows.data();
    args.count = args.end = kRows;
    args.carry = carry.data();
    args.output = output.data();
    args.output_stride = kState;
    kernels.qrnn(args);
    for (std::size_t h = 0; h < kState; ++h) {
      const float* b = bias.data() + h / kernels.lanes * kGates * kernels.lanes + h % kernels.lanes;
      const double z = std::nearbyint(127.0 * std::tanh(double{b[0]})) / 127.0;
      const auto gate = [&](std::size_t g) {  // on its grid
        return std::nearbyint(127.5 + 127.5 * std::tanh(double{b[g * kernels.lanes]})) / 255.0;
      };
      const double f = gate(1), o = gate(2);
      double c = 0.0;
      for (std::size_t t = 0; t < kRows; ++t) {
        c = f * c + (1.0 - f) * z;
        const std::size_t row = backward ? kRows - t : t + 1;
        CHECK(std::fabs(output[row * kState + h] - kStateZero - 127.0 * o * c) < 0.501);
      }
    }
    CHECK_EQ(int{output[0]}, 7);
    CHECK_EQ(int{output[(kRows + 1) * kState]}, 7);
  }
}

void test_floats(const Int8Kernels& kernels, const Int8Kernels& reference) {
  for (const std::size_t count : {1, 2, 7, 16, 17, 100}) {
    const auto logits = real(count, 30.0f);
    auto found = logits, expected = logits;
    kernels.softmax(found.data(), count);
    reference.softmax(expected.data(), count);
    CHECK(std::memcmp(found.data(), expected.data(), count * sizeof(float)) == 0);
    double sum = 0.0, largest = -1e9;
    for (const float x : logits) largest = std::fmax(largest, double{x});
    for (const float x : logits) sum += std::exp(x - largest);
    for (std::size_t j = 0; j < count; ++j) {
      CHECK(std::fabs(found[j] - std::exp(logits[j] - largest) / sum) < 1e-6);
    }
    found = expected = logits;
    kernels.sigmoid(found.data(), count);
    reference.sigmoid(expected.data(), count);
    CHECK(std::memcmp(found.data(), expected.data(), count * sizeof(float)) == 0);
    for (std::size_t j = 0; j < count; ++j) {
      CHECK(std::fabs(found[j] - 1.0 / (1.0 + std::exp(-double{logits[j]}))) < 1e-6);
    }
    const auto bytes = whole<std::uint8_t>(count, 0, 255);
    found = expected = logits;
    kernels.add_scaled(0.37f, bytes.data(), 128, found.data(), count);
    reference.add_scaled(0.37f, bytes.data(), 128, expected.data(), count);
    CHECK(std::memcmp(found.data(), expected.data(), count * sizeof(float)) == 0);
  }
}

bool read_bits(JsonReader& json, std::vector<float>& values) {
  std::string digits;
  if (!json.begin_array()) return false;
  while (json.next_item()) {
    if (!json.read_string(digits)) return false;
    const auto bits = static_cast<std::uint32_t>(std::stoul(digits, nullptr, 16));
    values.emplace_back();
    std::memcpy(&values.back(), &bits, sizeof bits);
  }
  return true;
}

bool same_bits(const float* found, const std::vector<float>& expected) {
  return expected.empty() ||
         std::memcmp(found, expected.data(), expected.size() * sizeof(float)) == 0;
}

void test_golden(const std::string& folder, const std::string& name) {
  const std::string file = read_file(folder + "/" + name + ".safetensors");
  std::unique_ptr<Model> model;
  if (!CHECK(Model::load(file.data(), file.size(), model).ok())) return;
  std::istringstream lines(read_file(folder + "/" + name + ".jsonl"));
  std::string line;
  int texts = 0;
  for (; std::getline(lines, line); ++texts) {
    std::string key, text;
    std::vector<float> outputs, slots;
    JsonReader json(line);
    CHECK(json.begin_object());
    while (json.next_key(key)) {
      CHECK(key == "text" ? json.read_string(text)
                          : read_bits(json, key == "slots" ? slots : outputs));
    }
    const std::string_view view = text;
    EncodeOptions options;
    options.normalize = false;
    std::vector<float> found(model->config().head_size());
    CHECK_EQ(found.size(), outputs.size());
    if (model->config().task == Task::parsing) {
      std::vector<ParsedTexts> groups;
      CHECK(model->parse(&view, 1, options, found.data(), groups).ok());
      CHECK_EQ(groups[0].slots.size(), slots.size());
      CHECK(same_bits(groups[0].slots.data(), slots));
    } else {
      CHECK(model->encode(&view, 1, options, found.data()).ok());
    }
    CHECK(same_bits(found.data(), outputs));
  }
  CHECK(texts >= 5);
}

}  // namespace

int main(int count, char** arguments) {
  const Kernels* reference = nullptr;
  for (auto entry = available_kernels(); *entry; ++entry) reference = *entry;
  for (auto entry = available_kernels(); *entry; ++entry) {
    std::printf("%s\n", (*entry)->name);
    test_linear((*entry)->int8);
    test_sparse((*entry)->int8);
    test_gates((*entry)->int8);
    test_floats((*entry)->int8, reference->int8);
    if (!CHECK(count > 1)) break;
    select_kernels((*entry)->name);
    for (const char* name : {"embedding", "embedding-ifo-skip", "classes", "parser"}) {
      test_golden(arguments[1], name);
    }
  }
  return check::report();
}
