// The Python module _cuda: raw device addresses and a stream in. Callers (pqrnn_native/nn/ops/)
// have checked dtypes, shapes and strides; what only device memory can tell, lengths and offsets,
// the kernels clamp. Nothing here waits for the device.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "cuda/api.h"
#include "cuda/plan.h"

namespace py = pybind11;
namespace cuda = pqrnn::cuda;

namespace {

using Address = std::uintptr_t;  // 0: absent
// (address, stride of a sequence, stride of a step), in elements.
using ViewTuple = std::tuple<Address, std::int64_t, std::int64_t>;
// (count, steps, rows, address of offsets, address of lengths)
using SequencesTuple = std::tuple<std::int64_t, std::int64_t, std::int64_t, Address, Address>;
using GateTuple = std::tuple<ViewTuple, ViewTuple, ViewTuple, ViewTuple>;  // z, f, o, i

template <class T = void>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

cuda::View view(const ViewTuple& v) {
  return {pointer(std::get<0>(v)), std::get<1>(v), std::get<2>(v)};
}

cuda::Sequences sequences(const SequencesTuple& s) {
  return {std::get<0>(s), std::get<1>(s), std::get<2>(s),
          pointer<const std::int64_t>(std::get<3>(s)), pointer<const std::int64_t>(std::get<4>(s))};
}

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

// Makes a device current for one call.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_));
    if (before_ != device) check(cudaSetDevice(device));
    changed_ = before_ != device;
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

// Where to run.
struct Queue {
  int device;
  Address stream;

  template <class Args>
  void run(cudaError_t (*launch)(const Args&, cudaStream_t), const Args& args) const {
    const OnDevice on(device);
    check(launch(args, pointer<CUstream_st>(stream)));
  }
};

void set_directions(const std::string& direction, int& directions, bool* reverse) {
  directions = direction == "both" ? 2 : 1;
  reverse[0] = direction == "backward";
  reverse[1] = true;
}

std::size_t element_bytes(cuda::Element element) {
  return element == cuda::Element::f64 ? 8 : element == cuda::Element::f32 ? 4 : 2;
}

struct PoolShape {
  SequencesTuple sequences;
  std::int64_t width;
  std::string direction;
  int pooling;
  int element;
  std::uint32_t zoneout;
  Address seed;
  std::int64_t chunks;
  std::int64_t chunk_steps;
  Address carries;

  cuda::PoolArgs args() const {
    cuda::PoolArgs a = {};
    a.sequences = ::sequences(sequences);
    a.width = width;
    set_directions(direction, a.directions, a.reverse);
    a.kind = static_cast<cuda::Kind>(pooling);
    a.element = static_cast<cuda::Element>(element);
    a.zoneout = zoneout;
    a.seed = pointer<const std::uint64_t>(seed);
    a.chunks = chunks;
    a.chunk_steps = chunk_steps;
    a.carries = pointer(carries);
    return a;
  }
};

void set_gates(const GateTuple& gates, cuda::View* out) {
  out[cuda::gate_z] = view(std::get<0>(gates));
  out[cuda::gate_f] = view(std::get<1>(gates));
  out[cuda::gate_o] = view(std::get<2>(gates));
  out[cuda::gate_i] = view(std::get<3>(gates));
}

// Gates packed in one row: [directions, gate, width], gates in the order z, (i,) f, (o).
void set_packed_gates(cuda::PoolArgs& a, const ViewTuple& packed, cuda::View* out) {
  const int order[3][4] = {{cuda::gate_z, cuda::gate_f},
                           {cuda::gate_z, cuda::gate_f, cuda::gate_o},
                           {cuda::gate_z, cuda::gate_i, cuda::gate_f, cuda::gate_o}};
  const int kind = static_cast<int>(a.kind), count = kind + 2;
  for (int g = 0; g < count; ++g) {
    const int slot = order[kind][g];
    out[slot] = view(packed);
    out[slot].data = static_cast<char*>(out[slot].data) + g * a.width * element_bytes(a.element);
    a.coefficient[slot] = g * a.width;
  }
  a.raw = true;
  a.gate_direction = a.coefficient_direction = count * a.width;
  a.channels = a.directions * a.coefficient_direction;
}

void run_pool_forward(const Queue& queue, cuda::PoolArgs& a, Address h0, const ViewTuple& h,
                      Address checkpoints, Address last) {
  a.h0 = pointer(h0);
  a.h = view(h);
  a.checkpoints = pointer(checkpoints);
  a.last = pointer(last);
  queue.run(cuda::pool_forward, a);
}

void pool_forward(const Queue& queue, const PoolShape& shape, const GateTuple& gates, Address h0,
                  const ViewTuple& h, Address checkpoints, Address last) {
  cuda::PoolArgs a = shape.args();
  set_gates(gates, a.gate);
  run_pool_forward(queue, a, h0, h, checkpoints, last);
}

void gate_pool_forward(const Queue& queue, const PoolShape& shape, const ViewTuple& gates,
                       Address coefficients, Address h0, const ViewTuple& h, Address checkpoints,
                       Address last) {
  cuda::PoolArgs a = shape.args();
  set_packed_gates(a, gates, a.gate);
  a.coefficients = pointer(coefficients);
  run_pool_forward(queue, a, h0, h, checkpoints, last);
}

void run_pool_backward(const Queue& queue, cuda::PoolArgs& a, const ViewTuple& gh, Address glast,
                       Address h0, Address checkpoints, Address gh0) {
  a.gh = view(gh);
  a.glast = pointer(glast);
  a.h0 = pointer(h0);
  a.checkpoints = pointer(checkpoints);
  a.gh0 = pointer(gh0);
  queue.run(cuda::pool_backward, a);
}

// `states`: h of the forward pass, for the scan; the poolings have checkpoints.
void pool_backward(const Queue& queue, const PoolShape& shape, const GateTuple& gates,
                   const ViewTuple& gh, Address glast, Address h0, const ViewTuple& states,
                   Address checkpoints, const GateTuple& gradients, Address gh0) {
  cuda::PoolArgs a = shape.args();
  set_gates(gates, a.gate);
  set_gates(gradients, a.gradient);
  a.states = view(states);
  run_pool_backward(queue, a, gh, glast, h0, checkpoints, gh0);
}

void gate_pool_backward(const Queue& queue, const PoolShape& shape, const ViewTuple& gates,
                        Address coefficients, const ViewTuple& gh, Address glast, Address h0,
                        Address checkpoints, const ViewTuple& gradient, Address gh0, Address sums) {
  cuda::PoolArgs a = shape.args();
  set_packed_gates(a, gates, a.gate);
  set_packed_gates(a, gradient, a.gradient);
  a.coefficients = pointer(coefficients);
  a.sums = pointer(sums);
  run_pool_backward(queue, a, gh, glast, h0, checkpoints, gh0);
}

cuda::NormArgs norm_args(const SequencesTuple& q, std::int64_t width, const std::string& direction,
                         int taps, int element) {
  cuda::NormArgs a = {};
  a.sequences = sequences(q);
  a.width = width;
  set_directions(direction, a.directions, a.reverse);
  a.taps = taps;
  a.element = static_cast<cuda::Element>(element);
  return a;
}

// Without `moments`, only the sums of taps are written.
void gate_moments(const Queue& queue, const SequencesTuple& q, std::int64_t width,
                  const std::string& direction, int taps, int element, const ViewTuple& gates,
                  const ViewTuple& sum, std::int64_t row_blocks, Address partial, Address moments,
                  Address coefficients, Address weight, Address bias, double eps) {
  cuda::NormArgs a = norm_args(q, width, direction, taps, element);
  a.gates = view(gates);
  a.sum = view(sum);
  a.row_blocks = row_blocks;
  a.partial = pointer(partial);
  a.moments = pointer(moments);
  a.coefficients_out = pointer(coefficients);
  a.weight = pointer(weight);
  a.bias = pointer(bias);
  a.eps = eps;
  queue.run(cuda::gate_moments, a);
}

void spread_gates(const Queue& queue, const SequencesTuple& q, std::int64_t width,
                  const std::string& direction, int taps, int element, const ViewTuple& sum,
                  const ViewTuple& dy, Address coefficients, const ViewTuple& gradient) {
  cuda::NormArgs a = norm_args(q, width, direction, taps, element);
  a.sum = view(sum);
  a.dy = view(dy);
  a.coefficients = pointer(coefficients);
  a.gradient = view(gradient);
  queue.run(cuda::spread_gates, a);
}

cuda::AttendArgs attend_args(const SequencesTuple& q, std::int64_t width, std::int64_t heads,
                             int element, const ViewTuple& states, const ViewTuple& weights) {
  cuda::AttendArgs a = {};
  a.sequences = sequences(q);
  a.width = width;
  a.heads = heads;
  a.element = static_cast<cuda::Element>(element);
  a.states = view(states);
  a.weights = view(weights);
  return a;
}

void attend_forward(const Queue& queue, const SequencesTuple& q, std::int64_t width,
                    std::int64_t heads, int element, const ViewTuple& states,
                    const ViewTuple& logits, const ViewTuple& weights, Address pooled) {
  cuda::AttendArgs a = attend_args(q, width, heads, element, states, weights);
  a.logits = view(logits);
  a.pooled = pointer(pooled);
  queue.run(cuda::attend_forward, a);
}

void attend_backward(const Queue& queue, const SequencesTuple& q, std::int64_t width,
                     std::int64_t heads, int element, Address gpooled, const ViewTuple& states,
                     const ViewTuple& weights, const ViewTuple& gstates, const ViewTuple& glogits) {
  cuda::AttendArgs a = attend_args(q, width, heads, element, states, weights);
  a.gpooled = pointer(gpooled);
  a.gstates = view(gstates);
  a.glogits = view(glogits);
  queue.run(cuda::attend_backward, a);
}

cuda::ProjectArgs tokens_args(std::int64_t tokens, Address bytes, std::int64_t byte_count,
                              Address offsets, bool is_signed, Address fingerprints) {
  cuda::ProjectArgs a = {};
  a.tokens = tokens;
  a.bytes = pointer<const std::uint8_t>(bytes);
  a.byte_count = byte_count;
  a.offsets = pointer<const std::int64_t>(offsets);
  a.is_signed = is_signed;
  a.fingerprints = pointer<std::uint64_t>(fingerprints);
  return a;
}

void hash_tokens(const Queue& queue, std::int64_t tokens, Address bytes, std::int64_t byte_count,
                 Address offsets, bool is_signed, Address fingerprints) {
  queue.run(cuda::hash_tokens,
            tokens_args(tokens, bytes, byte_count, offsets, is_signed, fingerprints));
}

// From bytes when they are given, else from fingerprints.
void expand_features(const Queue& queue, std::int64_t tokens, Address bytes,
                     std::int64_t byte_count, Address offsets, bool is_signed, Address fingerprints,
                     std::int64_t size, int type, Address features) {
  cuda::ProjectArgs a = tokens_args(tokens, bytes, byte_count, offsets, is_signed, fingerprints);
  a.size = size;
  a.type = static_cast<cuda::FeatureType>(type);
  a.features = pointer(features);
  queue.run(cuda::expand_features, a);
}

void ternary_product(const Queue& queue, std::int64_t tokens, std::int64_t size,
                     std::int64_t outputs, Address fingerprints, Address weight, Address out) {
  const cuda::ProductArgs a = {tokens,          size,
                               outputs,         pointer<const std::uint64_t>(fingerprints),
                               pointer(weight), pointer(out)};
  queue.run(cuda::ternary_product, a);
}

int multiprocessors(int device) {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

// (chunks, steps of one) for so many channels of sequences, directions included.
py::tuple plan(int device, std::int64_t channels, std::int64_t longest, int element) {
  const std::int64_t each = element_bytes(static_cast<cuda::Element>(element)) == 2 ? 2 : 1;
  const cuda::Plan found = cuda::plan_chunks(channels / each, longest, multiprocessors(device));
  return py::make_tuple(found.chunks, found.chunk_steps);
}

// (number of devices, why there is none)
py::tuple device_count() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    cudaGetLastError();  // or the next call would report it again
    return py::make_tuple(0, cudaGetErrorString(error));
  }
  return py::make_tuple(count, count ? "" : "no device");
}

}  // namespace

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  m.doc() = "CUDA kernels of pqrnn_native; use the package's public names instead.";
  m.attr("BATCH_STEPS") = cuda::kBatch;
  m.attr("RUNTIME_VERSION") = CUDART_VERSION;

  py::class_<Queue>(m, "Queue")
      .def(py::init([](int device, Address stream) { return Queue{device, stream}; }),
           py::arg("device"), py::arg("stream"));
  py::class_<PoolShape>(m, "PoolShape")
      .def(py::init([](const SequencesTuple& q, std::int64_t width, const std::string& direction,
                       int pooling, int element, std::uint32_t zoneout, Address seed,
                       std::int64_t chunks, std::int64_t chunk_steps, Address carries) {
             return PoolShape{q,       width, direction, pooling,     element,
                              zoneout, seed,  chunks,    chunk_steps, carries};
           }),
           py::kw_only(), py::arg("sequences"), py::arg("width"), py::arg("direction"),
           py::arg("pooling"), py::arg("element"), py::arg("zoneout"), py::arg("seed"),
           py::arg("chunks"), py::arg("chunk_steps"), py::arg("carries"));

  const py::call_guard<py::gil_scoped_release> no_gil;
  m.def("device_count", &device_count);
  m.def("plan", &plan, py::arg("device"), py::arg("channels"), py::arg("longest"),
        py::arg("element"));
  m.def("multiprocessors", &multiprocessors, py::arg("device"));
  m.def("pool_forward", &pool_forward, no_gil, py::arg("queue"), py::arg("shape"), py::arg("gates"),
        py::arg("h0"), py::arg("h"), py::arg("checkpoints"), py::arg("last"));
  m.def("pool_backward", &pool_backward, no_gil, py::arg("queue"), py::arg("shape"),
        py::arg("gates"), py::arg("gh"), py::arg("glast"), py::arg("h0"), py::arg("states"),
        py::arg("checkpoints"), py::arg("gradients"), py::arg("gh0"));
  m.def("gate_pool_forward", &gate_pool_forward, no_gil, py::arg("queue"), py::arg("shape"),
        py::arg("gates"), py::arg("coefficients"), py::arg("h0"), py::arg("h"),
        py::arg("checkpoints"), py::arg("last"));
  m.def("gate_pool_backward", &gate_pool_backward, no_gil, py::arg("queue"), py::arg("shape"),
        py::arg("gates"), py::arg("coefficients"), py::arg("gh"), py::arg("glast"), py::arg("h0"),
        py::arg("checkpoints"), py::arg("gradient"), py::arg("gh0"), py::arg("sums"));
  m.def("gate_moments", &gate_moments, no_gil, py::arg("queue"), py::arg("sequences"),
        py::arg("width"), py::arg("direction"), py::arg("taps"), py::arg("element"),
        py::arg("gates"), py::arg("sum"), py::arg("row_blocks"), py::arg("partial"),
        py::arg("moments"), py::arg("coefficients"), py::arg("weight"), py::arg("bias"),
        py::arg("eps"));
  m.def("spread_gates", &spread_gates, no_gil, py::arg("queue"), py::arg("sequences"),
        py::arg("width"), py::arg("direction"), py::arg("taps"), py::arg("element"), py::arg("sum"),
        py::arg("dy"), py::arg("coefficients"), py::arg("gradient"));
  m.def("attend_forward", &attend_forward, no_gil, py::arg("queue"), py::arg("sequences"),
        py::arg("width"), py::arg("heads"), py::arg("element"), py::arg("states"),
        py::arg("logits"), py::arg("weights"), py::arg("pooled"));
  m.def("attend_backward", &attend_backward, no_gil, py::arg("queue"), py::arg("sequences"),
        py::arg("width"), py::arg("heads"), py::arg("element"), py::arg("gpooled"),
        py::arg("states"), py::arg("weights"), py::arg("gstates"), py::arg("glogits"));
  m.def("hash_tokens", &hash_tokens, no_gil, py::arg("queue"), py::arg("tokens"), py::arg("bytes"),
        py::arg("byte_count"), py::arg("offsets"), py::arg("is_signed"), py::arg("fingerprints"));
  m.def("expand_features", &expand_features, no_gil, py::arg("queue"), py::arg("tokens"),
        py::arg("bytes"), py::arg("byte_count"), py::arg("offsets"), py::arg("is_signed"),
        py::arg("fingerprints"), py::arg("size"), py::arg("type"), py::arg("features"));
  m.def("ternary_product", &ternary_product, no_gil, py::arg("queue"), py::arg("tokens"),
        py::arg("size"), py::arg("outputs"), py::arg("fingerprints"), py::arg("weight"),
        py::arg("out"));
}
