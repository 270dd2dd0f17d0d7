// What the CPU and the operating system can run.
#pragma once

namespace pqrnn {

struct CpuFeatures {
  bool avx2 = false;        // AVX2, FMA, F16C, BMI, BMI2, LZCNT, POPCNT
  bool avx512 = false;      // F, BW, DQ, VL
  bool avx512vnni = false;  // the above and VNNI
  bool amx = false;         // the above and products of bytes by tiles
  bool neon_dotprod = false;
};

CpuFeatures detect_cpu();

}  // namespace pqrnn
