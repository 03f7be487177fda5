// The core's own tests, without Python and torch: known answers, optimality, limits, hard inputs, bad values.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "min_norm/cpu.h"

namespace mn = modnas_fast::min_norm;
using Matrix = std::vector<double>;

constexpr mn::Method methods[] = {mn::Method::exact, mn::Method::frank_wolfe, mn::Method::away,
                                  mn::Method::pairwise};

static int failures = 0;

static void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

template <typename Scalar = double>
struct Answer {
  std::vector<Scalar> weights, squared, gap;
  std::vector<std::int64_t> iterations;
  std::vector<std::int8_t> status;
  std::vector<std::int32_t> row;
};

static mn::Options options_for(mn::Method method = mn::Method::exact, int max_iter = 10000) {
  mn::Options options;
  options.method = method;
  options.tol = method == mn::Method::exact ? 1e-14 : method == mn::Method::frank_wolfe ? 1e-5 : 1e-10;
  options.max_iter = max_iter;
  return options;
}

template <typename Scalar>
static Answer<Scalar> solve(const std::vector<Scalar>& gramian, int n, const mn::Options& options = options_for(),
                            int threads = 1) {
  const std::int64_t batch = static_cast<std::int64_t>(gramian.size()) / (n * n);
  const auto count = static_cast<std::size_t>(batch);
  Answer<Scalar> a{std::vector<Scalar>(count * n, Scalar(7)), std::vector<Scalar>(count, Scalar(7)),
                   std::vector<Scalar>(count, Scalar(7)), std::vector<std::int64_t>(count, 7),
                   std::vector<std::int8_t>(count, 99), std::vector<std::int32_t>(count, 99)};
  mn::solve_cpu(options, gramian.data(), batch, n, threads,
                mn::Answers<Scalar>{a.weights.data(), a.squared.data(), a.gap.data(), a.iterations.data(),
                                    a.status.data(), a.row.data()});
  return a;
}

static Matrix gramian_of(const std::vector<std::vector<double>>& points) {
  const std::size_t n = points.size();
  Matrix g(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = 0.0;
      for (std::size_t k = 0; k < points[i].size(); ++k) sum += points[i][k] * points[j][k];
      g[i * n + j] = g[j * n + i] = sum;
    }
  }
  return g;
}

static bool near(double a, double b, double tol = 1e-12) { return std::fabs(a - b) <= tol; }

static void check_optimal(const Matrix& g, int n, const std::string& what) {
  const Answer<> a = solve(g, n);
  long double sum = 0, squared = 0, reach = 0, least = std::numeric_limits<long double>::infinity();
  std::vector<long double> product(n, 0), length(n);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) product[i] += static_cast<long double>(g[i * n + j]) * a.weights[j];
    length[i] = std::sqrt(static_cast<long double>(g[i * n + i]));
    expect(a.weights[i] >= 0.0, what + ": a weight is negative or NaN");
    sum += a.weights[i];
    squared += a.weights[i] * product[i];
    reach += a.weights[i] * length[i];
    least = std::min(least, product[i]);
  }
  expect(near(static_cast<double>(sum), 1.0), what + ": weights do not sum to 1");
  for (int i = 0; i < n; ++i) {
    expect(squared - product[i] <= 2e-13L * reach * (reach + length[i]), what + ": point is not optimal");
  }
  const double largest = *std::max_element(g.begin(), g.end());
  expect(near(a.gap[0], static_cast<double>(squared - least), 1e-13 * largest), what + ": wrong gap");
  expect(near(a.squared[0], static_cast<double>(squared), 1e-13 * largest), what + ": wrong squared norm");
  expect(a.status[0] == 0 && a.iterations[0] < 10000, what + ": not optimal by its own account");
}

static void known_answers() {
  expect(solve(Matrix{5.0}, 1).weights == Matrix{1.0}, "one point");
  const Answer<> two = solve(Matrix{1, 0, 0, 4}, 2);
  expect(near(two.weights[0], 0.8) && near(two.squared[0], 0.8) && near(two.gap[0], 0.0),
         "two orthogonal points");
  expect(solve(Matrix{1, 2, 2, 9}, 2).weights == Matrix{1, 0}, "the shorter of two agreeing points");
  expect(solve(Matrix{2, 2, 2, 2}, 2).weights == Matrix{1, 0}, "equal points: the first");
  const double huge = 1.7e308;
  expect(solve(Matrix{huge, -huge, -huge, huge}, 2).weights == Matrix{0.5, 0.5}, "near the largest double");
  expect(solve(Matrix{0, 0, 0, 0}, 2).weights == Matrix{1, 0}, "zero points: the first");
  expect(solve(Matrix(9, 0.0), 3).weights == Matrix{1, 0, 0}, "three zero points: the first");
  expect(solve(Matrix(9, 3.0), 3).weights == Matrix{1, 0, 0}, "three equal points: the first");
  const Answer<> three = solve(Matrix{1, 0, 0, 0, 1, 0, 0, 0, 2}, 3);
  expect(near(three.weights[0], 0.4) && near(three.weights[1], 0.4) && near(three.weights[2], 0.2),
         "1 / length^2");
  const Answer<> triangle = solve(gramian_of({{1, 0}, {-0.5, std::sqrt(0.75)}, {-0.5, -std::sqrt(0.75)}}), 3);
  expect(near(triangle.squared[0], 0.0) && near(triangle.weights[0], 1.0 / 3), "the origin in a triangle");
}

static void random_and_hard() {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  using Points = std::vector<std::vector<double>>;
  const std::vector<std::pair<std::string, std::function<void(Points&)>>> kinds = {
      {"normal", [](Points&) {}},
      {"lengths 1e-8 to 1e8",
       [&](Points& p) {
         for (auto& row : p) {
           const double factor = std::pow(10.0, 16 * uniform(random) - 8);
           for (double& x : row) x *= factor;
         }
       }},
      {"duplicates",
       [](Points& p) {
         for (std::size_t i = 1; i < p.size(); i += 2) p[i] = p[i - 1];
       }},
      {"opposite",
       [](Points& p) {
         for (std::size_t i = 1; i < p.size(); i += 2) {
           p[i] = p[i - 1];
           for (double& x : p[i]) x *= -3;
         }
       }},
      {"one zero", [](Points& p) { std::fill(p.back().begin(), p.back().end(), 0.0); }},
      {"rank one",
       [&](Points& p) {
         for (std::size_t i = 1; i < p.size(); ++i) {
           const double factor = normal(random);
           for (std::size_t k = 0; k < p[i].size(); ++k) p[i][k] = factor * p[0][k];
         }
       }},
      {"nearly in a plane",
       [&](Points& p) {
         for (auto& row : p) row.back() = 1 - 1e-8 * uniform(random);
       }},
      {"in two dimensions",
       [](Points& p) {
         for (auto& row : p) std::fill(row.begin() + std::min<std::size_t>(2, row.size()), row.end(), 0.0);
       }},
  };
  for (const auto& [name, change] : kinds) {
    for (const int n : {1, 2, 3, 4, 5, 8, 13, 32}) {
      for (int trial = 0; trial < 40; ++trial) {
        Points points(n, std::vector<double>(n));
        for (auto& row : points)
          for (double& x : row) x = normal(random);
        change(points);
        check_optimal(gramian_of(points), n, name + ", n = " + std::to_string(n));
      }
    }
  }
}

static void limits_and_bad_values() {
  std::mt19937_64 random(2);
  std::normal_distribution<double> normal;
  std::vector<std::vector<double>> points(16, std::vector<double>(64));
  for (auto& row : points)
    for (double& x : row) x = normal(random);
  const Matrix g = gramian_of(points);
  for (const mn::Method method : methods) {
    double previous = std::numeric_limits<double>::infinity();
    for (int limit = 0; limit < 12; ++limit) {
      const Answer<> a = solve(g, 16, options_for(method, limit));
      expect(a.iterations[0] == limit, "stops at its limit");
      expect(a.squared[0] <= previous + 1e-12, "never gets longer");
      previous = a.squared[0];
    }
  }
  const Matrix scaled = [&] {
    Matrix copy = g;
    for (double& x : copy) x = std::ldexp(x, -300);
    return copy;
  }();
  expect(solve(scaled, 16).weights == solve(g, 16).weights, "units do not change the weights");
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Matrix broken(3 * 9, 0.0);
    for (int b = 0; b < 3; ++b)
      for (int i = 0; i < 3; ++i) broken[b * 9 + i * 4] = 1.0;
    broken[9 + 1] = bad;
    for (const mn::Method method : methods) {
      const Answer<> a = solve(broken, 3, options_for(method));
      expect(std::isnan(a.weights[3]) && std::isnan(a.gap[1]), "a bad value gives NaN");
      expect(a.status == std::vector<std::int8_t>({0, 4, 0}) && a.row[1] == 0, "and is named");
      expect(near(a.weights[0], 1.0 / 3, 1e-3) && near(a.weights[6], 1.0 / 3, 1e-3),
             "and only in its own problem");
    }
  }
  const std::vector<float> single(g.begin(), g.end());
  const Answer<float> narrow = solve(single, 16);
  const Answer<> wide = solve(Matrix(single.begin(), single.end()), 16);
  for (int i = 0; i < 16; ++i)
    expect(narrow.weights[i] == static_cast<float>(wide.weights[i]), "float is rounded double");
}

static void policies() {
  const double nan = std::nan("");
  mn::Options skip = options_for(), ignore = options_for();
  skip.skip_nonfinite = true;
  ignore.ignore_zeros = true;
  const Answer<> left = solve(Matrix{1, nan, 0, nan, nan, nan, 0, nan, 4}, 3, skip);
  expect(near(left.weights[0], 0.8) && left.weights[1] == 0.0 && near(left.weights[2], 0.2), "NaN is left out");
  const Answer<> none = solve(Matrix(9, nan), 3, skip);
  expect(none.status[0] == 3 && none.weights == Matrix(3, 0.0), "nothing is left");
  const Answer<> pair = solve(Matrix{1, nan, nan, 1}, 2, skip);
  expect(pair.status[0] == 3, "an inner product that is not finite condemns both");
  const Answer<> kept = solve(Matrix{1, 0, 0, 0, 0, 0, 0, 0, 4}, 3, ignore);
  expect(near(kept.weights[0], 0.8) && kept.weights[1] == 0.0, "a zero point is ignored");
  expect(solve(Matrix(9, 0.0), 3, ignore).weights == Matrix{1, 0, 0}, "unless all are");
  const Answer<> negative = solve(Matrix{1, 0, 0, -1}, 2);
  expect(negative.status[0] == 5 && negative.row[0] == 1, "a negative squared norm is refused");
  const Answer<> uneven = solve(Matrix{1, 0.5, 0.4, 1}, 2);
  expect(uneven.status[0] == 6 && uneven.row[0] == 1, "an asymmetric Gramian is refused");
}

static void methods_and_threads() {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  for (const int n : {1, 2, 3, 5, 13, 40}) {
    Matrix batch;
    for (int b = 0; b < 60; ++b) {
      std::vector<std::vector<double>> points(n, std::vector<double>(2 * n));
      for (auto& row : points)
        for (double& x : row) x = 0.5 + normal(random);
      const Matrix g = gramian_of(points);
      batch.insert(batch.end(), g.begin(), g.end());
    }
    const Answer<> exact = solve(batch, n);
    for (const mn::Method method : methods) {
      const Answer<> one = solve(batch, n, options_for(method)), three = solve(batch, n, options_for(method), 3);
      expect(one.weights == three.weights && one.gap == three.gap && one.iterations == three.iterations,
             "threads do not change the result");
      if (method == mn::Method::frank_wolfe) continue;
      for (std::size_t k = 0; k < exact.weights.size(); ++k)
        expect(near(one.weights[k], exact.weights[k], 1e-6), "the methods agree");
    }
  }
}

int main() {
  policies();
  methods_and_threads();
  known_answers();
  random_and_hard();
  limits_and_bad_values();
  if (failures == 0) std::puts("min_norm: all tests passed");
  return failures == 0 ? 0 : 1;
}
