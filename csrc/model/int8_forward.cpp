// The layers of the 8-bit engine, read top to bottom in run_layers().
#include <algorithm>

#include "model/int8_engine.h"

namespace pqrnn {

bool Int8Engine::run_direction(const Int8Columns& weights, bool backward, const std::uint8_t* input,
                               std::uint8_t* output, Workspace& work, Stop& stop) const {
  const Widths& widths = weights_.widths;
  Int8QrnnArgs args = {};
  args.input = input;
  args.channels = widths.layer;
  args.kernel = config_.kernel_size;
  args.gates = config_.gates();
  args.weights = weights.weights.data();
  args.init = weights.init.data();
  args.multiplier = weights.multiplier.data();
  args.bias = weights.bias.data();
  args.state = widths.state;
  args.backward = backward;
  args.rows = work.rows.data();
  args.count = work.rows.size();
  args.carry = work.carry.data();
  args.output = output + (backward ? widths.state : 0);
  args.output_stride = widths.layer;
  const std::size_t parts = (args.count + kInt8PartRows - 1) / kInt8PartRows;
  for (std::size_t i = 0; i < parts; ++i) {
    if (stop.requested()) return false;
    args.begin = kInt8PartRows * (backward ? parts - 1 - i : i);
    args.end = std::min(args.begin + kInt8PartRows, args.count);
    kernels_.int8.qrnn(args);
  }
  return true;
}

bool Int8Engine::run_layers(Workspace& work, Stop& stop) const {
  const Widths& widths = weights_.widths;
  work.carry.resize(widths.state);
  std::fill_n(work.carry.data(), widths.state, 0.0f);
  for (Buffer<std::uint8_t>& buffer : work.whole.layers) {
    buffer.resize(work.height * widths.layer);
    fill_gaps(work, config_.kernel_size, widths.layer, static_cast<std::uint8_t>(kStateZero),
              buffer.data());
  }
  if (!run_first_layer(work, stop, work.whole.layers[0].data())) return false;
  std::size_t turn = 0;
  for (const Int8Weights::Layer& layer : weights_.layers) {
    for (std::size_t d = 0; d < config_.directions(); ++d) {
      if (!run_direction(layer.directions[d], d == 1, work.whole.layers[turn].data(),
                         work.whole.layers[1 - turn].data(), work, stop)) {
        return false;
      }
    }
    turn = 1 - turn;
  }
  work.whole.top = work.whole.layers[turn].data();
  return true;
}

std::unique_ptr<Engine> load_int8_engine(const SafetensorsFile& file, const ModelConfig& config,
                                         const Projector& projector, const Kernels& kernels) {
  auto engine = std::make_unique<Int8Engine>(config, projector, kernels);
  engine->load(file);
  return engine;
}

}  // namespace pqrnn
