// Status values of csrc/ as Python exceptions.
#pragma once

#include <pybind11/pybind11.h>

#include "status.h"

// Must be called with the GIL held.
inline void raise_if_error(const pqrnn::Status& status) {
  if (status.ok()) return;
  PyObject* type = PyExc_ValueError;
  switch (status.code) {
    case pqrnn::Code::out_of_range: type = PyExc_IndexError; break;
    case pqrnn::Code::io_error: type = PyExc_OSError; break;
    case pqrnn::Code::out_of_memory: type = PyExc_MemoryError; break;
    case pqrnn::Code::cancelled: throw pybind11::error_already_set();  // the signal handler set it
    default: break;
  }
  PyErr_SetString(type, status.message.c_str());
  throw pybind11::error_already_set();
}
