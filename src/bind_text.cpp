// Text and projection. A Projector makes a Batch; Python allocates the features' array and the
// Batch fills it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "errors.h"
#include "projected_batch.h"
#include "projection/unique.h"
#include "strings.h"
#include "text/split.h"
#include "text/utf8.h"

namespace py = pybind11;

namespace {

template <typename E>
E choose(const char* argument, const std::string& name,
         std::initializer_list<std::pair<const char*, E>> choices) {
  std::string allowed;
  for (const auto& [known, value] : choices) {
    if (name == known) return value;
    allowed += std::string(allowed.empty() ? "'" : ", '") + known + "'";
  }
  throw py::value_error(std::string(argument) + " must be one of " + allowed + ", got '" + name +
                        "'");
}

std::shared_ptr<Operator> make_operator(
    std::size_t feature_size, const std::string& split, const std::string& hash,
    const std::string& char_mode, bool lower, bool bos, bool eos, long long max_tokens,
    std::string vocabulary, bool alphabetic_only, bool normalize_repetition, bool normalize_spaces,
    std::string separators, float first_cap, float all_caps, int novelty_bits, int doc_size_levels,
    float distortion, bool split_apostrophes, std::size_t ngram_size, int ngram_min, int ngram_max,
    bool ngram_runs, std::size_t token_hashes, std::size_t ngram_hashes) {
  using pqrnn::CharMode;
  using pqrnn::Hash;
  using pqrnn::Split;
  pqrnn::ProjectionSettings s;
  s.feature_size = feature_size;
  s.split = choose<Split>(
      "split", split,
      {{"words", Split::words}, {"space", Split::space}, {"codepoints", Split::codepoints}});
  s.hash = choose<Hash>("hash", hash,
                        {{"murmur", Hash::murmur},
                         {"xfixhash8", Hash::xfixhash8},
                         {"xfixhash16", Hash::xfixhash16},
                         {"xfixhash32", Hash::xfixhash32},
                         {"unicodehash8", Hash::unicodehash8},
                         {"unicodehash16", Hash::unicodehash16}});
  s.char_mode =
      choose<CharMode>("char", char_mode,
                       {{"unsigned", CharMode::unsigned_char}, {"signed", CharMode::signed_char}});
  s.lower = lower;
  s.bos = bos;
  s.eos = eos;
  s.max_tokens = max_tokens;
  s.vocabulary = std::move(vocabulary);
  s.alphabetic_only = alphabetic_only;
  s.normalize_repetition = normalize_repetition;
  s.normalize_spaces = normalize_spaces;
  s.separators = std::move(separators);
  s.first_cap = first_cap;
  s.all_caps = all_caps;
  s.novelty_bits = novelty_bits;
  s.doc_size_levels = doc_size_levels;
  s.distortion = distortion;
  s.split_apostrophes = split_apostrophes;
  s.ngram_size = ngram_size;
  s.ngram_min = ngram_min;
  s.ngram_max = ngram_max;
  s.ngram_runs = ngram_runs;
  s.token_hashes = token_hashes;
  s.ngram_hashes = ngram_hashes;
  raise_if_error(s.validate());
  return std::make_shared<Operator>(std::move(s));
}

std::unique_ptr<Batch> project(const std::shared_ptr<Operator>& self, py::handle texts, bool random,
                               std::optional<std::uint64_t> seed) {
  const Texts views(texts, "texts");
  auto batch = std::make_unique<Batch>();
  batch->owner = self;
  const py::gil_scoped_release release;
  batch->offsets.reserve(views.views().size() + 1);
  std::size_t bytes = 0;
  for (const std::string_view text : views.views()) bytes += text.size();
  // Texts of spaced words have fewer tokens than that, so that the seeds stay where they are. Only
  // up to 8 MiB, because a text of millions of characters may be one token.
  constexpr std::size_t kMostWords = std::size_t{1} << 20;
  batch->projected.seeds.reserve(std::min(bytes / 4 * self->projector.seed_words(), kMostWords));
  self->for_each(views.views(), {random, seed},
                 [&](pqrnn::RandomStreams* streams, std::string_view text) {
                   self->projector.append(text, streams, batch->projected);
                   batch->offsets.push_back(batch->projected.positions);
                 });
  return batch;
}

std::unique_ptr<Batch> project_tokens(const std::shared_ptr<Operator>& self, py::list token_lists,
                                      bool random, std::optional<std::uint64_t> seed) {
  std::deque<Texts> lists;
  std::vector<std::string> joined;  // what a seed is combined with
  for (std::size_t i = 0; i < token_lists.size(); ++i) {
    const std::string argument = "token_lists[" + std::to_string(i) + "]";
    const py::object tokens = token_lists[i];
    if (Texts::is_text(tokens)) {
      throw py::type_error(argument + " must be a list of str or bytes, got " +
                           Py_TYPE(tokens.ptr())->tp_name);
    }
    lists.emplace_back(tokens, argument);
    std::string& text = joined.emplace_back();
    for (const std::string_view token : lists.back().views()) text.append(token).push_back('\0');
  }
  auto batch = std::make_unique<Batch>();
  batch->owner = self;
  const std::vector<std::string_view> keys(joined.begin(), joined.end());
  const py::gil_scoped_release release;
  auto list = lists.begin();
  self->for_each(keys, {random, seed}, [&](pqrnn::RandomStreams* streams, std::string_view) {
    const std::vector<std::string_view>& tokens = (list++)->views();
    self->projector.append_tokens(tokens.data(), tokens.size(), streams, batch->projected);
    batch->offsets.push_back(batch->projected.positions);
  });
  return batch;
}

py::tuple unique(const Batch& batch) {
  auto distinct = std::make_unique<Batch>();
  distinct->owner = batch.owner;
  Array<std::int64_t> index(static_cast<py::ssize_t>(batch.projected.positions));
  std::int64_t* const data = index.mutable_data();
  {
    const py::gil_scoped_release release;
    pqrnn::unique_positions(batch.owner->projector, batch.projected, distinct->projected, data);
    distinct->offsets.push_back(distinct->projected.positions);
  }
  return py::make_tuple(std::move(distinct), index);
}

// The view of an argument that takes one text and no list.
Texts one_text(py::handle text, const char* argument) {
  if (Texts::is_text(text)) return Texts(text, argument);
  throw py::type_error(std::string(argument) + " must be str or bytes, got " +
                       Py_TYPE(text.ptr())->tp_name);
}

py::list bytes_list(const std::vector<std::string>& strings) {
  py::list list;
  for (const std::string& s : strings) list.append(py::bytes(s));
  return list;
}

py::list tokens(const Operator& self, py::handle text) {
  const Texts views = one_text(text, "text");
  std::vector<std::string> out;
  self.projector.tokens(views.views()[0], out);
  return bytes_list(out);
}

py::list words(Operator& self, py::handle text, std::optional<std::uint64_t> seed) {
  const Texts views = one_text(text, "text");
  std::vector<std::string> out;
  {
    // Another thread may hold the streams' lock while it waits for nothing of Python.
    const py::gil_scoped_release release;
    self.for_each(views.views(), {true, seed},
                  [&](pqrnn::RandomStreams* streams, std::string_view one) {
                    self.projector.words(one, streams, out);
                  });
  }
  return bytes_list(out);
}

py::list spans(const Operator& self, py::handle text) {
  const Texts views = one_text(text, "text");
  const std::string_view view = views.views()[0];
  std::vector<pqrnn::Span> out;
  self.projector.spans(view, out);
  if (PyUnicode_Check(text.ptr())) pqrnn::to_char_spans(view, out.data(), out.size());
  py::list list;
  for (const pqrnn::Span span : out) list.append(py::make_tuple(span.begin, span.end));
  return list;
}

std::vector<std::uint64_t> codes(const Operator& self, py::handle word) {
  const Texts views = one_text(word, "word");
  std::vector<std::uint64_t> out;
  self.projector.codes(views.views()[0], out);
  return out;
}

py::list english_tokens(py::handle text, const std::string& separators, long long max_input,
                        long long max_tokens) {
  const Texts views = one_text(text, "text");
  std::string_view view = views.views()[0];
  if (max_input > 0) view = view.substr(0, static_cast<std::size_t>(max_input));
  std::vector<pqrnn::Span> found;
  pqrnn::split_english(view, separators, max_tokens, found);
  py::list list;
  for (const pqrnn::Span span : found) {
    list.append(py::bytes(view.data() + span.begin, span.end - span.begin));
  }
  return list;
}

}  // namespace

void bind_text(py::module_& m) {
  py::class_<Batch>(m, "ProjectedBatch")
      .def_property_readonly("offsets", &Batch::offsets_array)
      .def_property_readonly("positions",
                             [](const Batch& batch) { return batch.projected.positions; })
      .def("unique", &unique)
      .def("nonzero", &Batch::nonzero)
      .def("write_ragged", &Batch::write_ragged<std::int8_t>, py::arg("out").noconvert())
      .def("write_ragged", &Batch::write_ragged<std::uint8_t>, py::arg("out").noconvert())
      .def("write_ragged", &Batch::write_ragged<float>, py::arg("out").noconvert())
      .def("write_padded", &Batch::write_padded, py::arg("out").noconvert(), py::arg("steps"));

  py::class_<Operator, std::shared_ptr<Operator>>(m, "Projector")
      .def(py::init(&make_operator), py::kw_only(), py::arg("feature_size"), py::arg("split"),
           py::arg("hash"), py::arg("char"), py::arg("lower"), py::arg("bos"), py::arg("eos"),
           py::arg("max_tokens"), py::arg("vocabulary"), py::arg("alphabetic_only"),
           py::arg("normalize_repetition"), py::arg("normalize_spaces"), py::arg("separators"),
           py::arg("first_cap"), py::arg("all_caps"), py::arg("novelty_bits"),
           py::arg("doc_size_levels"), py::arg("distortion"), py::arg("split_apostrophes"),
           py::arg("ngram_size"), py::arg("ngram_min"), py::arg("ngram_max"), py::arg("ngram_runs"),
           py::arg("token_hashes"), py::arg("ngram_hashes"))
      .def("project", &project, py::arg("texts"), py::arg("random"), py::arg("seed"))
      .def("project_tokens", &project_tokens, py::arg("token_lists"), py::arg("random"),
           py::arg("seed"))
      .def("tokens", &tokens, py::arg("text"))
      .def("words", &words, py::arg("text"), py::arg("seed"))
      .def("spans", &spans, py::arg("text"))
      .def("codes", &codes, py::arg("word"));

  m.def("english_tokens", &english_tokens, py::arg("text"), py::arg("separators"),
        py::arg("max_input"), py::arg("max_tokens"));
}
