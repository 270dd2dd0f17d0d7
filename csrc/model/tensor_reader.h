// Hands out the tensors of a model file by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/safetensors.h"

namespace pqrnn {

// The file has passed check_tensors(), and what is asked for is a tensor of its configuration.
class TensorReader {
 public:
  explicit TensorReader(const SafetensorsFile& file) : file_(file) {}

  // Of a tensor that is F32.
  void floats(const std::string& name, std::vector<float>& values) const;
  // Row-major as float32: F32, F16, or I8 and packed U8 with their scales.
  void weight(const std::string& name, std::vector<float>& values) const;
  // Whether a tensor has weights of 2 bits: -3, -1, 1 and 3.
  bool coarse(const std::string& name) const;
  // Row-major of a tensor that is I8 or packed U8, and the scales of its rows.
  void whole_weight(const std::string& name, std::vector<std::int8_t>& values,
                    std::vector<float>& scales) const;

 private:
  const SafetensorsFile& file_;
};

}  // namespace pqrnn
