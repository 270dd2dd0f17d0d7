// Counts what operator new gives out, by replacing it. Include it in one file of a program.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace allocations {

inline std::atomic<std::size_t> count{0};  // calls so far
inline std::atomic<std::size_t> live{0};   // bytes given out and not given back
inline std::atomic<std::size_t> peak{0};   // largest value of `live` since reset_peak()

inline void reset_peak() { peak = live.load(); }

// The size and the start of a block stand right before what the caller gets. Behind it there is
// nothing, so that AddressSanitizer sees every step beyond.
inline void* take(std::size_t size, std::size_t alignment) noexcept {
  if (alignment < 2 * sizeof(std::uintptr_t)) alignment = 2 * sizeof(std::uintptr_t);
  const std::size_t room = alignment + 2 * sizeof(std::uintptr_t);
  if (size > SIZE_MAX / 2) return nullptr;
  char* const block = static_cast<char*>(std::malloc(size + room));
  if (!block) return nullptr;
  const auto start = reinterpret_cast<std::uintptr_t>(block);
  const std::uintptr_t given = (start + room) / alignment * alignment;
  auto* const notes = reinterpret_cast<std::uintptr_t*>(given) - 2;
  notes[0] = size;
  notes[1] = start;
  ++count;
  const std::size_t now = live += size;
  std::size_t most = peak.load();
  while (now > most && !peak.compare_exchange_weak(most, now)) {
  }
  return reinterpret_cast<void*>(given);
}

inline void give(void* given) noexcept {
  if (!given) return;
  const auto* const notes = static_cast<std::uintptr_t*>(given) - 2;
  live -= notes[0];
  std::free(reinterpret_cast<void*>(notes[1]));
}

inline void* take_or_throw(std::size_t size, std::size_t alignment) {
  void* const given = take(size, alignment);
#if defined(__cpp_exceptions)
  if (!given) throw std::bad_alloc();
#else
  if (!given) std::abort();
#endif
  return given;
}

}  // namespace allocations

void* operator new(std::size_t size) { return allocations::take_or_throw(size, 1); }
void* operator new[](std::size_t size) { return allocations::take_or_throw(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocations::take_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocations::take_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocations::take(size, 1);
}
void operator delete(void* given) noexcept { allocations::give(given); }
void operator delete[](void* given) noexcept { allocations::give(given); }
void operator delete(void* given, std::size_t) noexcept { allocations::give(given); }
void operator delete[](void* given, std::size_t) noexcept { allocations::give(given); }
void operator delete(void* given, std::align_val_t) noexcept { allocations::give(given); }
void operator delete[](void* given, std::align_val_t) noexcept { allocations::give(given); }
void operator delete(void* given, std::size_t, std::align_val_t) noexcept {
  allocations::give(given);
}
void operator delete[](void* given, std::size_t, std::align_val_t) noexcept {
  allocations::give(given);
}
void operator delete(void* given, const std::nothrow_t&) noexcept { allocations::give(given); }
