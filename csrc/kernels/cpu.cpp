#include "kernels/cpu.h"

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_M_ARM64)
#include <windows.h>
#endif

namespace pqrnn {

#if defined(__x86_64__) || defined(_M_X64)

namespace {

// Registers eax, ebx, ecx, edx. Not __builtin_cpu_supports(): compilers know different names.
struct CpuId {
  unsigned registers[4] = {};

  CpuId(unsigned leaf, unsigned subleaf) {
#if defined(_MSC_VER)
    int found[4];
    __cpuidex(found, static_cast<int>(leaf), static_cast<int>(subleaf));
    for (int i = 0; i < 4; ++i) registers[i] = static_cast<unsigned>(found[i]);
#else
    __cpuid_count(leaf, subleaf, registers[0], registers[1], registers[2], registers[3]);
#endif
  }
  bool bit(int index, int place) const { return (registers[index] >> place) & 1; }
};

// Which registers the operating system saves.
unsigned long long saved_state() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<unsigned long long>(high) << 32 | low;
#endif
}

// Linux gives a process the registers of tiles on request.
bool allowed_tiles() {
#if defined(__linux__)
  constexpr long request_permission = 0x1023, tile_data = 18;  // arch_prctl(2)
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

}  // namespace

CpuFeatures detect_cpu() {
  constexpr int ebx = 1, ecx = 2;
  CpuFeatures cpu;
  if (CpuId(0, 0).registers[0] < 7) return cpu;
  const CpuId one(1, 0), seven(7, 0);
  if (!one.bit(ecx, 27)) return cpu;  // OSXSAVE
  const unsigned long long saved = saved_state();
  const bool ymm = (saved & 0x6) == 0x6;
  const bool zmm = (saved & 0xe6) == 0xe6;
  cpu.avx2 = ymm && one.bit(ecx, 28) && one.bit(ecx, 12) && one.bit(ecx, 29) && one.bit(ecx, 23) &&
             seven.bit(ebx, 5) && seven.bit(ebx, 3) && seven.bit(ebx, 8) &&
             CpuId(0x80000000, 0).registers[0] > 0x80000000 && CpuId(0x80000001, 0).bit(ecx, 5);
  cpu.avx512 = cpu.avx2 && zmm && seven.bit(ebx, 16) && seven.bit(ebx, 30) && seven.bit(ebx, 17) &&
               seven.bit(ebx, 31);
  cpu.avx512vnni = cpu.avx512 && seven.bit(ecx, 11);
  constexpr int edx = 3;
  const bool tiles = (saved & 0x60000) == 0x60000;
  cpu.amx = cpu.avx512vnni && tiles && seven.bit(edx, 24) && seven.bit(edx, 25) && allowed_tiles();
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
