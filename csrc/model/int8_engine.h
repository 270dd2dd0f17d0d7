// The 8-bit engine: the forward pass of python/pqrnn_native/reference/quantised.py over a group of
// texts, on one thread. Its first layer is in int8_first_layer.cpp, the others in int8_forward.cpp,
// and what follows them in int8_heads.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/engine.h"
#include "model/int8_weights.h"
#include "model/token_cache.h"
#include "model/token_rows.h"

namespace pqrnn {

// Rows that go through one kernel call: their windows and weights stay in the second-level cache,
// and a stop request is seen soon.
constexpr std::size_t kInt8PartRows = 256;

constexpr std::size_t kBottleneckRows = 8 * TokenCache::kMostRows;
constexpr std::size_t kWordKey = 2;  // a fingerprint

class Int8Engine final : public Engine {
 public:
  Int8Engine(const ModelConfig& config, const Projector& projector, const Kernels& kernels)
      : config_(config),
        projector_(projector),
        kernels_(kernels),
        weights_(config, projector),
        skip_(config.skip ? weights_.widths.bottleneck : 0),
        cache_(projector.seed_words(), weights_.first.row * sizeof(std::int32_t)),
        bottlenecks_(projector.seed_words(), weights_.widths.bottleneck, kBottleneckRows),
        words_(kWordKey, weights_.widths.bottleneck * sizeof(std::int32_t),
               weights_.shared ? kBottleneckRows : 1) {}

  void load(const SafetensorsFile& file) {
    load_int8_weights(file, config_, projector_, kernels_, weights_);
  }

  std::size_t weight_bytes() const override { return weights_.bytes(); }
  const std::vector<float>& transitions() const override { return weights_.transitions; }
  void softmax(float* x, std::size_t count) const override { kernels_.int8.softmax(x, count); }
  void sigmoid(float* x, std::size_t count) const override { kernels_.int8.sigmoid(x, count); }

  bool run_layers(Workspace& work, Stop& stop) const override;
  void run_head(Workspace& work) const override;
  bool run_slots(Workspace& work, Stop& stop, float* out) const override;
  void copy_states(const Workspace& work, std::size_t index, float* out) const override;

 private:
  void run_bottleneck(Workspace& work) const;
  void run_fresh(Workspace& work) const;
  void gather_fresh(Workspace& work) const;
  void find_words(Workspace& work) const;
  void run_words(Workspace& work) const;
  void take_sums(Workspace& work, std::size_t first, std::size_t count) const;
  void spread_codes(Workspace& work, std::size_t place, const std::uint64_t* codes,
                    std::size_t width) const;
  void spread_extras(Workspace& work, std::size_t place, std::size_t position) const;
  void run_products(Workspace& work) const;
  void resolve(Workspace& work, Range range, bool again) const;
  bool run_first_layer(Workspace& work, Stop& stop, std::uint8_t* output) const;
  bool run_direction(const Int8Columns& weights, bool backward, const std::uint8_t* input,
                     std::uint8_t* output, Workspace& work, Stop& stop) const;
  void pool_text(const Workspace::Text& text, Workspace& work, float* sums) const;
  void run_linear(const Int8Weights::Head& head, const std::uint8_t* low, std::size_t low_stride,
                  const std::uint8_t* high, std::size_t high_stride, std::size_t count,
                  Workspace& work, float* out, std::size_t out_stride) const;
  void run_text_head(const Int8Weights::Head& head, Workspace& work, FloatBuffer& out) const;

  const ModelConfig& config_;
  const Projector& projector_;
  const Kernels& kernels_;
  Int8Weights weights_;
  const std::size_t skip_;  // bytes of the bottleneck's part of pooled vectors
  // What is read of a token, and of many more tokens the bottleneck, a hundredth of its size: most
  // of the work of a wide projection.
  mutable TokenCache cache_;
  mutable TokenCache bottlenecks_;
  // Where n-grams reach into neighbours, a word is another token beside each of them. What its own
  // features add to the bottleneck stays the same: the most of it.
  mutable TokenCache words_;
};

}  // namespace pqrnn
