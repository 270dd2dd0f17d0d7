// The one place where exceptions are caught, so that the core also builds without them.
#pragma once

#include "status.h"

namespace pqrnn {

// What `body` returns: a Status. The containers of the standard library throw when there is no
// memory, and nothing here throws anything else. Built without exceptions, the program ends then.
template <class Body>
Status guarded(const Body& body) noexcept {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
  try {
    return body();
  } catch (...) {
    return {Code::out_of_memory, {}};
  }
#else
  return body();
#endif
}

}  // namespace pqrnn
