#include "model/json.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/utf8.h"

namespace pqrnn {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool JsonReader::fail(const char* what) {
  if (!failed_) what_ = what;
  failed_ = true;
  return false;
}

Status JsonReader::status() const {
  if (!failed_) return {};
  return Status::error(Code::corrupt_file,
                       std::string(what_) + " at byte " + std::to_string(at_) + " of the JSON");
}

void JsonReader::skip_space() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return;
    ++at_;
  }
}

bool JsonReader::begin(char bracket) {
  if (failed_) return false;
  skip_space();
  if (at_ >= text_.size() || text_[at_] != bracket) {
    return fail(bracket == '{' ? "no object" : "no array");
  }
  if (depth_ == kMaxDepth) return fail("nested too deeply");
  ++at_;
  ++depth_;
  first_ = true;
  return true;
}

bool JsonReader::next(char bracket) {
  if (failed_) return false;
  skip_space();
  if (at_ >= text_.size()) return fail("it ends too early");
  if (text_[at_] == bracket) {
    ++at_;
    --depth_;
    first_ = false;  // the container around it has this one as an item
    return false;
  }
  if (!first_) {
    if (text_[at_] != ',') return fail("no comma");
    ++at_;
    skip_space();
    if (at_ < text_.size() && text_[at_] == bracket) return fail("a comma before the end");
  }
  first_ = false;
  return true;
}

bool JsonReader::next_key(std::string& key) {
  if (!next('}') || !read_string(key)) return false;
  skip_space();
  if (at_ >= text_.size() || text_[at_] != ':') return fail("no colon");
  ++at_;
  return true;
}

bool JsonReader::read_hex4(unsigned& value) {
  value = 0;
  if (text_.size() - at_ < 4) return fail("a cut escape");
  for (int i = 0; i < 4; ++i) {
    const char c = text_[at_++];
    unsigned digit;
    if (is_digit(c)) {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<unsigned>(c - 'A' + 10);
    } else {
      return fail("a bad escape");
    }
    value = value * 16 + digit;
  }
  return true;
}

bool JsonReader::append_escape(std::string& value) {
  if (at_ >= text_.size()) return fail("a cut escape");
  switch (text_[at_++]) {
    case '"': value += '"'; return true;
    case '\\': value += '\\'; return true;
    case '/': value += '/'; return true;
    case 'b': value += '\b'; return true;
    case 'f': value += '\f'; return true;
    case 'n': value += '\n'; return true;
    case 'r': value += '\r'; return true;
    case 't': value += '\t'; return true;
    case 'u': break;
    default: return fail("a bad escape");
  }
  unsigned unit;
  if (!read_hex4(unit)) return false;
  char32_t code_point = unit;
  if (unit >= 0xD800 && unit < 0xDC00) {
    unsigned low;
    if (text_.substr(at_, 2) != "\\u") return fail("a lone surrogate");
    at_ += 2;
    if (!read_hex4(low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return fail("a lone surrogate");
    code_point = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  } else if (unit >= 0xDC00 && unit <= 0xDFFF) {
    return fail("a lone surrogate");
  }
  if (code_point == 0) return fail("U+0000");
  char bytes[4];
  value.append(bytes, static_cast<std::size_t>(encode_utf8(code_point, bytes)));
  return true;
}

// Bytes from here to the quote that ends a string, no less than it has.
std::size_t JsonReader::quoted_size() const {
  std::size_t end = at_;
  while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
  return std::min(end, text_.size()) - at_;
}

bool JsonReader::read_string(std::string& value) {
  value.clear();
  if (failed_) return false;
  skip_space();
  if (at_ >= text_.size() || text_[at_] != '"') return fail("no string");
  ++at_;
  value.reserve(quoted_size());  // at once: a string that grows takes three times its memory
  while (at_ < text_.size()) {
    const unsigned char c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      ++at_;
      return true;
    }
    if (c == '\\') {
      ++at_;
      if (!append_escape(value)) return false;
    } else if (c < 0x20) {
      return fail("a control character");
    } else {
      char32_t code_point;
      const char* p = text_.data() + at_;
      const int length = decode_utf8(p, text_.data() + text_.size(), code_point);
      if (length == 0) return fail("invalid UTF-8");
      value.append(p, static_cast<std::size_t>(length));
      at_ += static_cast<std::size_t>(length);
    }
  }
  return fail("a string without end");
}

bool JsonReader::literal(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return false;
  at_ += word.size();
  return true;
}

bool JsonReader::read_bool(bool& value) {
  if (failed_) return false;
  skip_space();
  value = literal("true");
  return value || literal("false") || fail("no boolean");
}

// number = [ "-" ] ( "0" / digit1-9 *digit ) [ "." 1*digit ] [ ("e" / "E") [ "+" / "-" ] 1*digit ]
bool JsonReader::number_text(std::string_view& number) {
  if (failed_) return false;
  skip_space();
  std::size_t i = at_;
  const auto digits = [&] {
    const std::size_t from = i;
    while (i < text_.size() && is_digit(text_[i])) ++i;
    return i - from;
  };
  const auto one_of = [&](const char* set) {
    if (i >= text_.size()) return false;
    for (; *set; ++set) {
      if (text_[i] == *set) {
        ++i;
        return true;
      }
    }
    return false;
  };
  one_of("-");
  const std::size_t whole = i;
  if (digits() == 0) return fail("no number");
  if (text_[whole] == '0' && i - whole > 1) return fail("a number with a leading zero");
  if (one_of(".") && digits() == 0) return fail("a number without digits");
  if (one_of("eE")) {
    one_of("+-");
    if (digits() == 0) return fail("a number without digits");
  }
  number = text_.substr(at_, i - at_);
  at_ = i;
  return true;
}

bool JsonReader::read_integer(std::int64_t& value) {
  std::string_view number;
  if (!number_text(number)) return false;
  const bool negative = number[0] == '-';
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  value = 0;
  for (std::size_t i = negative ? 1 : 0; i < number.size(); ++i) {
    if (!is_digit(number[i])) return fail("no integer");
    const int digit = number[i] - '0';
    if (value > (kLargest - digit) / 10) return fail("an integer out of range");
    value = value * 10 + digit;
  }
  if (negative) value = -value;
  return true;
}

bool JsonReader::read_number(double& value) {
  std::string_view number;
  if (!number_text(number)) return false;
  // Not strtod: that follows the locale. 19 digits fit into 64 bits; the rest only shifts.
  std::uint64_t mantissa = 0;
  int digits = 0;
  long long exponent = 0;
  bool after_point = false;
  std::size_t i = number[0] == '-' ? 1 : 0;
  for (; i < number.size() && (is_digit(number[i]) || number[i] == '.'); ++i) {
    if (number[i] == '.') {
      after_point = true;
      continue;
    }
    if (digits < 19) {
      mantissa = mantissa * 10 + static_cast<unsigned>(number[i] - '0');
      if (mantissa != 0) ++digits;
      if (after_point) --exponent;
    } else if (!after_point) {
      ++exponent;
    }
  }
  if (i < number.size()) {  // 'e'
    ++i;
    const bool down = number[i] == '-';
    if (number[i] == '-' || number[i] == '+') ++i;
    long long power = 0;
    for (; i < number.size() && power < 1000000; ++i) power = power * 10 + (number[i] - '0');
    exponent += down ? -power : power;
  }
  const double magnitude = static_cast<double>(mantissa);
  if (mantissa == 0) {
    value = 0.0;
  } else if (exponent >= 0) {
    value = magnitude * std::pow(10.0, static_cast<double>(exponent));
  } else {
    // In two steps, as 10^-exponent alone may be beyond what a double holds.
    const long long step = std::min<long long>(-exponent, 300);
    value = magnitude / std::pow(10.0, static_cast<double>(step)) /
            std::pow(10.0, static_cast<double>(-exponent - step));
  }
  if (!std::isfinite(value)) return fail("a number out of range");
  if (number[0] == '-') value = -value;
  return true;
}

bool JsonReader::skip_value() {
  if (failed_) return false;
  skip_space();
  if (at_ >= text_.size()) return fail("it ends too early");
  std::string ignored;
  std::string_view number;
  switch (text_[at_]) {
    case '{':
      begin_object();
      while (next_key(ignored)) skip_value();
      return !failed_;
    case '[':
      begin_array();
      while (next_item()) skip_value();
      return !failed_;
    case '"': return read_string(ignored);
    case 't': return literal("true") || fail("no value");
    case 'f': return literal("false") || fail("no value");
    case 'n': return literal("null") || fail("no value");
    default: return number_text(number);
  }
}

bool JsonReader::end() {
  if (failed_) return false;
  skip_space();
  return at_ == text_.size() || fail("something follows the end");
}

}  // namespace pqrnn
