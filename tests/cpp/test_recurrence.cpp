// The recurrence kernels of every instruction set against the reference, on random shapes. Tensors
// are heap blocks of exactly their size, so that AddressSanitizer sees any access outside them;
// what a kernel must write starts as NaN, what it must not read (padding) is NaN.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "blocks.h"
#include "check.h"
#include "kernels/training.h"

using namespace pqrnn;

namespace {

std::mt19937 generator(20260);

std::int64_t pick(std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
}

std::size_t bytes_of(Element e) { return e == Element::f64 ? 8 : e == Element::f32 ? 4 : 2; }

// A tensor of `count` elements; values go in and out as double.
struct Tensor {
  Tensor(Element element, std::int64_t count)
      : element(element),
        count(count),
        data(new char[static_cast<std::size_t>(count) * bytes_of(element)]) {
    fill(std::numeric_limits<double>::quiet_NaN());
  }

  void set(std::int64_t i, double value) {
    if (element == Element::f64) {
      std::memcpy(data.get() + i * 8, &value, 8);
      return;
    }
    const float single = static_cast<float>(value);
    if (element == Element::f32) {
      std::memcpy(data.get() + i * 4, &single, 4);
      return;
    }
    std::uint32_t bits;
    std::memcpy(&bits, &single, 4);
    const std::uint16_t upper = static_cast<std::uint16_t>(bits >> 16);
    std::memcpy(data.get() + i * 2, &upper, 2);
  }

  double get(std::int64_t i) const {
    if (element == Element::f64) {
      double value;
      std::memcpy(&value, data.get() + i * 8, 8);
      return value;
    }
    float single;
    if (element == Element::f32) {
      std::memcpy(&single, data.get() + i * 4, 4);
      return single;
    }
    std::uint16_t upper;
    std::memcpy(&upper, data.get() + i * 2, 2);
    const std::uint32_t bits = static_cast<std::uint32_t>(upper) << 16;
    std::memcpy(&single, &bits, 4);
    return single;
  }

  void fill(double value) {
    for (std::int64_t i = 0; i < count; ++i) set(i, value);
  }

  Tensor random(double low, double high) && {
    std::uniform_real_distribution<double> values(low, high);
    for (std::int64_t i = 0; i < count; ++i) set(i, values(generator));
    return std::move(*this);
  }

  Element element;
  std::int64_t count;
  std::unique_ptr<char[]> data;
};

// Padded batch-major, padded time-major or ragged rows of n sequences.
struct Layout {
  explicit Layout(int kind) : kind(kind), n(pick(1, 11)), steps(pick(1, 9)) {
    for (std::int64_t s = 0; s < n; ++s) {
      lengths.push_back(pick(0, steps));
      offsets.push_back(offsets.back() + lengths.back());
    }
  }

  std::int64_t rows() const { return kind == 2 ? offsets.back() : n * steps; }

  Sequences sequences() const {
    if (kind == 2) return {n, 0, offsets.data(), nullptr};
    return {n, steps, nullptr, lengths.data()};
  }

  View view(Tensor& t, std::int64_t width) const {
    if (kind == 2) return {t.data.get(), 0, width};
    if (kind == 1) return {t.data.get(), width, n * width};
    return {t.data.get(), steps * width, width};
  }

  std::int64_t row(std::int64_t s, std::int64_t t) const {
    if (kind == 2) return offsets[s] + t;
    return kind == 1 ? t * n + s : s * steps + t;
  }

  // Makes the padding of an input NaN: it must not be read.
  void poison(Tensor& t, std::int64_t width) const {
    if (kind == 2) return;
    for (std::int64_t s = 0; s < n; ++s) {
      for (std::int64_t step = lengths[s]; step < steps; ++step) {
        for (std::int64_t c = 0; c < width; ++c) {
          t.set(row(s, step) * width + c, std::numeric_limits<double>::quiet_NaN());
        }
      }
    }
  }

  Tensor input(Element e, std::int64_t width, double low, double high) const {
    Tensor t = Tensor(e, rows() * width).random(low, high);
    poison(t, width);
    return t;
  }

  int kind;
  std::int64_t n, steps;
  std::vector<std::int64_t> lengths, offsets{0};
};

// Equal up to rounding; a NaN in either, or a wrong zero in the padding, is a failure.
void check_close(const Tensor& a, const Tensor& b, const char* isa, const char* what) {
  const double tolerance = a.element == Element::f64   ? 1e-12
                           : a.element == Element::f32 ? 2e-5
                                                       : 0.05;
  double worst = 0;
  for (std::int64_t i = 0; i < a.count; ++i) {
    const double difference = std::fabs(a.get(i) - b.get(i)) / (1 + std::fabs(b.get(i)));
    if (!(difference <= worst)) worst = difference;
    if (!(difference <= tolerance)) break;
  }
  if (!CHECK(worst <= tolerance)) std::fprintf(stderr, "  %s, %s: %g\n", isa, what, worst);
}

std::vector<const TrainingKernels*> fast_kernels() {
  std::vector<const TrainingKernels*> out;
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    if (std::strcmp((*k)->name, "reference") != 0) out.push_back(&training_kernels(**k));
  }
  return out;
}

const RecurrenceKernels& reference() {
  const Kernels* const* k = available_kernels();
  while (std::strcmp((*k)->name, "reference") != 0) ++k;
  return training_kernels(**k).recurrence;
}

void test_every_instruction_set_has_a_table() {
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    const std::string name = (*k)->name;
    CHECK_EQ(std::string(training_kernels(**k).name), name == "amx" ? "avx512vnni" : name);
  }
  CHECK_EQ(&training_kernels(), &training_kernels(kernels()));
}

void test_scan(Element e, int kind) {
  const Layout l(kind);
  const std::int64_t width = pick(0, 3) == 0 ? pick(1000, 1100) : pick(1, 70);
  Tensor f = l.input(e, width, 0, 1), x = l.input(e, width, -1, 1), gh = l.input(e, width, -1, 1);
  Tensor h0 = Tensor(e, l.n * width).random(-1, 1);
  struct Out {
    Tensor h, gf, gx, gh0;
  };
  const bool reverse = pick(0, 1), start = pick(0, 1), stream = pick(0, 1);
  const auto run = [&](const RecurrenceKernels& k, Tensor* states) {
    const std::int64_t size = l.rows() * width;
    Out out{Tensor(e, size), Tensor(e, size), Tensor(e, size), Tensor(e, l.n * width)};
    ScanArgs a = {};
    a.sequences = l.sequences();
    a.width = width;
    a.element = e;
    a.reverse = reverse;
    a.stream = stream;
    a.f = l.view(f, width);
    a.x = l.view(x, width);
    a.h = l.view(out.h, width);
    a.h0 = start ? h0.data.get() : nullptr;
    const std::int64_t tasks = scan_tasks(a), cut = pick(0, tasks);
    k.scan_forward(a, 0, cut);
    k.scan_forward(a, cut, tasks);
    // All builds go backward over the same stored states.
    a.h = l.view(states ? *states : out.h, width);
    a.gh = l.view(gh, width);
    a.gf = l.view(out.gf, width);
    a.gx = l.view(out.gx, width);
    a.gh0 = out.gh0.data.get();
    k.scan_backward(a, 0, cut);
    k.scan_backward(a, cut, tasks);
    return out;
  };
  Out expected = run(reference(), nullptr);
  for (const TrainingKernels* k : fast_kernels()) {
    const Out out = run(k->recurrence, &expected.h);
    check_close(out.h, expected.h, k->name, "scan h");
    check_close(out.gf, expected.gf, k->name, "scan gf");
    check_close(out.gx, expected.gx, k->name, "scan gx");
    check_close(out.gh0, expected.gh0, k->name, "scan gh0");
  }
}

void test_pool(Element e, int kind) {
  const Layout l(kind);
  const Element real = e == Element::f64 ? Element::f64 : Element::f32;
  const std::int64_t width = pick(0, 3) == 0 ? pick(250, 600) : pick(1, 70);
  const int pooling = static_cast<int>(pick(0, 2)), gates = pooling + 2;
  const int directions = static_cast<int>(pick(1, 2)), taps = static_cast<int>(pick(1, 4));
  const std::int64_t channels = directions * gates * width, packed = channels * taps;
  const std::int64_t all = directions * width, groups = ceil_div(l.n, kGroup);
  const bool flip = pick(0, 1), start = pick(0, 1), stream = pick(0, 1);
  const std::uint32_t zoneout = pick(0, 1) ? 1u << 30 : 0;
  Tensor g = l.input(e, packed, -2, 2), gh = l.input(e, all, -1, 1), gc = l.input(e, all, -1, 1);
  Tensor h0 = Tensor(e, l.n * all).random(-1, 1), glast = Tensor(e, l.n * all).random(-1, 1);
  Tensor mean = Tensor(real, channels).random(-1, 1), scale = Tensor(real, channels).random(0, 2);
  Tensor shift = Tensor(real, channels).random(-1, 1);
  struct Out {
    Tensor h, c, last, gradient, gh0, sums;
  };
  const int slots[3][4] = {
      {gate_z, gate_f}, {gate_z, gate_f, gate_o}, {gate_z, gate_i, gate_f, gate_o}};
  const auto run = [&](const RecurrenceKernels& k, const Tensor* h, const Tensor* c) {
    Out out{Tensor(e, l.rows() * all), Tensor(e, l.rows() * all),
            Tensor(e, l.n * all),      Tensor(e, g.count),
            Tensor(e, l.n * all),      Tensor(real, groups * 2 * channels)};
    PoolArgs a = {};
    a.sequences = l.sequences();
    a.width = width;
    a.directions = directions;
    a.reverse[0] = directions == 1 && flip;
    a.reverse[1] = true;
    a.pooling = static_cast<Pooling>(pooling);
    a.taps = taps;
    a.raw = true;
    a.element = e;
    a.stream = stream;
    for (int index = 0; index < gates; ++index) {
      const int slot = slots[pooling][index];
      const std::size_t offset = static_cast<std::size_t>(index * width) * bytes_of(e);
      a.gate[slot] = l.view(g, packed);
      a.gate[slot].data = static_cast<char*>(a.gate[slot].data) + offset;
      a.gate_gradient[slot] = l.view(out.gradient, packed);
      a.gate_gradient[slot].data = static_cast<char*>(a.gate_gradient[slot].data) + offset;
      a.coefficient[slot] = index * width;
    }
    a.gate_tap = a.coefficient_direction = gates * width;
    a.gate_direction = taps * a.gate_tap;
    a.mean = mean.data.get();
    a.scale = scale.data.get();
    a.shift = shift.data.get();
    a.zoneout = zoneout;
    a.seed = 0x123456789abcdefu;
    a.h = l.view(out.h, all);
    a.c = l.view(out.c, all);
    a.h0 = start ? h0.data.get() : nullptr;
    a.last = out.last.data.get();
    const std::int64_t tasks = pool_tasks(a), cut = pick(0, tasks);
    k.pool_forward(a, 0, cut);
    k.pool_forward(a, cut, tasks);
    if (pooling == 0) out.c.fill(0);
    a.h = l.view(const_cast<Tensor&>(h ? *h : out.h), all);
    a.c = l.view(const_cast<Tensor&>(c ? *c : out.c), all);
    a.gh = l.view(gh, all);
    a.gc = start ? l.view(gc, all) : View{};
    a.glast = start ? glast.data.get() : nullptr;
    a.gh0 = out.gh0.data.get();
    a.sums = out.sums.data.get();
    k.pool_backward(a, 0, cut);
    k.pool_backward(a, cut, tasks);
    return out;
  };
  const Out expected = run(reference(), nullptr, nullptr);
  for (const TrainingKernels* k : fast_kernels()) {
    const Out out = run(k->recurrence, &expected.h, &expected.c);
    check_close(out.h, expected.h, k->name, "pool h");
    check_close(out.c, expected.c, k->name, "pool c");
    check_close(out.last, expected.last, k->name, "pool last");
    check_close(out.gradient, expected.gradient, k->name, "pool gradient");
    check_close(out.gh0, expected.gh0, k->name, "pool gh0");
    check_close(out.sums, expected.sums, k->name, "pool sums");
  }
}

void test_norm(Element e, int kind) {
  const Layout l(kind);
  const Element real = e == Element::f64 ? Element::f64 : Element::f32;
  const std::int64_t width = pick(0, 3) == 0 ? pick(250, 600) : pick(1, 70);
  const int directions = static_cast<int>(pick(1, 2)), taps = static_cast<int>(pick(1, 4));
  const std::int64_t channels = directions * width, groups = ceil_div(l.n, kGroup);
  const bool stream = pick(0, 1);
  Tensor gates = l.input(e, channels * taps, -1, 3), dy = l.input(e, channels, -1, 1);
  Tensor p = l.input(e, channels, -1, 1);
  Tensor mean = Tensor(real, channels).random(-1, 1), offset = Tensor(real, channels).random(-1, 1);
  Tensor slope = Tensor(real, channels).random(-1, 1);
  struct Out {
    Tensor sum, moments, gradient;
  };
  const auto run = [&](const RecurrenceKernels& k) {
    Out out{Tensor(e, dy.count), Tensor(Element::f64, groups * 2 * channels),
            Tensor(e, gates.count)};
    NormArgs a = {};
    a.sequences = l.sequences();
    a.width = width;
    a.directions = directions;
    a.reverse[1] = true;
    a.taps = taps;
    a.element = e;
    a.stream = stream;
    a.gates = l.view(gates, channels * taps);
    a.sum = l.view(out.sum, channels);
    a.moments = reinterpret_cast<double*>(out.moments.data.get());
    k.norm_forward(a, 0, norm_tasks(a));
    a.sum = l.view(p, channels);
    a.dy = l.view(dy, channels);
    a.gradient = l.view(out.gradient, channels * taps);
    a.mean = mean.data.get();
    a.offset = offset.data.get();
    a.slope = slope.data.get();
    k.norm_backward(a, 0, norm_tasks(a));
    return out;
  };
  const Out expected = run(reference());
  for (const TrainingKernels* k : fast_kernels()) {
    const Out out = run(k->recurrence);
    check_close(out.sum, expected.sum, k->name, "norm sum");
    check_close(out.gradient, expected.gradient, k->name, "norm gradient");
    // The sums inside are float unless the gates are double.
    for (std::int64_t i = 0; i < out.moments.count; ++i) {
      const double right = expected.moments.get(i);
      const double allowed = (e == Element::f64 ? 1e-11 : 1e-3) * (1 + std::fabs(right));
      CHECK(std::fabs(out.moments.get(i) - right) <= allowed);
    }
  }
}

void test_attend(Element e, int kind) {
  const Layout l(kind);
  const std::int64_t heads = pick(1, 3), width = heads * (pick(0, 3) ? pick(1, 70) : 300);
  Tensor states = l.input(e, width, -1, 1), logits = l.input(e, heads, -5, 5);
  Tensor gpooled = Tensor(e, l.n * width).random(-1, 1);
  struct Out {
    Tensor weights, pooled, gstates, glogits;
  };
  const auto run = [&](const RecurrenceKernels& k, const Tensor* weights) {
    Out out{Tensor(e, logits.count), Tensor(e, l.n * width), Tensor(e, states.count),
            Tensor(e, logits.count)};
    AttendArgs a = {};
    a.sequences = l.sequences();
    a.width = width;
    a.heads = heads;
    a.element = e;
    a.states = l.view(states, width);
    a.weights = l.view(logits, heads);
    a.out_weights = l.view(out.weights, heads);
    a.pooled = out.pooled.data.get();
    k.attend_forward(a, 0, l.n);
    a.out_weights = l.view(const_cast<Tensor&>(weights ? *weights : out.weights), heads);
    a.gpooled = gpooled.data.get();
    a.gstates = l.view(out.gstates, width);
    a.glogits = l.view(out.glogits, heads);
    k.attend_backward(a, 0, l.n);
    return out;
  };
  const Out expected = run(reference(), nullptr);
  for (const TrainingKernels* k : fast_kernels()) {
    const Out out = run(k->recurrence, &expected.weights);
    check_close(out.weights, expected.weights, k->name, "attend weights");
    check_close(out.pooled, expected.pooled, k->name, "attend pooled");
    check_close(out.gstates, expected.gstates, k->name, "attend gstates");
    check_close(out.glogits, expected.glogits, k->name, "attend glogits");
  }
}

void test_dropout(Element e) {
  // Also where the number of a word outgrows 32 bits; nothing before `first` exists.
  const std::int64_t begin = pick(0, 1) ? (std::int64_t{1} << 24) - 1 : 0;
  const std::int64_t size = pick(0, 3) ? pick(1, 300) : pick(1, 3 * kDropoutBlock);
  const std::size_t first = static_cast<std::size_t>(begin * kDropoutBlock) * bytes_of(e);
  Tensor x = Tensor(e, size).random(-1, 1);
  const auto run = [&](const RecurrenceKernels& k) {
    Tensor y(e, size);
    DropoutArgs a = {};
    a.count = begin * kDropoutBlock + size;
    a.element = e;
    a.threshold = 1u << 30;
    a.seed = 0x123456789abcdefu;
    a.scale = 4.0 / 3;
    a.x = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(x.data.get()) - first);
    a.y = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(y.data.get()) - first);
    const std::int64_t tasks = dropout_tasks(a), cut = pick(begin, tasks);
    k.dropout(a, begin, cut);
    k.dropout(a, cut, tasks);
    return y;
  };
  const Tensor expected = run(reference());
  for (const TrainingKernels* k : fast_kernels()) {
    const Tensor out = run(k->recurrence);
    check_close(out, expected, k->name, "dropout");
    for (std::int64_t i = 0; i < size; ++i) CHECK((out.get(i) == 0) == (expected.get(i) == 0));
  }
}

void test_blocks() {
  drop_free_blocks();
  void* first = take_block(5 << 20);
  CHECK(first != nullptr);
  CHECK_EQ(reinterpret_cast<std::uintptr_t>(first) % kBlockUnit, 0u);
  std::memset(first, 1, 5 << 20);
  give_block(first, 5 << 20);
  CHECK(free_block_bytes() >= std::size_t{5} << 20);
  CHECK_EQ(take_block((5 << 20) - 100), first);  // the same size class
  CHECK_EQ(free_block_bytes(), 0u);
  give_block(first, (5 << 20) - 100);
  std::vector<void*> many;
  for (int i = 0; i < 8; ++i) many.push_back(take_block(64 << 20));
  for (void* block : many) give_block(block, 64 << 20);
  CHECK(free_block_bytes() <= kMaxCachedBytes);
  CHECK(free_block_bytes() > kMaxCachedBytes / 2);
  drop_free_blocks();
  CHECK_EQ(free_block_bytes(), 0u);
  void* huge = take_block(kMaxCachedBytes + 1);
  give_block(huge, kMaxCachedBytes + 1);
  CHECK_EQ(free_block_bytes(), 0u);
}

}  // namespace

int main() {
  test_every_instruction_set_has_a_table();
  for (int round = 0; round < 12; ++round) {
    for (const Element e : {Element::f32, Element::bf16, Element::f64}) {
      for (int kind = 0; kind < 3; ++kind) {
        test_scan(e, kind);
        test_pool(e, kind);
        test_norm(e, kind);
        test_attend(e, kind);
      }
      test_dropout(e);
    }
  }
  test_blocks();
  return check::report();
}
