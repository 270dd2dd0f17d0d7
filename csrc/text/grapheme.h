// Extended grapheme clusters: rules GB3-GB999 of UAX #29, one code point at a time.
#pragma once

#include "text/properties.h"

namespace pqrnn {

// Everything the rules need to know of the text to the left of a position, so that no rule ever
// looks back and any text takes linear time.
class GraphemeState {
 public:
  // State after a text that consists of one code point of class `first`.
  explicit GraphemeState(GraphemeClass first) { take(first); }

  // Whether a cluster ends before the next code point, of class `next`.
  bool boundary_before(GraphemeClass next) const {
    using G = GraphemeClass;
    if (previous_ == G::Other && next == G::Other) return true;  // GB999, the usual case
    if (previous_ == G::CR && next == G::LF) return false;       // GB3
    if (is_control(previous_) || is_control(next)) return true;  // GB4, GB5
    switch (next) {
      case G::L: return previous_ != G::L && previous_ != G::Prepend;  // GB6
      case G::V:
        return previous_ != G::L && previous_ != G::V && previous_ != G::LV &&
               previous_ != G::Prepend;  // GB6, GB7
      case G::T:
        return previous_ != G::V && previous_ != G::LV && previous_ != G::T &&
               previous_ != G::LVT && previous_ != G::Prepend;  // GB7, GB8
      case G::LV:
      case G::LVT: return previous_ != G::L && previous_ != G::Prepend;  // GB6
      case G::Extend:
      case G::Extend_Linker:
      case G::Extend_Only:
      case G::ZWJ:
      case G::SpacingMark: return false;                              // GB9, GB9a
      case G::Consonant: return !linked_ && previous_ != G::Prepend;  // GB9b, GB9c
      case G::Pictographic:
        return pictographic_ != Pictographic::joined && previous_ != G::Prepend;  // GB9b, GB11
      case G::Regional_Indicator:
        return !half_flag_ && previous_ != G::Prepend;  // GB9b, GB12, GB13
      default: return previous_ != G::Prepend;          // GB9b, GB999
    }
  }

  // Moves past a code point.
  void take(GraphemeClass next) {
    using G = GraphemeClass;
    const bool extend = next == G::Extend || next == G::Extend_Linker || next == G::Extend_Only;
    half_flag_ = next == G::Regional_Indicator && !half_flag_;
    if (next == G::Linker || next == G::Extend_Linker) {
      linked_ = true;
    } else if (next != G::Extend && next != G::ZWJ) {
      linked_ = false;
    }
    if (next == G::Pictographic) {
      pictographic_ = Pictographic::extended;
    } else if (next == G::ZWJ && pictographic_ == Pictographic::extended) {
      pictographic_ = Pictographic::joined;
    } else if (!extend || pictographic_ == Pictographic::joined) {
      pictographic_ = Pictographic::none;
    }
    previous_ = next;
  }

 private:
  static bool is_control(GraphemeClass c) {
    return c == GraphemeClass::CR || c == GraphemeClass::LF || c == GraphemeClass::Control;
  }

  enum class Pictographic : std::uint8_t {
    none,
    extended,  // after Extended_Pictographic Extend*
    joined,    // after Extended_Pictographic Extend* ZWJ
  };

  GraphemeClass previous_;
  Pictographic pictographic_ = Pictographic::none;
  bool half_flag_ = false;  // after an odd number of regional indicators
  bool linked_ = false;     // after InCB=Linker InCB=Extend*
};

}  // namespace pqrnn
