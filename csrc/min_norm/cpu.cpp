#include "min_norm/cpu.h"

#include <vector>

namespace modnas_fast::min_norm {

template <typename Scalar>
void solve_cpu(Method method, const Scalar* gramian, std::int64_t batch, int n, double tol, int max_iter,
               Scalar* weights, Scalar* squared_norm, Scalar* gap, std::int64_t* iterations) {
  std::vector<double> memory(workspace_bytes(n) / sizeof(double));
  const std::int64_t size = n;
  for (std::int64_t b = 0; b < batch; ++b) {
    solve(method, gramian + b * size * size, n, tol, max_iter, memory.data(), weights + b * size,
          squared_norm + b, gap + b, iterations + b);
  }
}

template void solve_cpu<float>(Method, const float*, std::int64_t, int, double, int, float*, float*, float*,
                               std::int64_t*);
template void solve_cpu<double>(Method, const double*, std::int64_t, int, double, int, double*, double*,
                                double*, std::int64_t*);

}  // namespace modnas_fast::min_norm
