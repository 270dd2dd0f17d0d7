// The kernels of training, a table of their own: a program that only infers does not link them.
#pragma once

#include "kernels/kernels.h"
#include "kernels/recurrence.h"

namespace pqrnn {

struct TrainingKernels {
  const char* name;  // as in Kernels
  RecurrenceKernels recurrence;
};

// Those of the same instruction set.
const TrainingKernels& training_kernels(const Kernels& inference);
// Those of the instruction set that is active.
const TrainingKernels& training_kernels();

}  // namespace pqrnn
