// Unicode properties and segmentation, as the tests look at them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/properties.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "text/words.h"

namespace py = pybind11;

namespace {

// In the order of pqrnn::WordClass and pqrnn::GraphemeClass.
constexpr const char* kWordNames[] = {"Other",        "CR",
                                      "LF",           "Newline",
                                      "Extend",       "ZWJ",
                                      "Format",       "Regional_Indicator",
                                      "Katakana",     "Hebrew_Letter",
                                      "ALetter",      "Single_Quote",
                                      "Double_Quote", "MidNumLet",
                                      "MidLetter",    "MidNum",
                                      "Numeric",      "ExtendNumLet",
                                      "WSegSpace"};
constexpr const char* kGraphemeNames[] = {"Other",
                                          "CR",
                                          "LF",
                                          "Control",
                                          "Extend",
                                          "ZWJ",
                                          "Regional_Indicator",
                                          "Prepend",
                                          "SpacingMark",
                                          "L",
                                          "V",
                                          "T",
                                          "LV",
                                          "LVT",
                                          "Consonant",
                                          "Linker",
                                          "Extend_Linker",
                                          "Extend_Only",
                                          "Pictographic"};

char32_t code_point(const py::int_& value) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0 || number < 0 || number > 0x10FFFF) {
    throw py::value_error("code_point must be in 0..0x10FFFF, got " +
                          py::repr(value).cast<std::string>());
  }
  return static_cast<char32_t>(number);
}

using Pairs = std::vector<std::pair<std::int64_t, std::int64_t>>;

std::vector<pqrnn::Span> read_spans(const Pairs& spans, std::size_t size) {
  std::vector<pqrnn::Span> result;
  for (const auto& [begin, end] : spans) {
    if (begin < 0 || begin > end || static_cast<std::uint64_t>(end) > size) {
      throw py::value_error("spans must lie in a text of " + std::to_string(size) +
                            " bytes, got (" + std::to_string(begin) + ", " + std::to_string(end) +
                            ")");
    }
    result.push_back({static_cast<std::size_t>(begin), static_cast<std::size_t>(end)});
  }
  return result;
}

py::list list_of(const std::vector<pqrnn::Span>& spans) {
  py::list result;
  for (const pqrnn::Span& span : spans) result.append(py::make_tuple(span.begin, span.end));
  return result;
}

}  // namespace

void bind_unicode(py::module_& m) {
  m.def("unicode_version", [] { return pqrnn::unicode_version(); });
  m.def(
      "simple_lower",
      [](py::int_ c) { return static_cast<std::uint32_t>(pqrnn::simple_lower(code_point(c))); },
      py::arg("code_point"));
  m.def(
      "is_alphabetic", [](py::int_ c) { return pqrnn::is_alphabetic(code_point(c)); },
      py::arg("code_point"));
  m.def(
      "is_uppercase", [](py::int_ c) { return pqrnn::is_uppercase(code_point(c)); },
      py::arg("code_point"));
  m.def(
      "is_whitespace", [](py::int_ c) { return pqrnn::is_whitespace(code_point(c)); },
      py::arg("code_point"));
  m.def(
      "segmentation_classes",
      [](py::int_ c) {
        const pqrnn::Properties& found = pqrnn::properties(code_point(c));
        return py::make_tuple(kWordNames[static_cast<int>(found.word)],
                              kGraphemeNames[static_cast<int>(found.grapheme)], found.blank());
      },
      py::arg("code_point"));
  m.def(
      "split_words",
      [](const py::bytes& text, bool split_apostrophes) {
        const std::string_view view = text;
        std::vector<pqrnn::Span> words;
        {
          py::gil_scoped_release release;
          pqrnn::split_words(view, split_apostrophes, words);
        }
        return list_of(words);
      },
      py::arg("text"), py::arg("split_apostrophes") = false);
  m.def(
      "to_char_spans",
      [](const py::bytes& text, const Pairs& spans) {
        const std::string_view view = text;
        std::vector<pqrnn::Span> result = read_spans(spans, view.size());
        {
          py::gil_scoped_release release;
          pqrnn::to_char_spans(view, result.data(), result.size());
        }
        return list_of(result);
      },
      py::arg("text"), py::arg("spans"));
}
