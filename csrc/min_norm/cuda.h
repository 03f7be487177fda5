// Batches of min-norm problems on a CUDA device, one warp per problem.
#pragma once

#include <cstddef>
#include <cstdint>

#include "min_norm/types.h"

namespace modnas_fast::min_norm {

/// What solve_cuda needs: how many warps it starts, and bytes of device memory for all of them together; 0 bytes
/// where a problem fits into shared memory.
struct Workspace {
  std::int64_t workers;
  std::size_t bytes;
};
Workspace workspace_cuda(std::int64_t batch, int n, int device);

/// Enqueues `batch` problems on `stream` (a cudaStream_t) of `device` and returns at once; it allocates nothing and
/// waits for nothing, so that it can be captured in a graph. All pointers are device memory; `memory` and
/// `workers` are as workspace_cuda says. Returns a cudaError_t, 0 on success.
template <typename Scalar>
int solve_cuda(const Options& options, const Scalar* gramian, std::int64_t batch, int n, void* memory,
               std::int64_t workers, const Answers<Scalar>& out, int device, void* stream);

}  // namespace modnas_fast::min_norm
