// The Unicode properties that segmentation needs, one record per code point.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pqrnn {

// Word_Break (UAX #29, table 3).
enum class WordClass : std::uint8_t {
  Other,
  CR,
  LF,
  Newline,
  Extend,
  ZWJ,
  Format,
  Regional_Indicator,
  Katakana,
  Hebrew_Letter,
  ALetter,
  Single_Quote,
  Double_Quote,
  MidNumLet,
  MidLetter,
  MidNum,
  Numeric,
  ExtendNumLet,
  WSegSpace,
};

// Grapheme_Cluster_Break (UAX #29, table 2). Other and Extend are split by the properties that
// rules GB9c (Indic_Conjunct_Break) and GB11 (Extended_Pictographic) look at:
//   Other  = Other + Consonant + Linker + Pictographic
//   Extend = Extend (InCB=Extend) + Extend_Linker (InCB=Linker) + Extend_Only (InCB=None)
// ZWJ has InCB=Extend.
enum class GraphemeClass : std::uint8_t {
  Other,
  CR,
  LF,
  Control,
  Extend,
  ZWJ,
  Regional_Indicator,
  Prepend,
  SpacingMark,
  L,
  V,
  T,
  LV,
  LVT,
  Consonant,
  Linker,
  Extend_Linker,
  Extend_Only,
  Pictographic,
};

struct Properties {
  std::int32_t lower_delta;  // simple lower case minus the code point
  WordClass word;
  GraphemeClass grapheme;
  std::uint8_t flags;

  bool alphabetic() const { return flags & 1; }
  bool uppercase() const { return flags & 2; }
  bool whitespace() const { return flags & 4; }
  // Nothing to see: White_Space, or general category Cc, or Cf without the number signs that
  // enclose what follows them (Grapheme_Cluster_Break=Prepend).
  bool blank() const { return flags & 8; }
};

namespace unicode_tables {

constexpr std::size_t kBlockSize = 128;
extern const std::uint16_t kBlocks[0x110000 / kBlockSize];
extern const std::uint8_t kIndices[];
extern const Properties kRecords[];

}  // namespace unicode_tables

// Anything above U+10FFFF has the properties of an unassigned code point.
inline const Properties& properties(char32_t code_point) {
  using namespace unicode_tables;
  if (code_point > 0x10FFFF) return kRecords[0];
  const std::size_t block = kBlocks[code_point / kBlockSize];
  return kRecords[kIndices[block * kBlockSize + code_point % kBlockSize]];
}

}  // namespace pqrnn
