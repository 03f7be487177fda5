// The core's own tests of elastic_depthwise and norm_activation: against plain loops and differences, odd sizes, threads.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "elastic_depthwise/cpu.h"
#include "norm_activation/cpu.h"

namespace ed = modnas_fast::elastic_depthwise;
namespace na = modnas_fast::norm_activation;

static int failures = 0;

static void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

template <typename T>
using Numbers = std::vector<T>;

template <typename T>
static Numbers<T> some(std::size_t count, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  Numbers<T> found(count);
  for (T& number : found) number = static_cast<T>(normal(random));
  return found;
}

/// One block with all that it takes and gives.
template <typename T>
struct Block {
  ed::Shape shape;
  std::int64_t images;
  na::Activation activation;
  bool given;
  Numbers<T> x, taps, scale, shift, mean, variance, dy, z, y, dx, dtaps, dscale, dshift;

  Block(ed::Shape shape, std::int64_t images, na::Activation activation, bool given, int seed)
      : shape(shape), images(images), activation(activation), given(given) {
    std::mt19937_64 random(seed);
    const std::size_t c = shape.channels, in = images * shape.height * shape.width * c, out = rows() * c;
    x = some<T>(in, random), taps = some<T>(c * shape.kernel * shape.kernel, random);
    scale = some<T>(c, random), shift = some<T>(c, random), mean = some<T>(c, random), variance = some<T>(c, random);
    for (T& number : variance) number = std::abs(number) + T{0.5};
    dy = some<T>(out, random);
    z.assign(out, 7), y.assign(out, 7), dx.assign(in, 7), dtaps.assign(taps.size(), 7);
    dscale.assign(c, 7), dshift.assign(c, 7);
  }

  std::int64_t rows() const { return images * shape.out_height() * shape.out_width(); }
  na::Norm<T> norm() {
    return {rows(), shape.channels, activation, 1e-5, given, scale.data(), shift.data(), mean.data(), variance.data()};
  }
  void run(int threads) {
    ed::forward_cpu<T>(shape, images, norm(), x.data(), taps.data(), threads, z.data(), y.data());
    ed::backward_cpu<T>(shape, images, norm(), dy.data(), x.data(), taps.data(), z.data(), threads, dx.data(),
                        dtaps.data(), dscale.data(), dshift.data());
  }
};

static double activated(na::Activation activation, double u) {
  if (activation == na::Activation::relu) return std::fmax(u, 0.0);
  if (activation == na::Activation::hardswish) return u * std::fmin(std::fmax(u + 3, 0.0), 6.0) / 6;
  return u;
}

/// z and y by plain loops, in double; returns the sum of y * dy.
static double plain(const Block<double>& b, Numbers<double>& z, Numbers<double>& y) {
  const ed::Shape& s = b.shape;
  const std::int64_t high = s.out_height(), wide = s.out_width(), side = s.kernel / 2, rows = b.rows();
  z.assign(rows * s.channels, 0.0), y = z;
  double total = 0.0;
  for (std::int64_t c = 0; c < s.channels; ++c) {
    for (std::int64_t n = 0; n < b.images; ++n)
      for (std::int64_t h = 0; h < high; ++h)
        for (std::int64_t w = 0; w < wide; ++w)
          for (int i = 0; i < s.kernel; ++i)
            for (int j = 0; j < s.kernel; ++j) {
              const std::int64_t from = h * s.stride + i - side, at = w * s.stride + j - side;
              if (from < 0 || from >= s.height || at < 0 || at >= s.width) continue;
              z[((n * high + h) * wide + w) * s.channels + c] +=
                  b.x[((n * s.height + from) * s.width + at) * s.channels + c] * b.taps[(c * s.kernel + i) * s.kernel + j];
            }
    double mean = b.mean[c], variance = b.variance[c];
    if (!b.given) {
      mean = variance = 0.0;
      for (std::int64_t r = 0; r < rows; ++r) mean += z[r * s.channels + c] / static_cast<double>(rows);
      for (std::int64_t r = 0; r < rows; ++r)
        variance += (z[r * s.channels + c] - mean) * (z[r * s.channels + c] - mean) / static_cast<double>(rows);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const double u = (z[r * s.channels + c] - mean) / std::sqrt(variance + 1e-5) * b.scale[c] + b.shift[c];
      y[r * s.channels + c] = activated(b.activation, u);
      total += y[r * s.channels + c] * b.dy[r * s.channels + c];
    }
  }
  return total;
}

static double largest_difference(const Numbers<double>& a, const Numbers<double>& b) {
  double found = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) found = std::fmax(found, std::fabs(a[k] - b[k]));
  return found;
}

/// Some numbers of a gradient against differences of the plain loops.
static void against_differences(Block<double>& b, Numbers<double>& numbers, const Numbers<double>& gradient,
                                const std::string& what) {
  Numbers<double> z, y;
  constexpr double step = 1e-6;
  for (std::size_t k = 0; k < numbers.size(); k += 1 + numbers.size() / 7) {
    const double before = numbers[k];
    numbers[k] = before + step;
    const double above = plain(b, z, y);
    numbers[k] = before - step;
    const double below = plain(b, z, y);
    numbers[k] = before;
    const double slope = (above - below) / (2 * step);
    expect(std::fabs(slope - gradient[k]) <= 1e-5 * (1 + std::fabs(slope)), "the gradient by " + what);
  }
}

static void against_loops() {
  int seed = 1;
  for (const int kernel : {3, 5, 7})
    for (const int stride : {1, 2})
      for (const std::int64_t channels : {1, 8, 19})
        for (const bool given : {false, true}) {
          const std::int64_t height = 1 + seed % 6, width = 2 + seed % 5;
          const auto activation = static_cast<na::Activation>(seed % 3);
          Block<double> b({height, width, channels, kernel, stride}, 3, activation, given, seed++);
          const Block<double> before = b;
          b.run(1);
          Numbers<double> z, y;
          plain(before, z, y);
          expect(largest_difference(b.z, z) <= 1e-12 && largest_difference(b.y, y) <= 1e-11, "z and y");
          Block<double> moved = before;
          against_differences(moved, moved.x, b.dx, "x");
          against_differences(moved, moved.taps, b.dtaps, "taps");
          against_differences(moved, moved.scale, b.dscale, "scale");
          against_differences(moved, moved.shift, b.dshift, "shift");
        }
}

static void on_threads() {
  Block<float> one({21, 18, 37, 5, 2}, 20, na::Activation::hardswish, false, 3), three = one;
  one.run(1);
  three.run(3);
  expect(one.y == three.y && one.dx == three.dx && one.dtaps == three.dtaps && one.dscale == three.dscale &&
             one.dshift == three.dshift,
         "the same bits on more threads");
}

static void what_is_not_wanted() {
  Block<float> b({5, 6, 9, 3, 1}, 2, na::Activation::relu, false, 4);
  b.run(1);
  Block<float> other = b;
  other.dx.assign(b.dx.size(), 0), other.dtaps.assign(b.dtaps.size(), 0);
  ed::backward_cpu<float>(b.shape, 2, b.norm(), b.dy.data(), b.x.data(), b.taps.data(), b.z.data(), 1, other.dx.data(),
                          nullptr, b.dscale.data(), b.dshift.data());
  ed::backward_cpu<float>(b.shape, 2, b.norm(), b.dy.data(), b.x.data(), b.taps.data(), b.z.data(), 1, nullptr,
                          other.dtaps.data(), b.dscale.data(), b.dshift.data());
  expect(b.dx == other.dx && b.dtaps == other.dtaps, "each gradient alone");
}

/// Of many and of few channels, also with a residual; the mean far from zero.
static void norm_alone() {
  for (const std::int64_t channels : {3, 16, 33, 200}) {
    constexpr std::int64_t rows = 1000;
    std::mt19937_64 random(5);
    Numbers<float> z = some<float>(rows * channels, random), residual = some<float>(rows * channels, random);
    for (float& number : z) number += 100;
    const Numbers<float> scale(channels, 2), shift(channels, 1);
    Numbers<float> mean(channels), variance(channels), y(z.size());
    const na::Norm<float> norm{rows,          channels,     na::Activation::none, 1e-5, false, scale.data(),
                               shift.data(), mean.data(), variance.data()};
    na::forward_cpu<float>(norm, z.data(), residual.data(), 2, y.data());
    for (std::int64_t c = 0; c < channels; ++c) {
      double sum = 0.0, squares = 0.0;
      for (std::int64_t r = 0; r < rows; ++r) sum += z[r * channels + c];
      for (std::int64_t r = 0; r < rows; ++r) squares += std::pow(z[r * channels + c] - sum / rows, 2);
      expect(std::fabs(mean[c] - sum / rows) <= 2e-5 && std::fabs(variance[c] - squares / rows) <= 1e-5, "moments");
      for (std::int64_t r = 0; r < rows; r += 37) {
        const std::size_t k = r * channels + c;
        const double wanted = (z[k] - sum / rows) / std::sqrt(squares / rows + 1e-5) * 2 + 1 + residual[k];
        expect(std::fabs(y[k] - wanted) <= 2e-4, "normalised, with the residual");
      }
    }
  }
}

int main() {
  against_loops();
  on_threads();
  what_is_not_wanted();
  norm_alone();
  if (failures == 0) std::puts("elastic_depthwise: all tests passed");
  return failures == 0 ? 0 : 1;
}
