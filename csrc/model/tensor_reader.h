// Hands out the tensors of a model file by name, checked, and counts them, so that leftovers can be
// refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/safetensors.h"

namespace pqrnn {

class TensorReader {
 public:
  explicit TensorReader(const SafetensorsFile& file) : file_(file) {}

  // F32 [rows].
  Status floats(const std::string& name, std::size_t rows, std::vector<float>& values);
  // Row-major [shape] as float32: F32, F16, or I8 with its scales. The values are finite.
  Status weight(const std::string& name, const std::vector<std::size_t>& shape,
                std::vector<float>& values);
  // Row-major [shape], I8 alone, and its scales [shape[0]].
  Status whole_weight(const std::string& name, const std::vector<std::size_t>& shape,
                      std::vector<std::int8_t>& values, std::vector<float>& scales);
  // After all others: an error when the file has further tensors.
  Status finish() const;

 private:
  Status find(const std::string& name, const std::vector<std::size_t>& shape,
              const TensorView*& tensor);
  Status copy_i8(const TensorView& tensor, std::size_t rows, std::vector<float>& values);

  const SafetensorsFile& file_;
  std::size_t used_ = 0;
};

// An error about the content of a model file.
Status unusable(const std::string& what);

}  // namespace pqrnn
