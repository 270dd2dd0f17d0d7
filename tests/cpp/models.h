// Small model files with random weights, as pqrnn_native.checkpoint.save_model writes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace models {

// Of weights; biases and scales are always f32. u4 and u2 are two and four in a byte where they
// fill the bytes of a row, else i8.
enum class Stored { f32, f16, i8, u4, u2 };

struct Sizes {
  std::size_t features;
  std::size_t bottleneck;
  std::size_t state;
  std::size_t layers;
  std::string projection = "";  // further JSON of the projection's settings: ,"eos":true
};

using Shapes = std::vector<std::pair<std::string, std::vector<std::size_t>>>;

class Writer {
 public:
  Writer(std::mt19937& rng, Stored stored) : rng_(rng), stored_(stored) {}

  // One dimension makes a bias; with more, each row of int8 has a scale.
  void add(const std::string& name, const std::vector<std::size_t>& shape) {
    const std::size_t packed = stored_ == Stored::u4 ? 2 : stored_ == Stored::u2 ? 4 : 1;
    const Stored stored = shape.size() == 1            ? Stored::f32
                          : shape.back() % packed != 0 ? Stored::i8
                                                       : stored_;
    const bool bytes = stored == Stored::u4 || stored == Stored::u2;
    std::string data;
    std::size_t size = 1;
    for (const std::size_t dimension : shape) size *= dimension;
    std::normal_distribution<float> normal(0.0f, 0.3f);
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint32_t bits = static_cast<std::uint32_t>(rng_());
      if (stored == Stored::f32) {
        append(data, normal(rng_));
      } else if (stored == Stored::f16) {  // exponents of 1/32 to 1/2
        append(data, static_cast<std::uint16_t>((bits & 0x83ff) | (10 + (bits >> 16) % 5) << 10));
      } else if (bytes) {
        if (i % packed == 0) append(data, static_cast<std::uint8_t>(bits));
      } else {
        append(data, static_cast<std::int8_t>(bits % 255 - 127));
      }
    }
    static const char* const kNames[] = {"F32", "F16", "I8", "U8", "U8"};
    std::vector<std::size_t> written = shape;
    if (bytes) written.back() /= packed;
    entry(name, kNames[static_cast<int>(stored)], written, data);
    if (stored != Stored::i8 && !bytes) return;
    std::string scales;
    for (std::size_t i = 0; i < shape[0]; ++i) append(scales, 0.004f);
    entry(name + "_scale", "F32", {shape[0]}, scales);
  }

  // `config` is the configuration's JSON.
  std::string file(const std::string& config) const {
    std::string escaped;
    for (const char c : config) {
      if (c == '"' || c == '\\') escaped += '\\';
      escaped += c;
    }
    std::string header = R"({"__metadata__":{"format":"pqrnn","format_version":"1","config":")" +
                         escaped + "\"}" + entries_ + "}";
    while (header.size() % 8) header += ' ';
    std::string out(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) {
      out[i] = static_cast<char>(std::uint64_t{header.size()} >> (8 * i));
    }
    return out + header + data_;
  }

 private:
  template <class T>
  static void append(std::string& data, T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    data.append(bytes, sizeof value);
  }

  void entry(const std::string& name, const char* dtype, const std::vector<std::size_t>& shape,
             const std::string& data) {
    std::string sizes;
    for (const std::size_t dimension : shape) {
      sizes += (sizes.empty() ? "" : ",") + std::to_string(dimension);
    }
    entries_ += ",\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":[)" + sizes +
                R"(],"data_offsets":[)" + std::to_string(data_.size()) + "," +
                std::to_string(data_.size() + data.size()) + "]}";
    data_ += data;
  }

  std::mt19937& rng_;
  const Stored stored_;
  std::string entries_;
  std::string data_;
};

// `more` is further JSON of the configuration, `heads` the tensors behind the attention.
inline std::string file(std::mt19937& rng, const Sizes& sizes, Stored stored,
                        const std::string& more, const Shapes& heads) {
  const auto number = [](std::size_t value) { return std::to_string(value); };
  Writer writer(rng, stored);
  writer.add("bottleneck.weight", {sizes.bottleneck, sizes.features});
  writer.add("bottleneck.bias", {sizes.bottleneck});
  for (std::size_t l = 0; l < sizes.layers; ++l) {
    for (const char* direction : {"forward", "backward"}) {
      const std::string name = "layers." + number(l) + "." + direction;
      writer.add(name + ".weight",
                 {3 * sizes.state, 2, l == 0 ? sizes.bottleneck : 2 * sizes.state});
      writer.add(name + ".bias", {3 * sizes.state});
    }
  }
  writer.add("attention.weight", {1, 2 * sizes.state});
  writer.add("attention.bias", {1});
  for (const auto& [name, shape] : heads) writer.add(name, shape);
  return writer.file(R"({"projection":{"feature_size":)" + number(sizes.features) +
                     sizes.projection + R"(},"bottleneck_size":)" + number(sizes.bottleneck) +
                     R"(,"state_size":)" + number(sizes.state) + R"(,"num_layers":)" +
                     number(sizes.layers) + "," + more + "}");
}

inline std::string encoder(std::mt19937& rng, const Sizes& sizes, std::size_t outputs,
                           Stored stored = Stored::f32) {
  return file(rng, sizes, stored, R"("output_size":)" + std::to_string(outputs),
              {{"head.weight", {outputs, 2 * sizes.state}}, {"head.bias", {outputs}}});
}

// Three labels.
inline std::string classifier(std::mt19937& rng, const Sizes& sizes, Stored stored = Stored::f32) {
  return file(rng, sizes, stored, R"("task":"classification","labels":["good","bad","so-so"])",
              {{"head.weight", {3, 2 * sizes.state}}, {"head.bias", {3}}});
}

// Two intents unless it is a tagger; `tags` is a JSON array of `count` names.
inline std::string parser(std::mt19937& rng, const Sizes& sizes, bool tagger,
                          Stored stored = Stored::f32,
                          const std::string& tags = R"(["O","B-x","I-x"])", std::size_t count = 3) {
  std::string more = R"("task":"parsing","slot_context":true,"slots":)" + tags;
  Shapes heads = {{"slots.weight", {count, 2 * sizes.state}},
                  {"slots.bias", {count}},
                  {"slots.context.weight", {count, 2 * sizes.state}}};
  if (!tagger) {
    more += R"(,"intents":["a","b"])";
    heads.push_back({"intent.weight", {2, 2 * sizes.state}});
    heads.push_back({"intent.bias", {2}});
  }
  return file(rng, sizes, stored, more, heads);
}

}  // namespace models
