#include "model/tags.h"

#include <algorithm>

#include "text/utf8.h"

namespace pqrnn {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A border "@n|" at the '@' of `name` at `at`; `end` is then the place behind it. Numbers beyond
// any text are cut to a large one.
bool read_border(std::string_view name, std::size_t at, std::int64_t& border, std::size_t& end) {
  constexpr std::int64_t kFar = std::int64_t{1} << 31;  // fits 32 bits
  std::size_t i = at + 1;
  const bool negative = i < name.size() && name[i] == '-';
  if (negative) ++i;
  if (i >= name.size() || !is_digit(name[i]) || name[i] == '0') return false;
  border = 0;
  for (; i < name.size() && is_digit(name[i]); ++i) {
    border = std::min(border * 10 + (name[i] - '0'), kFar);
  }
  if (negative) border = -border;
  end = i + 1;
  return i < name.size() && name[i] == '|' && end < name.size();
}

// The end of the first `count` characters of [begin, end) of a text, ill-formed runs counted as one
// character each, like to_char_spans() does.
std::size_t skip_characters(std::string_view text, std::size_t begin, std::size_t end,
                            std::size_t count) {
  const char* const last = text.data() + end;
  std::size_t at = begin;
  for (; count > 0 && at < end; --count) {
    char32_t code_point;
    int length = decode_utf8(text.data() + at, last, code_point);
    if (length == 0) length = ill_formed_length(text.data() + at, last);
    at += static_cast<std::size_t>(length);
  }
  return at;
}

std::size_t count_characters(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t count = 0;
  for (std::size_t at = begin; at < end; ++count) at = skip_characters(text, at, end, 1);
  return count;
}

// Where a border of `characters` cuts a token.
std::size_t cut(std::string_view text, Span token, std::int64_t characters) {
  if (characters >= 0) {
    return skip_characters(text, token.begin, token.end, static_cast<std::size_t>(characters));
  }
  const std::size_t all = count_characters(text, token.begin, token.end);
  const std::size_t right = std::min(all, static_cast<std::size_t>(-characters));
  return skip_characters(text, token.begin, token.end, all - right);
}

}  // namespace

bool TagSet::read_part(std::string_view name, Part& part) {
  part = {};
  if (name == "O") return true;
  if (name.size() < 3 || (name[0] != 'B' && name[0] != 'I') || name[1] != '-') return false;
  part.begins = name[0] == 'B';
  const std::string_view label = name.substr(2);
  part.label =
      static_cast<std::size_t>(std::find(labels_.begin(), labels_.end(), label) - labels_.begin());
  if (part.label == labels_.size()) labels_.emplace_back(label);
  return true;
}

bool TagSet::read_tag(std::string_view name, Tag& tag) {
  // The last '@' that makes a border divides the name.
  for (std::size_t at = name.rfind('@'); at != name.npos && at > 0; at = name.rfind('@', at - 1)) {
    std::size_t end = 0;
    if (!read_border(name, at, tag.border, end)) continue;
    return read_part(name.substr(0, at), tag.left) && read_part(name.substr(end), tag.right);
  }
  tag.border = 0;
  if (!read_part(name, tag.left)) return false;
  tag.right = tag.left;
  return true;
}

Status TagSet::read(const std::vector<std::string>& names) {
  tags_.clear();
  labels_.clear();
  if (names.size() > kMostTags) {
    return Status::error(Code::invalid_argument, "there must be at most " +
                                                     std::to_string(kMostTags) + " tags, got " +
                                                     std::to_string(names.size()));
  }
  tags_.reserve(names.size());
  for (const std::string& name : names) {
    Tag tag;
    if (!read_tag(name, tag)) {
      return Status::error(
          Code::invalid_argument,
          "a tag is 'O', 'B-X', 'I-X' or 'LEFT@n|RIGHT', got '" + name.substr(0, 60) + "'");
    }
    tags_.push_back(tag);
  }
  for (std::size_t k = 0; k < tags_.size(); ++k) {
    if (may_begin(k)) return {};
  }
  return Status::error(Code::invalid_argument, "no tag may begin a text, 'O' is missing");
}

// Whether a divided tag's right part may follow its left one.
bool TagSet::Tag::sound() const {
  return border == 0 || right.begins || right.label == kOutside || right.label == left.label;
}

bool TagSet::may_begin(std::size_t tag) const {
  const Tag& t = tags_[tag];
  return t.sound() && (t.left.begins || t.left.label == kOutside);
}

bool TagSet::may_follow(std::size_t tag, std::size_t before) const {
  return may_begin(tag) ||
         (tags_[tag].sound() && tags_[tag].left.label == tags_[before].right.label);
}

void TagSet::decode(std::string_view text, const Span* spans, const std::int64_t* tags,
                    std::size_t count, std::vector<LabelledSpan>& slots) const {
  std::size_t current = kOutside;  // label of the slot that is the last of `slots` and may grow
  const auto add = [&](const Part& part, Span span) {
    if (part.label != kOutside && part.label == current && !part.begins) {
      slots.back().span.end = span.end;
    } else if (part.label != kOutside) {
      slots.push_back({span, part.label});
    }
    current = part.label;
  };
  for (std::size_t t = 0; t < count; ++t) {
    const Tag& tag = tags_[static_cast<std::size_t>(tags[t])];
    if (tag.border == 0) {
      add(tag.left, spans[t]);
      continue;
    }
    const std::size_t border = cut(text, spans[t], tag.border);
    if (border > spans[t].begin) add(tag.left, {spans[t].begin, border});
    if (border < spans[t].end) add(tag.right, {border, spans[t].end});
  }
}

}  // namespace pqrnn
