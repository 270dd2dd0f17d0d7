// The best tags: every instruction set against the reference, on numbers of all kinds.
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/kernels.h"
#include "model/tagging.h"

using namespace pqrnn;

namespace {

struct Problem {
  std::size_t tags;
  std::vector<float> logits, transitions, starts;
  std::vector<std::int64_t> offsets{0};

  Problem(std::size_t tag_count, const std::vector<std::int64_t>& lengths, unsigned seed)
      : tags(tag_count) {
    for (const std::int64_t length : lengths) offsets.push_back(offsets.back() + length);
    std::mt19937 rng(seed);
    std::uniform_real_distribution<float> uniform(-3.0f, 3.0f);
    const auto fill = [&](std::vector<float>& values, std::size_t size) {
      values.resize(size);
      for (float& value : values) value = uniform(rng);
    };
    // Exactly as large as they are said to be, so that a sanitizer sees a step beyond.
    fill(logits, static_cast<std::size_t>(offsets.back()) * tags);
    fill(transitions, tags * tags);
    fill(starts, tags);
  }

  std::vector<std::int64_t> solve(const Kernels& kernels) const {
    std::vector<std::int64_t> out(static_cast<std::size_t>(offsets.back()), -1);
    const TagScores scores{tags, transitions.data(), starts.data()};
    best_tags(kernels, scores, logits.data(), offsets.data(), offsets.size() - 1, out.data());
    return out;
  }
};

const Kernels& reference() {
  const Kernels* const* entry = available_kernels();
  while (entry[1]) ++entry;
  return **entry;  // the last of the list
}

void test_same_everywhere(const Kernels& kernels) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::size_t tags : {1, 2, 3, 5, 8, 15, 16, 17, 33, 64, 67, 130}) {
    Problem problem(tags, {3, 0, 1, 600, 0}, static_cast<unsigned>(tags));
    CHECK(problem.solve(kernels) == problem.solve(reference()));
    for (const float value : {-infinity, infinity, std::nanf("")}) {
      for (std::size_t i = 0; i < problem.logits.size(); i += 5) problem.logits[i] = value;
      for (std::size_t i = 0; i < problem.transitions.size(); i += 3) {
        problem.transitions[i] = value;
      }
      const std::vector<std::int64_t> found = problem.solve(kernels);
      CHECK(found == problem.solve(reference()));
      for (const std::int64_t tag : found) {
        CHECK(tag >= 0 && tag < static_cast<std::int64_t>(tags));
      }
    }
  }
}

void test_by_hand() {
  Problem problem(2, {3}, 0);
  problem.logits = {1.0f, 9.0f, 0.0f, 2.5f, 0.0f, 1.0f};
  problem.transitions = {0.0f, -3.0f, 0.0f, 2.0f};
  problem.starts = {0.0f, -std::numeric_limits<float>::infinity()};
  CHECK((problem.solve(reference()) == std::vector<std::int64_t>{0, 1, 1}));
}

}  // namespace

int main() {
  test_by_hand();
  for (const Kernels* const* entry = available_kernels(); *entry; ++entry) {
    test_same_everywhere(**entry);
  }
  return check::report();
}
