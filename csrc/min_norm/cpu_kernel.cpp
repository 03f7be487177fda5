#include "min_norm/cpu_kernel.h"

#include "min_norm/min_norm.h"

namespace modnas_fast::min_norm::cpu::MODNAS_FAST_ISA {

template <typename Scalar>
static void each_problem(const Options& options, const Scalar* gramian, std::int64_t begin, std::int64_t end, int n,
                         void* memory, const Answers<Scalar>& out) {
  const std::int64_t square = static_cast<std::int64_t>(n) * n;
  for (std::int64_t b = begin; b < end; ++b) solve(Solo{}, gramian + b * square, n, options, memory, out, b);
}

void solve_range(const Options& options, const float* gramian, std::int64_t begin, std::int64_t end, int n,
                 void* memory, const Answers<float>& out) {
  each_problem(options, gramian, begin, end, n, memory, out);
}

void solve_range(const Options& options, const double* gramian, std::int64_t begin, std::int64_t end, int n,
                 void* memory, const Answers<double>& out) {
  each_problem(options, gramian, begin, end, n, memory, out);
}

}  // namespace modnas_fast::min_norm::cpu::MODNAS_FAST_ISA
