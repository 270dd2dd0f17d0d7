// Dense kernels of every instruction set against the reference and against float64, at widths
// around the register sizes.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/kernels.h"

using namespace pqrnn;

namespace {

using Floats = std::vector<float>;

std::mt19937 rng(1);

Floats random(std::size_t size, float scale = 1.0f) {
  std::uniform_real_distribution<float> uniform(-scale, scale);
  Floats values(size);
  for (float& value : values) value = uniform(rng);
  return values;
}

const Kernels& reference() {
  const Kernels* const* entry = available_kernels();
  while (entry[1]) ++entry;
  return **entry;  // the last of the list
}

double largest_error(const Floats& a, const Floats& b) {
  double largest = a.size() == b.size() ? 0.0 : 1e30;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double error = std::fabs(double(a[i]) - b[i]);
    if (!(error <= largest)) largest = error;
  }
  return largest;
}

bool same_bits(const float* a, const float* b, std::size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

// Distance in units of the last place of the exact value.
double ulps(float found, double exact) {
  const float magnitude = std::fabs(static_cast<float>(exact));
  const float unit = std::nextafter(magnitude, 3e38f) - magnitude;
  return std::fabs(found - exact) / unit;
}

void test_activations(const DenseKernels& dense, bool is_reference) {
  Floats x;
  for (int i = -20000; i <= 20000; ++i) x.push_back(static_cast<float>(i) * 1e-3f);
  for (float size = 1e-30f; size < 1e30f; size *= 1.07f) {
    x.push_back(size);
    x.push_back(-size);
  }
  Floats s = x, t = x;
  dense.sigmoid(s.data(), s.size());
  dense.tanh(t.data(), t.size());
  double sigmoid_error = 0.0, tanh_error = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] > -87.0f) {  // where the result is a normal number
      sigmoid_error = std::max(sigmoid_error, ulps(s[i], 1.0 / (1.0 + std::exp(-double(x[i])))));
    }
    tanh_error = std::max(tanh_error, ulps(t[i], std::tanh(double(x[i]))));
    CHECK(s[i] >= 0.0f && s[i] <= 1.0f && std::fabs(t[i]) <= 1.0f);
  }
  CHECK(sigmoid_error <= (is_reference ? 0.51 : 4.0));
  CHECK(tanh_error <= (is_reference ? 0.51 : 6.0));

  const float infinity = std::numeric_limits<float>::infinity();
  Floats special = {infinity, -infinity, std::nanf(""), 0.0f, 3e38f, -3e38f};
  Floats tanhs = special;
  dense.tanh(tanhs.data(), tanhs.size());
  CHECK(tanhs[0] == 1.0f && tanhs[1] == -1.0f && std::isnan(tanhs[2]) && tanhs[3] == 0.0f);
  dense.sigmoid(special.data(), special.size());
  CHECK(special[0] == 1.0f && special[1] < 1e-37f && std::isnan(special[2]));
  CHECK(special[3] == 0.5f && special[4] == 1.0f && special[5] < 1e-37f);
}

void test_softmax(const DenseKernels& dense) {
  for (std::size_t count : {1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 1000}) {
    const Floats x = random(count, 20.0f);
    Floats found = x;
    dense.softmax(found.data(), count);
    double sum = 0.0, largest = *std::max_element(x.begin(), x.end());
    for (float value : x) sum += std::exp(value - largest);
    for (std::size_t i = 0; i < count; ++i) {
      CHECK(std::fabs(found[i] - std::exp(x[i] - largest) / sum) < 1e-6);
    }
  }
}

void test_dot_and_add(const DenseKernels& dense) {
  for (std::size_t count : {16, 32, 48, 256}) {
    const Floats a = random(count), b = random(count);
    double exact = 0.0;
    for (std::size_t j = 0; j < count; ++j) exact += double(a[j]) * b[j];
    CHECK(std::fabs(dense.dot(a.data(), b.data(), count) - exact) < 1e-5);
  }
  for (std::size_t count : {0, 1, 3, 16, 17, 100}) {
    const Floats x = random(count), y = random(count);
    Floats found = y;
    dense.add_scaled(0.3f, x.data(), found.data(), count);
    for (std::size_t j = 0; j < count; ++j) CHECK(std::fabs(found[j] - (y[j] + 0.3 * x[j])) < 1e-6);
  }
}

// weights [rows, columns] row-major to LinearArgs::weights.
Floats pack_linear(const Floats& weights, std::size_t depth, std::size_t columns,
                   std::size_t lanes) {
  Floats packed(weights.size());
  const std::size_t group = 2 * lanes;
  for (std::size_t c = 0; c < columns; ++c) {
    for (std::size_t d = 0; d < depth; ++d) {
      packed[c / group * group * depth + d * group + c % group] = weights[c * depth + d];
    }
  }
  return packed;
}

void test_linear(const DenseKernels& dense) {
  for (std::size_t depth : {16, 48}) {
    for (std::size_t columns : {32, 96}) {
      const Floats weights = random(columns * depth), bias = random(columns);
      const Floats packed = pack_linear(weights, depth, columns, dense.lanes);
      const std::size_t most = 40, stride = columns + 5;
      const Floats input = random(most * depth);
      Floats all(most * stride, 77.0f);
      for (std::size_t count = most; count > 0; --count) {
        Floats output(most * stride, 77.0f);
        dense.linear({input.data(), depth, packed.data(), bias.data(), columns, count,
                      output.data(), stride});
        if (count == most) all = output;
        for (std::size_t i = 0; i < most; ++i) {
          if (i >= count) {
            CHECK(output[i * stride] == 77.0f);
            continue;
          }
          // A row has the same bits whatever the number of rows.
          CHECK(same_bits(&output[i * stride], &all[i * stride], columns));
          CHECK(output[i * stride + columns] == 77.0f);
        }
      }
      for (std::size_t i = 0; i < most; ++i) {
        for (std::size_t c = 0; c < columns; ++c) {
          double exact = bias[c];
          for (std::size_t d = 0; d < depth; ++d) {
            exact += double(input[i * depth + d]) * weights[c * depth + d];
          }
          CHECK(std::fabs(all[i * stride + c] - exact) < 2e-5);
        }
      }
    }
  }
}

void test_ternary(const DenseKernels& dense) {
  for (std::size_t words : {1, 2, 3, 5}) {
    for (std::size_t width : {16, 128, 144, 272}) {
      const std::size_t features = 32 * words, extras = words % 3, count = 7;
      const std::size_t padded = (words + 1) / 2 * 64;
      const Floats weights = random(features * width), bias = random(width);  // [feature, width]
      const Floats extra_weights = random(extras * width), extra = random(count * extras);
      Floats packed(padded * width, 0.0f);
      const std::size_t block = ternary_block(dense.lanes);
      for (std::size_t c = 0; c < width; ++c) {
        const std::size_t first = c / block * block, columns = std::min(block, width - first);
        for (std::size_t f = 0; f < features; ++f) {
          packed[first * padded + ternary_row(f) * columns + c - first] = weights[f * width + c];
        }
      }
      std::vector<std::uint64_t> codes(count * words);
      for (auto& word : codes) word = std::uint64_t{rng()} << 32 | rng();
      codes[0] = ~std::uint64_t{0};  // only code 3, which is zero
      const std::vector<std::uint32_t> rows = {1, 2, 3, 5, 8, 9, 11};
      Floats output(12 * width, 77.0f);
      dense.ternary({codes.data(), words, extra.data(), extras, packed.data(), extra_weights.data(),
                     bias.data(), width, rows.data(), count, output.data()});
      for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t c = 0; c < width; ++c) {
          double exact = bias[c];
          for (std::size_t f = 0; f < features; ++f) {
            const int code = codes[i * words + f / 32] >> (f % 32 * 2) & 3;
            exact += (code == 1) * double(weights[f * width + c]);
            exact -= (code == 2) * double(weights[f * width + c]);
          }
          for (std::size_t e = 0; e < extras; ++e) {
            exact += double(extra[i * extras + e]) * extra_weights[e * width + c];
          }
          CHECK(std::fabs(output[rows[i] * width + c] - std::max(exact, 0.0)) < 3e-5);
        }
      }
      CHECK(output[0] == 77.0f && output[4 * width] == 77.0f);
    }
  }
}

// A ragged group: lengths 1, 5, 20, 2, 30 with gaps.
std::vector<std::uint32_t> row_list(std::size_t gap) {
  std::vector<std::uint32_t> rows;
  std::uint32_t row = static_cast<std::uint32_t>(gap);
  for (int length : {1, 5, 20, 2, 30}) {
    for (int t = 0; t < length; ++t) rows.push_back(row++);
    row += static_cast<std::uint32_t>(gap);
  }
  return rows;
}

struct Layer {
  std::size_t channels, kernel, gates, state;
  Floats weights, bias;  // [gates, state, kernel, channels], [gates, state]

  Floats pack(std::size_t lanes) const {
    Floats packed(weights.size());
    const std::size_t depth = kernel * channels;
    for (std::size_t g = 0; g < gates; ++g) {
      for (std::size_t h = 0; h < state; ++h) {
        for (std::size_t d = 0; d < depth; ++d) {
          packed[((h / lanes * depth + d) * gates + g) * lanes + h % lanes] =
              weights[(g * state + h) * depth + d];
        }
      }
    }
    return packed;
  }
  Floats pack_bias(std::size_t lanes) const {
    Floats packed(bias.size());
    for (std::size_t g = 0; g < gates; ++g) {
      for (std::size_t h = 0; h < state; ++h) {
        packed[(h / lanes * gates + g) * lanes + h % lanes] = bias[g * state + h];
      }
    }
    return packed;
  }
};

// `parts`: how many rows at a time.
Floats run_qrnn(const DenseKernels& dense, const Layer& layer, const Floats& input, bool backward,
                const std::vector<std::uint32_t>& rows, std::size_t height, std::size_t parts) {
  const Floats weights = layer.pack(dense.lanes), bias = layer.pack_bias(dense.lanes);
  const std::size_t stride = 2 * layer.state;
  Floats output(height * stride, 0.0f), carry(layer.state, 5.0f);  // ignored: a text starts
  QrnnArgs args = {input.data(),
                   layer.channels,
                   layer.kernel,
                   layer.gates,
                   weights.data(),
                   bias.data(),
                   layer.state,
                   backward,
                   rows.data(),
                   rows.size(),
                   0,
                   0,
                   carry.data(),
                   output.data() + (backward ? layer.state : 0),
                   stride};
  const std::size_t count = (rows.size() + parts - 1) / parts;
  for (std::size_t i = 0; i < count; ++i) {
    args.begin = parts * (backward ? count - 1 - i : i);
    args.end = std::min(args.begin + parts, rows.size());
    dense.qrnn(args);
  }
  return output;
}

// The same by products of single positions, as the first layer does it.
Floats run_taps(const DenseKernels& dense, const Layer& layer, const Floats& input, bool backward,
                const std::vector<std::uint32_t>& rows, std::size_t height) {
  const std::size_t tap = layer.gates * layer.state, lanes = dense.lanes, offset = 3;
  Floats products(rows.size() * (offset + layer.kernel * tap));
  std::vector<const float*> pointers;
  const std::size_t own = backward ? 0 : layer.kernel - 1;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    float* product = products.data() + i * (offset + layer.kernel * tap);
    pointers.push_back(product);
    for (std::size_t j = 0; j < layer.kernel; ++j) {
      for (std::size_t g = 0; g < layer.gates; ++g) {
        for (std::size_t h = 0; h < layer.state; ++h) {
          double sum = j == own ? layer.bias[g * layer.state + h] : 0.0f;
          for (std::size_t c = 0; c < layer.channels; ++c) {
            sum += double(input[rows[i] * layer.channels + c]) *
                   layer.weights[((g * layer.state + h) * layer.kernel + j) * layer.channels + c];
          }
          product[offset + j * tap + (h / lanes * layer.gates + g) * lanes + h % lanes] =
              static_cast<float>(sum);
        }
      }
    }
  }
  const std::size_t stride = 2 * layer.state;
  Floats output(height * stride, 0.0f), carry(layer.state, 5.0f);
  TapsArgs args = {pointers.data(),
                   offset,
                   layer.kernel,
                   layer.gates,
                   layer.state,
                   backward,
                   rows.data(),
                   rows.size(),
                   0,
                   0,
                   carry.data(),
                   output.data() + (backward ? layer.state : 0),
                   stride};
  const std::size_t half = rows.size() / 2;
  for (int part : {0, 1}) {
    const bool first = (part == 0) != backward;
    args.begin = first ? 0 : half;
    args.end = first ? half : rows.size();
    dense.taps(args);
  }
  return output;
}

void test_layers(const DenseKernels& dense) {
  for (std::size_t gates : {2, 3, 4}) {
    for (std::size_t kernel : {1, 2, 5}) {
      Layer layer = {
          32, kernel, gates, 48, random(gates * 48 * kernel * 32, 0.3f), random(gates * 48)};
      const std::size_t gap = std::max<std::size_t>(1, kernel - 1);
      const std::vector<std::uint32_t> rows = row_list(gap);
      const std::size_t height = rows.back() + 1 + gap;
      Floats input(height * layer.channels, 0.0f);
      for (std::uint32_t row : rows) {
        const Floats values = random(layer.channels);
        std::copy(values.begin(), values.end(), &input[row * layer.channels]);
      }
      for (bool backward : {false, true}) {
        const Floats expected =
            run_qrnn(reference().dense, layer, input, backward, rows, height, 1000);
        const Floats whole = run_qrnn(dense, layer, input, backward, rows, height, 1000);
        CHECK(largest_error(whole, expected) < 3e-6);
        CHECK(largest_error(run_taps(dense, layer, input, backward, rows, height), expected) <
              3e-6);
        for (std::size_t parts : {1, 3, 7, 29}) {
          const Floats cut = run_qrnn(dense, layer, input, backward, rows, height, parts);
          CHECK(same_bits(cut.data(), whole.data(), whole.size()));
        }
        // Each text alone has the same bits as among others.
        for (std::size_t begin = 0, end; begin < rows.size(); begin = end) {
          end = begin + 1;
          while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
          const std::vector<std::uint32_t> own(rows.begin() + static_cast<std::ptrdiff_t>(begin),
                                               rows.begin() + static_cast<std::ptrdiff_t>(end));
          const Floats alone = run_qrnn(dense, layer, input, backward, own, height, 1000);
          const std::size_t at = own[0] * 2 * layer.state;
          CHECK(same_bits(&alone[at], &whole[at], own.size() * 2 * layer.state));
        }
      }
    }
  }
}

}  // namespace

int main() {
  for (const Kernels* const* entry = available_kernels(); *entry; ++entry) {
    const DenseKernels& dense = (*entry)->dense;
    std::printf("%s\n", (*entry)->name);
    test_activations(dense, *entry == &reference());
    test_softmax(dense);
    test_dot_and_add(dense);
    test_linear(dense);
    test_ternary(dense);
    test_layers(dense);
  }
  return check::report();
}
