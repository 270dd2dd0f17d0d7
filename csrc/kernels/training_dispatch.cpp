#include <cstring>

#include "kernels/training.h"

namespace pqrnn {

// Which of these exist is decided in cmake/isa.cmake.
#define PQRNN_DECLARE(isa)                     \
  namespace isa {                              \
  extern const TrainingKernels training_table; \
  }
PQRNN_DECLARE(isa_reference)
PQRNN_DECLARE(isa_generic)
PQRNN_DECLARE(isa_avx2)
PQRNN_DECLARE(isa_avx512)
PQRNN_DECLARE(isa_avx512vnni)
PQRNN_DECLARE(isa_neon_dotprod)
#undef PQRNN_DECLARE

namespace {

const TrainingKernels* const kTables[] = {
#if defined(PQRNN_WITH_AVX512VNNI)
    &isa_avx512vnni::training_table,
#endif
#if defined(PQRNN_WITH_AVX512)
    &isa_avx512::training_table,
#endif
#if defined(PQRNN_WITH_AVX2)
    &isa_avx2::training_table,
#endif
#if defined(PQRNN_WITH_NEON_DOTPROD)
    &isa_neon_dotprod::training_table,
#endif
#if defined(PQRNN_WITH_REFERENCE)
    &isa_reference::training_table,
#endif
    &isa_generic::training_table,
};

}  // namespace

const TrainingKernels& training_kernels(const Kernels& inference) {
  const bool tiles = std::strcmp(inference.name, "amx") == 0;
  const char* const name = tiles ? "avx512vnni" : inference.name;
  const TrainingKernels* found = nullptr;
  for (const TrainingKernels* const table : kTables) {
    found = table;
    if (std::strcmp(table->name, name) == 0) break;
  }
  return *found;
}

const TrainingKernels& training_kernels() { return training_kernels(kernels()); }

}  // namespace pqrnn
