#include "model/safetensors.h"

#include <algorithm>
#include <limits>

#include "model/json.h"

namespace pqrnn {
namespace {

constexpr std::size_t kMaxHeader = std::size_t{64} << 20;
constexpr std::size_t kMaxDimensions = 8;
// Far above any model; they bound time and memory spent on a hostile header.
constexpr std::size_t kMaxTensors = 1024;
constexpr std::size_t kMaxMetadata = 64;

Status damaged(const std::string& what) {
  return Status::error(Code::corrupt_file, "damaged model file: " + what);
}

// Names come from the file: keep messages short and on one line.
std::string quoted(const std::string& name) {
  std::string out = "'";
  for (const char c : name.substr(0, 60)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out + "'";
}

std::size_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return 4;
    case Dtype::f16: return 2;
    case Dtype::i8:
    case Dtype::u8: break;
  }
  return 1;
}

bool read_size(JsonReader& json, std::size_t& value) {
  std::int64_t number = 0;
  if (!json.read_integer(number) || number < 0) return false;
  value = static_cast<std::size_t>(number);
  return static_cast<std::uint64_t>(number) <= std::numeric_limits<std::size_t>::max();
}

bool read_dtype(JsonReader& json, std::string& name, Dtype& dtype) {
  if (!json.read_string(name)) return false;
  if (name == "F32") {
    dtype = Dtype::f32;
  } else if (name == "F16") {
    dtype = Dtype::f16;
  } else if (name == "I8") {
    dtype = Dtype::i8;
  } else if (name == "U8") {
    dtype = Dtype::u8;
  } else {
    return false;
  }
  return true;
}

struct Offsets {
  std::size_t begin = 0;
  std::size_t end = 0;
};

// {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, each key once.
Status read_tensor(JsonReader& json, TensorView& tensor, Offsets& offsets) {
  bool have_dtype = false, have_shape = false, have_offsets = false;
  std::string key, dtype;
  if (!json.begin_object()) return damaged(json.status().message);
  while (json.next_key(key)) {
    if (key == "dtype" && !have_dtype) {
      have_dtype = true;
      if (!read_dtype(json, dtype, tensor.dtype)) {
        return damaged("tensor " + quoted(tensor.name) + " has dtype " + quoted(dtype) +
                       ", known are F32, F16, I8, U8");
      }
    } else if (key == "shape" && !have_shape) {
      have_shape = true;
      if (!json.begin_array()) break;
      while (json.next_item()) {
        std::size_t dimension = 0;
        if (!read_size(json, dimension) || tensor.shape.size() == kMaxDimensions) {
          return damaged("tensor " + quoted(tensor.name) + " has a bad shape");
        }
        tensor.shape.push_back(dimension);
      }
    } else if (key == "data_offsets" && !have_offsets) {
      have_offsets = true;
      if (!json.begin_array() || !json.next_item() || !read_size(json, offsets.begin) ||
          !json.next_item() || !read_size(json, offsets.end) || json.next_item() || json.failed()) {
        return damaged("tensor " + quoted(tensor.name) + " has bad offsets");
      }
    } else {
      return damaged("tensor " + quoted(tensor.name) + " has an unknown or repeated key " +
                     quoted(key));
    }
  }
  if (json.failed()) return damaged(json.status().message);
  if (!have_dtype || !have_shape || !have_offsets) {
    return damaged("tensor " + quoted(tensor.name) + " lacks dtype, shape or data_offsets");
  }
  return {};
}

Status read_metadata(JsonReader& json, SafetensorsFile& file) {
  std::string key, value;
  if (!json.begin_object()) return damaged(json.status().message);
  while (json.next_key(key)) {
    if (file.metadata_value(key)) return damaged("metadata key " + quoted(key) + " occurs twice");
    if (file.metadata.size() == kMaxMetadata) return damaged("too much metadata");
    if (!json.read_string(value)) break;
    file.metadata.emplace_back(std::move(key), std::move(value));
  }
  return json.failed() ? damaged(json.status().message) : Status{};
}

// Points `tensor` into the data part, of `available` bytes.
Status place(TensorView& tensor, const Offsets& offsets, const unsigned char* data,
             std::size_t available) {
  if (offsets.begin > offsets.end || offsets.end > available) {
    return damaged("tensor " + quoted(tensor.name) + " lies outside the file");
  }
  tensor.bytes = offsets.end - offsets.begin;
  const std::size_t limit = tensor.bytes / size_of(tensor.dtype);
  std::size_t elements = 1;
  bool fits = true;
  for (const std::size_t dimension : tensor.shape) {
    if (dimension != 0 && elements > limit / dimension) fits = false;
    elements = fits ? elements * dimension : 0;
  }
  if (!fits || elements * size_of(tensor.dtype) != tensor.bytes) {
    return damaged("the size of tensor " + quoted(tensor.name) + " does not match its shape");
  }
  tensor.elements = elements;
  tensor.data = data + offsets.begin;
  return {};
}

// Of the object that comes next, as far as it is one: a vector that grows takes more memory.
std::size_t count_keys(JsonReader json) {
  std::size_t count = 0;
  std::string key;
  if (!json.begin_object()) return 0;
  while (json.next_key(key) && json.skip_value()) ++count;
  return count;
}

// The data part must be covered without overlaps or holes.
Status check_cover(const std::vector<TensorView>& tensors, const unsigned char* data,
                   std::size_t available) {
  std::vector<Offsets> ranges;
  ranges.reserve(tensors.size());
  for (const TensorView& tensor : tensors) {
    const std::size_t begin = static_cast<std::size_t>(tensor.data - data);
    ranges.push_back({begin, begin + tensor.bytes});
  }
  std::sort(ranges.begin(), ranges.end(), [](const Offsets& a, const Offsets& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::size_t at = 0;
  for (const Offsets& range : ranges) {
    if (range.begin != at) {
      return damaged(range.begin < at ? "tensors overlap" : "unused bytes between tensors");
    }
    at = range.end;
  }
  if (at != available) return damaged("unused bytes after the tensors");
  return {};
}

}  // namespace

const TensorView* SafetensorsFile::tensor(std::string_view name) const {
  const auto found =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const TensorView& t, std::string_view key) { return t.name < key; });
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

TensorView* SafetensorsFile::tensor(std::string_view name) {
  return const_cast<TensorView*>(std::as_const(*this).tensor(name));
}

const std::string* SafetensorsFile::metadata_value(std::string_view key) const {
  for (const auto& entry : metadata) {
    if (entry.first == key) return &entry.second;
  }
  return nullptr;
}

Status parse_safetensors(const void* buffer, std::size_t size, SafetensorsFile& file) {
  file = {};
  const auto* bytes = static_cast<const unsigned char*>(buffer);
  if (size < 8) {
    return damaged("it has " + std::to_string(size) + " bytes, too few for a safetensors file");
  }
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | bytes[i];
  if (length > size - 8 || length > kMaxHeader) {
    return damaged("header of " + std::to_string(length) + " bytes in a file of " +
                   std::to_string(size));
  }
  const std::size_t header = static_cast<std::size_t>(length);
  const unsigned char* data = bytes + 8 + header;
  const std::size_t available = size - 8 - header;

  JsonReader json({reinterpret_cast<const char*>(bytes) + 8, header});
  file.tensors.reserve(std::min(count_keys(json), kMaxTensors));
  bool have_metadata = false;
  std::string name;
  if (!json.begin_object()) return damaged(json.status().message);
  while (json.next_key(name)) {
    if (name == "__metadata__") {
      if (have_metadata) return damaged("metadata occurs twice");
      have_metadata = true;
      PQRNN_TRY(read_metadata(json, file));
      continue;
    }
    if (file.tensors.size() == kMaxTensors) return damaged("too many tensors");
    Offsets offsets;
    file.tensors.emplace_back();
    TensorView& tensor = file.tensors.back();
    tensor.name = name;
    PQRNN_TRY(read_tensor(json, tensor, offsets));
    PQRNN_TRY(place(tensor, offsets, data, available));
  }
  if (json.failed() || !json.end()) return damaged(json.status().message);

  PQRNN_TRY(check_cover(file.tensors, data, available));
  std::sort(file.tensors.begin(), file.tensors.end(),
            [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < file.tensors.size(); ++i) {
    if (file.tensors[i].name == file.tensors[i - 1].name) {
      return damaged("tensor " + quoted(file.tensors[i].name) + " occurs twice");
    }
  }
  return {};
}

}  // namespace pqrnn
