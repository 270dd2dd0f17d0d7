// Recurrence kernels on raw addresses. Callers (pqrnn_native/nn/ops.py) have checked dtypes, shapes
// and strides; what only the data can tell, lengths and offsets, is checked here.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <string>
#include <tuple>

#include "blocks.h"
#include "errors.h"
#include "kernels/training.h"
#include "parallel.h"

namespace py = pybind11;
using pqrnn::Code;
using pqrnn::Status;

namespace {

// (address, stride of a sequence, stride of a step), in elements; address 0: absent.
using ViewTuple = std::tuple<std::uintptr_t, std::int64_t, std::int64_t>;
// (count, steps, rows, address of offsets, address of lengths); rows: of the ragged tensors.
using SequencesTuple =
    std::tuple<std::int64_t, std::int64_t, std::int64_t, std::uintptr_t, std::uintptr_t>;

template <class T = void>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

pqrnn::View view(const ViewTuple& v) {
  return {pointer(std::get<0>(v)), std::get<1>(v), std::get<2>(v)};
}

Status check_lengths(const pqrnn::Sequences& q, std::int64_t rows) {
  for (std::int64_t n = 0; q.lengths && n < q.count; ++n) {
    if (q.lengths[n] >= 0 && q.lengths[n] <= q.steps) continue;
    return Status::error(Code::invalid_argument,
                         "lengths must be in [0, " + std::to_string(q.steps) + "], got lengths[" +
                             std::to_string(n) + "] = " + std::to_string(q.lengths[n]));
  }
  if (!q.offsets) return {};
  for (std::int64_t n = 0; n <= q.count; ++n) {
    if (q.offsets[n] >= (n ? q.offsets[n - 1] : 0) && (n || q.offsets[0] == 0)) continue;
    return Status::error(Code::invalid_argument,
                         "offsets must start at 0 and not decrease, got offsets[" +
                             std::to_string(n) + "] = " + std::to_string(q.offsets[n]));
  }
  if (q.offsets[q.count] == rows) return {};
  return Status::error(Code::invalid_argument, "offsets must end at the number of rows " +
                                                   std::to_string(rows) + ", got " +
                                                   std::to_string(q.offsets[q.count]));
}

pqrnn::Sequences sequences(const SequencesTuple& s) {
  const pqrnn::Sequences out{std::get<0>(s), std::get<1>(s),
                             pointer<const std::int64_t>(std::get<3>(s)),
                             pointer<const std::int64_t>(std::get<4>(s))};
  raise_if_error(check_lengths(out, std::get<2>(s)));
  return out;
}

// Tasks in a few chunks per thread, so that a late thread does not keep the others waiting.
template <class Args>
void run(void (*kernel)(const Args&, std::int64_t, std::int64_t), const Args& args,
         std::int64_t tasks, int threads) {
  if (threads <= 1 || tasks <= 1) return kernel(args, 0, tasks);
  const std::int64_t chunks = std::min<std::int64_t>(tasks, 8 * std::int64_t{threads});
  const Status status = pqrnn::parallel_for(
      static_cast<std::size_t>(chunks), threads, [&](std::size_t index, int, pqrnn::Stop&) {
        const std::int64_t chunk = static_cast<std::int64_t>(index);
        kernel(args, tasks * chunk / chunks, tasks * (chunk + 1) / chunks);
        return Status{};
      });
  // Only a lack of memory for the pool can get here; one thread needs none.
  if (!status.ok()) kernel(args, 0, tasks);
}

void set_directions(const std::string& direction, int& directions, bool* reverse) {
  directions = direction == "both" ? 2 : 1;
  reverse[0] = direction == "backward";
  reverse[1] = true;
}

std::size_t element_bytes(pqrnn::Element element) {
  if (element == pqrnn::Element::f64) return 8;
  return element == pqrnn::Element::f32 ? 4 : 2;
}

// Whether one output of that many elements is too large to be found in a cache afterwards.
bool should_stream(std::int64_t elements, pqrnn::Element element) {
  return static_cast<std::size_t>(elements) * element_bytes(element) >= (std::size_t{8} << 20);
}

std::int64_t rows_of(const SequencesTuple& s) {
  return std::get<3>(s) ? std::get<2>(s) : std::get<0>(s) * std::get<1>(s);
}

pqrnn::ScanArgs scan_args(const SequencesTuple& q, std::int64_t width, int element, bool reverse) {
  pqrnn::ScanArgs a = {};
  a.sequences = sequences(q);
  a.width = width;
  a.element = static_cast<pqrnn::Element>(element);
  a.reverse = reverse;
  a.stream = should_stream(rows_of(q) * width, a.element);
  return a;
}

void scan_forward(const SequencesTuple& q, std::int64_t width, int element, bool reverse,
                  int threads, const ViewTuple& f, const ViewTuple& x, std::uintptr_t h0,
                  const ViewTuple& h) {
  pqrnn::ScanArgs a = scan_args(q, width, element, reverse);
  a.f = view(f);
  a.x = view(x);
  a.h = view(h);
  a.h0 = pointer(h0);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.scan_forward, a, scan_tasks(a), threads);
}

void scan_backward(const SequencesTuple& q, std::int64_t width, int element, bool reverse,
                   int threads, const ViewTuple& gh, const ViewTuple& f, const ViewTuple& h,
                   std::uintptr_t h0, const ViewTuple& gf, const ViewTuple& gx,
                   std::uintptr_t gh0) {
  pqrnn::ScanArgs a = scan_args(q, width, element, reverse);
  a.gh = view(gh);
  a.f = view(f);
  a.h = view(h);
  a.h0 = pointer(h0);
  a.gf = view(gf);
  a.gx = view(gx);
  a.gh0 = pointer(gh0);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.scan_backward, a, scan_tasks(a), threads);
}

// Everything of a pooling but its tensors.
struct PoolShape {
  SequencesTuple sequences;
  std::int64_t width;
  std::string direction;
  int pooling;
  int taps;
  int element;
  std::uint32_t zoneout;
  std::uint64_t seed;
  int threads;

  pqrnn::PoolArgs args() const {
    pqrnn::PoolArgs a = {};
    a.sequences = ::sequences(sequences);
    a.width = width;
    set_directions(direction, a.directions, a.reverse);
    a.pooling = static_cast<pqrnn::Pooling>(pooling);
    a.taps = taps;
    a.element = static_cast<pqrnn::Element>(element);
    a.zoneout = zoneout;
    a.seed = seed;
    a.stream = should_stream(rows_of(sequences) * a.directions * width, a.element);
    return a;
  }
};

using GateTuple = std::tuple<ViewTuple, ViewTuple, ViewTuple, ViewTuple>;  // z, f, o, i

void set_gates(const GateTuple& gates, pqrnn::View* out) {
  out[pqrnn::gate_z] = view(std::get<0>(gates));
  out[pqrnn::gate_f] = view(std::get<1>(gates));
  out[pqrnn::gate_o] = view(std::get<2>(gates));
  out[pqrnn::gate_i] = view(std::get<3>(gates));
}

// Gates packed in one row: [directions, taps, gate, width], gates in the order z, (i,) f, (o).
void set_packed_gates(pqrnn::PoolArgs& a, const ViewTuple& packed, pqrnn::View* out) {
  const bool has_input = a.pooling == pqrnn::Pooling::ifo;
  const int order[3][4] = {{pqrnn::gate_z, pqrnn::gate_f},
                           {pqrnn::gate_z, pqrnn::gate_f, pqrnn::gate_o},
                           {pqrnn::gate_z, pqrnn::gate_i, pqrnn::gate_f, pqrnn::gate_o}};
  const int count = has_input ? 4 : a.pooling == pqrnn::Pooling::fo ? 3 : 2;
  for (int g = 0; g < count; ++g) {
    const int slot = order[static_cast<int>(a.pooling)][g];
    out[slot] = view(packed);
    out[slot].data = static_cast<char*>(out[slot].data) + g * a.width * element_bytes(a.element);
    a.coefficient[slot] = g * a.width;
  }
  a.raw = true;
  a.gate_tap = count * a.width;
  a.gate_direction = a.taps * a.gate_tap;
  a.coefficient_direction = a.gate_tap;
}

// coefficients: [3, directions * gates * width], the rows mean, scale, shift.
void set_coefficients(pqrnn::PoolArgs& a, std::uintptr_t coefficients) {
  const std::size_t row = static_cast<std::size_t>(a.directions * a.coefficient_direction) *
                          (a.element == pqrnn::Element::f64 ? 8 : 4);
  a.mean = pointer<char>(coefficients);
  a.scale = pointer<char>(coefficients) + row;
  a.shift = pointer<char>(coefficients) + 2 * row;
}

void run_pool_forward(pqrnn::PoolArgs& a, const PoolShape& shape, std::uintptr_t h0,
                      const ViewTuple& h, const ViewTuple& c, std::uintptr_t last) {
  a.h0 = pointer(h0);
  a.h = view(h);
  a.c = view(c);
  a.last = pointer(last);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.pool_forward, a, pool_tasks(a), shape.threads);
}

// `states` is what the forward pass kept: h for pooling f, otherwise c.
void run_pool_backward(pqrnn::PoolArgs& a, const PoolShape& shape, const ViewTuple& gh,
                       const ViewTuple& gc, std::uintptr_t glast, std::uintptr_t h0,
                       const ViewTuple& states, std::uintptr_t gh0) {
  a.gh = view(gh);
  a.gc = view(gc);
  a.glast = pointer(glast);
  a.h0 = pointer(h0);
  a.h = a.c = view(states);
  a.gh0 = pointer(gh0);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.pool_backward, a, pool_tasks(a), shape.threads);
}

void pool_forward(const PoolShape& shape, const GateTuple& gates, std::uintptr_t h0,
                  const ViewTuple& h, const ViewTuple& c, std::uintptr_t last) {
  pqrnn::PoolArgs a = shape.args();
  set_gates(gates, a.gate);
  run_pool_forward(a, shape, h0, h, c, last);
}

void pool_backward(const PoolShape& shape, const GateTuple& gates, const ViewTuple& gh,
                   const ViewTuple& gc, std::uintptr_t glast, std::uintptr_t h0,
                   const ViewTuple& states, const GateTuple& gradients, std::uintptr_t gh0) {
  pqrnn::PoolArgs a = shape.args();
  set_gates(gates, a.gate);
  set_gates(gradients, a.gate_gradient);
  run_pool_backward(a, shape, gh, gc, glast, h0, states, gh0);
}

void gate_pool_forward(const PoolShape& shape, const ViewTuple& gates, std::uintptr_t coefficients,
                       std::uintptr_t h0, const ViewTuple& h, const ViewTuple& c,
                       std::uintptr_t last) {
  pqrnn::PoolArgs a = shape.args();
  set_packed_gates(a, gates, a.gate);
  set_coefficients(a, coefficients);
  run_pool_forward(a, shape, h0, h, c, last);
}

void gate_pool_backward(const PoolShape& shape, const ViewTuple& gates, std::uintptr_t coefficients,
                        const ViewTuple& gh, const ViewTuple& gc, std::uintptr_t glast,
                        std::uintptr_t h0, const ViewTuple& states, const ViewTuple& gradient,
                        std::uintptr_t gh0, std::uintptr_t sums) {
  pqrnn::PoolArgs a = shape.args();
  set_packed_gates(a, gates, a.gate);
  set_packed_gates(a, gradient, a.gate_gradient);
  set_coefficients(a, coefficients);
  a.sums = pointer(sums);
  run_pool_backward(a, shape, gh, gc, glast, h0, states, gh0);
}

pqrnn::NormArgs norm_args(const PoolShape& shape, std::int64_t gates_width) {
  const pqrnn::PoolArgs pool = shape.args();
  pqrnn::NormArgs a = {};
  a.sequences = pool.sequences;
  a.width = gates_width;
  a.directions = pool.directions;
  a.reverse[0] = pool.reverse[0];
  a.reverse[1] = pool.reverse[1];
  a.taps = pool.taps;
  a.element = pool.element;
  a.stream = pool.stream;
  return a;
}

void gate_moments(const PoolShape& shape, std::int64_t gates_width, const ViewTuple& gates,
                  const ViewTuple& sum, std::uintptr_t moments) {
  pqrnn::NormArgs a = norm_args(shape, gates_width);
  a.gates = view(gates);
  a.sum = view(sum);
  a.moments = pointer<double>(moments);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.norm_forward, a, norm_tasks(a), shape.threads);
}

// coefficients: [3, directions * gates_width], the rows mean, offset, slope.
void gate_norm_backward(const PoolShape& shape, std::int64_t gates_width, const ViewTuple& sum,
                        const ViewTuple& dy, std::uintptr_t coefficients,
                        const ViewTuple& gradient) {
  pqrnn::NormArgs a = norm_args(shape, gates_width);
  const std::size_t row =
      static_cast<std::size_t>(a.directions * a.width) * (a.element == pqrnn::Element::f64 ? 8 : 4);
  a.sum = view(sum);
  a.dy = view(dy);
  a.mean = pointer<char>(coefficients);
  a.offset = pointer<char>(coefficients) + row;
  a.slope = pointer<char>(coefficients) + 2 * row;
  a.gradient = view(gradient);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.norm_backward, a, norm_tasks(a), shape.threads);
}

void attend_forward(const SequencesTuple& q, std::int64_t width, std::int64_t heads, int element,
                    int threads, const ViewTuple& states, const ViewTuple& logits,
                    const ViewTuple& weights, std::uintptr_t pooled) {
  pqrnn::AttendArgs a = {};
  a.sequences = sequences(q);
  a.width = width;
  a.heads = heads;
  a.element = static_cast<pqrnn::Element>(element);
  a.states = view(states);
  a.weights = view(logits);
  a.out_weights = view(weights);
  a.pooled = pointer(pooled);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.attend_forward, a, a.sequences.count, threads);
}

void attend_backward(const SequencesTuple& q, std::int64_t width, std::int64_t heads, int element,
                     int threads, std::uintptr_t gpooled, const ViewTuple& states,
                     const ViewTuple& weights, const ViewTuple& gstates, const ViewTuple& glogits) {
  pqrnn::AttendArgs a = {};
  a.sequences = sequences(q);
  a.width = width;
  a.heads = heads;
  a.element = static_cast<pqrnn::Element>(element);
  a.gpooled = pointer(gpooled);
  a.states = view(states);
  a.out_weights = view(weights);
  a.gstates = view(gstates);
  a.glogits = view(glogits);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.attend_backward, a, a.sequences.count, threads);
}

void dropout(std::int64_t count, int element, std::uint32_t threshold, std::uint64_t seed,
             double scale, int threads, std::uintptr_t x, std::uintptr_t y) {
  pqrnn::DropoutArgs a = {};
  a.count = count;
  a.element = static_cast<pqrnn::Element>(element);
  a.threshold = threshold;
  a.seed = seed;
  a.scale = scale;
  a.x = pointer(x);
  a.y = pointer(y);
  py::gil_scoped_release release;
  run(pqrnn::training_kernels().recurrence.dropout, a, dropout_tasks(a), threads);
}

// Memory of a large output; whoever holds the buffer keeps it from being used again.
struct OwnedBlock {
  explicit OwnedBlock(std::size_t size) : data(pqrnn::take_block(size)), bytes(size) {
    if (!data) throw std::bad_alloc();
  }
  ~OwnedBlock() { pqrnn::give_block(data, bytes); }
  OwnedBlock(const OwnedBlock&) = delete;
  OwnedBlock& operator=(const OwnedBlock&) = delete;

  void* data;
  std::size_t bytes;
};

}  // namespace

void bind_ops(py::module_& m) {
  py::class_<OwnedBlock>(m, "Block", py::buffer_protocol())
      .def(py::init<std::size_t>(), py::arg("bytes"))
      .def_buffer([](OwnedBlock& block) {
        return py::buffer_info(static_cast<std::uint8_t*>(block.data),
                               static_cast<py::ssize_t>(block.bytes));
      });
  m.def("drop_free_blocks", &pqrnn::drop_free_blocks);
  m.def("free_block_bytes", &pqrnn::free_block_bytes);
  m.attr("SEQUENCE_GROUP") = pqrnn::kGroup;
  py::class_<PoolShape>(m, "PoolShape")
      .def(py::init([](const SequencesTuple& q, std::int64_t width, const std::string& direction,
                       int pooling, int taps, int element, std::uint32_t zoneout,
                       std::uint64_t seed, int threads) {
             return PoolShape{q, width, direction, pooling, taps, element, zoneout, seed, threads};
           }),
           py::arg("sequences"), py::arg("width"), py::arg("direction"), py::arg("pooling"),
           py::arg("taps"), py::arg("element"), py::arg("zoneout"), py::arg("seed"),
           py::arg("threads"));
  m.def("scan_forward", &scan_forward, py::arg("sequences"), py::arg("width"), py::arg("element"),
        py::arg("reverse"), py::arg("threads"), py::arg("f"), py::arg("x"), py::arg("h0"),
        py::arg("h"));
  m.def("scan_backward", &scan_backward, py::arg("sequences"), py::arg("width"), py::arg("element"),
        py::arg("reverse"), py::arg("threads"), py::arg("gh"), py::arg("f"), py::arg("h"),
        py::arg("h0"), py::arg("gf"), py::arg("gx"), py::arg("gh0"));
  m.def("pool_forward", &pool_forward, py::arg("shape"), py::arg("gates"), py::arg("h0"),
        py::arg("h"), py::arg("c"), py::arg("last"));
  m.def("pool_backward", &pool_backward, py::arg("shape"), py::arg("gates"), py::arg("gh"),
        py::arg("gc"), py::arg("glast"), py::arg("h0"), py::arg("states"), py::arg("gradients"),
        py::arg("gh0"));
  m.def("gate_pool_forward", &gate_pool_forward, py::arg("shape"), py::arg("gates"),
        py::arg("coefficients"), py::arg("h0"), py::arg("h"), py::arg("c"), py::arg("last"));
  m.def("gate_pool_backward", &gate_pool_backward, py::arg("shape"), py::arg("gates"),
        py::arg("coefficients"), py::arg("gh"), py::arg("gc"), py::arg("glast"), py::arg("h0"),
        py::arg("states"), py::arg("gradient"), py::arg("gh0"), py::arg("sums"));
  m.def("gate_moments", &gate_moments, py::arg("shape"), py::arg("gates_width"), py::arg("gates"),
        py::arg("sum"), py::arg("moments"));
  m.def("gate_norm_backward", &gate_norm_backward, py::arg("shape"), py::arg("gates_width"),
        py::arg("sum"), py::arg("dy"), py::arg("coefficients"), py::arg("gradient"));
  m.def("attend_forward", &attend_forward, py::arg("sequences"), py::arg("width"), py::arg("heads"),
        py::arg("element"), py::arg("threads"), py::arg("states"), py::arg("logits"),
        py::arg("weights"), py::arg("pooled"));
  m.def("attend_backward", &attend_backward, py::arg("sequences"), py::arg("width"),
        py::arg("heads"), py::arg("element"), py::arg("threads"), py::arg("gpooled"),
        py::arg("states"), py::arg("weights"), py::arg("gstates"), py::arg("glogits"));
  m.def("dropout", &dropout, py::arg("count"), py::arg("element"), py::arg("threshold"),
        py::arg("seed"), py::arg("scale"), py::arg("threads"), py::arg("x"), py::arg("y"));
}
