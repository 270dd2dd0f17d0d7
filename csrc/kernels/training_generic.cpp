// Training kernels for the platform's baseline (SSE2 on x86-64, NEON on aarch64).
#define PQRNN_ISA_NAMESPACE isa_generic
#define PQRNN_ISA_NAME "generic"
#include "kernels/body_training.h"
