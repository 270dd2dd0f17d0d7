#include "model/tensor_reader.h"

#include <cstring>

namespace pqrnn {
namespace {

// IEEE half precision, finite values only: the exponent field moves into place, and a
// multiplication by 2^112 corrects its bias, subnormals included.
float from_half(std::uint16_t half) {
  const std::uint32_t bits = static_cast<std::uint32_t>(half & 0x7fff) << 13;
  float magnitude;
  std::memcpy(&magnitude, &bits, sizeof magnitude);
  magnitude *= 5.192296858534828e33f;
  return half & 0x8000 ? -magnitude : magnitude;
}

void copy_f32(const TensorView& tensor, std::vector<float>& values) {
  values.resize(tensor.elements);
  std::memcpy(values.data(), tensor.data, tensor.bytes);
}

void copy_f16(const TensorView& tensor, std::vector<float>& values) {
  values.resize(tensor.elements);
  for (std::size_t i = 0; i < tensor.elements; ++i) {
    std::uint16_t half;
    std::memcpy(&half, tensor.data + 2 * i, 2);
    values[i] = from_half(half);
  }
}

// Two weights a byte, -8 to 7 in two's complement, the earlier one in the low half.
void unpack_4bit(const TensorView& tensor, std::int8_t* values) {
  const auto weight = [](unsigned half) { return static_cast<std::int8_t>((half ^ 8) - 8); };
  for (std::size_t i = 0; i < tensor.elements; ++i) {
    *values++ = weight(tensor.data[i] & 15u);
    *values++ = weight(tensor.data[i] >> 4);
  }
}

// Four weights a byte, the earliest one lowest: 0 to 3 for -3, -1, 1 and 3.
void unpack_2bit(const TensorView& tensor, std::int8_t* values) {
  for (std::size_t i = 0; i < tensor.elements; ++i) {
    for (unsigned shift = 0; shift < 8; shift += 2) {
      *values++ = static_cast<std::int8_t>(2 * static_cast<int>(tensor.data[i] >> shift & 3) - 3);
    }
  }
}

}  // namespace

void TensorReader::floats(const std::string& name, std::vector<float>& values) const {
  copy_f32(*file_.tensor(name), values);
}

void TensorReader::weight(const std::string& name, std::vector<float>& values) const {
  const TensorView& tensor = *file_.tensor(name);
  if (tensor.dtype == Dtype::f32) return copy_f32(tensor, values);
  if (tensor.dtype == Dtype::f16) return copy_f16(tensor, values);
  std::vector<std::int8_t> whole;
  std::vector<float> scales;
  whole_weight(name, whole, scales);
  values.resize(whole.size());
  const std::size_t columns = whole.size() / scales.size();
  for (std::size_t row = 0, i = 0; row < scales.size(); ++row) {
    for (std::size_t column = 0; column < columns; ++column, ++i) {
      values[i] = static_cast<float>(whole[i]) * scales[row];
    }
  }
}

bool TensorReader::coarse(const std::string& name) const { return file_.tensor(name)->packed == 4; }

void TensorReader::whole_weight(const std::string& name, std::vector<std::int8_t>& values,
                                std::vector<float>& scales) const {
  const TensorView& tensor = *file_.tensor(name);
  if (tensor.dtype == Dtype::u8) {
    values.resize(tensor.packed * tensor.elements);
    (tensor.packed == 4 ? unpack_2bit : unpack_4bit)(tensor, values.data());
  } else {
    const auto* data = reinterpret_cast<const std::int8_t*>(tensor.data);
    values.assign(data, data + tensor.elements);
  }
  floats(name + "_scale", scales);
}

}  // namespace pqrnn
