// One product of the 8-bit engine and the machine's peak, as tests and benchmarks look at them.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/kernels.h"
#include "model/int8_pack.h"

namespace py = pybind11;
using pqrnn::Int8Columns;
using pqrnn::kInt8Padding;

namespace {

template <class Number>
using Matrix = py::array_t<Number, py::array::c_style>;

template <class Number>
void check_matrix(const char* name, const Matrix<Number>& matrix, py::ssize_t rows,
                  py::ssize_t columns) {
  if (matrix.ndim() == 2 && (rows < 0 || matrix.shape(0) == rows) &&
      (columns < 0 || matrix.shape(1) == columns)) {
    return;
  }
  const py::tuple shape = matrix.attr("shape");
  throw py::value_error(std::string(name) + " has an unfitting shape, got " +
                        py::repr(shape).cast<std::string>());
}

class Int8Product {
 public:
  explicit Int8Product(const Matrix<std::int8_t>& weights) : kernels_(pqrnn::kernels()) {
    check_matrix("weights", weights, -1, -1);
    columns_ = static_cast<std::size_t>(weights.shape(0));
    depth_ = static_cast<std::size_t>(weights.shape(1));
    if (columns_ % kInt8Padding != 0 || depth_ % 4 != 0) {
      throw py::value_error("weights must have a multiple of 32 rows and of 4 columns, got " +
                            std::to_string(columns_) + " x " + std::to_string(depth_));
    }
    if (std::find(weights.data(), weights.data() + weights.size(), std::int8_t{-128}) !=
        weights.data() + weights.size()) {
      throw py::value_error("weights must be -127 to 127, got -128");
    }
    pqrnn::Int8Packer packer(kernels_, depth_, columns_, 2, 0, packed_);
    for (std::size_t c = 0; c < columns_; ++c) {
      for (std::size_t d = 0; d < depth_; ++d) {
        packer.put(c, d, weights.at(static_cast<py::ssize_t>(c), static_cast<py::ssize_t>(d)));
      }
    }
  }

  void call(const Matrix<std::uint8_t>& inputs, Matrix<std::int32_t> out) const {
    check_matrix("inputs", inputs, -1, static_cast<py::ssize_t>(depth_));
    check_matrix("out", out, inputs.shape(0), static_cast<py::ssize_t>(columns_));
    pqrnn::Int8LinearArgs args = {};
    args.input = inputs.data();
    args.input_stride = args.depth = depth_;
    args.weights = packed_.weights.data();
    args.init = packed_.init.data();
    args.columns = args.output_stride = columns_;
    args.count = static_cast<std::size_t>(inputs.shape(0));
    args.output = out.mutable_data();
    const py::gil_scoped_release release;
    kernels_.int8.linear(args);
  }

 private:
  const pqrnn::Kernels& kernels_;
  std::size_t columns_ = 0, depth_ = 0;
  Int8Columns packed_;
};

std::int64_t int8_peak(std::int64_t rounds) {
  if (rounds < 1) {
    throw py::value_error("rounds must be at least 1, got " + std::to_string(rounds));
  }
  const py::gil_scoped_release release;
  return pqrnn::kernels().int8.peak(rounds);
}

}  // namespace

void bind_int8(py::module_& m) {
  py::class_<Int8Product>(m, "Int8Product")
      .def(py::init<const Matrix<std::int8_t>&>(), py::arg("weights").noconvert())
      .def("__call__", &Int8Product::call, py::arg("inputs").noconvert(),
           py::arg("out").noconvert());
  m.def("int8_peak", &int8_peak, py::arg("rounds"));
}
