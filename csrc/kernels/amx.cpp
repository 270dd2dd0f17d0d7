// 8-bit products of sixteen rows and more by AMX tiles; fewer rows, and all the rest, are as with
// AVX-512 VNNI, whose order of weights is the order of a tile.
#define PQRNN_ISA_NAMESPACE isa_amx
#include "kernels/body_prologue.h"
#include "kernels/int8_math.h"
#include "kernels/kernels.h"

namespace pqrnn {
namespace isa_amx {
namespace {

#include "kernels/body_dense.h"
#include "kernels/body_int8.h"
#include "kernels/body_int8_amx.h"

}  // namespace

void put_kernels(Int8Kernels& kernels);
void put_kernels(Int8Kernels& kernels) {
  kernels.linear = amx_linear;
  kernels.relu = amx_relu;
  kernels.qrnn = amx_qrnn;
  kernels.peak = amx_peak;
}

}  // namespace isa_amx
}  // namespace pqrnn
