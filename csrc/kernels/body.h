// The fast kernels, written once and compiled per instruction set. A file <isa>.cpp defines
// PQRNN_ISA_NAMESPACE and PQRNN_ISA_NAME and includes this header, nothing else.
#include "kernels/kernels.h"

#if defined(_MSC_VER)
#define PQRNN_RESTRICT __restrict
#else
#define PQRNN_RESTRICT __restrict__
#endif

namespace pqrnn {
namespace PQRNN_ISA_NAMESPACE {
namespace {

#include "kernels/body_expand.h"
#include "kernels/body_recurrence.h"
#include "kernels/body_dense.h"

}  // namespace

extern const Kernels table;
const Kernels table = {PQRNN_ISA_NAME, expand_kernels, recurrence_kernels, dense_kernels};

}  // namespace PQRNN_ISA_NAMESPACE
}  // namespace pqrnn
