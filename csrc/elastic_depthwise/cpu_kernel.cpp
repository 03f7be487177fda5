// Planes are copied to cells with zeros on both sides, so that the inner loops know no borders; rows outside of a plane
// are left out. Lanes of a cell that no channel has may hold anything: they reach nothing but themselves.
#include "elastic_depthwise/cpu_kernel.h"

#include "norm_activation/cpu_kernel.h"
#include "vectors.h"

namespace modnas_fast::elastic_depthwise::cpu::MODNAS_FAST_ISA {
namespace {

using namespace vectors::MODNAS_FAST_ISA;
namespace na = modnas_fast::norm_activation;
namespace norms = modnas_fast::norm_activation::cpu::MODNAS_FAST_ISA;

// those of the standard library would be merged with those of other instruction sets
inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

constexpr std::int64_t flushed = 512;  // products that are summed before they are added to doubles

/// A plane of cells with `side` zero cells left and right of each row.
template <typename T>
struct Plane {
  T* data;
  std::int64_t width, side;

  std::int64_t pitch() const { return (width + 2 * side) * cell<T>; }
  T* row(std::int64_t h) const { return data + h * pitch() + side * cell<T>; }
};

template <typename T>
int vectors_of(int channels) {
  return (channels + lanes<T> - 1) / lanes<T>;
}

template <typename T>
void copy(const T* from, std::int64_t from_pitch, std::int64_t count, int channels, T* to, std::int64_t to_pitch) {
  if (channels == cell<T>) {
    for (std::int64_t k = 0; k < count; ++k)
      for (int v = 0; v < cell<T>; v += lanes<T>) store(to + k * to_pitch + v, load<Vector<T>>(from + k * from_pitch + v));
  } else {
    for (std::int64_t k = 0; k < count; ++k)
      for (int c = 0; c < channels; ++c) to[k * to_pitch + c] = from[k * from_pitch + c];
  }
}

// ---- a row of sums of products ----

/// out[q] = sum of taps[i][j] * row i [q * S + j] over i < rows and j < K, for Q columns; row i is i * pitch behind row 0.
template <typename T, int K, int S, int Q>
inline void columns(const T* row, std::int64_t pitch, const T* taps, std::int64_t rows, int vectors, T* out) {
  using V = Vector<T>;
  for (int v = 0; v < vectors * lanes<T>; v += lanes<T>) {
    V sum[Q];
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) sum[q] = V{};
    for (std::int64_t i = 0; i < rows; ++i) {
      const T* const numbers = row + i * pitch + v;
      const T* const weights = taps + i * K * cell<T> + v;
#pragma GCC unroll 8
      for (int j = 0; j < K; ++j) {
        const V weight = load<V>(weights + j * cell<T>);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) sum[q] += weight * load<V>(numbers + (q * S + j) * cell<T>);
      }
    }
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) store(out + q * cell<T> + v, sum[q]);
  }
}

template <typename T, int K, int S>
void correlate(const T* row, std::int64_t pitch, const T* taps, std::int64_t rows, int vectors, std::int64_t width,
               T* out) {
  std::int64_t at = 0;
  const auto take = [&](auto of, std::int64_t count) {
    of(row + at * S * cell<T>, pitch, taps, rows, vectors, out + at * cell<T>);
    at += count;
  };
  while (at + 4 <= width) take(columns<T, K, S, 4>, 4);
  if (at + 3 == width) return take(columns<T, K, S, 3>, 3);
  if (at + 2 == width) return take(columns<T, K, S, 2>, 2);
  if (at < width) take(columns<T, K, S, 1>, 1);
}

template <typename T>
using Correlate = void (*)(const T*, std::int64_t, const T*, std::int64_t, int, std::int64_t, T*);

template <typename T>
Correlate<T> correlate_with(int kernel, int stride) {
  switch (kernel) {
    case 1:
      return correlate<T, 1, 1>;
    case 2:
      return correlate<T, 2, 1>;
    case 3:
      return stride == 1 ? correlate<T, 3, 1> : correlate<T, 3, 2>;
    case 4:
      return correlate<T, 4, 1>;
    case 5:
      return stride == 1 ? correlate<T, 5, 1> : correlate<T, 5, 2>;
    default:
      return stride == 1 ? correlate<T, 7, 1> : correlate<T, 7, 2>;
  }
}

// ---- by the input ----

/// The taps, along one axis, that reach places h with h % stride == parity: first, first + stride, ... . Place h takes
/// tap first + t * stride with the row (h - parity) / stride + ahead - t of the output.
struct Reach {
  int first, count, ahead;

  Reach(int kernel, int stride, int parity) {
    const int side = kernel / 2;
    first = (parity + side) % stride;
    count = (kernel - first + stride - 1) / stride;
    ahead = (parity + side - first) / stride;
  }
};

template <typename T>
void by_input(const Shape& shape, const Plane<T>& dz, const T* flipped, int channels, T* row, T* dx) {
  const int s = shape.stride;
  for (int down = 0; down < s; ++down) {
    const Reach rows(shape.kernel, s, down);
    for (int right = 0; right < s; ++right) {
      const Reach reach(shape.kernel, s, right);
      const std::int64_t width = (shape.width - right + s - 1) / s;
      const Correlate<T> sums = correlate_with<T>(reach.count, 1);
      for (std::int64_t h = down; h < shape.height; h += s) {
        const std::int64_t first = h / s + rows.ahead - rows.count + 1;
        const std::int64_t begin = larger(0, -first);
        const std::int64_t end = smaller(rows.count, shape.out_height() - first);
        sums(dz.row(first + begin) + (reach.ahead - reach.count + 1) * cell<T>, dz.pitch(),
             flipped + begin * reach.count * cell<T>, end - begin, vectors_of<T>(channels), width, row);
        copy<T>(row, cell<T>, width, channels, dx + (h * shape.width + right) * shape.channels, s * shape.channels);
      }
      flipped += rows.count * reach.count * cell<T>;
    }
  }
}

// ---- by the taps ----

/// sums[j] += dz[q] * numbers[q * S + j] over q < count.
template <typename T, int K, int S, int U>
inline void products(const T* dz, const T* numbers, std::int64_t count, Vector<T> (&sums)[U][K]) {
  using V = Vector<T>;
  std::int64_t q = 0;
  for (; q + U <= count; q += U) {
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) {
      const V gradient = load<V>(dz + (q + u) * cell<T>);
#pragma GCC unroll 8
      for (int j = 0; j < K; ++j) sums[u][j] += gradient * load<V>(numbers + ((q + u) * S + j) * cell<T>);
    }
  }
  for (; q < count; ++q) {
    const V gradient = load<V>(dz + q * cell<T>);
#pragma GCC unroll 8
    for (int j = 0; j < K; ++j) sums[0][j] += gradient * load<V>(numbers + (q * S + j) * cell<T>);
  }
}

template <typename T, int K, int S>
void by_taps(const Shape& shape, const Plane<T>& x, const Plane<T>& dz, int vectors, double* dtaps) {
  using V = Vector<T>;
  constexpr int U = K == 3 ? 3 : K == 5 ? 2 : 1;  // chains of sums enough to hide the time that each takes
  const std::int64_t side = K / 2, height = shape.out_height(), width = shape.out_width();
  const std::int64_t together = larger(1, flushed / width);
  for (int i = 0; i < K; ++i) {
    const std::int64_t begin = larger(0, (side - i + S - 1) / S);
    const std::int64_t reached = larger(0, shape.height + side - i);
    const std::int64_t end = smaller(height, (reached + S - 1) / S);
    for (int v = 0; v < vectors * lanes<T>; v += lanes<T>) {
      for (std::int64_t from = begin; from < end; from += together) {
        V sums[U][K];
        for (int u = 0; u < U; ++u)
          for (int j = 0; j < K; ++j) sums[u][j] = V{};
        for (std::int64_t h = from; h < smaller(end, from + together); ++h)
          products<T, K, S, U>(dz.row(h) + v, x.row(h * S + i - side) - side * cell<T> + v, width, sums);
        for (int j = 0; j < K; ++j) {
          for (int u = 1; u < U; ++u) sums[0][j] += sums[u][j];
          T numbers[lanes<T>];
          store(numbers, sums[0][j]);
          for (int k = 0; k < lanes<T>; ++k) dtaps[(i * K + j) * cell<T> + v + k] += static_cast<double>(numbers[k]);
        }
      }
    }
  }
}

template <typename T>
void by_taps(const Shape& shape, const Plane<T>& x, const Plane<T>& dz, int vectors, double* dtaps) {
  const bool one = shape.stride == 1;
  switch (shape.kernel) {
    case 3:
      return one ? by_taps<T, 3, 1>(shape, x, dz, vectors, dtaps) : by_taps<T, 3, 2>(shape, x, dz, vectors, dtaps);
    case 5:
      return one ? by_taps<T, 5, 1>(shape, x, dz, vectors, dtaps) : by_taps<T, 5, 2>(shape, x, dz, vectors, dtaps);
    default:
      return one ? by_taps<T, 7, 1>(shape, x, dz, vectors, dtaps) : by_taps<T, 7, 2>(shape, x, dz, vectors, dtaps);
  }
}

template <typename T>
Plane<T> packed(const Shape& shape, const T* x, int channels, T* workspace) {
  const Plane<T> plane{workspace, shape.width, shape.kernel / 2};
  for (std::int64_t h = 0; h < shape.height; ++h)
    copy<T>(x + h * shape.width * shape.channels, shape.channels, shape.width, channels, plane.row(h), cell<T>);
  return plane;
}

std::int64_t plane_cells(std::int64_t height, std::int64_t width, int kernel) {
  return height * (width + kernel - 1);
}

}  // namespace

std::size_t workspace_cells(const Shape& shape) {
  return static_cast<std::size_t>(plane_cells(shape.height, shape.width, shape.kernel) +
                                  plane_cells(shape.out_height(), shape.out_width(), shape.kernel) + shape.width);
}

template <typename T>
void convolve(const Shape& shape, const T* x, const T* taps, int channels, T* workspace, T* z) {
  const Plane<T> plane = packed<T>(shape, x, channels, workspace);
  T* const row = workspace + plane_cells(shape.height, shape.width, shape.kernel) * cell<T>;
  const Correlate<T> sums = correlate_with<T>(shape.kernel, shape.stride);
  const std::int64_t side = shape.kernel / 2, width = shape.out_width();
  for (std::int64_t h = 0; h < shape.out_height(); ++h) {
    const std::int64_t first = h * shape.stride - side, begin = larger(0, -first);
    const std::int64_t end = smaller(shape.kernel, shape.height - first);
    sums(plane.row(first + begin) - side * cell<T>, plane.pitch(), taps + begin * shape.kernel * cell<T>, end - begin,
         vectors_of<T>(channels), width, row);
    copy<T>(row, cell<T>, width, channels, z + h * width * shape.channels, shape.channels);
  }
}

template <typename T>
void flip(const Shape& shape, const T* taps, T* flipped) {
  const int s = shape.stride;
  for (int down = 0; down < s; ++down) {
    for (int right = 0; right < s; ++right) {
      const Reach rows(shape.kernel, s, down), reach(shape.kernel, s, right);
      for (int i = rows.count - 1; i >= 0; --i) {
        for (int j = reach.count - 1; j >= 0; --j, flipped += cell<T>) {
          const int tap = (rows.first + i * s) * shape.kernel + reach.first + j * s;
          for (int k = 0; k < cell<T>; ++k) flipped[k] = taps[tap * cell<T> + k];
        }
      }
    }
  }
}

template <typename T>
void convolve_gradients(const Shape& shape, const T* x, const T* flipped, const T* dy, const T* z,
                        const na::Factors<T>& factors, na::Activation activation, int channels, T* workspace, T* dx,
                        double* dtaps) {
  const std::int64_t height = shape.out_height(), width = shape.out_width();
  T* const behind = workspace + plane_cells(shape.height, shape.width, shape.kernel) * cell<T>;
  T* const row = behind + plane_cells(height, width, shape.kernel) * cell<T>;
  const Plane<T> dz{behind, width, shape.kernel / 2};
  for (std::int64_t h = 0; h < height; ++h) {
    const std::int64_t place = h * width * shape.channels;
    norms::gradient<T>({dy + place, shape.channels}, {z + place, shape.channels}, width, channels, factors, activation,
                       {dz.row(h), cell<T>});
  }
  if (dx) by_input<T>(shape, dz, flipped, channels, row, dx);
  if (dtaps) by_taps<T>(shape, packed<T>(shape, x, channels, workspace), dz, vectors_of<T>(channels), dtaps);
}

#define MODNAS_FAST_DEFINE_DEPTHWISE(T)                                                                       \
  template void convolve<T>(const Shape&, const T*, const T*, int, T*, T*);                                   \
  template void flip<T>(const Shape&, const T*, T*);                                                          \
  template void convolve_gradients<T>(const Shape&, const T*, const T*, const T*, const T*,                   \
                                      const na::Factors<T>&, na::Activation, int, T*, T*, double*);
MODNAS_FAST_DEFINE_DEPTHWISE(float)
MODNAS_FAST_DEFINE_DEPTHWISE(double)

}  // namespace modnas_fast::elastic_depthwise::cpu::MODNAS_FAST_ISA
