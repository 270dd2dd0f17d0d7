// A block hashes kTokens tokens, a thread each, follows their code words into shared memory, and
// then writes features, sixteen bytes a thread.
#include "cuda/project.h"

#include "cuda/launch.cuh"

namespace pqrnn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 32;
constexpr int kMaxWords = 128;  // F up to 4096

__global__ void hash_kernel(const ProjectArgs a) {
  const std::int64_t token = thread_index();
  if (token >= a.tokens) return;
  const Fingerprint f = token_fingerprint(a, token);
  a.fingerprints[2 * token] = f.low;
  a.fingerprints[2 * token + 1] = f.high;
}

// Rows of shared memory have an odd number of words, so that the 32 threads that each fill one
// write to different banks.
__device__ int code_stride(std::int64_t size) { return static_cast<int>(ceil_div(size, 32)) | 1; }

__device__ void follow_codes(const ProjectArgs& a, std::int64_t first, std::uint64_t* codes) {
  const std::int64_t token = first + threadIdx.x;
  if (threadIdx.x < kTokens && token < a.tokens) {
    const int words = static_cast<int>(ceil_div(a.size, 32));
    std::uint64_t* out = codes + threadIdx.x * code_stride(a.size);
    Fingerprint f = token_fingerprint(a, token);
    for (int word = 0; word < words; word += 2) {
      out[word] = f.low;
      if (word + 1 < words) out[word + 1] = f.high;
      next_pair(f);
    }
  }
  __syncthreads();
}

template <FeatureType type>
__global__ __launch_bounds__(kThreads) void expand_kernel(const ProjectArgs a) {
  extern __shared__ std::uint64_t codes[];
  const std::int64_t first = std::int64_t{blockIdx.x} * kTokens;
  follow_codes(a, first, codes);
  const int stride = code_stride(a.size);
  const int tokens = static_cast<int>(smaller<std::int64_t>(kTokens, a.tokens - first));
  constexpr int bytes = kFeatureBytes<type>, each = 16 / bytes;
  char* const out = static_cast<char*>(a.features) + first * a.size * bytes;
  const int size = static_cast<int>(a.size);
  if (size % each == 0 && reinterpret_cast<std::uintptr_t>(a.features) % 16 == 0) {
    const int vectors = size / each;
    for (int i = threadIdx.x; i < tokens * vectors; i += kThreads) {
      const int token = i / vectors, feature = (i - token * vectors) * each;
      const Vector v = feature_vector<type>(groups_at(codes + token * stride, feature));
      reinterpret_cast<uint4*>(out)[i] = make_uint4(v.word[0], v.word[1], v.word[2], v.word[3]);
    }
    return;
  }
  for (int i = threadIdx.x; i < tokens * size; i += kThreads) {
    const int token = i / size, feature = i - token * size;
    const std::uint32_t bits = feature_bits<type>(groups_at(codes + token * stride, feature) & 3u);
    memcpy(out + static_cast<std::int64_t>(i) * bytes, &bits, bytes);
  }
}

// The groups past F in the last word are zeros.
__global__ __launch_bounds__(kThreads) void pack_kernel(const ProjectArgs a) {
  extern __shared__ std::uint64_t codes[];
  const std::int64_t first = std::int64_t{blockIdx.x} * kTokens;
  follow_codes(a, first, codes);
  const int stride = code_stride(a.size), words = static_cast<int>(ceil_div(a.size, 32));
  const int tokens = static_cast<int>(smaller<std::int64_t>(kTokens, a.tokens - first));
  std::uint64_t* const out = static_cast<std::uint64_t*>(a.features) + first * words;
  const int left = static_cast<int>(a.size % 32);
  for (int i = threadIdx.x; i < tokens * words; i += kThreads) {
    const int token = i / words, word = i - token * words;
    std::uint64_t value = codes[token * stride + word];
    if (left && word == words - 1) value &= (std::uint64_t{1} << (2 * left)) - 1;
    out[i] = value;
  }
}

template <FeatureType type>
cudaError_t expand_as(const ProjectArgs& a, unsigned blocks, std::size_t shared,
                      cudaStream_t stream) {
  if constexpr (type == FeatureType::packed) {
    pack_kernel<<<blocks, kThreads, shared, stream>>>(a);
  } else {
    expand_kernel<type><<<blocks, kThreads, shared, stream>>>(a);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t hash_tokens(const ProjectArgs& args, cudaStream_t stream) {
  if (args.tokens == 0) return cudaSuccess;
  hash_kernel<<<static_cast<unsigned>(ceil_div(args.tokens, 128)), 128, 0, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t expand_features(const ProjectArgs& args, cudaStream_t stream) {
  const std::int64_t words = ceil_div(args.size, 32);
  if (args.size < 1 || words > kMaxWords) return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  const unsigned blocks = static_cast<unsigned>(ceil_div(args.tokens, kTokens));
  const std::size_t shared = kTokens * static_cast<std::size_t>(words | 1) * 8;
  switch (args.type) {
    case FeatureType::int8: return expand_as<FeatureType::int8>(args, blocks, shared, stream);
    case FeatureType::f16: return expand_as<FeatureType::f16>(args, blocks, shared, stream);
    case FeatureType::bf16: return expand_as<FeatureType::bf16>(args, blocks, shared, stream);
    case FeatureType::f32: return expand_as<FeatureType::f32>(args, blocks, shared, stream);
    case FeatureType::packed: return expand_as<FeatureType::packed>(args, blocks, shared, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace pqrnn::cuda
