// The table of the kernels of inference: one struct of function pointers per family, filled once
// per instruction set. Kernels are plain functions on raw pointers; they never allocate, print,
// throw or abort. Formulas and shapes stand beside each pointer in the family's header.
#pragma once

#include "kernels/dense.h"
#include "kernels/expand.h"
#include "kernels/int8.h"
#include "kernels/viterbi.h"

namespace pqrnn {

struct Kernels {
  const char* name;  // as in PQRNN_ISA and pqrnn_native.available_isas()
  ExpandKernels expand;
  DenseKernels dense;
  ViterbiKernels viterbi;
  Int8Kernels int8;
};

// The active table: the best one this CPU runs, or the one named by the environment variable
// PQRNN_ISA at first use. An unknown or unusable name there falls back to the best one;
// the Python package warns about it.
const Kernels& kernels();

// Best first, usable ones only, ends with nullptr.
const Kernels* const* available_kernels();

// Makes `name` the active table for all threads; false when it is not available here.
bool select_kernels(const char* name);

}  // namespace pqrnn
