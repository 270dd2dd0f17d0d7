// Errors as values: the C++ core throws nothing of its own, so that the C API and the kernels can
// be used where exceptions are off. Bindings turn a Status into a Python exception.
#pragma once

#include <string>
#include <utility>

namespace pqrnn {

enum class Code {
  ok = 0,
  invalid_argument,  // ValueError
  corrupt_file,      // ValueError: the model file is damaged or not of a known format
  out_of_range,      // IndexError
  io_error,          // OSError
  cancelled,         // the caller asked to stop (Ctrl-C)
  out_of_memory,     // MemoryError
};

struct Status {
  Code code = Code::ok;
  std::string message;

  bool ok() const { return code == Code::ok; }
  static Status error(Code code, std::string message) { return {code, std::move(message)}; }
};

}  // namespace pqrnn

// Hands an error of `expression` on to the caller.
#define PQRNN_TRY(expression)                      \
  do {                                             \
    ::pqrnn::Status pqrnn_status_ = (expression);  \
    if (!pqrnn_status_.ok()) return pqrnn_status_; \
  } while (0)
