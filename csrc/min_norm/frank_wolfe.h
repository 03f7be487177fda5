// Frank-Wolfe on the simplex with exact line search: plain, with away steps, pairwise.
#pragma once

#include "min_norm/problem.h"

namespace modnas_fast::min_norm {
inline namespace MODNAS_FAST_ISA {

constexpr int steps_between_evaluations = 64;  // G w is updated in between; this bounds its rounding errors

/// The point nearest to being optimal among all pairs' segments; equal pairs: the first.
template <typename Team>
MODNAS_FAST_LARGE_HD void start_at_best_pair(const Team& team, Problem& p) {
  const auto cost = [&p](int i, int j) {
    const Pair w = segment(p.at(i, i), p.at(i, j), p.at(j, j));
    return w.first * (w.first * p.at(i, i) + w.second * p.at(i, j)) +
           w.second * (w.first * p.at(i, j) + w.second * p.at(j, j));
  };
  double best = -DBL_MAX;
  int first = 0, second = p.n > 1 ? 1 : 0;
  for (int i = 0; i < p.n; ++i) {
    const int j = team.highest(i + 1, p.n, best, [&](int k) { return -cost(i, k); });
    if (j >= 0) first = i, second = j;
  }
  const Pair weight = segment(p.at(first, first), p.at(first, second), p.at(second, second));
  team.once([&] {
    p.weights[second] = weight.second;
    p.weights[first] = weight.first;
  });
  evaluate(team, p);
}

/// w <- kept w + added e_i, with G w.
template <typename Team>
MODNAS_FAST_HD void mix(const Team& team, Problem& p, double kept, double added, int i) {
  const double* const row = p.row(i);
  team.each(0, p.n, [&](int k) {
    p.weights[k] = kept * p.weights[k] + (k == i ? added : 0.0);
    p.product[k] = kept * p.product[k] + added * row[k];
  });
}

/// Frank-Wolfe from the best pair (O. Sener and V. Koltun, NeurIPS 2018, Algorithm 2, after M. Jaggi, ICML
/// 2013), until a step changes the weights by less than tol in the L1 norm; returns the number of steps.
template <typename Team>
MODNAS_FAST_LARGE_HD int frank_wolfe(const Team& team, Problem& p, double tol, int max_iter) {
  start_at_best_pair(team, p);
  p.converged = p.n <= 2;
  if (p.converged) return 0;
  for (int iteration = 0; iteration < max_iter; ++iteration) {
    double lowest = -DBL_MAX;
    const int towards = team.highest(0, p.n, lowest, [&](int i) { return -p.product[i]; });
    const Pair line = segment(p.squared, p.product[towards], p.at(towards, towards));
    const double change = 2.0 * line.second * (1.0 - p.weights[towards]);
    mix(team, p, line.first, line.second, towards);
    if (iteration % steps_between_evaluations == 0)
      evaluate(team, p);
    else
      summarise(team, p);
    if (!(change > 0.0) || change < tol) {
      evaluate(team, p);
      p.converged = true;
      return iteration + 1;
    }
  }
  evaluate(team, p);
  return max_iter;
}

/// Away-step and pairwise Frank-Wolfe from the shortest point (S. Lacoste-Julien and M. Jaggi, "On the global
/// linear convergence of Frank-Wolfe optimization variants", NeurIPS 2015, Algorithms 1 and 2), until the
/// relative gap is at most tol; returns the number of steps.
template <typename Team>
MODNAS_FAST_LARGE_HD int frank_wolfe_away(const Team& team, Problem& p, bool pairwise, double tol, int max_iter) {
  const double rounding = 4.0 * DBL_EPSILON * (p.n + 4);
  if (!(tol > rounding)) tol = rounding;
  double best = -DBL_MAX;
  const int start = team.highest(0, p.n, best, [&](int i) { return -p.at(i, i); });
  team.once([&] { p.weights[start] = 1.0; });
  evaluate(team, p);
  bool fresh = true;
  for (int iteration = 0; iteration < max_iter; ++iteration) {
    if (!fresh && (iteration % steps_between_evaluations == 0 || relative_gap(team, p) <= tol)) {
      evaluate(team, p);
      fresh = true;
    }
    if (relative_gap(team, p) <= tol) return iteration;
    double lowest = -DBL_MAX, highest = -DBL_MAX;
    const int towards = team.highest(0, p.n, lowest, [&](int i) { return -p.product[i]; });
    const int away =
        team.highest(0, p.n, highest, [&](int i) { return p.weights[i] > 0.0 ? p.product[i] : -DBL_MAX; });
    const double descent = p.squared - p.product[towards], ascent = p.product[away] - p.squared;
    const double weight = p.weights[away];
    if (pairwise) {
      if (towards == away) break;
      const double slope = p.product[away] - p.product[towards];
      const double curvature =
          (p.at(away, away) - p.at(towards, away)) + (p.at(towards, towards) - p.at(towards, away));
      const bool drop = !(curvature > 0.0) || slope >= weight * curvature;
      const double length = drop ? weight : slope / curvature;
      const double *const to = p.row(towards), *const from = p.row(away);
      team.each(0, p.n, [&](int k) {
        p.product[k] += length * (to[k] - from[k]);
        if (k == towards) p.weights[k] += length;
        if (k == away) p.weights[k] = drop ? 0.0 : weight - length;
      });
    } else if (descent >= ascent || weight >= 1.0) {
      const Pair line = segment(p.squared, p.product[towards], p.at(towards, towards));
      if (!(line.second > 0.0)) break;
      mix(team, p, line.first, line.second, towards);
    } else {
      // w + s (w - e_away), s <= w_away / (1 - w_away)
      const double limit = weight / (1.0 - weight);
      const double curvature = (p.squared - p.product[away]) + (p.at(away, away) - p.product[away]);
      const bool drop = !(curvature > 0.0) || ascent >= limit * curvature;
      const double length = drop ? limit : ascent / curvature;
      mix(team, p, 1.0 + length, -length, away);
      if (drop) team.once([&] { p.weights[away] = 0.0; });
    }
    summarise(team, p);
    fresh = false;
  }
  evaluate(team, p);
  return max_iter;
}

}  // namespace MODNAS_FAST_ISA
}  // namespace modnas_fast::min_norm
