// Kernels of the instruction set "reference": slow, obvious, accumulating in double.
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

namespace pqrnn {
namespace isa_reference {
namespace {

#include "kernels/reference_expand.h"
#include "kernels/reference_recurrence.h"
#include "kernels/reference_dense.h"
#include "kernels/reference_viterbi.h"

}  // namespace

extern const Kernels table;
const Kernels table = {"reference", expand_kernels, recurrence_kernels, dense_kernels,
                       viterbi_kernels};

}  // namespace isa_reference
}  // namespace pqrnn
