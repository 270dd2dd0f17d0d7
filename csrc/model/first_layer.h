// Text to the output of the first layer. Bottleneck and first products are computed once for each
// distinct token of a group, or taken from the cache; only sums, activations and the scan depend on
// the neighbours.
#pragma once

#include <cstddef>

#include "model/forward.h"
#include "parallel.h"

namespace pqrnn {

// Writes `output` [work.height, widths.layer], gap rows excluded; with skip also work.bottleneck.
// False when stopped.
bool run_first_layer(const Network& network, Workspace& work, Stop& stop, float* output);

}  // namespace pqrnn
