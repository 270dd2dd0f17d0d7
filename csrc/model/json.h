// A strict reader of JSON that builds no tree: the caller walks the text and takes what it knows,
// so a hostile file cannot make it use more memory than the strings that are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "status.h"

namespace pqrnn {

// Every function returns false at the first mismatch and from then on; status() says why and where.
// Input beyond RFC 8259 is refused, as are invalid UTF-8, lone surrogates, U+0000 in strings and
// nesting deeper than kMaxDepth. The text must outlive the reader.
class JsonReader {
 public:
  static constexpr int kMaxDepth = 16;

  explicit JsonReader(std::string_view text) : text_(text) {}

  bool begin_object() { return begin('{'); }
  // The next key of the current object; false at its end too (then failed() is false).
  bool next_key(std::string& key);
  bool begin_array() { return begin('['); }
  // Whether another item of the current array follows; false at its end too.
  bool next_item() { return next(']'); }

  bool read_string(std::string& value);
  bool read_bool(bool& value);
  // An integer without fraction or exponent, within 64 bits.
  bool read_integer(std::int64_t& value);
  // Any number, correct to 2 units in the last place.
  bool read_number(double& value);
  bool skip_value();
  // Only white space is left.
  bool end();

  bool failed() const { return failed_; }
  Status status() const;

 private:
  bool fail(const char* what);
  void skip_space();
  bool literal(std::string_view word);
  bool begin(char bracket);
  bool next(char bracket);
  std::size_t quoted_size() const;
  bool append_escape(std::string& value);
  bool read_hex4(unsigned& value);
  bool number_text(std::string_view& number);

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool first_ = false;  // no item of the current object or array has been read yet
  bool failed_ = false;
  const char* what_ = "";
};

}  // namespace pqrnn
