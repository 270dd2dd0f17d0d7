// Kernels of the recurrence: the linear scan and the QRNN poolings, forward and backward.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

struct RecurrenceKernels {
  // Filled by the recurrence family; see body_recurrence.h.
};

}  // namespace pqrnn
