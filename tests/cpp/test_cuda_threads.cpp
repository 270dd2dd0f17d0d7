// What the threads of the CUDA kernels do, run on the host one after the other and compared with
// plain loops in double. What is left to a GPU's tests: launches, shared memory, the matrix units.
// Tensors start as NaN, as does what no thread may read.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cuda/attend.h"
#include "cuda/carry.h"
#include "cuda/norm.h"
#include "cuda/plan.h"
#include "cuda/pool_backward.h"
#include "cuda/pool_forward.h"
#include "cuda/project.h"
#include "projection/hash.h"

using namespace pqrnn::cuda;

namespace {

std::mt19937 generator(20261);

std::int64_t pick(std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
}
double normal() { return std::normal_distribution<double>()(generator); }

template <class S>
S stored(double value) {
  S out;
  narrow(static_cast<Arithmetic<S>>(value), out);
  return out;
}

template <class S>
std::vector<S> filled(std::int64_t count, bool random) {
  // Never empty: arithmetic on the null pointer of an empty one is undefined.
  std::vector<S> out(static_cast<std::size_t>(count > 0 ? count : 1));
  for (S& value : out) value = stored<S>(random ? normal() : std::nan(""));
  return out;
}

template <class S>
bool near(S actual, double expected, double tolerance) {
  const double value = static_cast<double>(widen(actual));
  if (std::abs(value - expected) <= tolerance * (1 + std::abs(expected))) return true;
  std::fprintf(stderr, "got %.9g instead of %.9g\n", value, expected);
  return false;
}

// Which storage rounds how.
template <class S>
constexpr double kTolerance = sizeof(S) == 8   ? 1e-12
                              : sizeof(S) == 4 ? 2e-5
                                               : 2e-2;

template <class S>
constexpr Element kElement = sizeof(S) == 8   ? Element::f64
                             : sizeof(S) == 4 ? Element::f32
                                              : Element::bf16;
template <>
constexpr Element kElement<Half> = Element::f16;

struct Case {
  std::int64_t count, steps, width;
  int directions;
  bool ragged;
  std::vector<std::int64_t> lengths, offsets;
  Sequences sequences;
  std::int64_t rows;

  Case(std::int64_t longest, bool is_ragged) : ragged(is_ragged) {
    count = pick(1, 4);
    steps = longest;
    width = 2 * pick(1, 3);
    directions = static_cast<int>(pick(1, 2));
    offsets.push_back(0);
    for (std::int64_t n = 0; n < count; ++n) {
      lengths.push_back(pick(0, 3) == 0 ? pick(0, 1) * longest : pick(0, longest));
      offsets.push_back(offsets.back() + lengths.back());
    }
    rows = ragged ? offsets.back() : count * steps;
    sequences = {count, ragged ? 0 : steps, ragged ? rows : 0, ragged ? offsets.data() : nullptr,
                 ragged ? nullptr : lengths.data()};
  }
  View view(void* data, std::int64_t row) const { return {data, ragged ? 0 : steps * row, row}; }
  std::int64_t row(std::int64_t n, std::int64_t t) const {
    return ragged ? offsets[static_cast<std::size_t>(n)] + t : n * steps + t;
  }
};

// A whole grid of threads.
template <class S, class Body>
void for_each_item(const PoolArgs& a, bool last_first, const Body& body) {
  constexpr int V = kChannels<S>;
  for (std::int64_t thread = 0; thread < pool_threads(a, V); ++thread) {
    body(item_of(thread, a, V, last_first));
  }
}

template <class S>
void run_carry(const PoolArgs& a, const void* initial, bool backward) {
  using A = Arithmetic<S>;
  for (std::int64_t n = 0; n < a.sequences.count; ++n) {
    for (std::int64_t channel = 0; channel < a.directions * a.width; ++channel) {
      Map<A> composed[kCarryGroups];
      for (int group = 0; group < kCarryGroups; ++group) {
        composed[group] = CarryWalk<A>(a, n, channel, group, backward).compose();
      }
      for (int group = 0; group < kCarryGroups; ++group) {
        A state = carry_start<S>(a, n, channel, initial);
        for (int g = 0; g < group; ++g) state = composed[g].scale * state + composed[g].offset;
        CarryWalk<A>(a, n, channel, group, backward).apply(state);
      }
    }
  }
}

template <class S, Kind kind, bool raw>
void run_forward(const PoolArgs& a) {
  constexpr int V = kChannels<S>;
  if (a.chunks > 1) {
    for_each_item<S>(a, false, [&](const Item& i) { compose_forward<S, V, kind, raw>(a, i); });
    run_carry<S>(a, a.h0, false);
  }
  for_each_item<S>(a, true, [&](const Item& i) { pool_forward<S, V, kind, raw>(a, i); });
}

template <class S, Kind kind, bool raw>
void run_backward(const PoolArgs& a) {
  constexpr int V = kChannels<S>;
  if (a.chunks > 1) {
    for_each_item<S>(a, true, [&](const Item& i) { compose_backward<S, V, kind, raw>(a, i); });
    run_carry<S>(a, a.glast, true);
  }
  for_each_item<S>(a, false, [&](const Item& i) { pool_backward<S, V, kind, raw>(a, i); });
}

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

template <class S, Kind kind, bool raw>
void test_pool(std::int64_t longest, bool ragged, std::int64_t chunk_steps, bool zoneout) {
  using A = Arithmetic<S>;
  Case k(longest, ragged);
  const int gates = kind == Kind::scan ? 2 : static_cast<int>(kind) + 2;
  const std::int64_t all = k.directions * k.width, channels = all * gates;
  const std::int64_t slot_at[4] = {0, kind == Kind::ifo ? 2 : 1, kind == Kind::ifo ? 3 : 2, 1};
  const bool has_h0 = pick(0, 1), has_glast = pick(0, 1);
  std::vector<S> packed = filled<S>(k.rows * channels, true);
  if (!raw) {  // gates in (0, 1) keep the states in bounds
    for (S& value : packed) value = stored<S>(sigmoid_of(widen(value)));
  }
  std::vector<A> coefficients(static_cast<std::size_t>(3 * channels));
  for (A& value : coefficients) value = static_cast<A>(0.5 * normal());
  std::vector<S> h0 = filled<S>(k.count * all, true), glast = filled<S>(k.count * all, true);
  std::vector<S> gh = filled<S>(k.rows * all, true), h = filled<S>(k.rows * all, false);
  std::vector<S> last = filled<S>(k.count * all, false), gh0 = filled<S>(k.count * all, false);
  std::vector<S> gradient = filled<S>(k.rows * channels, false);
  std::vector<S> checkpoints = filled<S>(checkpoint_slots(k.sequences) * all, false);
  const std::uint64_t seed = 0x123456789abcdef0u + generator();

  PoolArgs a = {};
  a.sequences = k.sequences;
  a.width = k.width;
  a.directions = k.directions;
  a.reverse[0] = k.directions == 1 && pick(0, 1);
  a.reverse[1] = true;
  a.kind = kind;
  a.raw = raw;
  a.element = kElement<S>;
  a.gate_direction = a.coefficient_direction = gates * k.width;
  a.channels = channels;
  a.coefficients = coefficients.data();
  for (int slot = 0; slot < gate_slots; ++slot) {
    if (!has_slot(kind, slot)) continue;
    a.coefficient[slot] = slot_at[slot] * k.width;
    a.gate[slot] = k.view(packed.data() + a.coefficient[slot], channels);
    a.gradient[slot] = k.view(gradient.data() + a.coefficient[slot], channels);
  }
  a.zoneout = zoneout ? 1u << 30 : 0;
  a.seed = &seed;
  a.h = a.states = k.view(h.data(), all);
  a.gh = k.view(gh.data(), all);
  a.checkpoints = kind == Kind::scan ? nullptr : checkpoints.data();
  a.h0 = has_h0 ? h0.data() : nullptr;
  a.last = last.data();
  a.glast = has_glast ? glast.data() : nullptr;
  a.gh0 = gh0.data();
  a.chunk_steps = chunk_steps ? chunk_steps : std::int64_t{1} << 40;
  a.chunks =
      chunk_steps ? ceil_div(ragged ? std::max<std::int64_t>(k.rows, 1) : longest, chunk_steps) : 1;
  std::vector<A> carries(static_cast<std::size_t>(k.count * a.chunks * 2 * all), std::nan(""));
  std::vector<A> sums(static_cast<std::size_t>(k.count * a.chunks * 2 * channels), std::nan(""));
  a.carries = carries.data();
  a.sums = raw ? sums.data() : nullptr;
  run_forward<S, kind, raw>(a);
  const std::vector<S> forward_h = h;
  run_backward<S, kind, raw>(a);

  const double tolerance = kTolerance<S>;
  std::vector<double> expected_sums(static_cast<std::size_t>(2 * channels));
  bool good = true;
  for (std::int64_t n = 0; n < k.count; ++n) {
    const std::int64_t length = k.lengths[static_cast<std::size_t>(n)];
    for (std::int64_t d = 0; d < k.directions; ++d) {
      for (std::int64_t c = 0; c < k.width; ++c) {
        const bool reverse = a.reverse[d];
        const auto index = [&](std::int64_t t, int slot) {
          return static_cast<std::size_t>(k.row(n, t) * channels + d * gates * k.width +
                                          slot_at[slot] * k.width + c);
        };
        const auto coefficient = [&](int part, int slot) {
          return static_cast<double>(coefficients[static_cast<std::size_t>(
              part * channels + d * gates * k.width + slot_at[slot] * k.width + c)]);
        };
        const auto gate = [&](std::int64_t t, int slot) {
          const double p = widen(packed[index(t, slot)]);
          if (!raw) return p;
          const double y = (p - coefficient(0, slot)) * coefficient(1, slot) + coefficient(2, slot);
          return slot == gate_z ? std::tanh(y) : sigmoid_of(y);
        };
        const std::size_t state_at = static_cast<std::size_t>(n * all + d * k.width + c);
        const auto h_at = [&](std::int64_t t) {
          return static_cast<std::size_t>(k.row(n, t) * all + d * k.width + c);
        };
        double state = has_h0 ? widen(h0[state_at]) : 0;
        std::vector<double> before, cell;
        std::vector<bool> held;
        for (std::int64_t i = 0; i < length; ++i) {
          const std::int64_t t = reverse ? length - 1 - i : i;
          const double f = gate(t, gate_f);
          const double in = kind == Kind::scan ? 1 : kind == Kind::ifo ? gate(t, gate_i) : 1 - f;
          held.push_back(zoneout && random_word(seed, c, static_cast<std::uint32_t>(t),
                                                static_cast<std::uint32_t>(n),
                                                static_cast<std::uint32_t>(d)) < a.zoneout);
          before.push_back(state);
          if (!held.back()) state = f * state + in * gate(t, gate_z);
          cell.push_back(state);
          const double out = has_output_gate(kind) ? gate(t, gate_o) * state : state;
          good &= near(forward_h[h_at(t)], out, tolerance);
        }
        good &= near(last[state_at], state, tolerance);
        double r = has_glast ? widen(glast[state_at]) : 0;
        const auto put = [&](std::int64_t t, int slot, double value, double y) {
          if (raw) {
            value *= slot == gate_z ? 1 - y * y : y * (1 - y);
            const double p = widen(packed[index(t, slot)]);
            const std::size_t at =
                static_cast<std::size_t>(d * gates * k.width + slot_at[slot] * k.width + c);
            expected_sums[at] += value;
            expected_sums[at + static_cast<std::size_t>(channels)] +=
                value * (p - coefficient(0, slot));
            value *= coefficient(1, slot);
          }
          good &= near(gradient[index(t, slot)], value, 2 * tolerance);
        };
        for (std::int64_t i = length - 1; i >= 0; --i) {
          const std::int64_t t = reverse ? length - 1 - i : i;
          const std::size_t at = static_cast<std::size_t>(i);
          const double z = gate(t, gate_z), f = gate(t, gate_f), g = widen(gh[h_at(t)]);
          double gc = r + g;
          if (has_output_gate(kind)) {
            const double o = gate(t, gate_o);
            gc = r + g * o;
            put(t, gate_o, g * cell[at], o);
          }
          const double live = held[at] ? 0 : gc;
          if (kind == Kind::ifo) {
            const double in = gate(t, gate_i);
            put(t, gate_z, live * in, z);
            put(t, gate_i, live * z, in);
            put(t, gate_f, live * before[at], f);
          } else if (kind == Kind::scan) {
            put(t, gate_z, live, z);
            put(t, gate_f, live * before[at], f);
          } else {
            put(t, gate_z, live * (1 - f), z);
            put(t, gate_f, live * (before[at] - z), f);
          }
          r = held[at] ? gc : gc * f;
        }
        good &= near(gh0[state_at], r, tolerance);
        for (std::int64_t t = length; !ragged && t < k.steps; ++t) {
          good &= near(forward_h[h_at(t)], 0, 0);
          for (int slot = 0; slot < gate_slots; ++slot) {
            if (has_slot(kind, slot)) good &= near(gradient[index(t, slot)], 0, 0);
          }
        }
      }
    }
  }
  for (const S& value : checkpoints) good &= kind == Kind::scan || widen(value) == widen(value);
  for (std::size_t at = 0; raw && at < expected_sums.size(); ++at) {
    double sum = 0;
    for (std::size_t part = at; part < sums.size(); part += expected_sums.size()) sum += sums[part];
    good &= near(sum, expected_sums[at], 5 * tolerance);
  }
  if (!CHECK(good)) {
    std::fprintf(stderr, "element %d kind %d raw %d ragged %d chunks %d\n",
                 static_cast<int>(a.element), static_cast<int>(kind), raw, ragged,
                 static_cast<int>(a.chunks));
  }
}

template <class S, Kind kind, bool raw>
void test_pool_shapes() {
  for (const std::int64_t longest : {1, 7, 8, 9, 40, 150}) {
    for (const bool ragged : {false, true}) {
      for (const std::int64_t chunk_steps : {0, 8, 16, 48}) {
        test_pool<S, kind, raw>(longest, ragged, chunk_steps, kind != Kind::scan && pick(0, 1));
      }
    }
  }
}

template <class S>
void test_all_pools() {
  test_pool_shapes<S, Kind::f, false>();
  test_pool_shapes<S, Kind::f, true>();
  test_pool_shapes<S, Kind::fo, false>();
  test_pool_shapes<S, Kind::fo, true>();
  test_pool_shapes<S, Kind::ifo, false>();
  test_pool_shapes<S, Kind::ifo, true>();
  test_pool_shapes<S, Kind::scan, false>();
}

template <class S>
void test_norm(bool ragged, int taps) {
  using A = Arithmetic<S>;
  constexpr int V = kChannels<S>;
  Case k(pick(1, 20), ragged);
  const std::int64_t channels = k.directions * k.width;
  std::vector<S> gates = filled<S>(k.rows * channels * taps, true);
  std::vector<S> sum = filled<S>(k.rows * channels, false);
  std::vector<S> dy = filled<S>(k.rows * channels, true);
  std::vector<S> gradient = filled<S>(k.rows * channels * taps, false);
  NormArgs a = {};
  a.sequences = k.sequences;
  a.width = k.width;
  a.directions = k.directions;
  a.reverse[1] = true;
  a.taps = taps;
  a.element = kElement<S>;
  a.gates = k.view(gates.data(), channels * taps);
  a.sum = k.view(sum.data(), channels);
  a.dy = k.view(dy.data(), channels);
  a.gradient = k.view(gradient.data(), channels * taps);
  a.row_blocks = 3;
  a.eps = 1e-5;
  std::vector<A> partial(static_cast<std::size_t>(a.row_blocks * 3 * channels)),
      moments(static_cast<std::size_t>(2 * channels));
  std::vector<A> out(static_cast<std::size_t>(3 * channels)),
      weight(static_cast<std::size_t>(channels)), bias(static_cast<std::size_t>(channels));
  for (A& value : weight) value = static_cast<A>(normal());
  for (A& value : bias) value = static_cast<A>(normal());
  a.partial = partial.data();
  a.moments = moments.data();
  a.coefficients_out = out.data();
  a.weight = weight.data();
  a.bias = bias.data();
  const std::int64_t rows = total_rows(a.sequences), each = ceil_div(rows, a.row_blocks);
  for (std::int64_t channel = 0; channel < channels; channel += V) {
    for (std::int64_t block = 0; block < a.row_blocks; ++block) {
      Moments<A> found[V];
      sum_rows<S>(a, smaller(block * each, rows), smaller(block * each + each, rows), channel,
                  found);
      for (int v = 0; v < V; ++v) {
        A* at = partial.data() + block * 3 * channels + channel + v;
        at[0] = found[v].count;
        at[channels] = found[v].mean;
        at[2 * channels] = found[v].square;
      }
    }
    for (int v = 0; v < V; ++v) {
      const Moments<double> odd = merge_blocks<A>(a, channel + v, 1, 2);
      finish_moments<A>(a, channel + v, merged(merge_blocks<A>(a, channel + v, 0, 2), odd));
    }
  }
  std::vector<A> coefficients(static_cast<std::size_t>(3 * channels));
  for (A& value : coefficients) value = static_cast<A>(normal());
  a.coefficients = coefficients.data();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t channel = 0; channel < channels; channel += V)
      spread_row<S, V>(a, r, channel);
  }

  bool good = true;
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    const std::int64_t d = channel / k.width, inside = channel % k.width;
    double total = 0, square = 0, count = 0;
    const auto tap_at = [&](std::int64_t n, std::int64_t t, int j) {
      return static_cast<std::size_t>(k.row(n, t) * channels * taps + (d * taps + j) * k.width +
                                      inside);
    };
    for (std::int64_t n = 0; n < k.count; ++n) {
      const std::int64_t length = k.lengths[static_cast<std::size_t>(n)];
      for (std::int64_t t = 0; t < (ragged ? length : k.steps); ++t) {
        const std::size_t at = static_cast<std::size_t>(k.row(n, t) * channels + channel);
        double p = 0;
        for (int j = 0; j < taps; ++j) {
          const std::int64_t source = d ? t + j : t + j - taps + 1;
          if (t < length && source >= 0 && source < length) p += widen(gates[tap_at(n, source, j)]);
          const std::int64_t reader = d ? t - j : t - j + taps - 1;
          double wanted = 0;
          if (t < length && reader >= 0 && reader < length) {
            const std::size_t from =
                static_cast<std::size_t>(k.row(n, reader) * channels + channel);
            const std::size_t c = static_cast<std::size_t>(channel),
                              row = static_cast<std::size_t>(channels);
            wanted = widen(dy[from]) + coefficients[row + c] +
                     (widen(sum[from]) - coefficients[c]) * double{coefficients[2 * row + c]};
          }
          good &= near(gradient[tap_at(n, t, j)], wanted, kTolerance<S>);
        }
        good &= near(sum[at], p, kTolerance<S>);
        if (t >= length) continue;
        total += p;
        square += p * p;
        ++count;
      }
    }
    const std::size_t at = static_cast<std::size_t>(channel),
                      row = static_cast<std::size_t>(channels);
    const double mean = count ? total / count : 0;
    const double variance = count ? square / count - mean * mean : 0;
    const double tolerance = sizeof(A) == 8 ? 1e-10 : 1e-4;
    good &= near(moments[at], mean, tolerance) & near(moments[row + at], variance, tolerance);
    if (variance > 1e-3) {  // else 1 / sqrt magnifies
      good &= near(out[row + at], weight[at] / std::sqrt(variance + a.eps), 1e-2);
    }
    good &= near(out[at], mean, tolerance) & near(out[2 * row + at], bias[at], 0);
  }
  CHECK(good);
}

template <class S>
void test_attend(bool ragged) {
  Case k(pick(1, 20), ragged);
  const std::int64_t heads = pick(1, 2), width = heads * 3, size = 3;
  std::vector<S> states = filled<S>(k.rows * width, true), logits = filled<S>(k.rows * heads, true);
  std::vector<S> weights = filled<S>(k.rows * heads, false),
                 pooled = filled<S>(k.count * width, false);
  std::vector<S> gv = filled<S>(k.count * width, true), gstates = filled<S>(k.rows * width, false);
  AttendArgs a = {};
  a.sequences = k.sequences;
  a.width = width;
  a.heads = heads;
  a.states = k.view(states.data(), width);
  a.logits = k.view(logits.data(), heads);
  a.weights = k.view(weights.data(), heads);
  a.gstates = k.view(gstates.data(), width);
  a.pooled = pooled.data();
  a.gpooled = gv.data();
  bool good = true;
  for (std::int64_t n = 0; n < k.count; ++n) {
    const std::int64_t length = k.lengths[static_cast<std::size_t>(n)];
    for (std::int64_t c = 0; c < width; ++c) attend_channel<S>(a, n, c);
    for (std::int64_t c = 0; c < width; ++c) {
      const std::int64_t head = c / size;
      double total = 0, sum = 0;
      for (std::int64_t t = 0; t < length; ++t) {
        const double e =
            std::exp(double{widen(logits[static_cast<std::size_t>(k.row(n, t) * heads + head)])});
        total += e;
        sum += e * widen(states[static_cast<std::size_t>(k.row(n, t) * width + c)]);
      }
      good &= near(pooled[static_cast<std::size_t>(n * width + c)], length ? sum / total : 0,
                   kTolerance<S>);
      for (std::int64_t t = 0; t < (ragged ? length : k.steps); ++t) {
        const std::size_t at = static_cast<std::size_t>(k.row(n, t) * heads + head);
        const double weight = t < length ? std::exp(double{widen(logits[at])}) / total : 0;
        good &= near(weights[at], weight, kTolerance<S>);
      }
    }
    for (std::int64_t t = 0; t < length; ++t) {
      for (std::int64_t head = 0; head < heads; ++head) {
        double dot = 0, wanted = 0;
        for (int lane = 0; lane < 2; ++lane) {
          dot += attend_dot<S>(a, n, sequence_begin(k.sequences, n), t, head, lane, 2, true);
        }
        for (std::int64_t c = head * size; c < (head + 1) * size; ++c) {
          const double g = widen(gv[static_cast<std::size_t>(n * width + c)]);
          const std::size_t at = static_cast<std::size_t>(k.row(n, t) * width + c);
          wanted += g * widen(states[at]);
          const double weight =
              widen(weights[static_cast<std::size_t>(k.row(n, t) * heads + head)]);
          good &= near(gstates[at], weight * g, kTolerance<S>);
        }
        good &= std::abs(dot - wanted) < 1e-4 * (1 + std::abs(wanted));
      }
    }
  }
  CHECK(good);
}

template <FeatureType type, class T>
bool same_features(const std::vector<std::uint64_t>& codes, std::int64_t size) {
  constexpr int each = 16 / kFeatureBytes<type>;
  for (std::int64_t first = 0; first + each <= size; first += each) {
    const Vector found = feature_vector<type>(groups_at(codes.data(), first));
    T values[each];
    std::memcpy(values, found.word, 16);
    for (int i = 0; i < each; ++i) {
      const std::uint32_t group =
          static_cast<std::uint32_t>(codes[static_cast<std::size_t>((first + i) / 32)] >>
                                     (2 * ((first + i) % 32))) &
          3u;
      double value;
      if constexpr (sizeof(T) == 1) {
        value = values[i];
      } else {
        value = widen(values[i]);
      }
      if (value != ternary(group)) return false;
    }
  }
  return true;
}

void test_projection() {
  for (int round = 0; round < 2000; ++round) {
    const std::size_t length = static_cast<std::size_t>(pick(0, 40));
    std::string word;
    for (std::size_t i = 0; i < length; ++i) word += static_cast<char>(pick(0, 255));
    for (const bool is_signed : {false, true}) {
      const std::size_t size = static_cast<std::size_t>(pick(1, 300));
      const pqrnn::CharMode mode =
          is_signed ? pqrnn::CharMode::signed_char : pqrnn::CharMode::unsigned_char;
      std::vector<std::uint64_t> codes(pqrnn::emitted_words(pqrnn::Hash::murmur, size));
      pqrnn::hash_word(pqrnn::Hash::murmur, mode, word, size, codes.data());
      // A copy of exactly its size, so that AddressSanitizer sees a byte too many.
      const std::unique_ptr<std::uint8_t[]> bytes(new std::uint8_t[length]);
      std::memcpy(bytes.get(), word.data(), length);
      Fingerprint f = fingerprint_of(bytes.get(), static_cast<std::int64_t>(length), is_signed);
      bool good = true;
      for (std::size_t i = 0; i < codes.size(); i += 2) {
        good &= f.low == codes[i] && f.high == codes[i + 1];
        next_pair(f);
      }
      const std::int64_t all = static_cast<std::int64_t>(codes.size()) * 32;
      good &= same_features<FeatureType::int8, std::int8_t>(codes, all);
      good &= same_features<FeatureType::f16, Half>(codes, all);
      good &= same_features<FeatureType::bf16, Bfloat16>(codes, all);
      good &= same_features<FeatureType::f32, float>(codes, all);
      CHECK(good);
    }
  }
  for (std::uint32_t groups = 0; groups < 16; ++groups) {
    const std::uint32_t pair = bfloat16_pair(groups | 0xABC0u);
    CHECK(widen(Bfloat16{static_cast<std::uint16_t>(pair)}) == ternary(groups & 3u));
    CHECK(widen(Bfloat16{static_cast<std::uint16_t>(pair >> 16)}) == ternary(groups >> 2));
  }
}

void test_storage() {
  CHECK_EQ(widen(Half{0x3c00}), 1.0f);
  CHECK_EQ(widen(Half{0xc000}), -2.0f);
  CHECK_EQ(widen(Half{0x0001}), 5.9604644775390625e-8f);
  CHECK_EQ(widen(Half{0x7bff}), 65504.0f);
  CHECK(std::isinf(widen(Half{0x7c00})) && std::isnan(widen(Half{0x7e00})));
  for (std::uint32_t bits = 0; bits < 0x7c01; ++bits) {  // every number there and back
    const Half half = {static_cast<std::uint16_t>(bits)};
    Half back;
    narrow(widen(half), back);
    if (back.bits != half.bits) CHECK_EQ(back.bits, half.bits);
  }
  Half half;
  narrow(2049.0f, half);  // between 2048 and 2050: to even
  CHECK_EQ(widen(half), 2048.0f);
  narrow(65520.0f, half);
  CHECK(std::isinf(widen(half)));
}

void test_activation() {
  double worst = 0;
  for (float x = -30; x < 30; x += 0.001f) {
    worst = std::max(worst, std::abs(hyperbolic_tangent(x) - std::tanh(double{x})) /
                                std::max(std::abs(std::tanh(double{x})), 1e-30));
    worst = std::max(worst, std::abs(sigmoid(x) - sigmoid_of(x)) / sigmoid_of(x));
  }
  CHECK(worst < 1e-6);
  CHECK_EQ(hyperbolic_tangent(200.0f), 1.0f);
  CHECK_EQ(hyperbolic_tangent(-200.0f), -1.0f);
  CHECK_EQ(sigmoid(-200.0f), 0.0f);
  CHECK(std::isnan(sigmoid(std::nanf(""))) && std::isnan(hyperbolic_tangent(std::nanf(""))));
}

void test_plan() {
  for (int round = 0; round < 2000; ++round) {
    const std::int64_t threads = pick(1, 1 << pick(1, 18)), longest = pick(0, 1 << pick(1, 17));
    const Plan plan = plan_chunks(threads, longest, 132);
    CHECK(plan.chunk_steps % kBatch == 0);
    CHECK(plan.chunks >= 1 && plan.chunks * plan.chunk_steps >= longest);
    CHECK(plan.chunks == 1 || (plan.chunks - 1) * plan.chunk_steps < longest);
  }
  CHECK(plan_chunks(65536, 512, 132).chunks == 1);
  CHECK(plan_chunks(512, 65536, 132).chunks > 32);
}

}  // namespace

int main() {
  test_storage();
  test_activation();
  test_plan();
  test_projection();
  test_all_pools<float>();
  test_pool_shapes<double, Kind::ifo, true>();
  test_pool_shapes<double, Kind::scan, false>();
  test_pool_shapes<Half, Kind::fo, true>();
  test_pool_shapes<Bfloat16, Kind::ifo, true>();
  test_pool_shapes<Bfloat16, Kind::fo, false>();
  for (int round = 0; round < 40; ++round) {
    for (const bool ragged : {false, true}) {
      for (const int taps : {1, 2, 4}) {
        test_norm<float>(ragged, taps);
        test_norm<double>(ragged, taps);
        test_norm<Bfloat16>(ragged, taps);
      }
      test_attend<float>(ragged);
      test_attend<double>(ragged);
      test_attend<Half>(ragged);
    }
  }
  return check::report();
}
