// The min-norm point of a convex hull, from the Gramian of its points.
//
// Points p_0 .. p_{n-1} (gradients) enter only through G[i,j] = <p_i, p_j>. Sought are weights w >= 0 with
// sum 1 that minimise w' G w, the squared norm of x = sum_i w_i p_i. Optimality is certified by the gap w' G
// w - min_i (G w)_i, which is 0 exactly at a minimiser.
//
// exact          n = 2 in closed form; n > 2 by Wolfe's active-set method (P. Wolfe, "Finding the nearest
// point in
//                a polytope", Mathematical Programming 11, 1976).
// frank_wolfe    the iteration of Sener and Koltun (NeurIPS 2018), Algorithm 2, after Jaggi (ICML 2013).
//
// One source for CPU and CUDA: templates over the caller's scalar type, no allocation, all arithmetic in
// double. The Gramian is divided by a power of two first, so that the result does not depend on its units;
// tolerances are relative to the lengths of the points involved, so that lengths may differ by many orders of
// magnitude.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "host_device.h"

namespace modnas_fast::min_norm {

enum class Method { exact, frank_wolfe };

/// Bytes of scratch memory for one problem of n points, aligned like double.
MODNAS_FAST_HD constexpr std::size_t workspace_bytes(std::size_t n) {
  const std::size_t integers = (3 * n * sizeof(std::int32_t) + sizeof(double) - 1) / sizeof(double);
  return (2 * n * n + 8 * n + integers) * sizeof(double);
}

namespace detail {

/// One problem: its scaled Gramian, the current weights and what follows from them.
struct Problem {
  int n;
  int exponent;           // the caller's Gramian is gram * 2^exponent
  double* gram;           // [n, n] symmetric, largest entry in [1/2, 1)
  double* factor;         // [n, n] scratch of the factorisation
  double* weights;        // [n] w
  double* product;        // [n] G w
  double* length;         // [n] |p_i|
  double* step;           // [n] change of w
  double* scale;          // [n] scratch
  double* floor;          // [n] scratch
  double* solution;       // [n] scratch
  double* pivot;          // [n] scratch
  std::int32_t* member;   // [n] whether p_i carries weight or is being added
  std::int32_t* blocked;  // [n] whether p_i was tried at this point without any progress
  std::int32_t* order;    // [n] scratch
  double squared;         // w' G w
  double reach;           // sum_i w_i |p_i|, the size against which differences are judged

  MODNAS_FAST_HD double at(int i, int j) const { return gram[static_cast<std::size_t>(i) * n + j]; }
};

MODNAS_FAST_HD inline Problem carve(void* memory, int n) {
  const std::size_t square = static_cast<std::size_t>(n) * n;
  Problem p{};
  p.n = n;
  double* next = static_cast<double*>(memory);
  p.gram = next, next += square;
  p.factor = next, next += square;
  p.weights = next, next += n;
  p.product = next, next += n;
  p.length = next, next += n;
  p.step = next, next += n;
  p.scale = next, next += n;
  p.floor = next, next += n;
  p.solution = next, next += n;
  p.pivot = next, next += n;
  p.member = reinterpret_cast<std::int32_t*>(next);
  p.blocked = p.member + n;
  p.order = p.blocked + n;
  return p;
}

/// Copies the symmetric part of the Gramian, scaled by a power of two. False if an entry is not finite.
template <typename Scalar>
MODNAS_FAST_HD bool load(Problem& p, const Scalar* gramian) {
  const int n = p.n;
  double largest = 0.0;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      const double value = 0.5 * static_cast<double>(gramian[static_cast<std::size_t>(i) * n + j]) +
                           0.5 * static_cast<double>(gramian[static_cast<std::size_t>(j) * n + i]);
      const double size = fabs(value);
      if (!(size <= DBL_MAX)) return false;
      if (size > largest) largest = size;
      p.gram[static_cast<std::size_t>(i) * n + j] = value;
    }
  }
  p.exponent = 0;
  if (largest > 0.0) frexp(largest, &p.exponent);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      const double value = ldexp(p.at(i, j), -p.exponent);
      p.gram[static_cast<std::size_t>(i) * n + j] = value;
      p.gram[static_cast<std::size_t>(j) * n + i] = value;
    }
    const double square = p.at(i, i);
    p.length[i] = square > 0.0 ? sqrt(square) : 0.0;
    p.weights[i] = 0.0;
    p.member[i] = 0;
    p.blocked[i] = 0;
  }
  return true;
}

/// Recomputes G w, w' G w and the reach from the weights.
MODNAS_FAST_HD inline void evaluate(Problem& p) {
  for (int i = 0; i < p.n; ++i) p.product[i] = 0.0;
  for (int j = 0; j < p.n; ++j) {
    const double weight = p.weights[j];
    if (weight == 0.0) continue;
    for (int i = 0; i < p.n; ++i) p.product[i] += weight * p.at(j, i);
  }
  p.squared = 0.0;
  p.reach = 0.0;
  for (int i = 0; i < p.n; ++i) {
    p.squared += p.weights[i] * p.product[i];
    p.reach += p.weights[i] * p.length[i];
  }
}

MODNAS_FAST_HD inline int shortest(const Problem& p) {
  int best = 0;
  for (int i = 1; i < p.n; ++i) {
    if (p.at(i, i) < p.at(best, best)) best = i;
  }
  return best;
}

/// Weights of two points at the min-norm point of their segment; equal points: the first. Each weight is
/// computed by itself, so that a tiny one keeps its digits.
struct Pair {
  double first, second;
};

MODNAS_FAST_HD inline Pair segment(double first, double cross, double second) {
  if (cross >= first) return {1.0, 0.0};
  if (cross >= second) return {0.0, 1.0};
  const double width = (first - cross) + (second - cross);
  return {(second - cross) / width, (first - cross) / width};
}

/// The point whose addition shortens x most, judged on the segment from x to it, or -1 at the optimum.
/// A point counts when it violates optimality by more than tol times the lengths involved.
MODNAS_FAST_HD inline int violator(const Problem& p, double tol) {
  int best = -1;
  double best_gain = 0.0;
  for (int i = 0; i < p.n; ++i) {
    const double excess = p.squared - p.product[i];
    if (p.blocked[i] || !(excess > tol * p.reach * (p.reach + p.length[i]))) continue;
    const double distance = (p.squared - p.product[i]) + (p.at(i, i) - p.product[i]);
    const double gain = distance > excess ? excess * (excess / distance) : excess;
    if (gain > best_gain) {
      best_gain = gain;
      best = i;
    }
  }
  return best;
}

/// Writes into p.step the way from w to the minimiser over the members' affine hull.
///
/// With b the shortest member and d_i = p_i - p_b this solves D y = -r, D[i,j] = <d_i, d_j>, r_i = <d_i, x>,
/// by a Cholesky factorisation with diagonal pivoting of D scaled to unit diagonal. Where members are
/// affinely dependent to working precision, the remaining block is replaced by its rounding level: the step
/// is then long and leads downhill along the dependence, until a member leaves.
MODNAS_FAST_HD inline void newton_step(Problem& p) {
  int base = -1;
  for (int i = 0; i < p.n; ++i) {
    p.step[i] = 0.0;
    if (p.member[i] && (base < 0 || p.at(i, i) < p.at(base, base))) base = i;
  }
  int m = 0;
  for (int i = 0; i < p.n; ++i) {
    if (p.member[i] && i != base) p.order[m++] = i;
  }
  double* const a = p.factor;
  const auto index = [m](int i, int j) { return static_cast<std::size_t>(i) * m + j; };
  for (int i = 0; i < m; ++i) {
    const int u = p.order[i];
    const double round = DBL_EPSILON * 8.0 * (p.at(u, u) + p.at(base, base));
    double square = (p.at(u, u) - p.at(u, base)) + (p.at(base, base) - p.at(u, base));
    if (!(square > round)) square = round > 0.0 ? round : 1.0;
    p.scale[i] = 1.0 / sqrt(square);
    p.floor[i] = round / square + DBL_EPSILON * m;
    p.solution[i] = -(p.product[u] - p.product[base]) * p.scale[i];
  }
  for (int i = 0; i < m; ++i) {
    const int u = p.order[i];
    for (int j = 0; j <= i; ++j) {
      const int v = p.order[j];
      const double entry = (p.at(u, v) - p.at(u, base)) + (p.at(base, base) - p.at(v, base));
      a[index(i, j)] = entry * p.scale[i] * p.scale[j];
    }
  }
  int rank = 0;
  for (; rank < m; ++rank) {
    const int c = rank;
    int chosen = c;
    for (int i = c + 1; i < m; ++i) {
      if (a[index(i, i)] > a[index(chosen, chosen)]) chosen = i;
    }
    if (!(a[index(chosen, chosen)] > p.floor[chosen])) break;
    if (chosen != c) {
      const auto exchange = [](auto& x, auto& y) {
        const auto kept = x;
        x = y;
        y = kept;
      };
      exchange(p.order[c], p.order[chosen]);
      exchange(p.scale[c], p.scale[chosen]);
      exchange(p.floor[c], p.floor[chosen]);
      exchange(p.solution[c], p.solution[chosen]);
      exchange(a[index(c, c)], a[index(chosen, chosen)]);
      for (int j = 0; j < c; ++j) exchange(a[index(c, j)], a[index(chosen, j)]);
      for (int i = c + 1; i < chosen; ++i) exchange(a[index(i, c)], a[index(chosen, i)]);
      for (int i = chosen + 1; i < m; ++i) exchange(a[index(i, c)], a[index(i, chosen)]);
    }
    const double diagonal = sqrt(a[index(c, c)]);
    a[index(c, c)] = diagonal;
    for (int i = c + 1; i < m; ++i) a[index(i, c)] /= diagonal;
    for (int i = c + 1; i < m; ++i) {
      const double entry = a[index(i, c)];
      for (int j = c + 1; j <= i; ++j) a[index(i, j)] -= entry * a[index(j, c)];
    }
  }
  for (int i = rank; i < m; ++i) {
    for (int j = rank; j < i; ++j) a[index(i, j)] = 0.0;
    a[index(i, i)] = sqrt(p.floor[i]);
  }
  for (int i = 0; i < m; ++i) {
    double value = p.solution[i];
    for (int j = 0; j < i; ++j) value -= a[index(i, j)] * p.solution[j];
    p.solution[i] = value / a[index(i, i)];
  }
  for (int i = m - 1; i >= 0; --i) {
    double value = p.solution[i];
    for (int j = i + 1; j < m; ++j) value -= a[index(j, i)] * p.solution[j];
    p.solution[i] = value / a[index(i, i)];
  }
  double sum = 0.0;
  for (int i = 0; i < m; ++i) {
    p.step[p.order[i]] = p.solution[i] * p.scale[i];
    sum += p.step[p.order[i]];
  }
  p.step[base] = -sum;
}

/// The share of p.step along which the objective falls: 1, or less where rounding made the step too long.
MODNAS_FAST_HD inline double full_length(const Problem& p) {
  double slope = 0.0, curvature = 0.0;
  for (int i = 0; i < p.n; ++i) {
    if (p.step[i] == 0.0) continue;
    slope += p.step[i] * (p.product[i] - p.squared);
    double row = 0.0;
    for (int j = 0; j < p.n; ++j) row += p.step[j] * p.at(i, j);
    curvature += p.step[i] * row;
  }
  return slope < 0.0 && curvature > -slope ? -slope / curvature : 1.0;
}

/// Moves the weights along p.step, to its end (then true) or to the first weight that reaches zero.
MODNAS_FAST_HD inline bool move(Problem& p, double& length) {
  int leaving = -1;
  length = full_length(p);
  for (int i = 0; i < p.n; ++i) {
    if (!p.member[i] || !(p.step[i] < 0.0)) continue;
    const double limit = p.weights[i] / -p.step[i];
    if (limit < length) {
      length = limit;
      leaving = i;
    }
  }
  double sum = 0.0;
  for (int i = 0; i < p.n; ++i) {
    if (!p.member[i]) continue;
    p.weights[i] += length * p.step[i];
    if (i == leaving || !(p.weights[i] > 0.0)) {
      p.weights[i] = 0.0;
      p.member[i] = 0;
    }
    sum += p.weights[i];
  }
  for (int i = 0; i < p.n; ++i) p.weights[i] /= sum;
  evaluate(p);
  return leaving < 0;
}

/// Wolfe's method from the shortest point; returns the number of affine minimisations.
MODNAS_FAST_HD inline int wolfe(Problem& p, double tol, int max_iter) {
  constexpr int most_refinements = 4;  // corrections of the members' own residual, in a row
  const double rounding = 4.0 * DBL_EPSILON * (p.n + 4);
  if (!(tol > rounding)) tol = rounding;
  const int start = shortest(p);
  p.weights[start] = 1.0;
  p.member[start] = 1;
  evaluate(p);
  bool settled = true;
  int entering = -1, refinements = 0;
  for (int iteration = 0; iteration < max_iter; ++iteration) {
    if (settled) {
      entering = violator(p, tol);
      if (entering < 0) return iteration;
      if (p.member[entering]) {
        if (++refinements > most_refinements) {
          for (int i = 0; i < p.n; ++i) p.blocked[i] |= p.member[i];
          entering = violator(p, tol);
          if (entering < 0) return iteration;
        }
      } else {
        refinements = 0;
      }
      p.member[entering] = 1;
    }
    newton_step(p);
    double length = 0.0;
    settled = move(p, length);
    if (length > 0.0) {
      if (refinements == 0) {
        for (int i = 0; i < p.n; ++i) p.blocked[i] = 0;
      }
    } else {
      p.blocked[entering] = 1;
      settled = true;
    }
  }
  return max_iter;
}

/// Frank-Wolfe from the best pair with exact line search; returns the number of steps.
MODNAS_FAST_HD inline int frank_wolfe(Problem& p, double tol, int max_iter) {
  if (p.n == 1) {
    p.weights[0] = 1.0;
    evaluate(p);
    return 0;
  }
  int first = 0, second = 1;
  double best = 0.0;
  Pair weight{1.0, 0.0};
  for (int i = 0; i < p.n; ++i) {
    for (int j = i + 1; j < p.n; ++j) {
      const Pair w = segment(p.at(i, i), p.at(i, j), p.at(j, j));
      const double cost = w.first * (w.first * p.at(i, i) + w.second * p.at(i, j)) +
                          w.second * (w.first * p.at(i, j) + w.second * p.at(j, j));
      if ((i == 0 && j == 1) || cost < best) {
        best = cost;
        first = i;
        second = j;
        weight = w;
      }
    }
  }
  p.weights[first] = weight.first;
  p.weights[second] = weight.second;
  evaluate(p);
  if (p.n == 2) return 0;
  for (int iteration = 0; iteration < max_iter; ++iteration) {
    int towards = 0;
    for (int i = 1; i < p.n; ++i) {
      if (p.product[i] < p.product[towards]) towards = i;
    }
    const Pair line = segment(p.squared, p.product[towards], p.at(towards, towards));
    const double change = 2.0 * line.second * (1.0 - p.weights[towards]);
    for (int i = 0; i < p.n; ++i) p.weights[i] *= line.first;
    p.weights[towards] += line.second;
    evaluate(p);
    if (!(change > 0.0) || change < tol) return iteration + 1;
  }
  return max_iter;
}

}  // namespace detail

/// Solves one problem of n >= 1 points.
///
/// gramian [n, n]; memory: workspace_bytes(n); outputs: weights [n] and one value each of w' G w, the gap and
/// the number of iterations. For `exact`, tol bounds each point's violation of optimality relative to the
/// lengths involved; for `frank_wolfe` it bounds the last change of the weights in the L1 norm. A Gramian
/// with NaN or an infinity gives NaN.
template <typename Scalar>
MODNAS_FAST_HD void solve(Method method, const Scalar* gramian, int n, double tol, int max_iter, void* memory,
                          Scalar* weights, Scalar* squared_norm, Scalar* gap, std::int64_t* iterations) {
  detail::Problem p = detail::carve(memory, n);
  if (!detail::load(p, gramian)) {
    const double nan = NAN;
    for (int i = 0; i < n; ++i) weights[i] = static_cast<Scalar>(nan);
    *squared_norm = *gap = static_cast<Scalar>(nan);
    *iterations = 0;
    return;
  }
  if (method == Method::frank_wolfe) {
    *iterations = detail::frank_wolfe(p, tol, max_iter);
  } else if (n == 2) {
    const detail::Pair pair = detail::segment(p.at(0, 0), p.at(0, 1), p.at(1, 1));
    p.weights[0] = pair.first;
    p.weights[1] = pair.second;
    detail::evaluate(p);
    *iterations = 0;
  } else {
    *iterations = detail::wolfe(p, tol, max_iter);
  }
  double least = p.product[0];
  for (int i = 0; i < n; ++i) {
    weights[i] = static_cast<Scalar>(p.weights[i]);
    if (p.product[i] < least) least = p.product[i];
  }
  const double certified = p.squared - least;
  *squared_norm = static_cast<Scalar>(ldexp(p.squared > 0.0 ? p.squared : 0.0, p.exponent));
  *gap = static_cast<Scalar>(ldexp(certified > 0.0 ? certified : 0.0, p.exponent));
}

}  // namespace modnas_fast::min_norm
