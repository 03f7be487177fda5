// The min-norm point of a convex hull, from the Gramian of its points.
//
// Points p_0 .. p_{n-1} (gradients) enter only through G[i,j] = <p_i, p_j>. Sought are weights w >= 0 with sum 1
// that minimise w' G w, the squared norm of x = sum_i w_i p_i. Optimality is certified by the gap w' G w -
// min_i (G w)_i, which is 0 exactly at a minimiser.
//
// exact          n <= 2 in closed form; n > 2 by Wolfe's method, wolfe.h.
// frank_wolfe, away, pairwise    frank_wolfe.h.
//
// One source for CPU and CUDA, see team.h: templates over the caller's scalar type, no allocation, all arithmetic in
// double. The Gramian is divided by a power of two first, so that the result does not depend on its units;
// tolerances are relative to the lengths of the points involved, so that lengths may differ by many orders of
// magnitude.
#pragma once

#include "min_norm/frank_wolfe.h"
#include "min_norm/problem.h"
#include "min_norm/wolfe.h"

namespace modnas_fast::min_norm {
inline namespace MODNAS_FAST_ISA {

/// A relative gap that double precision reaches on sound Gramians: what is below it counts as optimal.
constexpr double certifiable = 1e-12;

template <typename Team>
MODNAS_FAST_HD int run_method(const Team& team, Problem& p, const Options& options) {
  switch (options.method) {
    case Method::frank_wolfe:
      return frank_wolfe(team, p, options.tol, options.max_iter);
    case Method::away:
    case Method::pairwise:
      return frank_wolfe_away(team, p, options.method == Method::pairwise, options.tol, options.max_iter);
    default:
      if (p.n <= 2) {
        start_at_best_pair(team, p);
        return 0;
      }
      return wolfe(team, p, options.tol, options.max_iter);
  }
}

/// Solves problem b of n >= 1 points: gramian [n, n], memory of workspace_bytes(n), the answers of `out` at b.
///
/// For `frank_wolfe` options.tol bounds the last change of the weights in the L1 norm, for the others each
/// point's violation of optimality relative to the lengths involved. A refused Gramian gives NaN.
template <typename Team, typename Scalar>
MODNAS_FAST_HD void solve(const Team& team, const Scalar* gramian, int n, const Options& options, void* memory,
                          const Answers<Scalar>& out, std::int64_t b) {
  Problem p = carve(memory, n);
  Scalar* const weights = out.weights + b * n;
  int fault = -1;
  Status status = load(team, p, gramian, options, fault);
  if (status != Status::optimal) {
    const double value = status == Status::empty ? 0.0 : static_cast<double>(NAN);
    team.each(0, n, [&](int i) { weights[i] = static_cast<Scalar>(value); });
    team.once([&] {
      out.squared_norm[b] = out.gap[b] = static_cast<Scalar>(value);
      out.iterations[b] = 0;
      out.status[b] = static_cast<std::int8_t>(status);
      out.row[b] = fault;
    });
    return;
  }
  const int iterations = run_method(team, p, options);
  const double enough = options.tol > certifiable && options.method != Method::frank_wolfe ? options.tol : certifiable;
  if (!p.converged && relative_gap(team, p) > enough)
    status = iterations >= options.max_iter ? Status::limit : Status::stalled;
  double least = -DBL_MAX;
  team.highest(0, p.n, least, [&](int i) { return -p.product[i]; });
  const double gap = p.squared + least;
  team.each(0, n, [&](int i) { weights[i] = Scalar(0); });
  team.each(0, p.n, [&](int i) { weights[p.kept[i]] = static_cast<Scalar>(p.weights[i]); });
  team.once([&] {
    out.squared_norm[b] = static_cast<Scalar>((p.squared > 0.0 ? p.squared : 0.0) * p.up * p.up_again);
    out.gap[b] = static_cast<Scalar>((gap > 0.0 ? gap : 0.0) * p.up * p.up_again);
    out.iterations[b] = iterations;
    out.status[b] = static_cast<std::int8_t>(status);
    out.row[b] = -1;
  });
}

}  // namespace MODNAS_FAST_ISA
}  // namespace modnas_fast::min_norm
