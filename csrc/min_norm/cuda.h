// Batches of min-norm problems on a CUDA device.
#pragma once

#include <cstdint>

#include "min_norm/min_norm.h"

namespace modnas_fast::min_norm {

/// Enqueues `batch` problems on `stream` (a cudaStream_t) of `device` and returns at once. All pointers are
/// device memory; memory holds batch * workspace_bytes(n) bytes. Returns a cudaError_t, 0 on success.
template <typename Scalar>
int solve_cuda(Method method, const Scalar* gramian, std::int64_t batch, int n, double tol, int max_iter,
               void* memory, Scalar* weights, Scalar* squared_norm, Scalar* gap, std::int64_t* iterations,
               int device, void* stream);

}  // namespace modnas_fast::min_norm
