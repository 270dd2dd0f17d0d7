// Tags of tokens: what their names mean, which may follow which, and the slots that they stand for.
// The same rules as pqrnn_native/tags.py.
//
// A tag is "O" (outside), "B-X" (a slot X begins here), "I-X" (it goes on), or divided,
// "LEFT@n|RIGHT": a slot's border lies inside the token, n characters after its start or, with
// n < 0, before its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "status.h"
#include "text/span.h"

namespace pqrnn {

// A labelled piece of a text.
struct LabelledSpan {
  Span span;          // bytes of the text
  std::size_t label;  // index into TagSet::labels()
};

class TagSet {
 public:
  static constexpr std::size_t kMostTags = 4096;  // what may follow what is a square matrix

  // Reads `names`: at most kMostTags, at least one of which may begin a text. An error names what
  // is no tag.
  Status read(const std::vector<std::string>& names);
  std::size_t size() const { return tags_.size(); }
  const std::vector<std::string>& labels() const { return labels_; }
  // An "I-X" follows an X alone. What a divided tag needs before it is its left part's matter; what
  // may follow it, its right part's.
  bool may_begin(std::size_t tag) const;
  bool may_follow(std::size_t tag, std::size_t before) const;
  // Appends the slots of a text, ascending. An "I-X" that continues no X begins
  // a slot. Where a token is too short for a divided tag's border, the part that has no room is
  // left out. `spans` [count] are bytes of the text, `tags` [count] numbers of this set.
  void decode(std::string_view text, const Span* spans, const std::int64_t* tags, std::size_t count,
              std::vector<LabelledSpan>& slots) const;

 private:
  static constexpr std::size_t kOutside = static_cast<std::size_t>(-1);

  struct Part {
    bool begins = false;
    std::size_t label = kOutside;
  };
  struct Tag {
    Part left;
    std::int64_t border = 0;  // in characters; 0: not divided, and left is right
    Part right;

    bool sound() const;
  };

  bool read_part(std::string_view name, Part& part);
  bool read_tag(std::string_view name, Tag& tag);

  std::vector<Tag> tags_;
  std::vector<std::string> labels_;
};

}  // namespace pqrnn
