// Tags read from their names, and the slots that they stand for, worked out by hand.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "model/tags.h"
#include "text/split.h"

using namespace pqrnn;

namespace {

using Names = std::vector<std::string>;

TagSet read(const Names& names) {
  TagSet tags;
  CHECK_EQ(tags.read(names).message, "");
  return tags;
}

// "label:piece" of each slot, one tag for each word between spaces.
Names decode(const std::string& text, const Names& names) {
  const TagSet tags = read(names);
  std::vector<Span> spans;
  split_space(text, -1, spans);
  CHECK_EQ(spans.size(), names.size());
  std::vector<std::int64_t> numbers;
  for (std::size_t i = 0; i < names.size(); ++i) numbers.push_back(static_cast<std::int64_t>(i));
  std::vector<LabelledSpan> slots;
  tags.decode(text, spans.data(), numbers.data(), spans.size(), slots);
  Names found;
  for (const LabelledSpan& slot : slots) {
    found.push_back(tags.labels()[slot.label] + ":" +
                    text.substr(slot.span.begin, slot.span.end - slot.span.begin));
  }
  return found;
}

void test_plain() {
  CHECK((decode("a b c d", {"O", "B-x", "I-x", "O"}) == Names{"x:b c"}));
  CHECK((decode("a b c", {"B-x", "B-x", "I-x"}) == Names{"x:a", "x:b c"}));
  // An I-X that continues no X begins a slot.
  CHECK((decode("a b c", {"I-x", "O", "I-x"}) == Names{"x:a", "x:c"}));
  CHECK((decode("a b c", {"B-x", "I-y", "I-y"}) == Names{"x:a", "y:b c"}));
  CHECK((decode("a", {"B-SL:A-B@c"}) == Names{"SL:A-B@c:a"}));
  CHECK(decode("a", {"O"}).empty());
}

void test_divided() {
  const std::string text = "recu\xC3\xA9rdame \xC3\xA9t\xC3\xA9";
  CHECK((decode(text, {"O@-2|B-me", "O@2|B-x"}) == Names{"me:me", "x:\xC3\xA9"}));
  CHECK((decode(text, {"B-x@4|I-x", "I-x@1|O"}) == Names{"x:recu\xC3\xA9rdame \xC3\xA9"}));
  CHECK((decode(text, {"B-x@5|B-y", "I-y@-1|B-y"}) ==
         Names{"x:recu\xC3\xA9", "y:rdame \xC3\xA9t", "y:\xC3\xA9"}));
  // Where there is no room for a part, it is left out.
  CHECK((decode("ab ab", {"B-x@2|B-y", "B-x@-2|B-y"}) == Names{"x:ab", "y:ab"}));
  CHECK((decode("ab ab", {"B-x@99999999999999999999|O", "O@-99999999999999999999|B-y"}) ==
         Names{"x:ab", "y:ab"}));
  // An ill-formed run is one character.
  CHECK((decode("a\xFF\xE4\xBD\xFF", {"O@-2|B-x"}) == Names{"x:\xE4\xBD\xFF"}));
  // The last border is the one that divides.
  CHECK((decode("abc", {"B-x@1|O@2|B-y"}) == Names{"x@1|O:ab", "y:c"}));
  CHECK((decode("abc", {"B-@|x@1|O"}) == Names{"@|x:a"}));
}

void test_what_is_no_tag() {
  for (const char* name : {"", "o", "B", "B-", "I-", "X-a", "O@0|B-x", "O@|B-x", "O@1|", "@1|B-x",
                           "O@01|B-x", "O@--1|B-x", "O@1B-x", "B-x@1|C"}) {
    TagSet tags;
    CHECK(!tags.read({"O", name}).ok());
  }
  for (const char* name : {"B-x@0|O", "B-a@b"}) read({"O", name});  // of labels "x@0|O", "a@b"
  TagSet tags;
  CHECK(!tags.read({"I-x"}).ok());  // none may begin a text
  CHECK(!tags.read({}).ok());
  CHECK(!tags.read({"O@1|I-x"}).ok());
  CHECK(!tags.read(Names(TagSet::kMostTags + 1, "O")).ok());
}

void test_order() {
  const TagSet tags =
      read({"O", "B-x", "I-x", "I-y", "B-x@1|B-y", "I-x@1|O", "B-x@1|I-y", "B-x@1|I-x"});
  const bool begins[] = {true, true, false, false, true, false, false, true};
  const bool after_x[] = {true, true, true, false, true, true, false, true};
  const bool after_y[] = {true, true, false, true, true, false, false, true};
  for (std::size_t k = 0; k < tags.size(); ++k) {
    CHECK_EQ(tags.may_begin(k), begins[k]);
    CHECK_EQ(tags.may_follow(k, 0), begins[k]);
    CHECK_EQ(tags.may_follow(k, 1), after_x[k]);
    CHECK_EQ(tags.may_follow(k, 2), after_x[k]);
    CHECK_EQ(tags.may_follow(k, 3), after_y[k]);
    CHECK_EQ(tags.may_follow(k, 4), after_y[k]);
    CHECK_EQ(tags.may_follow(k, 5), begins[k]);
  }
}

}  // namespace

int main() {
  test_plain();
  test_divided();
  test_what_is_no_tag();
  test_order();
  return check::report();
}
