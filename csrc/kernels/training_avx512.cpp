// Training kernels for AVX-512 F, BW, DQ, VL.
#define PQRNN_ISA_NAMESPACE isa_avx512
#define PQRNN_ISA_NAME "avx512"
#include "kernels/body_training.h"
