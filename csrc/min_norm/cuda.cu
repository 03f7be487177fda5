#include <cuda_runtime.h>

#include "cuda_info.h"
#include "min_norm/cuda.h"
#include "min_norm/min_norm.h"
#include "once_per_device.h"

namespace modnas_fast::min_norm {
namespace {

/// One warp per block; each takes problems blockIdx.x, blockIdx.x + gridDim.x, ... and works in shared memory, or
/// where `memory` is given in its own part of that.
template <typename Scalar>
__global__ void __launch_bounds__(32)
    solve_kernel(Options options, const Scalar* gramian, std::int64_t batch, int n, std::int64_t bytes,
                 char* memory, Answers<Scalar> out) {
  extern __shared__ double shared[];
  const Warp warp{static_cast<int>(threadIdx.x)};
  void* const own = memory == nullptr ? static_cast<void*>(shared) : memory + blockIdx.x * bytes;
  const std::int64_t square = static_cast<std::int64_t>(n) * n;
  for (std::int64_t b = blockIdx.x; b < batch; b += gridDim.x) {
    solve(warp, gramian + b * square, n, options, own, out, b);
    __syncwarp();
  }
}

/// Bytes for one problem, a multiple of 8.
std::int64_t bytes_of(int n) { return static_cast<std::int64_t>((workspace_bytes(n) + 7) / 8 * 8); }

bool fits_shared(int n, int device) {
  int most = 0;
  return cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) == cudaSuccess &&
         bytes_of(n) <= most;
}

/// Lets the kernel have all the shared memory that the current device gives to a block; returns a cudaError_t. The
/// limit belongs to the kernel, not to a launch: threads that each set their own would lower each other's.
template <typename Scalar>
int allow_shared(int device) {
  static OncePerDevice once;
  return once(device, [device]() -> int {
    int most = 0;
    const cudaError_t error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    if (error != cudaSuccess) return error;
    return cudaFuncSetAttribute(solve_kernel<Scalar>, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
  });
}

}  // namespace

Workspace workspace_cuda(std::int64_t batch, int n, int device) {
  constexpr std::int64_t most_blocks = 1 << 16, warps_per_processor = 16;
  if (fits_shared(n, device)) return {batch < most_blocks ? batch : most_blocks, 0};
  int processors = 1;
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  const std::int64_t most = warps_per_processor * processors, workers = batch < most ? batch : most;
  return {workers, static_cast<std::size_t>(workers * bytes_of(n))};
}

template <typename Scalar>
int solve_cuda(const Options& options, const Scalar* gramian, std::int64_t batch, int n, void* memory,
               std::int64_t workers, const Answers<Scalar>& out, int device, void* stream) {
  if (batch == 0) return 0;
  const DeviceGuard guard(device);
  if (guard.error() != cudaSuccess) return guard.error();
  const std::int64_t bytes = bytes_of(n);
  std::size_t shared = 0;
  if (memory == nullptr) {
    shared = static_cast<std::size_t>(bytes);
    const int error = allow_shared<Scalar>(device);
    if (error != cudaSuccess) return error;
  }
  solve_kernel<<<static_cast<unsigned>(workers), 32, shared, static_cast<cudaStream_t>(stream)>>>(
      options, gramian, batch, n, bytes, static_cast<char*>(memory), out);
  return cudaGetLastError();
}

template int solve_cuda<float>(const Options&, const float*, std::int64_t, int, void*, std::int64_t,
                               const Answers<float>&, int, void*);
template int solve_cuda<double>(const Options&, const double*, std::int64_t, int, void*, std::int64_t,
                                const Answers<double>&, int, void*);

}  // namespace modnas_fast::min_norm
