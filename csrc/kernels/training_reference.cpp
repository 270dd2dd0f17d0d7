// Training kernels of the instruction set "reference", as those of inference in reference.cpp.
#include <math.h>
#include <string.h>

#include "kernels/training.h"

namespace pqrnn {
namespace isa_reference {
namespace {

#include "kernels/reference_recurrence.h"

}  // namespace

extern const TrainingKernels training_table;
const TrainingKernels training_table = {"reference", recurrence_kernels};

}  // namespace isa_reference
}  // namespace pqrnn
