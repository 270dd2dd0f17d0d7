// The safetensors container over a borrowed buffer: 8 bytes of header length (little endian), a
// JSON header, then the data of all tensors without holes. Nothing is copied, nothing need be
// aligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "status.h"

namespace pqrnn {

enum class Dtype { f32, f16, i8, u8 };

struct TensorView {
  std::string name;
  Dtype dtype = Dtype::f32;
  unsigned packed = 1;  // numbers in each element, where check_tensors() finds several
  std::vector<std::size_t> shape;
  const unsigned char* data = nullptr;  // into the buffer, any alignment
  std::size_t bytes = 0;                // elements() * size of the dtype
  std::size_t elements = 0;
};

struct SafetensorsFile {
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<TensorView> tensors;  // sorted by name

  const TensorView* tensor(std::string_view name) const;  // nullptr when absent
  TensorView* tensor(std::string_view name);
  const std::string* metadata_value(std::string_view key) const;  // nullptr when absent
};

// Checks the whole container: lengths, dtypes (F32, F16, I8 and U8 are known), shapes against
// sizes, offsets that neither overlap nor leave a hole, names and keys that occur once.
Status parse_safetensors(const void* buffer, std::size_t size, SafetensorsFile& file);

}  // namespace pqrnn
