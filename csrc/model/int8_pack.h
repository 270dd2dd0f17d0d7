// Weights of 8-bit products in the order of kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"
#include "model/buffer.h"

namespace pqrnn {

template <class Number>
Buffer<Number> zero_buffer(std::size_t size) {
  Buffer<Number> buffer(size);
  std::fill_n(buffer.data(), size, Number(0));
  return buffer;
}

// Packed columns of a product, the start of their sums, and what makes the sums real.
struct Int8Columns {
  Buffer<std::int8_t> weights;
  Buffer<std::int32_t> init;
  FloatBuffer multiplier;
  FloatBuffer bias;

  std::size_t bytes() const {
    return weights.size() + init.size() * sizeof(std::int32_t) +
           (multiplier.size() + bias.size()) * sizeof(float);
  }
};

// What the first layer reads: most of a bottleneck is 0.
inline Int8Inputs first_inputs(const Kernels& kernels) {
  return kernels.int8.sparse ? Int8Inputs::sparse : Int8Inputs::any;
}

class Int8Packer {
 public:
  // `groups` vectors of columns side by side; inputs have the zero point `zero`.
  Int8Packer(const Kernels& kernels, std::size_t depth, std::size_t columns, std::size_t groups,
             int zero, Int8Columns& out, Int8Inputs inputs = Int8Inputs::any)
      : lanes_(kernels.int8.lanes),
        sparse_(inputs == Int8Inputs::sparse),
        width_(lanes_ * (sparse_ ? 4 : groups)),
        depth_(depth),
        shift_(offset(kernels.int8, inputs) - zero),
        out_(out) {
    out.weights = zero_buffer<std::int8_t>(depth * (sparse_ ? round_up(columns, width_) : columns));
    out.init = zero_buffer<std::int32_t>(columns);
    out.multiplier = zero_buffer<float>(columns);
    out.bias = zero_buffer<float>(columns);
  }

  // Not for sparse inputs.
  void put(std::size_t column, std::size_t input, std::int8_t weight) {
    out_.weights[column / width_ * width_ * depth_ + input / 4 * 4 * width_ + column % width_ * 4 +
                 input % 4] = weight;
    out_.init[column] += shift_ * weight;
  }

  // The inputs of a column from the first on: what put() does with each, without its divisions.
  void put_column(std::size_t column, const std::int8_t* weights, std::size_t inputs) {
    std::int8_t* to = out_.weights.data() + column / width_ * width_ * depth_;
    const std::size_t c = column % width_;
    std::int32_t sum = 0;
    if (sparse_) {
      to += c % lanes_ / 4 * 16 + c / lanes_ * 4 + c % 4;
      for (std::size_t i = 0; i < inputs; ++i) to[i * width_] = weights[i];
    } else {
      to += c * 4;
      for (std::size_t i = 0; i + 4 <= inputs; i += 4) std::memcpy(to + i * width_, weights + i, 4);
      for (std::size_t i = inputs / 4 * 4; i < inputs; ++i) {
        to[inputs / 4 * 4 * width_ + i % 4] = weights[i];
      }
    }
    for (std::size_t i = 0; i < inputs; ++i) sum += weights[i];
    out_.init[column] += shift_ * sum;
  }

 private:
  static int offset(const Int8Kernels& kernels, Int8Inputs inputs) {
    if (inputs == Int8Inputs::sparse) return 0;
    return inputs == Int8Inputs::ternary ? kernels.ternary_offset : kernels.input_offset;
  }

  const std::size_t lanes_;
  const bool sparse_;
  const std::size_t width_, depth_;
  const int shift_;
  Int8Columns& out_;
};

}  // namespace pqrnn
