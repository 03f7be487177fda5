// Batches of min-norm problems on the CPU.
#pragma once

#include <cstdint>

#include "min_norm/types.h"

namespace modnas_fast::min_norm {

/// Solves `batch` problems of n points, gramian [batch, n, n], on up to `threads` threads; each problem's
/// answer has the same bits for any number of them. Throws std::bad_alloc if there is no memory for the
/// workspaces, one per thread.
template <typename Scalar>
void solve_cpu(const Options& options, const Scalar* gramian, std::int64_t batch, int n, int threads,
               const Answers<Scalar>& out);

}  // namespace modnas_fast::min_norm
