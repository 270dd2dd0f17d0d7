// Distinct rows of a projected batch: words repeat, and a trainer need not project one twice.
#pragma once

#include <cstdint>

#include "projection/projector.h"

namespace pqrnn {

// Writes to `out` the positions of `in` without repeats (equal seeds and extras, hence equal
// features), in order of first appearance, and to index[0 .. in.positions) where each went.
void unique_positions(const Projector& projector, const Projected& in, Projected& out,
                      std::int64_t* index);

}  // namespace pqrnn
