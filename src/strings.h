// Python strings as UTF-8 views, without copies.
#pragma once

#include <pybind11/pybind11.h>

#include <deque>
#include <string>
#include <string_view>
#include <vector>

// Views of one str or bytes, or of an iterable of them. Make it with the GIL held; the views stay
// good without the GIL until it is destroyed (with the GIL held), because it owns references to all
// the objects: a list that another thread changes meanwhile does no harm.
class Texts {
 public:
  // Lone surrogates of a str count as U+FFFD. Raises TypeError, naming `argument` and the index.
  Texts(pybind11::handle texts, const std::string& argument) {
    if (is_text(texts)) {
      owner_ = pybind11::reinterpret_borrow<pybind11::object>(texts);
      views_.push_back(view(texts));
      return;
    }
    if (!pybind11::hasattr(texts, "__iter__")) {
      throw pybind11::type_error(argument + " must be str, bytes or a list of them, got " +
                                 type_name(texts));
    }
    pybind11::tuple items(pybind11::reinterpret_borrow<pybind11::object>(texts));
    views_.reserve(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
      const pybind11::handle item = PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i));
      if (!is_text(item)) {
        throw pybind11::type_error(argument + "[" + std::to_string(i) +
                                   "] must be str or bytes, got " + type_name(item));
      }
      views_.push_back(view(item));
    }
    owner_ = std::move(items);
  }

  const std::vector<std::string_view>& views() const { return views_; }

  static bool is_text(pybind11::handle object) {
    return PyUnicode_Check(object.ptr()) || PyBytes_Check(object.ptr());
  }

 private:
  static std::string type_name(pybind11::handle object) { return Py_TYPE(object.ptr())->tp_name; }

  std::string_view view(pybind11::handle text) {
    if (PyBytes_Check(text.ptr())) {
      return {PyBytes_AS_STRING(text.ptr()),
              static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
    }
    Py_ssize_t size = 0;
    if (const char* bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size)) {
      return {bytes, static_cast<std::size_t>(size)};
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw pybind11::error_already_set();
    PyErr_Clear();
    return repaired_.emplace_back(without_surrogates(text));
  }

  // A lone surrogate is ED A0..BF xx where surrogates pass; no other character has such bytes.
  static std::string without_surrogates(pybind11::handle text) {
    const auto encoded = pybind11::reinterpret_steal<pybind11::object>(
        PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogatepass"));
    if (!encoded) throw pybind11::error_already_set();
    std::string bytes(PyBytes_AS_STRING(encoded.ptr()),
                      static_cast<std::size_t>(PyBytes_GET_SIZE(encoded.ptr())));
    for (std::size_t i = 0; i + 2 < bytes.size(); ++i) {
      if (bytes[i] == '\xED' && static_cast<unsigned char>(bytes[i + 1]) >= 0xA0) {
        bytes.replace(i, 3, "\xEF\xBF\xBD");
      }
    }
    return bytes;
  }

  pybind11::object owner_;
  std::vector<std::string_view> views_;
  std::deque<std::string> repaired_;  // a deque: elements never move
};
