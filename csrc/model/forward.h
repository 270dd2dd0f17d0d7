// The forward pass over a group of texts, on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "model/buffer.h"
#include "model/config.h"
#include "model/token_cache.h"
#include "model/weights.h"
#include "parallel.h"
#include "projection/projector.h"
#include "status.h"

namespace pqrnn {

// The working memory of one thread: a group of texts and what becomes of it. Texts are separated by
// max(1, k - 1) rows of zeros, so that windows are read in place.
struct Workspace {
  struct Text {
    std::size_t first_row;
    std::size_t positions;  // tags and tokens
    std::size_t tokens;
  };

  Projected projected;  // of all texts
  std::vector<Text> texts;
  std::vector<std::uint32_t> rows;  // row list of all positions
  std::size_t height = 0;           // rows of the buffers below, gaps included

  // Distinct tokens that the cache does not have, see first_layer.cpp.
  std::vector<const float*> products;  // [positions] row of each position's token
  std::vector<std::uint32_t> miss_of;  // [positions]
  std::vector<std::uint32_t> table;
  std::vector<std::size_t> misses;  // first position of each
  std::vector<std::uint64_t> miss_hashes;
  std::vector<std::uint64_t> codes;    // [misses, words]
  std::vector<float> extras;           // [misses, extra_count]
  std::vector<std::uint32_t> numbers;  // 0, 1, ..
  FloatBuffer token_bottleneck;        // [misses, widths.bottleneck]
  FloatBuffer token_rows;              // [misses, first.row]

  FloatBuffer bottleneck;      // [height, widths.bottleneck], with skip only
  FloatBuffer layers[2];       // [height, widths.layer], input and output in turn
  const float* top = nullptr;  // the last layer's output, one of `layers`
  FloatBuffer carry;           // [widths.state]
  FloatBuffer attention;       // [A, positions of the longest text]
  FloatBuffer pooled;          // [texts, widths.pooled]
  FloatBuffer outputs;         // [texts, head.columns]

  // Of slots alone, see run_slots().
  std::vector<std::size_t> text_of;    // [tokens]
  std::vector<std::size_t> token_row;  // [tokens]
  FloatBuffer context;                 // [texts, context.columns]
  FloatBuffer token_states;            // [tokens of a part, widths.pooled]
  FloatBuffer token_slots;             // [tokens of a part, slots.columns]

  std::size_t bytes() const;
};

// What the forward pass needs to know; nothing but the cache changes after loading.
struct Network {
  const ModelConfig& config;
  const Projector& projector;
  const Weights& weights;
  const Kernels& kernels;
  TokenCache& cache;
};

void clear_group(Workspace& work);
Status append_text(const Network& network, std::string_view text, Workspace& work);
// From tokens to work.top. False when stopped; then there is no result.
bool run_layers(const Network& network, Workspace& work, Stop& stop);
// From work.top to work.outputs: sentence vectors or logits, before normalisation.
void run_head(const Network& network, Workspace& work);
// From work.top and, after run_head(), work.pooled to logits [tokens of all texts, slots]. False
// when stopped; then there is no result.
bool run_slots(const Network& network, Workspace& work, Stop& stop, float* out);
// Token-level states of text `index`, [its positions, P] in the column order of the model's
// definition.
void copy_states(const Network& network, const Workspace& work, std::size_t index, float* out);

}  // namespace pqrnn
