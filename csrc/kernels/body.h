// The fast kernels of inference, written once and compiled per instruction set. A file <isa>.cpp
// defines PQRNN_ISA_NAMESPACE and PQRNN_ISA_NAME and includes this header, nothing else.
#include "kernels/body_prologue.h"
#include "kernels/int8_math.h"
#include "kernels/kernels.h"

namespace pqrnn {
namespace PQRNN_ISA_NAMESPACE {
namespace {

#include "kernels/body_expand.h"
#include "kernels/body_dense.h"
#include "kernels/body_viterbi.h"
#include "kernels/body_int8.h"

}  // namespace

extern const Kernels table;
const Kernels table = {PQRNN_ISA_NAME, expand_kernels, dense_kernels, viterbi_kernels,
                       int8_kernels};

}  // namespace PQRNN_ISA_NAMESPACE
}  // namespace pqrnn
