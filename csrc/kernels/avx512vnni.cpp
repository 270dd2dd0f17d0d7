// Kernels for AVX-512 as in avx512.cpp, and VNNI for 8-bit products.
#define PQRNN_ISA_NAMESPACE isa_avx512vnni
#define PQRNN_ISA_NAME "avx512vnni"
#include "kernels/body.h"
