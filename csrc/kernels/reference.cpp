// Kernels of the instruction set "reference": slow, obvious, accumulating in double.
#include <math.h>
#include <string.h>

#include "kernels/int8_math.h"
#include "kernels/kernels.h"

namespace pqrnn {
namespace isa_reference {
namespace {

#include "kernels/reference_expand.h"
#include "kernels/reference_dense.h"
#include "kernels/reference_viterbi.h"
#include "kernels/reference_int8.h"

}  // namespace

extern const Kernels table;
const Kernels table = {"reference", expand_kernels, dense_kernels, viterbi_kernels, int8_kernels};

}  // namespace isa_reference
}  // namespace pqrnn
