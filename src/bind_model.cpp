// Inference. Python checks arguments and allocates the outputs; all work runs without the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "model/encoder.h"
#include "model/tagging.h"
#include "parallel.h"
#include "strings.h"
#include "text/utf8.h"

namespace py = pybind11;

namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using SpanArray = py::array_t<std::int64_t, py::array::c_style>;

// A contiguous buffer, borrowed as long as the object lives.
class Bytes {
 public:
  explicit Bytes(py::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  ~Bytes() { PyBuffer_Release(&view_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  const void* data() const { return view_.buf; }
  std::size_t size() const { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_ = {};
};

std::unique_ptr<pqrnn::Model> load(py::handle data) {
  const Bytes bytes(data);
  std::unique_ptr<pqrnn::Model> model;
  pqrnn::Status status;
  {
    const py::gil_scoped_release release;
    status = pqrnn::Model::load(bytes.data(), bytes.size(), model);
  }
  raise_if_error(status);
  return model;
}

// What the calling thread does now and then while it works without the GIL: Ctrl-C and progress. A
// Python exception stays set as this thread's error, and stops the work.
struct Watcher {
  py::handle progress;  // callable(done, total) or None
  std::size_t total = 0;
  std::atomic<std::size_t> done{0};

  bool report() {
    if (progress.is_none()) return true;
    try {
      progress(done.load(), total);
    } catch (py::error_already_set& error) {
      error.restore();
      return false;
    }
    return true;
  }
  static bool poll(void* context) {
    const py::gil_scoped_acquire acquire;
    return PyErr_CheckSignals() != 0 || !static_cast<Watcher*>(context)->report();
  }
};

int thread_count(int threads) { return threads > 0 ? threads : pqrnn::default_threads(); }

void encode(const pqrnn::Model& self, const Texts& texts, FloatArray& out, int threads,
            std::size_t batch_size, bool normalize, py::handle progress) {
  const std::vector<std::string_view>& views = texts.views();
  if (static_cast<std::size_t>(out.size()) != views.size() * self.output_size()) {
    throw py::value_error("out must hold texts x output size elements");
  }
  float* const data = out.mutable_data();
  Watcher watcher;
  watcher.progress = progress;
  watcher.total = views.size();
  pqrnn::EncodeOptions options;
  options.threads = thread_count(threads);
  options.batch_size = batch_size;
  options.normalize = normalize;
  options.poll = {Watcher::poll, &watcher};
  options.done = &watcher.done;
  pqrnn::Status status;
  {
    const py::gil_scoped_release release;
    status = self.encode(views.data(), views.size(), options, data);
  }
  raise_if_error(status);
  if (!watcher.report()) throw py::error_already_set();
}

std::vector<py::ssize_t> shape(std::size_t rows, std::size_t columns) {
  return {static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)};
}

// Writes (begin, end) pairs and returns the place behind them.
std::int64_t* copy_spans(const std::vector<pqrnn::Span>& spans, std::int64_t* out) {
  for (const pqrnn::Span& span : spans) {
    *out++ = static_cast<std::int64_t>(span.begin);
    *out++ = static_cast<std::int64_t>(span.end);
  }
  return out;
}

// Turns the spans of texts that came from str from bytes to characters; returns the number of all.
std::size_t count_in_characters(const std::vector<std::string_view>& views,
                                const std::vector<char>& characters,
                                std::vector<pqrnn::ParsedTexts>& groups) {
  std::size_t text = 0, tokens = 0;
  for (pqrnn::ParsedTexts& group : groups) {
    pqrnn::Span* spans = group.spans.data();
    for (const std::size_t count : group.tokens) {
      if (characters[text]) pqrnn::to_char_spans(views[text], spans, count);
      spans += count;
      ++text;
    }
    tokens += group.spans.size();
  }
  return tokens;
}

// (states [tokens, width], spans [tokens, 2]) of one text; spans count characters of a str, bytes
// of a bytes.
py::tuple encode_tokens(const pqrnn::Model& self, py::handle text) {
  const Texts texts(text, "text");
  if (!Texts::is_text(text)) throw py::type_error("text must be str or bytes");
  const std::string_view view = texts.views()[0];
  std::vector<float> states;
  std::vector<pqrnn::Span> spans;
  Watcher watcher;
  watcher.progress = py::none();
  const bool characters = PyUnicode_Check(text.ptr());
  pqrnn::Status status;
  {
    const py::gil_scoped_release release;
    status = self.encode_tokens(view, {Watcher::poll, &watcher}, states, spans);
    if (status.ok() && characters) pqrnn::to_char_spans(view, spans.data(), spans.size());
  }
  raise_if_error(status);
  FloatArray vectors(shape(spans.size(), self.config().pooled_size()));
  std::copy(states.begin(), states.end(), vectors.mutable_data());
  SpanArray offsets(shape(spans.size(), 2));
  copy_spans(spans, offsets.mutable_data());
  return py::make_tuple(vectors, offsets);
}

// (intents [texts, intents], offsets [texts + 1], spans [tokens, 2], slot logits [tokens, slots]);
// intents are logits, or with `normalize` probabilities; spans count as encode_tokens() does. Text
// i has the tokens offsets[i] to offsets[i + 1].
py::tuple parse(const pqrnn::Model& self, const py::tuple& items, int threads,
                std::size_t batch_size, bool normalize) {
  const Texts texts(items, "texts");
  const std::vector<std::string_view>& views = texts.views();
  std::vector<char> characters;
  for (const py::handle item : items) characters.push_back(PyUnicode_Check(item.ptr()) != 0);
  const std::size_t width = self.config().slots.size();
  FloatArray intents(shape(views.size(), self.config().intents.size()));
  float* const intent_data = intents.mutable_data();
  std::vector<pqrnn::ParsedTexts> groups;
  Watcher watcher;
  watcher.progress = py::none();
  pqrnn::EncodeOptions options;
  options.threads = thread_count(threads);
  options.batch_size = batch_size;
  options.normalize = normalize;
  options.poll = {Watcher::poll, &watcher};
  std::size_t tokens = 0;
  pqrnn::Status status;
  {
    const py::gil_scoped_release release;
    status = self.parse(views.data(), views.size(), options, intent_data, groups);
    if (status.ok()) tokens = count_in_characters(views, characters, groups);
  }
  raise_if_error(status);
  py::array_t<std::int64_t> offsets(static_cast<py::ssize_t>(views.size() + 1));
  SpanArray spans(shape(tokens, 2));
  FloatArray slots(shape(tokens, width));
  std::int64_t* offset = offsets.mutable_data();
  std::int64_t* span = spans.mutable_data();
  float* slot = slots.mutable_data();
  *offset = 0;
  for (const pqrnn::ParsedTexts& group : groups) {
    for (const std::size_t count : group.tokens) {
      offset[1] = offset[0] + static_cast<std::int64_t>(count);
      ++offset;
    }
    span = copy_spans(group.spans, span);
    slot = std::copy_n(group.slots.data(), group.slots.size(), slot);
  }
  return py::make_tuple(intents, offsets, spans, slots);
}

// [S, S] float32, or None without a CRF.
py::object transitions(const pqrnn::Model& self) {
  if (self.transitions().empty()) return py::none();
  const std::size_t tags = self.config().slots.size();
  FloatArray array(shape(tags, tags));
  std::copy(self.transitions().begin(), self.transitions().end(), array.mutable_data());
  return std::move(array);
}

void check_offsets(const SpanArray& offsets, py::ssize_t rows) {
  if (offsets.ndim() != 1 || offsets.size() < 1) {
    throw py::value_error("offsets must be [texts + 1], got " + std::to_string(offsets.ndim()) +
                          " dimensions and " + std::to_string(offsets.size()) + " elements");
  }
  const std::int64_t* const at = offsets.data();
  const py::ssize_t last = offsets.size() - 1;
  for (py::ssize_t i = 0; i <= last; ++i) {
    if (at[i] >= (i ? at[i - 1] : 0) && (i || at[0] == 0) && (i < last || at[i] == rows)) continue;
    throw py::value_error("offsets must ascend from 0 to the number of rows " +
                          std::to_string(rows) + ", got offsets[" + std::to_string(i) +
                          "] = " + std::to_string(at[i]));
  }
}

// int64 [tokens]: see csrc/model/tagging.h.
py::array best_tags(const FloatArray& logits, const SpanArray& offsets,
                    const FloatArray& transitions, const FloatArray& starts) {
  if (starts.ndim() != 1 || starts.size() < 1 || starts.size() > 65536) {
    throw py::value_error("starts must have one dimension of size 1 to 65536");
  }
  const py::ssize_t tags = starts.size();
  if (transitions.ndim() != 2 || transitions.shape(0) != tags || transitions.shape(1) != tags) {
    throw py::value_error("transitions must be [tags, tags] for the " + std::to_string(tags) +
                          " tags of starts");
  }
  if (logits.ndim() != 2 || logits.shape(1) != tags) {
    throw py::value_error("logits must be [tokens, tags] for the " + std::to_string(tags) +
                          " tags of starts");
  }
  check_offsets(offsets, logits.shape(0));
  py::array_t<std::int64_t> out(logits.shape(0));
  const pqrnn::TagScores scores{static_cast<std::size_t>(tags), transitions.data(), starts.data()};
  const float* const logit_data = logits.data();
  const std::int64_t* const offset_data = offsets.data();
  std::int64_t* const out_data = out.mutable_data();
  const auto texts = static_cast<std::size_t>(offsets.size()) - 1;
  {
    const py::gil_scoped_release release;
    pqrnn::best_tags(pqrnn::kernels(), scores, logit_data, offset_data, texts, out_data);
  }
  return std::move(out);
}

}  // namespace

void bind_model(py::module_& m) {
  py::class_<Texts>(m, "Texts")
      .def(py::init([](py::handle texts) { return std::make_unique<Texts>(texts, "texts"); }),
           py::arg("texts"))
      .def("__len__", [](const Texts& self) { return self.views().size(); });

  py::class_<pqrnn::Model>(m, "Model")
      .def(py::init(&load), py::arg("data"))
      .def("encode", &encode, py::arg("texts"), py::arg("out").noconvert(), py::arg("threads"),
           py::arg("batch_size"), py::arg("normalize"), py::arg("progress"))
      .def("encode_tokens", &encode_tokens, py::arg("text"))
      .def("parse", &parse, py::arg("texts"), py::arg("threads"), py::arg("batch_size"),
           py::arg("normalize"))
      .def_property_readonly("config_json", &pqrnn::Model::config_json)
      .def_property_readonly("info_json", &pqrnn::Model::info_json)
      .def_property_readonly("isa", &pqrnn::Model::isa)
      .def_property_readonly("output_size", &pqrnn::Model::output_size)
      .def_property_readonly("transitions", &transitions)
      .def_property_readonly("weight_bytes", &pqrnn::Model::weight_bytes);

  m.def("best_tags", &best_tags, py::arg("logits").noconvert(), py::arg("offsets").noconvert(),
        py::arg("transitions").noconvert(), py::arg("starts").noconvert());

  m.def("default_threads", &pqrnn::default_threads);
}
