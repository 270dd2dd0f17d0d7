// Instruction sets: which there are, which is active.
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "kernels/kernels.h"

namespace py = pybind11;

void bind_cpu(py::module_& m) {
  m.def("available_isas", [] {
    py::list names;
    for (const pqrnn::Kernels* const* entry = pqrnn::available_kernels(); *entry; ++entry) {
      names.append((*entry)->name);
    }
    return names;
  });
  m.def("isa", [] { return std::string(pqrnn::kernels().name); });
  m.def(
      "set_isa",
      [](const std::string& name) {
        if (!pqrnn::select_kernels(name.c_str())) {
          throw std::invalid_argument("isa " + std::string(py::repr(py::str(name))) +
                                      " is not available on this machine");
        }
      },
      py::arg("name"));
}
