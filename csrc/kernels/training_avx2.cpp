// Training kernels for AVX2, FMA, F16C, BMI2.
#define PQRNN_ISA_NAMESPACE isa_avx2
#define PQRNN_ISA_NAME "avx2"
#include "kernels/body_training.h"
