// Batches of min-norm problems on the CPU.
#pragma once

#include <cstdint>

#include "min_norm/min_norm.h"

namespace modnas_fast::min_norm {

/// Solves `batch` problems of n points: gramian [batch, n, n], weights [batch, n], the other outputs [batch].
/// Allocates one workspace; throws std::bad_alloc if there is no memory for it.
template <typename Scalar>
void solve_cpu(Method method, const Scalar* gramian, std::int64_t batch, int n, double tol, int max_iter,
               Scalar* weights, Scalar* squared_norm, Scalar* gap, std::int64_t* iterations);

}  // namespace modnas_fast::min_norm
