// The float32 engine's forward pass over a group of texts, on one thread.
#pragma once

#include "kernels/kernels.h"
#include "model/config.h"
#include "model/token_cache.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "projection/projector.h"

namespace pqrnn {

// What the forward pass needs to know; nothing but the cache changes after loading.
struct Network {
  const ModelConfig& config;
  const Projector& projector;
  const Weights& weights;
  const Kernels& kernels;
  TokenCache& cache;
};

}  // namespace pqrnn
