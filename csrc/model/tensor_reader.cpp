#include "model/tensor_reader.h"

#include <cmath>
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

bool is_finite_half(std::uint16_t half) { return (half & 0x7c00) != 0x7c00; }

std::string shape_text(const std::vector<std::size_t>& shape) {
  std::string text = "[";
  for (const std::size_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

void copy_f32(const TensorView& tensor, std::vector<float>& values) {
  values.resize(tensor.elements);
  std::memcpy(values.data(), tensor.data, tensor.bytes);
}

Status copy_f16(const TensorView& tensor, std::vector<float>& values) {
  values.resize(tensor.elements);
  bool finite = true;
  for (std::size_t i = 0; i < tensor.elements; ++i) {
    std::uint16_t half;
    std::memcpy(&half, tensor.data + 2 * i, 2);
    finite &= is_finite_half(half);
    values[i] = from_half(half);
  }
  if (finite) return {};
  return unusable("tensor '" + tensor.name + "' holds a value that is not finite");
}

Status check_finite(const std::string& name, const std::vector<float>& values) {
  for (const float value : values) {
    if (!std::isfinite(value)) {
      return unusable("tensor '" + name + "' holds a value that is not finite");
    }
  }
  return {};
}

}  // namespace

Status unusable(const std::string& what) {
  return Status::error(Code::corrupt_file, "model file: " + what);
}

Status TensorReader::floats(const std::string& name, std::size_t rows, std::vector<float>& values) {
  const TensorView* tensor = nullptr;
  PQRNN_TRY(find(name, {rows}, tensor));
  if (tensor->dtype != Dtype::f32) return unusable("tensor '" + name + "' must be F32");
  copy_f32(*tensor, values);
  return check_finite(name, values);
}

Status TensorReader::weight(const std::string& name, const std::vector<std::size_t>& shape,
                            std::vector<float>& values) {
  const TensorView* tensor = nullptr;
  PQRNN_TRY(find(name, shape, tensor));
  switch (tensor->dtype) {
    case Dtype::f32: copy_f32(*tensor, values); break;
    case Dtype::f16: PQRNN_TRY(copy_f16(*tensor, values)); break;
    case Dtype::i8: PQRNN_TRY(copy_i8(*tensor, shape[0], values)); break;
  }
  return check_finite(name, values);
}

Status TensorReader::whole_weight(const std::string& name, const std::vector<std::size_t>& shape,
                                  std::vector<std::int8_t>& values, std::vector<float>& scales) {
  const TensorView* tensor = nullptr;
  PQRNN_TRY(find(name, shape, tensor));
  if (tensor->dtype != Dtype::i8) {
    return unusable("tensor '" + name + "' must be I8 with precision 'int8'");
  }
  const auto* data = reinterpret_cast<const std::int8_t*>(tensor->data);
  values.assign(data, data + tensor->elements);
  return floats(name + "_scale", shape[0], scales);
}

Status TensorReader::finish() const {
  if (used_ == file_.tensors.size()) return {};
  return unusable("it has " + std::to_string(file_.tensors.size() - used_) +
                  " tensors that its configuration does not know");
}

Status TensorReader::find(const std::string& name, const std::vector<std::size_t>& shape,
                          const TensorView*& tensor) {
  tensor = file_.tensor(name);
  if (!tensor) return unusable("tensor '" + name + "' is missing");
  if (tensor->shape != shape) {
    return unusable("tensor '" + name + "' has shape " + shape_text(tensor->shape) +
                    ", its configuration says " + shape_text(shape));
  }
  ++used_;
  return {};
}

Status TensorReader::copy_i8(const TensorView& tensor, std::size_t rows,
                             std::vector<float>& values) {
  std::vector<float> scales;
  PQRNN_TRY(floats(tensor.name + "_scale", rows, scales));
  values.resize(tensor.elements);
  const std::size_t columns = tensor.elements / rows;
  const auto* quantised = reinterpret_cast<const signed char*>(tensor.data);
  for (std::size_t row = 0, i = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column, ++i) {
      values[i] = static_cast<float>(quantised[i]) * scales[row];
    }
  }
  return {};
}

}  // namespace pqrnn
