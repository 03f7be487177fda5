// What callers of the min-norm solver say and are told; the same on every device.
#pragma once

#include <cstddef>
#include <cstdint>

namespace modnas_fast::min_norm {

enum class Method : std::int32_t { exact, frank_wolfe, away, pairwise };

/// How one problem ended. From `nonfinite` on the Gramian was refused and the numbers are NaN.
enum class Status : std::int8_t {
  optimal = 0,     // within the tolerance
  limit = 1,       // max_iter reached: the best point so far, with its gap
  stalled = 2,     // rounding forbids any further progress: the best point, with its gap
  empty = 3,       // every gradient was left out as not finite: all weights are 0
  nonfinite = 4,   // NaN or an infinity
  negative = 5,    // a negative squared norm on the diagonal
  asymmetric = 6,  // differs from its transpose by more than rounding
};

struct Options {
  Method method = Method::exact;
  double tol = 1e-14;
  int max_iter = 1000;
  double asymmetry = 5e-2;      // largest |G[i,j] - G[j,i]| relative to |p_i| |p_j| or to themselves
  bool skip_nonfinite = false;  // leave points out that are not finite instead of refusing the problem
  bool ignore_zeros = false;    // leave points of length 0 out, unless all are
};

/// Where the answers go: [batch, n] and [batch]; `row` is the row at fault of a refused problem, else -1.
template <typename Scalar>
struct Answers {
  Scalar* weights;
  Scalar* squared_norm;
  Scalar* gap;
  std::int64_t* iterations;
  std::int8_t* status;
  std::int32_t* row;
};

/// Bytes of scratch memory for one problem of n points, aligned like double.
constexpr std::size_t workspace_bytes(std::size_t n) {
  return (2 * n * n + 10 * n) * sizeof(double) + (4 * n) * sizeof(std::int32_t);
}

}  // namespace modnas_fast::min_norm
