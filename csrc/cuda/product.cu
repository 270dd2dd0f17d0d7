// out[M, N] = features[M, F] * weight[N, F]^T without features in memory: 64 features of a token
// are one pair of its code words, from which the matrix units' operands are made in registers.
//
// A block has 128 tokens, whose fingerprints its 128 threads carry along, and 64 outputs. A warp
// has 32 tokens: two tiles of 16 times eight tiles of 8 outputs, mma.m16n8k16 in bfloat16 with
// float32 sums.
#include "cuda/project.h"

#include "cuda/launch.cuh"

namespace pqrnn::cuda {
namespace {

constexpr int kTokens = 128;
constexpr int kOutputs = 64;
constexpr int kFeatures = 64;  // of a round: one pair of code words
// Words of 32 bits in a row of weights; 36 = 4 modulo 32, so that the eight rows and four columns
// that a warp reads at once lie in 32 banks.
constexpr int kWeightStride = kFeatures / 2 + 4;

__device__ void multiply(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                         std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// A thread's 64 bytes of a round's weights: half a row of 64 features. Zeros outside the matrix.
struct WeightPart {
  uint4 vector[4];

  __device__ void load(const ProductArgs& a, std::int64_t output, std::int64_t feature) {
    const char* row = static_cast<const char*>(a.weight) + (output * a.size + feature) * 2;
    for (int i = 0; i < 4; ++i) {
      const bool inside = output < a.outputs && feature + 8 * i < a.size;
      vector[i] = inside ? *reinterpret_cast<const uint4*>(row + 16 * i) : make_uint4(0, 0, 0, 0);
    }
  }
};

__global__ __launch_bounds__(kTokens) void product_kernel(const ProductArgs a) {
#if __CUDA_ARCH__ >= 800
  __shared__ uint4 codes[kTokens];
  __shared__ alignas(16) std::uint32_t weights[kOutputs * kWeightStride];
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int group = lane / 4, quad = lane % 4;
  const std::int64_t first_token = std::int64_t{blockIdx.x} * kTokens;
  const std::int64_t first_output = std::int64_t{blockIdx.y} * kOutputs;

  Fingerprint f = {0, 0};  // codes of nothing: zeros only in the first round, but never written out
  if (first_token + thread < a.tokens) {
    f = {a.fingerprints[2 * (first_token + thread)],
         a.fingerprints[2 * (first_token + thread) + 1]};
  }
  float sum[2][8][4] = {};
  WeightPart part;
  part.load(a, first_output + thread / 2, thread % 2 * 32);
  for (std::int64_t feature = 0; feature < a.size; feature += kFeatures) {
    __syncthreads();
    codes[thread] = make_uint4(static_cast<unsigned>(f.low), static_cast<unsigned>(f.low >> 32),
                               static_cast<unsigned>(f.high), static_cast<unsigned>(f.high >> 32));
    uint4* const row = reinterpret_cast<uint4*>(weights + thread / 2 * kWeightStride);
#pragma unroll
    for (int i = 0; i < 4; ++i) row[thread % 2 * 4 + i] = part.vector[i];
    __syncthreads();
    next_pair(f);
    if (feature + kFeatures < a.size) {
      part.load(a, first_output + thread / 2, feature + kFeatures + thread % 2 * 32);
    }
    const std::uint32_t* const groups = reinterpret_cast<const std::uint32_t*>(codes);
#pragma unroll
    for (int step = 0; step < 4; ++step) {  // 16 features: one word of 32 bits of each token
      std::uint32_t left[2][4];
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
        const int token = warp * 32 + tile * 16 + group;
        const std::uint32_t upper = groups[token * 4 + step] >> (4 * quad);
        const std::uint32_t lower = groups[(token + 8) * 4 + step] >> (4 * quad);
        left[tile][0] = bfloat16_pair(upper);
        left[tile][1] = bfloat16_pair(lower);
        left[tile][2] = bfloat16_pair(upper >> 16);
        left[tile][3] = bfloat16_pair(lower >> 16);
      }
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const std::uint32_t* const w = weights + (n * 8 + group) * kWeightStride + step * 8 + quad;
        multiply(sum[0][n], left[0], w[0], w[4]);
        multiply(sum[1][n], left[1], w[0], w[4]);
      }
    }
  }
  float* const out = static_cast<float*>(a.out);
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t token = first_token + warp * 32 + tile * 16 + half * 8 + group;
      if (token >= a.tokens) continue;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const std::int64_t output = first_output + n * 8 + quad * 2;
        if (output >= a.outputs) continue;
        *reinterpret_cast<float2*>(out + token * a.outputs + output) =
            make_float2(sum[tile][n][2 * half], sum[tile][n][2 * half + 1]);
      }
    }
  }
#endif
}

}  // namespace

cudaError_t ternary_product(const ProductArgs& args, cudaStream_t stream) {
  if (args.size % 16 != 0 || args.outputs % 8 != 0) return cudaErrorInvalidValue;
  int device = 0, major = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  }
  if (error != cudaSuccess) return error;
  if (major < 8) return cudaErrorNotSupported;  // no bfloat16 in the matrix units
  if (args.tokens == 0 || args.outputs == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(ceil_div(args.tokens, kTokens)),
                  static_cast<unsigned>(ceil_div(args.outputs, kOutputs)));
  product_kernel<<<grid, kTokens, 0, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace pqrnn::cuda
