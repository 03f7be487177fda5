// Wolfe's min-norm point (P. Wolfe, "Finding the nearest point in a polytope", Mathematical Programming 11,
// 1976) on the Gramian.
//
// The members are the points that carry weight. With b their base and d_i = p_i - p_b, each step goes to the
// minimiser over the members' affine hull, D y = -r with D[i,j] = <d_i, d_j> and r_i = <d_i, x>, as far as the
// weights stay positive. Two ways of solving:
//   swift   keeps the Cholesky factor of D, scaled to unit diagonal, and updates it when a point enters
//           or leaves: O(n m) per step. A dependent point gets the pivot of its rounding level: the step is then
//           long and leads downhill along the dependence, until a member leaves.
//   sturdy  factors D anew with diagonal pivoting: O(m^3) per step. It takes over where rounding stops the
//           swift one, from the same weights.
#pragma once

#include "min_norm/problem.h"

namespace modnas_fast::min_norm {
inline namespace MODNAS_FAST_ISA {

/// The point whose addition shortens x most, judged on the segment from x to it, or -1 at the optimum.
/// A point counts when it violates optimality by more than tol times the lengths involved.
template <typename Team>
MODNAS_FAST_HD int violator(const Team& team, const Problem& p, double tol) {
  double best = 0.0;
  return team.highest(0, p.n, best, [&](int i) {
    const double excess = p.squared - p.product[i];
    if (p.blocked[i] || !(excess > tol * p.reach * (p.reach + p.length[i]))) return 0.0;
    const double distance = excess + (p.at(i, i) - p.product[i]);
    return distance > excess ? excess * (excess / distance) : excess;
  });
}

/// <p_u - p_b, p_v - p_b>, grouped so that equal points differ by exactly 0.
MODNAS_FAST_HD inline double difference(const Problem& p, int base, int u, int v) {
  return (p.at(u, v) - p.at(u, base)) + (p.at(base, base) - p.at(v, base));
}

/// The scale of point u in the factor and the level of rounding errors there.
struct Scaling {
  double scale, floor;
};

MODNAS_FAST_HD inline Scaling scaling(const Problem& p, int base, int u, int count) {
  const double round = DBL_EPSILON * 8.0 * (p.at(u, u) + p.at(base, base));
  double square = (p.at(u, u) - p.at(u, base)) + (p.at(base, base) - p.at(u, base));
  if (!(square > round)) square = round > 0.0 ? round : 1.0;
  return {1.0 / sqrt(square), round / square + DBL_EPSILON * count};
}

/// The members in the factor: `count` of them stand in p.order, the base beside them.
struct Corral {
  int base, count;
};

/// Appends point u to the factor; returns its pivot, which is 1 for a point far from the others' affine hull and
/// at most its rounding level for a dependent one.
template <typename Team>
MODNAS_FAST_LARGE_HD double append(const Team& team, Problem& p, Corral& corral, int u) {
  const int m = corral.count;
  const Scaling s = scaling(p, corral.base, u, m + 1);
  double* const row = p.factor_row(m);
  team.each(0, m, [&](int k) { row[k] = difference(p, corral.base, u, p.order[k]) * s.scale * p.scale[k]; });
  for (int k = 0; k < m; ++k) {
    const double* const earlier = p.factor_row(k);
    const double known = team.sum(0, k, [=](int j) { return earlier[j] * row[j]; });
    team.once([&] { row[k] = (row[k] - known) * p.inverse[k]; });
  }
  const double known = team.sum(0, m, [=](int j) { return row[j] * row[j]; });
  const double rest = difference(p, corral.base, u, u) * s.scale * s.scale - known;
  const double diagonal = sqrt(rest > s.floor ? rest : s.floor);
  team.once([&] {
    row[m] = diagonal;
    p.inverse[m] = 1.0 / diagonal;
    p.order[m] = u;
    p.scale[m] = s.scale;
  });
  ++corral.count;
  return rest;
}

/// Takes position k out of the factor by Givens rotations.
template <typename Team>
MODNAS_FAST_LARGE_HD void erase(const Team& team, Problem& p, Corral& corral, int k) {
  const int m = --corral.count;
  for (int r = k; r < m; ++r) {
    double* const row = p.factor_row(r);
    const double* const below = p.factor_row(r + 1);
    team.each(0, r + 2, [=](int j) { row[j] = below[j]; });
    team.once([&] {
      p.order[r] = p.order[r + 1];
      p.scale[r] = p.scale[r + 1];
    });
  }
  for (int c = k; c < m; ++c) {
    const double a = p.factor_row(c)[c], b = p.factor_row(c)[c + 1];
    const double length = sqrt(a * a + b * b);
    const double cosine = a / length, sine = b / length;
    team.each(c, m, [&](int r) {
      double* const row = p.factor_row(r);
      const double x = row[c], y = row[c + 1];
      row[c] = cosine * x + sine * y;
      row[c + 1] = cosine * y - sine * x;
    });
    team.once([&] { p.inverse[c] = 1.0 / length; });
  }
}

/// Makes the shortest member the base and factors anew.
template <typename Team>
MODNAS_FAST_LARGE_HD void rebuild(const Team& team, Problem& p, Corral& corral) {
  double best = -DBL_MAX;
  corral.base = team.highest(0, p.n, best, [&](int i) { return p.member[i] ? -p.at(i, i) : -DBL_MAX; });
  corral.count = 0;
  for (int i = 0; i < p.n; ++i) {
    if (p.member[i] && i != corral.base) append(team, p, corral, i);
  }
}

/// Puts the scaled right-hand side -r into p.solution.
template <typename Team>
MODNAS_FAST_HD void residual(const Team& team, Problem& p, const Corral& corral) {
  const double of_base = p.product[corral.base];
  team.each(0, corral.count, [&](int k) { p.solution[k] = (of_base - p.product[p.order[k]]) * p.scale[k]; });
}

/// Solves for p.solution with the factor and writes the way of the weights into p.step.
template <typename Team>
MODNAS_FAST_LARGE_HD void finish_step(const Team& team, Problem& p, const Corral& corral) {
  const int m = corral.count;
  for (int k = 0; k < m; ++k) {
    const double* const row = p.factor_row(k);
    const double known = team.sum(0, k, [&](int j) { return row[j] * p.solution[j]; });
    team.once([&] { p.solution[k] = (p.solution[k] - known) * p.inverse[k]; });
  }
  for (int k = m - 1; k >= 0; --k) {
    const double* const row = p.factor_row(k);
    const double value = p.solution[k] * p.inverse[k];
    team.each(0, k, [&](int j) { p.solution[j] -= row[j] * value; });
    team.once([&] { p.solution[k] = value; });
  }
  team.each(0, p.n, [&](int i) { p.step[i] = 0.0; });
  team.each(0, m, [&](int k) { p.step[p.order[k]] = p.solution[k] * p.scale[k]; });
  const double sum = team.sum(0, m, [&](int k) { return p.solution[k] * p.scale[k]; });
  team.once([&] { p.step[corral.base] = -sum; });
}

/// Factors D with diagonal pivoting; where the members are dependent to working precision, the remaining
/// block is replaced by its rounding level.
template <typename Team>
MODNAS_FAST_LARGE_HD Corral factor_sturdily(const Team& team, Problem& p) {
  double best = -DBL_MAX;
  Corral corral{team.highest(0, p.n, best, [&](int i) { return p.member[i] ? -p.at(i, i) : -DBL_MAX; }), 0};
  int m = 0;
  for (int i = 0; i < p.n; ++i) {
    if (!p.member[i] || i == corral.base) continue;
    team.once([&] { p.order[m] = i; });
    ++m;
  }
  corral.count = m;
  team.each(0, m, [&](int k) {
    const Scaling s = scaling(p, corral.base, p.order[k], m);
    p.scale[k] = s.scale;
    p.floor[k] = s.floor;
  });
  for (int k = 0; k < m; ++k) {
    double* const row = p.factor_row(k);
    team.each(0, k + 1, [&](int j) {
      row[j] = difference(p, corral.base, p.order[k], p.order[j]) * p.scale[k] * p.scale[j];
    });
  }
  const auto exchange = [](auto& x, auto& y) {
    const auto kept = x;
    x = y;
    y = kept;
  };
  int rank = 0;
  for (; rank < m; ++rank) {
    const int c = rank;
    best = -DBL_MAX;
    const int chosen = team.highest(c, m, best, [&](int k) { return p.factor_row(k)[k]; });
    if (chosen < 0 || !(best > p.floor[chosen])) break;
    if (chosen != c) {
      team.once([&] {
        exchange(p.order[c], p.order[chosen]);
        exchange(p.scale[c], p.scale[chosen]);
        exchange(p.floor[c], p.floor[chosen]);
        exchange(p.factor_row(c)[c], p.factor_row(chosen)[chosen]);
      });
      team.each(0, c, [&](int j) { exchange(p.factor_row(c)[j], p.factor_row(chosen)[j]); });
      team.each(c + 1, chosen, [&](int k) { exchange(p.factor_row(k)[c], p.factor_row(chosen)[k]); });
      team.each(chosen + 1, m, [&](int k) { exchange(p.factor_row(k)[c], p.factor_row(k)[chosen]); });
    }
    const double diagonal = sqrt(best);
    team.once([&] {
      p.factor_row(c)[c] = diagonal;
      p.inverse[c] = 1.0 / diagonal;
    });
    team.each(c + 1, m, [&](int k) { p.pivot[k] = p.factor_row(k)[c] /= diagonal; });
    for (int k = c + 1; k < m; ++k) {
      double* const row = p.factor_row(k);
      const double entry = p.pivot[k];
      team.each(c + 1, k + 1, [&](int j) { row[j] -= entry * p.pivot[j]; });
    }
  }
  for (int k = rank; k < m; ++k) {
    double* const row = p.factor_row(k);
    team.each(rank, k, [=](int j) { row[j] = 0.0; });
    const double diagonal = sqrt(p.floor[k]);
    team.once([&] {
      row[k] = diagonal;
      p.inverse[k] = 1.0 / diagonal;
    });
  }
  return corral;
}

/// Moves the weights along p.step: to its end, to where the objective stops falling (rounding can make a step
/// too long), or to the first weight that reaches zero. `whole` tells that no weight did.
template <typename Team>
MODNAS_FAST_LARGE_HD double move(const Team& team, Problem& p, bool& whole) {
  multiply(team, p, p.step, p.change);
  const double slope = team.sum(0, p.n, [&](int i) { return p.step[i] * (p.product[i] - p.squared); });
  const double curvature = team.sum(0, p.n, [&](int i) { return p.step[i] * p.change[i]; });
  double negated = slope < 0.0 && curvature > -slope ? slope / curvature : -1.0;
  const int leaving = team.highest(0, p.n, negated, [&](int i) {
    return p.member[i] && p.step[i] < 0.0 ? p.weights[i] / p.step[i] : -DBL_MAX;
  });
  const double length = -negated;
  team.each(0, p.n, [&](int i) {
    p.product[i] += length * p.change[i];
    const double weight = p.weights[i] + length * p.step[i];
    const bool stays = p.member[i] && i != leaving && weight > 0.0;
    p.weights[i] = stays ? weight : 0.0;
    p.member[i] = stays;
  });
  summarise(team, p);
  whole = leaving < 0;
  return length;
}

/// Starts few points that are clearly independent from the minimiser over the affine hull of all, without those
/// whose weights it would make negative. False where that does not lead to a point inside; nothing is then started.
template <typename Team>
MODNAS_FAST_LARGE_HD bool start_from_all(const Team& team, Problem& p, Corral& corral, int max_iter, int& iteration) {
  constexpr int fewest = 3, most = 15, most_rounds = 4;
  constexpr double independent = 1e-6;
  if (p.n < fewest || p.n > most) return false;
  double best = -DBL_MAX;
  corral = {team.highest(0, p.n, best, [&](int i) { return -p.at(i, i); }), 0};
  for (int i = 0; i < p.n; ++i) {
    if (i != corral.base && !(append(team, p, corral, i) > independent)) return false;
  }
  // x is the base; its weight in what follows is 1 plus its step.
  team.each(0, p.n, [&](int i) { p.product[i] = p.at(corral.base, i); });
  int taken = 0;
  for (bool inside = false; !inside;) {
    if (taken == most_rounds || iteration + taken == max_iter) return false;
    ++taken;
    residual(team, p, corral);
    finish_step(team, p, corral);
    if (!(1.0 + p.step[corral.base] > 0.0)) return false;
    inside = true;
    for (int k = corral.count - 1; k >= 0; --k) {
      if (p.step[p.order[k]] > 0.0) continue;
      erase(team, p, corral, k);
      inside = false;
    }
  }
  iteration += taken;
  team.each(0, p.n, [&](int i) {
    p.weights[i] = i == corral.base ? 1.0 + p.step[i] : p.step[i];
    p.member[i] = p.weights[i] > 0.0;
  });
  evaluate(team, p);
  return true;
}

/// Steps with an updated factor; true when the weights are optimal within tol, false when rounding or the limit
/// ended it. The weights, their members and G w are then consistent.
template <typename Team>
MODNAS_FAST_LARGE_HD bool wolfe_swiftly(const Team& team, Problem& p, Corral corral, double tol, int max_iter,
                                        int& iteration) {
  constexpr int most_refinements = 4;  // corrections of the members' own residual, in a row
  bool fresh = true;
  int refinements = 0;
  double before = DBL_MAX;
  while (true) {
    const int entering = violator(team, p, tol);
    const bool again = entering >= 0 && p.member[entering];
    if (!fresh && (entering < 0 || again)) {
      evaluate(team, p);
      fresh = true;
      continue;
    }
    if (entering < 0) return true;
    refinements = again ? refinements + 1 : 0;
    if (refinements > most_refinements || (!again && !(p.squared < before)) || iteration >= max_iter) break;
    before = p.squared;
    if (!again) {
      append(team, p, corral, entering);
      team.once([&] { p.member[entering] = 1; });
    }
    bool whole = false;
    while (!whole && iteration < max_iter) {
      ++iteration;
      residual(team, p, corral);
      finish_step(team, p, corral);
      const double length = move(team, p, whole);
      fresh = false;
      if (!p.member[corral.base]) {
        rebuild(team, p, corral);
      } else {
        for (int k = corral.count - 1; k >= 0; --k) {
          if (!p.member[p.order[k]]) erase(team, p, corral, k);
        }
      }
      if (!(length > 0.0)) {
        evaluate(team, p);
        return false;
      }
    }
  }
  if (!fresh) evaluate(team, p);
  return false;
}

/// Steps with a factor made anew, from the present weights, until they are optimal within tol, nothing makes
/// progress any more, or the limit.
template <typename Team>
MODNAS_FAST_LARGE_HD void wolfe_sturdily(const Team& team, Problem& p, double tol, int max_iter, int& iteration) {
  constexpr int most_refinements = 4;
  bool settled = true;
  int entering = -1, refinements = 0;
  for (; iteration < max_iter; ++iteration) {
    if (settled) {
      entering = violator(team, p, tol);
      if (entering < 0) return;
      if (p.member[entering]) {
        if (++refinements > most_refinements) {
          team.each(0, p.n, [&](int i) { p.blocked[i] |= p.member[i]; });
          entering = violator(team, p, tol);
          if (entering < 0) return;
        }
      } else {
        refinements = 0;
      }
      team.once([&] { p.member[entering] = 1; });
    }
    const Corral corral = factor_sturdily(team, p);
    residual(team, p, corral);
    finish_step(team, p, corral);
    const double length = move(team, p, settled);
    evaluate(team, p);
    if (length > 0.0) {
      if (refinements == 0) team.each(0, p.n, [&](int i) { p.blocked[i] = 0; });
    } else {
      team.once([&] { p.blocked[entering] = 1; });
      settled = true;
    }
  }
}

/// Starts from the shortest point.
template <typename Team>
MODNAS_FAST_LARGE_HD void start_from_shortest(const Team& team, Problem& p, Corral& corral) {
  double best = -DBL_MAX;
  corral = {team.highest(0, p.n, best, [&](int i) { return -p.at(i, i); }), 0};
  team.once([&] {
    p.weights[corral.base] = 1.0;
    p.member[corral.base] = 1;
  });
  evaluate(team, p);
}

/// Wolfe's method; returns the number of affine minimisations.
template <typename Team>
MODNAS_FAST_LARGE_HD int wolfe(const Team& team, Problem& p, double tol, int max_iter) {
  const double rounding = 4.0 * DBL_EPSILON * (p.n + 4);
  if (!(tol > rounding)) tol = rounding;
  Corral corral{0, 0};
  int iteration = 0;
  if (!start_from_all(team, p, corral, max_iter, iteration)) start_from_shortest(team, p, corral);
  if (!wolfe_swiftly(team, p, corral, tol, max_iter, iteration))
    wolfe_sturdily(team, p, tol, max_iter, iteration);
  return iteration;
}

}  // namespace MODNAS_FAST_ISA
}  // namespace modnas_fast::min_norm
