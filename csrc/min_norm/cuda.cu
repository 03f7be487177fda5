#include <cuda_runtime.h>

#include "cuda_info.h"
#include "min_norm/cuda.h"

namespace modnas_fast::min_norm {
namespace {

/// One thread per problem.
template <typename Scalar>
__global__ void solve_kernel(Method method, const Scalar* gramian, std::int64_t batch, int n, double tol,
                             int max_iter, char* memory, Scalar* weights, Scalar* squared_norm, Scalar* gap,
                             std::int64_t* iterations) {
  const std::int64_t b = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (b >= batch) return;
  const std::int64_t size = n;
  solve(method, gramian + b * size * size, n, tol, max_iter,
        memory + b * static_cast<std::int64_t>(workspace_bytes(n)), weights + b * size, squared_norm + b,
        gap + b, iterations + b);
}

}  // namespace

template <typename Scalar>
int solve_cuda(Method method, const Scalar* gramian, std::int64_t batch, int n, double tol, int max_iter,
               void* memory, Scalar* weights, Scalar* squared_norm, Scalar* gap, std::int64_t* iterations,
               int device, void* stream) {
  if (batch == 0) return 0;
  const DeviceGuard guard(device);
  if (guard.error() != cudaSuccess) return guard.error();
  constexpr int threads = 32;
  const auto blocks = static_cast<unsigned>((batch + threads - 1) / threads);
  solve_kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(
      method, gramian, batch, n, tol, max_iter, static_cast<char*>(memory), weights, squared_norm, gap,
      iterations);
  return cudaGetLastError();
}

template int solve_cuda<float>(Method, const float*, std::int64_t, int, double, int, void*, float*, float*,
                               float*, std::int64_t*, int, void*);
template int solve_cuda<double>(Method, const double*, std::int64_t, int, double, int, void*, double*,
                                double*, double*, std::int64_t*, int, void*);

}  // namespace modnas_fast::min_norm
