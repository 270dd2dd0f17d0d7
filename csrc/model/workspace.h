// The working memory of one thread: a group of texts and what becomes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/buffer.h"
#include "model/config.h"
#include "model/key_table.h"
#include "projection/projector.h"
#include "status.h"

namespace pqrnn {

// Texts are separated by max(1, k - 1) rows without meaning, so that windows are read in place.
struct Workspace {
  struct Text {
    std::size_t first_row;
    std::size_t positions;  // tags and tokens
    std::size_t tokens;
  };

  Projected projected;  // of all texts
  std::vector<Text> texts;
  std::vector<std::uint32_t> rows;  // row list of all positions
  std::size_t height = 0;           // rows of the layers' buffers, gaps included

  // Distinct tokens that the cache does not have, see token_rows.h.
  std::vector<const void*> token_rows;  // [positions] row of each position's token
  std::vector<std::uint32_t> miss_of;   // [positions]
  KeyTable table;
  std::vector<std::size_t> misses;  // first position of each
  std::vector<std::uint64_t> miss_hashes;
  std::vector<std::uint64_t> codes;    // [misses, words]
  std::vector<unsigned char> kept;     // bottlenecks of the misses of all parts, see keep_rows()
  std::vector<std::uint32_t> kept_of;  // [positions], or empty

  FloatBuffer carry;                 // [widths.state]
  FloatBuffer attention;             // [A, positions of the longest text]
  FloatBuffer pooled;                // [texts, widths.pooled]
  FloatBuffer outputs;               // [texts, output_stride]
  std::size_t output_stride = 0;     // at least the head's rows
  FloatBuffer context;               // of slots alone: [texts, padded slots]
  std::vector<std::size_t> text_of;  // of slots alone: [tokens]

  // The float32 engine's.
  struct Float {
    std::vector<const float*> products;  // [positions] token_rows
    std::vector<float> extras;           // [misses, extra_count]
    std::vector<std::uint32_t> numbers;  // 0, 1, ..
    FloatBuffer token_bottleneck;        // [misses, widths.bottleneck]
    FloatBuffer token_products;          // [misses, first.row]
    FloatBuffer bottleneck;              // [height, widths.bottleneck], with skip only
    FloatBuffer layers[2];               // [height, widths.layer], input and output in turn
    const float* top = nullptr;          // the last layer's output, one of `layers`
    std::vector<std::size_t> token_row;  // [tokens], of slots alone, like the next two
    FloatBuffer token_states;            // [tokens of a part, widths.pooled]
    FloatBuffer token_slots;             // [tokens of a part, slots.columns]
  } real;

  // The 8-bit engine's.
  struct Int8 {
    std::vector<const std::int32_t*> products;  // [positions] token_rows
    std::vector<std::size_t> fresh;             // those of misses without a known bottleneck
    std::vector<std::uint32_t> rows;            // of fresh tokens, see Int8GatherArgs
    std::vector<std::uint32_t> minus;           // those of a token that it takes away
    std::vector<std::uint32_t> starts;          // [2 fresh + 1]
    std::vector<const std::int32_t*> known;     // [fresh] sums of their words, or null
    std::vector<std::uint32_t> word_of;         // [fresh] their words among those of no known sums
    std::vector<std::size_t> words;             // first position of each of these
    std::vector<std::uint64_t> word_hashes;     // of each of these
    Buffer<std::int32_t> word_sums;             // [words, widths.bottleneck]
    Buffer<std::int32_t> sums;                  // [fresh ones of a part, widths.bottleneck]
    Buffer<std::int8_t> ternary;                // [fresh ones of a part, F padded]
    Buffer<std::uint8_t> features;              // the same as bytes
    Buffer<std::uint8_t> fresh_bottleneck;      // [fresh, widths.bottleneck]
    Buffer<std::uint8_t> token_bottleneck;      // [misses, widths.bottleneck]
    Buffer<std::int32_t> token_products;        // [misses, first.row]
    Buffer<std::uint8_t> bottleneck;            // [height, widths.bottleneck], with skip only
    Buffer<std::uint8_t> layers[2];             // [height, widths.layer]
    const std::uint8_t* top = nullptr;
    Buffer<std::uint8_t> pooled;  // [texts, widths.pooled]
    Buffer<std::int32_t> low;     // sums of a head over the bottleneck's part
    Buffer<std::int32_t> high;    // and over the states
  } whole;

  std::size_t bytes() const;
};

void clear_group(Workspace& work);
Status append_text(const Projector& projector, std::size_t kernel_size, std::string_view text,
                   Workspace& work);

// Rows between texts.
constexpr std::size_t gap_rows(std::size_t kernel_size) {
  return kernel_size > 2 ? kernel_size - 1 : 1;
}

// Fills the rows between texts of a buffer [height, width].
template <class Number>
void fill_gaps(const Workspace& work, std::size_t kernel_size, std::size_t width, Number value,
               Number* buffer) {
  const std::size_t gap = gap_rows(kernel_size) * width;
  for (std::size_t j = 0; j < gap; ++j) buffer[j] = value;
  for (const Workspace::Text& text : work.texts) {
    Number* after = buffer + (text.first_row + text.positions) * width;
    for (std::size_t j = 0; j < gap; ++j) after[j] = value;
  }
}

}  // namespace pqrnn
