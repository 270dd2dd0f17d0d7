// The hyper-parameters of a model: pqrnn_native.PQRNNConfig in C++, same fields, same rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/recurrence.h"
#include "projection/settings.h"
#include "status.h"

namespace pqrnn {

enum class Task { embedding, classification, parsing };
enum class Precision { float32, int8 };

struct ModelConfig {
  Task task = Task::embedding;
  ProjectionSettings projection;      // its feature_size is F
  std::size_t bottleneck_size = 256;  // B
  std::size_t state_size = 128;       // H, per direction
  std::size_t kernel_size = 2;        // k
  std::size_t num_layers = 4;         // L
  bool bidirectional = true;
  Pooling pooling = Pooling::fo;
  double zoneout = 0.0;             // training only
  std::size_t attention_heads = 1;  // A
  bool skip = false;
  std::size_t output_size = 256;     // D, embedding only
  std::vector<std::string> labels;   // classification only
  std::vector<std::string> intents;  // parsing only; none in a pure tagger
  std::vector<std::string> slots;    // parsing only
  bool multi_label = false;
  bool slot_context = false;  // parsing only
  bool crf = false;           // parsing only
  // For each intent the slots that its texts may have, ascending, or nothing: all of them. Without
  // rows all may have all.
  std::vector<std::vector<std::uint32_t>> intent_tags;
  Precision precision = Precision::float32;  // of inference

  std::size_t directions() const { return bidirectional ? 2 : 1; }
  // z and f; with "fo" also o; with "ifo" also i and o (in the order z, i, f, o).
  std::size_t gates() const;
  // P: what the attention pools.
  std::size_t pooled_size() const {
    return directions() * state_size + (skip ? bottleneck_size : 0);
  }
  // Rows of the head over the pooled vector: D, or the number of labels or intents.
  std::size_t head_size() const;

  // Ranges and combinations; the message names the field and its value.
  Status validate() const;
};

// The inverse of PQRNNConfig.to_json(): missing keys keep their defaults, unknown ones are refused.
// The result has passed validate().
Status parse_config(std::string_view json, ModelConfig& config);

}  // namespace pqrnn
