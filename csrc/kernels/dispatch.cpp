#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/kernels.h"

namespace pqrnn {

// Which of these exist is decided in cmake/isa.cmake.
#define PQRNN_DECLARE(isa)    \
  namespace isa {             \
  extern const Kernels table; \
  }
PQRNN_DECLARE(isa_reference)
PQRNN_DECLARE(isa_generic)
PQRNN_DECLARE(isa_avx2)
PQRNN_DECLARE(isa_avx512)
PQRNN_DECLARE(isa_avx512vnni)
PQRNN_DECLARE(isa_neon_dotprod)
PQRNN_DECLARE(isa_wasm_simd128)
#undef PQRNN_DECLARE
namespace isa_amx {
void put_kernels(Int8Kernels& kernels);
}

namespace {

struct Available {
  const Kernels* list[8] = {};  // best first, nullptr at the end
  Kernels amx = {};             // those of avx512vnni, and its own products

  Available() {
    const CpuFeatures cpu = detect_cpu();
    int count = 0;
    (void)cpu;
#if defined(PQRNN_WITH_AMX) && defined(PQRNN_WITH_AVX512VNNI)
    if (cpu.amx) {
      amx = isa_avx512vnni::table;
      amx.name = "amx";
      isa_amx::put_kernels(amx.int8);
      list[count++] = &amx;
    }
#endif
#if defined(PQRNN_WITH_AVX512VNNI)
    if (cpu.avx512vnni) list[count++] = &isa_avx512vnni::table;
#endif
#if defined(PQRNN_WITH_AVX512)
    if (cpu.avx512) list[count++] = &isa_avx512::table;
#endif
#if defined(PQRNN_WITH_AVX2)
    if (cpu.avx2) list[count++] = &isa_avx2::table;
#endif
#if defined(PQRNN_WITH_NEON_DOTPROD)
    if (cpu.neon_dotprod) list[count++] = &isa_neon_dotprod::table;
#endif
#if defined(PQRNN_WITH_WASM_SIMD128)
    list[count++] = &isa_wasm_simd128::table;  // a module with it loads only where it runs
#endif
    list[count++] = &isa_generic::table;
#if defined(PQRNN_WITH_REFERENCE)
    list[count++] = &isa_reference::table;
#endif
  }
};

const Available& available() {
  static const Available value;
  return value;
}

const Kernels* find(const char* name) {
  for (const Kernels* const* entry = available().list; *entry; ++entry) {
    if (std::strcmp((*entry)->name, name) == 0) return *entry;
  }
  return nullptr;
}

std::atomic<const Kernels*> active{nullptr};

}  // namespace

const Kernels* const* available_kernels() { return available().list; }

bool select_kernels(const char* name) {
  const Kernels* found = find(name);
  if (found) active.store(found, std::memory_order_release);
  return found != nullptr;
}

const Kernels& kernels() {
  const Kernels* current = active.load(std::memory_order_acquire);
  if (current) return *current;
  const char* wanted = std::getenv("PQRNN_ISA");
  const Kernels* chosen = wanted ? find(wanted) : nullptr;
  if (!chosen) chosen = available().list[0];
  // Two threads may race here; both compute the same value.
  active.store(chosen, std::memory_order_release);
  return *chosen;
}

}  // namespace pqrnn
