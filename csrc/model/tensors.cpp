#include "model/tensors.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <vector>

namespace pqrnn {
namespace {

using Shape = std::initializer_list<std::size_t>;

constexpr int kMost4Bit = 8;  // the largest magnitude of 4 bits
constexpr int kMost2Bit = 3;  // of -3, -1, 1 and 3

template <class List>
std::string shape_text(const List& shape) {
  std::string text = "[";
  for (const std::size_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

float float_at(const TensorView& tensor, std::size_t i) {
  float value;
  std::memcpy(&value, tensor.data + sizeof value * i, sizeof value);
  return value;
}

bool finite_half_at(const TensorView& tensor, std::size_t i) {
  std::uint16_t half;
  std::memcpy(&half, tensor.data + sizeof half * i, sizeof half);
  return (half & 0x7c00) != 0x7c00;
}

// Asks for tensors by name and counts them, so that leftovers can be refused.
class Checker {
 public:
  Checker(SafetensorsFile& file, Precision precision) : file_(file), precision_(precision) {}

  // F32, finite once multiplied by `factor` in float64.
  Status floats(const std::string& name, std::size_t rows, double factor = 1.0) {
    const TensorView* tensor = nullptr;
    PQRNN_TRY(find(name, {rows}, tensor));
    if (tensor->dtype != Dtype::f32) return unusable("tensor '" + name + "' must be F32");
    for (std::size_t i = 0; i < rows; ++i) {
      const float value = float_at(*tensor, i);
      if (!std::isfinite(value)) return not_finite(name);
      if (!std::isfinite(static_cast<float>(value * factor))) {
        return unusable("tensor '" + name + "' is out of range");
      }
    }
    return {};
  }

  // Greater than 0; `values` [rows].
  Status positive(const std::string& name, std::size_t rows, double* values) {
    PQRNN_TRY(floats(name, rows));
    for (std::size_t i = 0; i < rows; ++i) {
      values[i] = float_at(*file_.tensor(name), i);
      if (!(values[i] > 0)) return unusable("tensor '" + name + "' must be positive");
    }
    return {};
  }

  // F32, F16, or I8 and packed U8 with scales that are finite once multiplied by `factor`; only the
  // latter two where the model computes with whole numbers.
  Status weight(const std::string& name, Shape shape, double factor = 1.0) {
    PQRNN_TRY(any_weight(name, shape, factor));
    if (precision_ == Precision::int8 && !whole(*file_.tensor(name))) {
      return unusable("tensor '" + name + "' must be I8 or U8 with precision 'int8'");
    }
    return {};
  }

  Status any_weight(const std::string& name, Shape shape, double factor = 1.0) {
    const TensorView* tensor = nullptr;
    PQRNN_TRY(find(name, shape, tensor));
    if (whole(*tensor)) {
      PQRNN_TRY(floats(name + "_scale", *shape.begin(), factor));
      return check_products(*tensor);
    }
    for (std::size_t i = 0; i < tensor->elements; ++i) {
      const bool finite = tensor->dtype == Dtype::f32 ? std::isfinite(float_at(*tensor, i))
                                                      : finite_half_at(*tensor, i);
      if (!finite) return not_finite(name);
    }
    return {};
  }

  Status finish() const {
    if (used_ == file_.tensors.size()) return {};
    return unusable("it has " + std::to_string(file_.tensors.size() - used_) +
                    " tensors that its configuration does not know");
  }

 private:
  static bool whole(const TensorView& tensor) {
    return tensor.dtype == Dtype::i8 || tensor.dtype == Dtype::u8;
  }

  static Status not_finite(const std::string& name) {
    return unusable("tensor '" + name + "' holds a value that is not finite");
  }

  Status find(const std::string& name, Shape shape, const TensorView*& tensor) {
    TensorView* const here = file_.tensor(name);
    tensor = here;
    if (!tensor) return unusable("tensor '" + name + "' is missing");
    std::vector<std::size_t> found = tensor->shape;
    if (tensor->dtype == Dtype::u8 && !found.empty()) {
      const std::size_t columns = *(shape.end() - 1);
      here->packed = found.back() == columns / 4 ? 4 : 2;
      found.back() *= here->packed;
    }
    if (!std::equal(shape.begin(), shape.end(), found.begin(), found.end())) {
      return unusable("tensor '" + name + "' has shape " + shape_text(found) +
                      ", its configuration says " + shape_text(shape));
    }
    ++used_;
    return {};
  }

  // Whole numbers times the scales of their rows.
  Status check_products(const TensorView& tensor) const {
    const TensorView& scales = *file_.tensor(tensor.name + "_scale");
    const std::size_t columns = tensor.elements / scales.elements;  // of I8
    const auto* row = reinterpret_cast<const std::int8_t*>(tensor.data);
    for (std::size_t i = 0; i < scales.elements; ++i, row += columns) {
      int largest = 0;
      if (tensor.dtype == Dtype::u8) largest = tensor.packed == 4 ? kMost2Bit : kMost4Bit;
      if (tensor.dtype == Dtype::i8) {
        for (std::size_t j = 0; j < columns; ++j)
          largest = std::max(largest, std::abs(int{row[j]}));
      }
      if (precision_ == Precision::int8 && largest > 127) {
        return unusable("tensor '" + tensor.name +
                        "' holds -128, with precision 'int8' weights are " + "-127 to 127");
      }
      if (!std::isfinite(static_cast<float>(largest) * float_at(scales, i))) {
        return not_finite(tensor.name);
      }
    }
    return {};
  }

  SafetensorsFile& file_;
  const Precision precision_;
  std::size_t used_ = 0;
};

// The steps of the 8-bit engine's grids, see reference/quantised.py: scales and biases of the
// bottleneck are multiplied by `bottleneck`, scales of other tensors by `others` at most.
struct Factors {
  double bottleneck = 1.0;
  double others = 1.0;
};

Status check_ranges(Checker& check, const ModelConfig& config, Factors& factors) {
  if (config.precision != Precision::int8) return {};
  double range = 0.0, pooled[2] = {};
  PQRNN_TRY(check.positive("bottleneck.range", 1, &range));
  PQRNN_TRY(check.positive("pooled.range", config.skip ? 2 : 1, pooled));
  const double last = pooled[config.skip ? 1 : 0];
  if (!std::isfinite(static_cast<float>(range / pooled[0])) ||
      !std::isfinite(static_cast<float>(1.0 / last))) {
    return unusable("tensor 'pooled.range' is too small");
  }
  factors.bottleneck = 255.0 / range;
  factors.others = std::max({1.0, range / 255.0, pooled[0] / 255.0, last / 127.0});
  return {};
}

Status check_heads(Checker& check, const ModelConfig& config, double factor) {
  const bool parsing = config.task == Task::parsing;
  const std::size_t size = config.pooled_size();
  if (const std::size_t rows = config.head_size()) {
    const std::string name = parsing ? "intent" : "head";
    PQRNN_TRY(check.weight(name + ".weight", {rows, size}, factor));
    PQRNN_TRY(check.floats(name + ".bias", rows));
  }
  if (!parsing) return {};
  const std::size_t tags = config.slots.size();
  PQRNN_TRY(check.weight("slots.weight", {tags, size}, factor));
  PQRNN_TRY(check.floats("slots.bias", tags));
  if (config.slot_context) {
    PQRNN_TRY(check.weight("slots.context.weight", {tags, size}, factor));
  }
  return config.crf ? check.any_weight("slots.transitions", {tags, tags}) : Status();
}

}  // namespace

Status unusable(const std::string& what) {
  return Status::error(Code::corrupt_file, "model file: " + what);
}

Status check_tensors(SafetensorsFile& file, const ModelConfig& config) {
  Checker check(file, config.precision);
  Factors factors;
  PQRNN_TRY(check_ranges(check, config, factors));
  PQRNN_TRY(check.weight("bottleneck.weight",
                         {config.bottleneck_size, config.projection.feature_size},
                         factors.bottleneck));
  PQRNN_TRY(check.floats("bottleneck.bias", config.bottleneck_size, factors.bottleneck));
  const std::size_t rows = config.gates() * config.state_size;
  for (std::size_t l = 0; l < config.num_layers; ++l) {
    const std::size_t inputs =
        l == 0 ? config.bottleneck_size : config.directions() * config.state_size;
    for (std::size_t d = 0; d < config.directions(); ++d) {
      const std::string name = "layers." + std::to_string(l) + (d ? ".backward" : ".forward");
      PQRNN_TRY(check.weight(name + ".weight", {rows, config.kernel_size, inputs}, factors.others));
      PQRNN_TRY(check.floats(name + ".bias", rows));
    }
  }
  PQRNN_TRY(check.weight("attention.weight", {config.attention_heads, config.pooled_size()},
                         factors.others));
  PQRNN_TRY(check.floats("attention.bias", config.attention_heads));
  PQRNN_TRY(check_heads(check, config, factors.others));
  return check.finish();
}

}  // namespace pqrnn
