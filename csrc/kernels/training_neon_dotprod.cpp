// Training kernels for NEON with the dot-product extension.
#define PQRNN_ISA_NAMESPACE isa_neon_dotprod
#define PQRNN_ISA_NAME "neon_dotprod"
#include "kernels/body_training.h"
