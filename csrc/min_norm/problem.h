// One min-norm problem: its Gramian made safe to compute with, the current weights and what follows from them.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "min_norm/team.h"
#include "min_norm/types.h"

namespace modnas_fast::min_norm {

inline namespace MODNAS_FAST_ISA {

/// Arrays are shared by a team, scalars are held by each of its lanes alike.
struct Problem {
  int n;
  double* gram;           // [n, n] symmetric, largest entry in [1/2, 1)
  double* factor;         // [n, n] lower triangle of a Cholesky factor
  double* weights;        // [n] w
  double* product;        // [n] G w
  double* length;         // [n] |p_i|
  double* step;           // [n] change of w
  double* change;         // [n] G step
  double* scale;          // [n] by position in `order`, as are the next three
  double* floor;          // [n]
  double* solution;       // [n]
  double* inverse;        // [n] 1 / factor[k, k]
  double* pivot;          // [n] scratch
  std::int32_t* member;   // [n] whether p_i carries weight or is being added
  std::int32_t* blocked;  // [n] whether p_i was tried at this point without any progress
  std::int32_t* order;    // [n] members by position in the factor, without the base
  std::int32_t* kept;     // [n] the caller's index of each point
  double up, up_again;    // the caller's Gramian is gram * up * up_again, both powers of two
  double squared;         // w' G w
  double reach;           // sum_i w_i |p_i|, the size against which differences are judged
  bool converged;         // by a rule of the method other than the gap

  MODNAS_FAST_HD const double* row(int i) const { return gram + static_cast<std::size_t>(i) * n; }
  MODNAS_FAST_HD double at(int i, int j) const { return row(i)[j]; }
  MODNAS_FAST_HD double* factor_row(int k) const { return factor + static_cast<std::size_t>(k) * n; }
};

MODNAS_FAST_HD inline Problem carve(void* memory, int n) {
  const std::size_t square = static_cast<std::size_t>(n) * n;
  Problem p{};
  p.n = n;
  double* next = static_cast<double*>(memory);
  p.gram = next, next += square;
  p.factor = next, next += square;
  for (double** array : {&p.weights, &p.product, &p.length, &p.step, &p.change, &p.scale, &p.floor, &p.solution,
                         &p.inverse, &p.pivot})
    *array = next, next += n;
  auto* integers = reinterpret_cast<std::int32_t*>(next);
  for (std::int32_t** array : {&p.member, &p.blocked, &p.order, &p.kept}) *array = integers, integers += n;
  return p;
}

MODNAS_FAST_HD inline bool finite(double value) { return fabs(value) <= DBL_MAX; }

/// 2^exponent for any exponent whose power is a double.
MODNAS_FAST_HD inline double power_of_two(int exponent) { return ldexp(1.0, exponent); }

/// Marks in p.blocked the points that are not finite: those with such a squared norm and, among the others,
/// both points of such an inner product. Returns the first, or -1.
template <typename Team, typename Scalar>
MODNAS_FAST_HD int mark_nonfinite(const Team& team, Problem& p, const Scalar* gramian, int n) {
  const auto entry = [=](int i, int j) {
    return static_cast<double>(gramian[static_cast<std::size_t>(i) * n + j]);
  };
  const double poison = team.sum(0, n * n, [=](int k) { return 0.0 * static_cast<double>(gramian[k]); });
  team.each(0, n, [&](int i) {
    p.member[i] = finite(entry(i, i));
    p.blocked[i] = 0;
  });
  if (poison == 0.0) return -1;
  team.each(0, n, [&](int i) {
    bool sound = p.member[i];
    for (int j = 0; j < n && sound; ++j)
      sound = !p.member[j] || (finite(entry(i, j)) && finite(entry(j, i)));
    p.blocked[i] = !sound;
  });
  double none = 0.0;
  return team.highest(0, n, none, [&](int i) { return static_cast<double>(p.blocked[i]); });
}

/// Copies the symmetric part of the Gramian of the points that count, scaled by a power of two.
/// Not Status::optimal if the problem is refused, or no point is left; `fault` is then the row.
template <typename Team, typename Scalar>
MODNAS_FAST_HD Status load(const Team& team, Problem& p, const Scalar* gramian, const Options& options, int& fault) {
  const int n = p.n;
  const auto entry = [=](int i, int j) {
    return static_cast<double>(gramian[static_cast<std::size_t>(i) * n + j]);
  };
  fault = mark_nonfinite(team, p, gramian, n);
  if (fault >= 0 && !options.skip_nonfinite) return Status::nonfinite;
  double none = 0.0;
  fault = team.highest(0, n, none, [&](int i) { return !p.blocked[i] && entry(i, i) < 0.0 ? 1.0 : 0.0; });
  if (fault >= 0) return Status::negative;
  const double lengths = team.sum(0, n, [&](int i) { return !p.blocked[i] && entry(i, i) > 0.0 ? 1.0 : 0.0; });
  const bool drop_zeros = options.ignore_zeros && lengths > 0.0;
  int count = 0;
  for (int i = 0; i < n; ++i) {
    if (p.blocked[i] || (drop_zeros && entry(i, i) == 0.0)) continue;
    team.once([&] { p.kept[count] = i; });
    ++count;
  }
  if (count == 0) return Status::empty;
  p.n = count;
  team.each(0, count, [&](int i) { p.length[i] = sqrt(entry(p.kept[i], p.kept[i])); });
  double largest = 0.0;
  for (int i = 0; i < count; ++i) {
    const int u = p.kept[i];
    double* const row = p.gram + static_cast<std::size_t>(i) * count;
    const double allowed = options.asymmetry * p.length[i];
    none = 0.0;
    const int other = team.highest(0, i, none, [&](int j) {
      const int v = p.kept[j];
      // where a squared norm fell below a format's range, the numbers themselves tell what rounding explains
      const double own = options.asymmetry * fmax(fabs(entry(u, v)), fabs(entry(v, u)));
      return fabs(entry(u, v) - entry(v, u)) > fmax(allowed * p.length[j], own) ? 1.0 : 0.0;
    });
    if (other >= 0) {
      fault = u;
      return Status::asymmetric;
    }
    team.each(0, i + 1, [&](int j) {
      const int v = p.kept[j];
      row[j] = 0.5 * entry(u, v) + 0.5 * entry(v, u);
    });
    team.highest(0, i + 1, largest, [&](int j) { return fabs(row[j]); });
  }
  int exponent = 0;
  if (largest > 0.0) frexp(largest, &exponent);
  const double down = power_of_two(-(exponent / 2)), down_again = power_of_two(-(exponent - exponent / 2));
  p.up = power_of_two(exponent / 2);
  p.up_again = power_of_two(exponent - exponent / 2);
  for (int i = 0; i < count; ++i) {
    double* const row = p.gram + static_cast<std::size_t>(i) * count;
    team.each(0, i + 1, [&](int j) {
      const double value = row[j] * down * down_again;
      row[j] = value;
      p.gram[static_cast<std::size_t>(j) * count + i] = value;
    });
  }
  team.each(0, count, [&](int i) {
    p.length[i] = sqrt(p.at(i, i));
    p.weights[i] = 0.0;
    p.member[i] = 0;
    p.blocked[i] = 0;
  });
  return Status::optimal;
}

/// w' G w and the reach from the weights and G w.
template <typename Team>
MODNAS_FAST_HD void summarise(const Team& team, Problem& p) {
  p.squared = team.sum(0, p.n, [&](int i) { return p.weights[i] * p.product[i]; });
  p.reach = team.sum(0, p.n, [&](int i) { return p.weights[i] * p.length[i]; });
}

/// into[i] = sum_j by[j] G[j, i] over the j with by[j] != 0.
template <typename Team>
MODNAS_FAST_LARGE_HD void multiply(const Team& team, const Problem& p, const double* by, double* into) {
  team.each(0, p.n, [=](int i) { into[i] = 0.0; });
  for (int j = 0; j < p.n; ++j) {
    const double factor = by[j];
    if (factor == 0.0) continue;
    const double* const row = p.row(j);
    team.each(0, p.n, [=](int i) { into[i] += factor * row[i]; });
  }
}

/// Divides the weights by their sum and recomputes G w and what follows from it.
template <typename Team>
MODNAS_FAST_LARGE_HD void evaluate(const Team& team, Problem& p) {
  const double sum = team.sum(0, p.n, [&](int i) { return p.weights[i]; });
  team.each(0, p.n, [&](int i) { p.weights[i] /= sum; });
  multiply(team, p, p.weights, p.product);
  summarise(team, p);
}

/// The gap relative to the lengths involved: the largest (w' G w - (G w)_i) / (a (a + |p_i|)), a the reach.
template <typename Team>
MODNAS_FAST_HD double relative_gap(const Team& team, const Problem& p) {
  double worst = 0.0;
  team.highest(0, p.n, worst, [&](int i) {
    const double size = p.reach * (p.reach + p.length[i]);
    return size > 0.0 ? (p.squared - p.product[i]) / size : 0.0;
  });
  return worst;
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

}  // namespace MODNAS_FAST_ISA
}  // namespace modnas_fast::min_norm
