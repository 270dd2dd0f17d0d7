#include "kernels/cpu.h"

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_M_ARM64)
#include <windows.h>
#endif

namespace pqrnn {

#if (defined(__x86_64__) || defined(__i386__)) && !defined(_MSC_VER)

// The builtins check XCR0 as well, so a "yes" means that the operating system saves the registers.
CpuFeatures detect_cpu() {
  CpuFeatures cpu;
  __builtin_cpu_init();
  cpu.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi") &&
             __builtin_cpu_supports("bmi2");
  cpu.avx512 = cpu.avx2 && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
  cpu.avx512vnni = cpu.avx512 && __builtin_cpu_supports("avx512vnni");
  return cpu;
}

#elif defined(_MSC_VER) && defined(_M_X64)

static bool bit(int value, int index) { return (value >> index) & 1; }

CpuFeatures detect_cpu() {
  CpuFeatures cpu;
  int one[4], seven[4];
  __cpuid(one, 0);
  if (one[0] < 7) return cpu;
  __cpuid(one, 1);
  __cpuidex(seven, 7, 0);
  if (!bit(one[2], 27)) return cpu;  // OSXSAVE
  const unsigned long long xcr0 = _xgetbv(0);
  const bool ymm = (xcr0 & 0x6) == 0x6;
  const bool zmm = (xcr0 & 0xe6) == 0xe6;
  cpu.avx2 = ymm && bit(seven[1], 5) && bit(one[2], 12) && bit(one[2], 29) && bit(seven[1], 3) &&
             bit(seven[1], 8);
  cpu.avx512 = cpu.avx2 && zmm && bit(seven[1], 16) && bit(seven[1], 30) && bit(seven[1], 17) &&
               bit(seven[1], 31);
  cpu.avx512vnni = cpu.avx512 && bit(seven[2], 11);
  return cpu;
}

#elif defined(__aarch64__) && defined(__linux__)

CpuFeatures detect_cpu() {
  CpuFeatures cpu;
  cpu.neon_dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  return cpu;
}

#elif defined(__aarch64__) && defined(__APPLE__)

CpuFeatures detect_cpu() {
  CpuFeatures cpu;
  int value = 0;
  size_t size = sizeof value;
  cpu.neon_dotprod =
      sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value != 0;
  return cpu;
}

#elif defined(_M_ARM64)

CpuFeatures detect_cpu() {
  CpuFeatures cpu;
  cpu.neon_dotprod = IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE) != 0;
  return cpu;
}

#else

CpuFeatures detect_cpu() { return {}; }

#endif

}  // namespace pqrnn
