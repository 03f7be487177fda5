// The core's own tests of gramian and combine: all number formats, odd lengths, missing rows, threads.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gramian/cpu.h"

namespace gr = modnas_fast::gramian;

static int failures = 0;

static void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

/// What 16 bits mean, from the definition of the format: 5 or 8 bits of exponent.
static double meaning(std::uint16_t bits, int exponent_bits) {
  const int digits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> digits) & ((1 << exponent_bits) - 1), fraction = bits & ((1 << digits) - 1);
  double value;
  if (exponent == (1 << exponent_bits) - 1)
    value = fraction ? std::nan("") : std::numeric_limits<double>::infinity();
  else if (exponent == 0)
    value = std::ldexp(fraction, 1 - bias - digits);
  else
    value = std::ldexp(fraction + (1 << digits), exponent - bias - digits);
  return bits & 0x8000 ? -value : value;
}

/// combine of one row by weight 1 and by weights that lead between two numbers of the format.
static void every_number(gr::Type type, int exponent_bits) {
  std::vector<std::uint16_t> all(1 << 16), out(1 << 16);
  for (std::size_t k = 0; k < all.size(); ++k) all[k] = static_cast<std::uint16_t>(k);
  const std::vector<gr::Piece> pieces = {{{all.data()}, 1 << 16, type}};
  const auto combined = [&](double weight) {
    gr::combine_cpu(pieces, &weight, 1, 1, {out.data()});
  };
  combined(1.0);
  for (std::size_t k = 0; k < all.size(); ++k) {
    const bool nan = std::isnan(meaning(all[k], exponent_bits));
    expect(nan ? std::isnan(meaning(out[k], exponent_bits)) : meaning(out[k], exponent_bits) == meaning(all[k], exponent_bits),
           "a number of 16 bits survives");
  }
  for (const double weight : {1.0 / 3, 1.0009765625, 0.50048828125, 1e-3, 3.0}) {
    combined(weight);
    for (std::size_t k = 0; k < all.size(); ++k) {
      const double exact = meaning(all[k], exponent_bits) * weight, got = meaning(out[k], exponent_bits);
      if (std::isnan(exact) || std::isinf(exact) || std::isinf(got)) continue;
      // No neighbour is nearer, and at equal distance the last bit is even.
      const double error = std::fabs(got - exact);
      for (const int step : {-1, 1}) {
        const double other = meaning(static_cast<std::uint16_t>(out[k] + step), exponent_bits);
        if (std::isnan(other) || std::isinf(other) || ((out[k] & 0x7fff) == 0 && step < 0)) continue;
        const double distance = std::fabs(other - exact);
        expect(error < distance || (error == distance && (out[k] & 1) == 0), "rounds to the nearest, ties to even");
      }
    }
  }
}

static void against_plain_sums() {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  for (const int count : {1, 2, 3, 4, 5, 7, 8, 9, 13, 33}) {
    const std::vector<std::int64_t> lengths = {1, 0, 3, 7, 8, 255, 256, 257, 20000};
    std::vector<std::vector<double>> data;  // [piece] rows one after the other
    std::vector<std::vector<float>> narrow;
    std::vector<gr::Piece> wide, single;
    for (const std::int64_t length : lengths) {
      std::vector<double> numbers(static_cast<std::size_t>(count * length));
      for (double& x : numbers) x = static_cast<float>(normal(random));
      data.push_back(numbers);
      narrow.emplace_back(numbers.begin(), numbers.end());
    }
    for (std::size_t p = 0; p < lengths.size(); ++p) {
      gr::Piece a{{}, lengths[p], gr::Type::float64}, b{{}, lengths[p], gr::Type::float32};
      for (int t = 0; t < count; ++t) {
        const bool missing = p == 3 && t == 0;
        a.rows.push_back(missing ? nullptr : data[p].data() + t * lengths[p]);
        b.rows.push_back(missing ? nullptr : narrow[p].data() + t * lengths[p]);
      }
      for (std::int64_t k = 0; p == 3 && k < lengths[p]; ++k) data[p][k] = 0.0, narrow[p][k] = 0.0f;
      wide.push_back(a);
      single.push_back(b);
    }
    const std::size_t square = static_cast<std::size_t>(count) * count;
    std::vector<double> one(square, 7), two(square, 7), three(square, 7), weights(count);
    gr::gramian_cpu(wide, count, 1, one.data());
    gr::gramian_cpu(single, count, 1, two.data());
    gr::gramian_cpu(single, count, 3, three.data());
    expect(one == two && two == three, "the same numbers in another format, on more threads, the same sums");
    for (int s = 0; s < count; ++s) {
      for (int t = 0; t < count; ++t) {
        long double sum = 0, size = 1e-30L;
        for (std::size_t p = 0; p < lengths.size(); ++p) {
          for (std::int64_t k = 0; k < lengths[p]; ++k) {
            const long double product = static_cast<long double>(data[p][s * lengths[p] + k]) * data[p][t * lengths[p] + k];
            sum += product;
            size += std::fabs(product);
          }
        }
        expect(std::fabs(static_cast<double>(sum) - one[s * count + t]) <= 1e-13 * static_cast<double>(size), "a Gramian entry");
      }
      weights[s] = s % 3 == 2 ? 0.0 : normal(random);
    }
    std::vector<std::vector<float>> sums, again;
    std::vector<void*> out, out_again;
    for (const std::int64_t length : lengths) {
      sums.emplace_back(length, 7.0f);
      again.emplace_back(length, 7.0f);
    }
    for (std::size_t p = 0; p < lengths.size(); ++p) out.push_back(sums[p].data()), out_again.push_back(again[p].data());
    for (int t = 2; t < count; t += 3)  // what has weight 0 must not be read
      for (std::size_t p = 0; p < lengths.size(); ++p)
        if (single[p].rows[t] != nullptr && lengths[p] > 0) narrow[p][t * lengths[p]] = std::nanf("");
    gr::combine_cpu(single, weights.data(), count, 1, out);
    gr::combine_cpu(single, weights.data(), count, 3, out_again);
    expect(sums == again, "threads do not change the sum");
    for (std::size_t p = 0; p < lengths.size(); ++p) {
      for (std::int64_t k = 0; k < lengths[p]; ++k) {
        double sum = 0, size = 0;
        for (int t = 0; t < count; ++t) {
          sum += weights[t] * data[p][t * lengths[p] + k];
          size += std::fabs(weights[t] * data[p][t * lengths[p] + k]);
        }
        expect(std::fabs(sum - sums[p][k]) <= 6e-8 * std::fabs(sum) + 1e-15 * size, "a combined number");
      }
    }
  }
}

int main() {
  every_number(gr::Type::float16, 5);
  every_number(gr::Type::bfloat16, 8);
  against_plain_sums();
  if (failures == 0) std::puts("gramian: all tests passed");
  return failures == 0 ? 0 : 1;
}
