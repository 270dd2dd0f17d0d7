// The fast kernels of training, as those of inference in body.h: a file training_<isa>.cpp defines
// PQRNN_ISA_NAMESPACE and PQRNN_ISA_NAME and includes this header, nothing else.
#include "kernels/body_prologue.h"
#include "kernels/training.h"

namespace pqrnn {
namespace PQRNN_ISA_NAMESPACE {
namespace {

#include "kernels/body_recurrence.h"

}  // namespace

extern const TrainingKernels training_table;
const TrainingKernels training_table = {PQRNN_ISA_NAME, recurrence_kernels};

}  // namespace PQRNN_ISA_NAMESPACE
}  // namespace pqrnn
