// What turns tokens into outputs: the float32 engine (forward.cpp) or the 8-bit one
// (int8_engine.h), chosen by the model's configuration.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "model/workspace.h"
#include "parallel.h"
#include "projection/projector.h"

namespace pqrnn {

// Nothing but a cache that changes no result is written after loading; safe to share between
// threads, each with a workspace of its own.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual std::size_t weight_bytes() const = 0;
  // [S, S] between slot tags, from and to; empty without a CRF.
  virtual const std::vector<float>& transitions() const = 0;

  // From tokens to the last layer's states. False when stopped; then there is no result.
  virtual bool run_layers(Workspace& work, Stop& stop) const = 0;
  // From there to work.outputs [texts, work.output_stride]: sentence vectors or logits.
  virtual void run_head(Workspace& work) const = 0;
  // After run_head(), logits [tokens of all texts, slots]. False when stopped.
  virtual bool run_slots(Workspace& work, Stop& stop, float* out) const = 0;
  // Token-level states of text `index`, [its positions, P] in the column order of the model's
  // definition.
  virtual void copy_states(const Workspace& work, std::size_t index, float* out) const = 0;
  // Logits [count] to probabilities in place.
  virtual void softmax(float* logits, std::size_t count) const = 0;
  virtual void sigmoid(float* logits, std::size_t count) const = 0;
};

// The three references must outlive the engine; the file, which has passed check_tensors(), is read
// now.
std::unique_ptr<Engine> load_float_engine(const SafetensorsFile& file, const ModelConfig& config,
                                          const Projector& projector, const Kernels& kernels);
std::unique_ptr<Engine> load_int8_engine(const SafetensorsFile& file, const ModelConfig& config,
                                         const Projector& projector, const Kernels& kernels);

}  // namespace pqrnn
