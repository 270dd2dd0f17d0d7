// Training kernels for AVX-512 as in avx512.cpp, and VNNI.
#define PQRNN_ISA_NAMESPACE isa_avx512vnni
#define PQRNN_ISA_NAME "avx512vnni"
#include "kernels/body_training.h"
