// The Python module _core: a table of contents. Each bind_<topic>.cpp checks, borrows, releases the
// GIL, calls csrc/ and returns.
#include <pybind11/pybind11.h>

namespace py = pybind11;

void bind_cpu(py::module_& m);
void bind_text(py::module_& m);
void bind_unicode(py::module_& m);
void bind_ops(py::module_& m);
void bind_model(py::module_& m);
void bind_int8(py::module_& m);

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "Compiled core of pqrnn_native; use the package's public names instead.";
  m.attr("__version__") = PQRNN_VERSION;
  bind_cpu(m);
  bind_text(m);
  bind_unicode(m);
  bind_ops(m);
  bind_model(m);
  bind_int8(m);
}
