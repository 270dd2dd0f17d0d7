#include "text/normalize.h"

#include <cstring>

#include "text/utf8.h"

namespace pqrnn {
namespace {

void truncate(TracedText& text, std::size_t size) {
  text.bytes.resize(size);
  text.origin.resize(size + 1);
}

// What a pass has made of a text takes its place.
void take_next(TracedText& text) {
  text.bytes.swap(text.next_bytes);
  text.origin.swap(text.next_origin);
  text.next_bytes.clear();
  text.next_origin.clear();
}

// Start of every code point, and the end: [count + 1] byte offsets.
void find_code_points(const std::string& bytes, std::vector<std::size_t>& starts) {
  starts.assign(1, 0);
  const char* const end = bytes.data() + bytes.size();
  char32_t c = 0;
  while (starts.back() < bytes.size()) {
    const int length = decode_utf8(bytes.data() + starts.back(), end, c);
    if (length == 0) break;
    starts.push_back(starts.back() + static_cast<std::size_t>(length));
  }
}

bool may_repeat(const char* p, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    if (p[i] == ' ' || (p[i] >= '0' && p[i] <= '9')) return false;
  }
  return true;
}

// Patterns of `n` code points.
void contract(std::size_t n, bool repair, TracedText& text) {
  const std::string& bytes = text.bytes;
  if (bytes.size() < 3 * n) {
    const std::size_t nul = bytes.find('\0');
    if (!repair && nul != std::string::npos) truncate(text, nul);
    return;
  }
  find_code_points(bytes, text.starts);
  const std::vector<std::size_t>& starts = text.starts;
  const std::size_t count = starts.size() - 1;
  const auto keep = [&](std::size_t begin, std::size_t end) {
    text.next_bytes.append(bytes, begin, end - begin);
    text.next_origin.insert(text.next_origin.end(),
                            text.origin.begin() + static_cast<std::ptrdiff_t>(begin),
                            text.origin.begin() + static_cast<std::ptrdiff_t>(end));
  };
  for (std::size_t i = 0; i < count;) {
    std::size_t copies = 0;  // after the first
    if (i + n <= count) {
      const char* const pattern = bytes.data() + starts[i];
      const std::size_t size = starts[i + n] - starts[i];
      if (may_repeat(pattern, size)) {
        std::size_t at = starts[i] + size;
        while (at + size <= starts[count] && std::memcmp(bytes.data() + at, pattern, size) == 0) {
          at += size;
          ++copies;
        }
      }
    }
    if (copies >= 2) {
      keep(starts[i], starts[i + 2 * n]);
      i += (copies + 1) * n;
    } else {
      keep(starts[i], starts[i + 1]);
      ++i;
    }
  }
  text.next_origin.push_back(text.origin[starts[count]]);
  take_next(text);
}

void collapse_spaces(TracedText& text) {
  std::size_t size = 0;      // of the result, built in place
  std::size_t last_end = 0;  // origin right after the last kept byte that is no space
  bool pending = false;
  std::size_t pending_origin = 0;
  for (std::size_t i = 0; i < text.bytes.size(); ++i) {
    if (text.bytes[i] == ' ') {
      if (!pending) pending_origin = text.origin[i];
      pending = size > 0;
      continue;
    }
    if (pending) {
      text.bytes[size] = ' ';
      text.origin[size++] = pending_origin;
      pending = false;
    }
    last_end = text.origin[i + 1];
    text.bytes[size] = text.bytes[i];
    text.origin[size++] = text.origin[i];
  }
  truncate(text, size);
  text.origin[size] = last_end;
}

void separate(const std::string& separators, TracedText& text) {
  bool is_separator[256] = {};
  for (const char c : separators) is_separator[static_cast<unsigned char>(c)] = c != ' ';
  const auto put = [&](char c, std::size_t origin) {
    text.next_bytes.push_back(c);
    text.next_origin.push_back(origin);
  };
  const std::string& in = text.bytes;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const bool separator = is_separator[static_cast<unsigned char>(in[i])];
    if (separator && i > 0 && in[i - 1] != ' ' && text.next_bytes.back() != ' ') {
      put(' ', text.origin[i]);
    }
    put(in[i], text.origin[i]);
    if (separator && i + 1 < in.size() && in[i + 1] != ' ' && in[i] != '\'') {
      put(' ', text.origin[i + 1]);
    }
  }
  text.next_origin.push_back(text.origin.back());
  take_next(text);
}

// `out` becomes `text` with U+FFFD for every ill-formed run, each of its bytes traced to the run.
void trace_repaired(std::string_view text, TracedText& out) {
  out.bytes.clear();
  out.origin.clear();
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const std::size_t origin = static_cast<std::size_t>(p - text.data());
    char32_t c = 0;
    char bytes[4];
    int length = decode_utf8(p, end, c);
    if (length > 0) {
      for (int i = 0; i < length; ++i) {
        out.bytes.push_back(p[i]);
        out.origin.push_back(origin + static_cast<std::size_t>(i));
      }
    } else {
      const int replaced = encode_utf8(kReplacement, bytes);
      out.bytes.append(bytes, static_cast<std::size_t>(replaced));
      out.origin.insert(out.origin.end(), static_cast<std::size_t>(replaced), origin);
      length = ill_formed_length(p, end);
    }
    p += length;
  }
  out.origin.push_back(text.size());
}

}  // namespace

void contract_repetition(bool repair, TracedText& text) {
  for (std::size_t n = 1; n <= 3; ++n) contract(n, repair, text);
}

void trace(std::string_view text, TracedText& out) {
  out.bytes.assign(text);
  out.origin.resize(text.size() + 1);
  for (std::size_t i = 0; i <= text.size(); ++i) out.origin[i] = i;
}

void normalize(std::string_view text, const NormalizeRules& rules, TracedText& out) {
  rules.repair ? trace_repaired(text, out) : trace(text, out);
  if (rules.repetition) contract_repetition(rules.repair, out);
  if (rules.spaces) collapse_spaces(out);
  if (!rules.separators.empty()) separate(rules.separators, out);
}

}  // namespace pqrnn
