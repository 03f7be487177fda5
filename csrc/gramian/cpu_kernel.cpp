// A stretch of all rows is widened to double in a buffer that stays in the innermost cache; square tiles of rows are
// then multiplied out of it. A tile's sums stay vectors of partial sums until the end, so that adding up the
// lanes costs nothing per stretch.
#include "gramian/cpu_kernel.h"

#include <cstring>

namespace modnas_fast::gramian::cpu::MODNAS_FAST_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int lanes = 8, tile = 5;  // 25 sums, 6 operands of 32 registers
#elif defined(__AVX2__)
constexpr int lanes = 4, tile = 3;  // 9 sums, 4 operands of 16 registers
#elif defined(__aarch64__)
constexpr int lanes = 2, tile = 4;
#else
constexpr int lanes = 2, tile = 3;
#endif

typedef double Vector __attribute__((vector_size(lanes * sizeof(double)), aligned(sizeof(double)), may_alias));

constexpr int stretch = 256;           // numbers of each row that are widened at a time
constexpr int pitch = stretch + 8;     // from row to row of the buffer, off the powers of two that share cache sets
constexpr int combined_stretch = 512;  // likewise of the one sum of combine

struct Half {
  std::uint16_t bits;
};
struct Brain {
  std::uint16_t bits;
};

inline double widen(double value) { return value; }
inline double widen(float value) { return static_cast<double>(value); }

inline float as_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline std::uint32_t as_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline double widen(Brain value) { return as_float(static_cast<std::uint32_t>(value.bits) << 16); }

/// Exact for every half, subnormal ones, infinities and NaN included; without branches.
inline double widen(Half value) {
  const std::uint32_t magnitude = static_cast<std::uint32_t>(value.bits & 0x7fff) << 13;
  const std::uint32_t special = magnitude >= (31u << 23) ? (0xffu - 31u) << 23 : 0;
  // Without `special` the exponent is 112 too small, which the product mends; subnormal floats stay exact.
  const float finite = as_float(magnitude) * as_float((254u - 15u) << 23);
  const float magnitude_of = special ? as_float(magnitude + special) : finite;
  return value.bits & 0x8000 ? -static_cast<double>(magnitude_of) : static_cast<double>(magnitude_of);
}

inline void narrow(double value, double& out) { out = value; }
inline void narrow(double value, float& out) { out = static_cast<float>(value); }

/// To nearest, ties to even. By way of float; rounding that to odd first keeps the second rounding right.
inline float round_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  const double error = static_cast<double>(nearest) - value;
  std::uint32_t bits = as_bits(nearest);
  if (error == 0.0 || !(error == error) || (bits & 0x7fffffff) >= 0x7f800000) return nearest;
  if ((bits & 1) == 0) {
    // The odd neighbour on the other side of the value.
    const bool too_large = nearest < 0.0f ? error < 0.0 : error > 0.0;
    if ((bits & 0x7fffffff) == 0) return value < 0.0 ? as_float(0x80000001u) : as_float(1u);
    bits += too_large ? -1 : 1;
  }
  return as_float(bits);
}

inline void narrow(double value, Brain& out) {
  const std::uint32_t bits = as_bits(round_to_odd(value));
  if ((bits & 0x7fffffff) > 0x7f800000)
    out.bits = static_cast<std::uint16_t>((bits >> 16) | 0x40);
  else
    out.bits = static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline void narrow(double value, Half& out) {
  const std::uint32_t bits = as_bits(round_to_odd(value));
  const std::uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  std::uint32_t half;
  if (magnitude > 0x7f800000) {
    half = 0x7e00;
  } else if (magnitude >= 0x477ff000) {  // 65520 and more round to infinity
    half = 0x7c00;
  } else if (magnitude < 0x38800000) {  // subnormal: the addition rounds at the right bit
    half = as_bits(as_float(magnitude) + 0.5f) - as_bits(0.5f);
  } else {
    half = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  }
  out.bits = static_cast<std::uint16_t>(sign | half);
}

template <typename Scalar>
void widen_row(const void* row, std::int64_t begin, int size, double* into) {
  const Scalar* const from = static_cast<const Scalar*>(row) + begin;
#pragma omp simd
  for (int k = 0; k < size; ++k) into[k] = widen(from[k]);
}

void widen_row(const void* row, Type type, std::int64_t begin, int size, double* into) {
  switch (type) {
    case Type::float64:
      return widen_row<double>(row, begin, size, into);
    case Type::float32:
      return widen_row<float>(row, begin, size, into);
    case Type::float16:
      return widen_row<Half>(row, begin, size, into);
    case Type::bfloat16:
      return widen_row<Brain>(row, begin, size, into);
  }
}

/// In a register. Left alone, compilers fold a load into each product that uses it, and so load it several times.
inline Vector load(const double* from) {
  Vector vector = *reinterpret_cast<const Vector*>(from);
#if defined(__AVX512F__)
  asm("" : "+v"(vector));
#elif defined(__SSE2__)
  asm("" : "+x"(vector));
#elif defined(__aarch64__)
  asm("" : "+w"(vector));
#endif
  return vector;
}

/// sums += products of A rows from a and B rows from b over `vectors` vectors; where a is b, only those on and
/// below the diagonal. Without the unrolling the sums would lie in memory.
template <int A, int B, bool diagonal>
void multiply(const double* a, const double* b, int vectors, double* sums) {
  Vector sum[A][B];
#pragma GCC unroll 8
  for (int i = 0; i < A; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < B; ++j)
      if (!diagonal || j <= i) sum[i][j] = load(sums + (i * tile + j) * lanes);
  for (int v = 0; v < vectors; ++v) {
    Vector x[A];
#pragma GCC unroll 8
    for (int i = 0; i < A; ++i) x[i] = load(a + i * pitch + v * lanes);
#pragma GCC unroll 8
    for (int j = 0; j < B; ++j) {
      const Vector y = diagonal ? x[j] : load(b + j * pitch + v * lanes);
#pragma GCC unroll 8
      for (int i = 0; i < A; ++i)
        if (!diagonal || j <= i) sum[i][j] += x[i] * y;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < A; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < B; ++j)
      if (!diagonal || j <= i) *reinterpret_cast<Vector*>(sums + (i * tile + j) * lanes) = sum[i][j];
}

using Multiply = void (*)(const double*, const double*, int, double*);

template <int A, int B = tile>
Multiply multiply_with(int b, bool diagonal) {
  if (diagonal) return multiply<A, A, true>;
  if constexpr (B > 1) {
    if (b < B) return multiply_with<A, B - 1>(b, diagonal);
  }
  return multiply<A, B, false>;
}

template <int A = tile>
Multiply multiply_of(int a, int b, bool diagonal) {
  if constexpr (A > 1) {
    if (a < A) return multiply_of<A - 1>(a, b, diagonal);
  }
  return multiply_with<A>(b, diagonal);
}

/// The rows are split as evenly as possible into groups of at most `tile`.
struct Groups {
  int number, count;
  explicit Groups(int rows) : number((rows + tile - 1) / tile), count(rows) {}
  int start(int group) const { return static_cast<int>(static_cast<std::int64_t>(count) * group / number); }
  int size(int group) const { return start(group + 1) - start(group); }
};

template <typename Scalar>
void combine_as(const void* const* rows, std::int64_t begin, std::int64_t end, int count, const double* weights,
                double* sum, void* out) {
  Scalar* const target = static_cast<Scalar*>(out);
  for (std::int64_t at = begin; at < end; at += combined_stretch) {
    const int size = static_cast<int>(end - at < combined_stretch ? end - at : combined_stretch);
    for (int k = 0; k < size; ++k) sum[k] = 0.0;
    for (int t = 0; t < count; t += 4) {
      const Scalar* row[4];
      double weight[4];
      for (int i = 0; i < 4; ++i) {
        const bool used = t + i < count && weights[t + i] != 0.0 && rows[t + i] != nullptr;
        weight[i] = used ? weights[t + i] : 0.0;
        row[i] = used ? static_cast<const Scalar*>(rows[t + i]) + at : nullptr;
      }
      if (row[0] && row[1] && row[2] && row[3]) {
#pragma omp simd
        for (int k = 0; k < size; ++k)
          sum[k] += ((weight[0] * widen(row[0][k]) + weight[1] * widen(row[1][k])) + weight[2] * widen(row[2][k])) +
                    weight[3] * widen(row[3][k]);
        continue;
      }
      for (int i = 0; i < 4; ++i) {
        if (!row[i]) continue;
#pragma omp simd
        for (int k = 0; k < size; ++k) sum[k] += weight[i] * widen(row[i][k]);
      }
    }
    for (int k = 0; k < size; ++k) narrow(sum[k], target[at + k]);
  }
}

}  // namespace

std::size_t workspace_doubles(int count) {
  const std::size_t rows = static_cast<std::size_t>(count) * pitch;
  return rows > combined_stretch ? rows : combined_stretch;
}

std::size_t sum_doubles(int count) {
  const std::size_t number = Groups(count).number;
  return number * (number + 1) / 2 * tile * tile * lanes;
}

void accumulate(const void* const* rows, Type type, std::int64_t begin, std::int64_t end, int count,
                double* workspace, double* sums) {
  const Groups groups(count);
  for (std::int64_t at = begin; at < end; at += stretch) {
    const int size = static_cast<int>(end - at < stretch ? end - at : stretch);
    const int vectors = (size + lanes - 1) / lanes;
    for (int t = 0; t < count; ++t) {
      double* const row = workspace + static_cast<std::size_t>(t) * pitch;
      if (rows[t] == nullptr) {
        for (int k = 0; k < size; ++k) row[k] = 0.0;
      } else {
        widen_row(rows[t], type, at, size, row);
      }
      for (int k = size; k < vectors * lanes; ++k) row[k] = 0.0;
    }
    double* into = sums;
    for (int i = 0; i < groups.number; ++i) {
      const double* const a = workspace + static_cast<std::size_t>(groups.start(i)) * pitch;
      for (int j = 0; j <= i; ++j, into += tile * tile * lanes) {
        const double* const b = workspace + static_cast<std::size_t>(groups.start(j)) * pitch;
        multiply_of(groups.size(i), groups.size(j), i == j)(a, b, vectors, into);
      }
    }
  }
}

void finish(const double* sums, int count, double* gram) {
  const std::size_t width = count;
  const Groups groups(count);
  const double* from = sums;
  for (int i = 0; i < groups.number; ++i) {
    for (int j = 0; j <= i; ++j, from += tile * tile * lanes) {
      for (int a = 0; a < groups.size(i); ++a) {
        for (int b = 0; b < (i == j ? a + 1 : groups.size(j)); ++b) {
          const std::size_t s = groups.start(i) + a, t = groups.start(j) + b;
          double sum = 0.0;
          for (int k = 0; k < lanes; ++k) sum += from[(a * tile + b) * lanes + k];
          gram[s * width + t] = gram[t * width + s] = sum;
        }
      }
    }
  }
}

void combine(const void* const* rows, Type type, std::int64_t begin, std::int64_t end, int count,
             const double* weights, double* workspace, void* out) {
  switch (type) {
    case Type::float64:
      return combine_as<double>(rows, begin, end, count, weights, workspace, out);
    case Type::float32:
      return combine_as<float>(rows, begin, end, count, weights, workspace, out);
    case Type::float16:
      return combine_as<Half>(rows, begin, end, count, weights, workspace, out);
    case Type::bfloat16:
      return combine_as<Brain>(rows, begin, end, count, weights, workspace, out);
  }
}

}  // namespace modnas_fast::gramian::cpu::MODNAS_FAST_ISA
