// The constants of the 8-bit engine's activations: rational tanh and polynomial exp, as in
// python/pqrnn_native/reference/quantised.py, which says where they come from.
#pragma once

namespace pqrnn {
namespace int8_math {

constexpr float kTanhLimit = 4.6f;
constexpr float kTanhP[2] = {0.10367187f, 0.0007104046f};
constexpr float kTanhQ[2] = {0.43682715f, 0.013207635f};

constexpr float kExpLeast = -87.0f;
constexpr float kLog2High = 0.693145752f;
constexpr float kLog2Low = 1.42860677e-6f;
constexpr float kLog2E = 1.44269504f;
constexpr float kExpP[5] = {0.001381459878757596f, 0.008368716575205326f, 0.04166838899254799f,
                            0.1666652113199234f, 0.4999999403953552f};

}  // namespace int8_math
}  // namespace pqrnn
