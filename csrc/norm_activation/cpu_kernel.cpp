// Each formula stands once, for vectors and for plain numbers, and is run along columns or along rows.
#include "norm_activation/cpu_kernel.h"

#include "vectors.h"

namespace modnas_fast::norm_activation::cpu::MODNAS_FAST_ISA {
namespace {

using namespace vectors::MODNAS_FAST_ISA;

template <typename T, Activation A, typename V>
inline V activate(V u) {
  if constexpr (A == Activation::relu) {
    return u > 0 ? u : V{} + 0;
  } else if constexpr (A == Activation::hardswish) {
    const V shifted = u + 3;
    const V low = shifted > 0 ? shifted : V{} + 0;
    const V high = low < 6 ? low : V{} + 6;
    return u * high * (T{1} / 6);
  } else {
    return u;
  }
}

/// dy * f'(u)
template <typename T, Activation A, typename V>
inline V differentiate(V u, V dy) {
  if constexpr (A == Activation::relu) {
    return u > 0 ? dy : V{} + 0;
  } else if constexpr (A == Activation::hardswish) {
    const V between = dy * (u * (T{1} / 3) + T{0.5});
    const V upper = u < 3 ? between : dy;
    return u > -3 ? upper : V{} + 0;
  } else {
    return dy;
  }
}

template <typename V, typename T>
constexpr int width_of = sizeof(V) / sizeof(T);

// ---- the two orders ----
//
// A body holds numbers of the channels at `at`, takes a step per row, and keeps what it has summed.

template <typename V, int N, typename T, typename Body>
inline void column(const Body& body, std::int64_t rows, std::int64_t at) {
  typename Body::template Held<V> held[N];
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) held[n] = body.template hold<V>(at + n * width_of<V, T>);
  for (std::int64_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) body.step(held[n], r, at + n * width_of<V, T>);
  }
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) body.keep(held[n], at + n * width_of<V, T>);
}

/// For few channels: all rows, while what is held stays in registers.
template <typename T, typename Body>
void by_columns(const Body& body, std::int64_t rows, std::int64_t channels) {
  std::int64_t at = 0;
  for (; at + 2 * lanes<T> <= channels; at += 2 * lanes<T>) column<Vector<T>, 2, T>(body, rows, at);
  for (; at + lanes<T> <= channels; at += lanes<T>) column<Vector<T>, 1, T>(body, rows, at);
  for (; at < channels; ++at) column<T, 1, T>(body, rows, at);
}

/// For many channels: as they lie in memory.
template <typename T, typename Body>
void by_rows(const Body& body, std::int64_t rows, std::int64_t channels) {
  const auto take = [&](auto held, std::int64_t r, std::int64_t at) {
    body.step(held, r, at);
    body.keep(held, at);
  };
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int64_t at = 0;
    for (; at + lanes<T> <= channels; at += lanes<T>) take(body.template hold<Vector<T>>(at), r, at);
    for (; at < channels; ++at) take(body.template hold<T>(at), r, at);
  }
}

template <typename T, typename Body>
void run(const Body& body, std::int64_t rows, std::int64_t channels) {
  if (channels <= 4 * lanes<T>) {
    by_columns<T>(body, rows, channels);
  } else {
    by_rows<T>(body, rows, channels);
  }
}

// ---- the bodies ----

/// Sums about the first row, so that little cancels.
template <typename T>
struct Moments {
  Rows<const T> z;
  T *sum, *square;

  template <typename V>
  struct Held {
    V pivot, sum, square;
  };
  template <typename V>
  Held<V> hold(std::int64_t at) const {
    return {load<V>(z.data + at), load<V>(sum + at), load<V>(square + at)};
  }
  template <typename V>
  void step(Held<V>& held, std::int64_t r, std::int64_t at) const {
    const V away = load<V>(z.data + r * z.pitch + at) - held.pivot;
    held.sum += away;
    held.square += away * away;
  }
  template <typename V>
  void keep(const Held<V>& held, std::int64_t at) const {
    store(sum + at, held.sum);
    store(square + at, held.square);
  }
};

template <typename T, Activation A>
struct Normalise {
  Rows<const T> z;
  Factors<T> factors;
  Rows<T> y;

  template <typename V>
  struct Held {
    V factor, offset;
  };
  template <typename V>
  Held<V> hold(std::int64_t at) const {
    return {load<V>(factors.factor + at), load<V>(factors.offset + at)};
  }
  template <typename V>
  V found(const Held<V>& held, std::int64_t r, std::int64_t at) const {
    return activate<T, A>(load<V>(z.data + r * z.pitch + at) * held.factor + held.offset);
  }
  template <typename V>
  void step(const Held<V>& held, std::int64_t r, std::int64_t at) const {
    store(y.data + r * y.pitch + at, found(held, r, at));
  }
  template <typename V>
  void keep(const Held<V>&, std::int64_t) const {}
};

template <typename T, Activation A>
struct NormaliseAndAdd : Normalise<T, A> {
  const T* residual;

  NormaliseAndAdd(Rows<const T> z, Factors<T> factors, Rows<T> y, const T* residual)
      : Normalise<T, A>{z, factors, y}, residual(residual) {}
  template <typename Held>
  void step(const Held& held, std::int64_t r, std::int64_t at) const {
    const auto found = this->found(held, r, at);
    const auto added = load<decltype(held.factor + found)>(residual + r * this->z.pitch + at);
    store(this->y.data + r * this->y.pitch + at, found + added);
  }
};

template <typename T, Activation A>
struct GradientSums {
  Rows<const T> dy, z;
  Factors<T> factors;
  T *sum, *product;

  template <typename V>
  struct Held {
    V mean, factor, offset, sum, product;
  };
  template <typename V>
  Held<V> hold(std::int64_t at) const {
    return {load<V>(factors.mean + at), load<V>(factors.factor + at), load<V>(factors.offset + at), load<V>(sum + at),
            load<V>(product + at)};
  }
  template <typename V>
  void step(Held<V>& held, std::int64_t r, std::int64_t at) const {
    const V number = load<V>(z.data + r * z.pitch + at);
    const V g = differentiate<T, A>(number * held.factor + held.offset, load<V>(dy.data + r * dy.pitch + at));
    held.sum += g;
    held.product += g * (number - held.mean);
  }
  template <typename V>
  void keep(const Held<V>& held, std::int64_t at) const {
    store(sum + at, held.sum);
    store(product + at, held.product);
  }
};

template <typename T, Activation A>
struct Gradient {
  Rows<const T> dy, z;
  Factors<T> factors;
  Rows<T> dz;

  template <typename V>
  struct Held {
    V mean, factor, offset, constant, slope;
  };
  template <typename V>
  Held<V> hold(std::int64_t at) const {
    return {load<V>(factors.mean + at), load<V>(factors.factor + at), load<V>(factors.offset + at),
            load<V>(factors.constant + at), load<V>(factors.slope + at)};
  }
  template <typename V>
  void step(const Held<V>& held, std::int64_t r, std::int64_t at) const {
    const V number = load<V>(z.data + r * z.pitch + at);
    const V g = differentiate<T, A>(number * held.factor + held.offset, load<V>(dy.data + r * dy.pitch + at));
    store(dz.data + r * dz.pitch + at, held.factor * g + (held.constant + held.slope * (number - held.mean)));
  }
  template <typename V>
  void keep(const Held<V>&, std::int64_t) const {}
};

/// Body<T, activation>{arguments...} on all rows and channels.
template <typename T, template <typename, Activation> class Body, typename... Arguments>
void activated(std::int64_t rows, std::int64_t channels, Activation activation, const Arguments&... arguments) {
  switch (activation) {
    case Activation::relu:
      return run<T>(Body<T, Activation::relu>{arguments...}, rows, channels);
    case Activation::hardswish:
      return run<T>(Body<T, Activation::hardswish>{arguments...}, rows, channels);
    case Activation::none:
      return run<T>(Body<T, Activation::none>{arguments...}, rows, channels);
  }
}

}  // namespace

template <typename T>
void moments(Rows<const T> z, std::int64_t rows, std::int64_t channels, T* scratch, double* mean, double* squares) {
  for (std::int64_t c = 0; c < 2 * channels; ++c) scratch[c] = T{};
  run<T>(Moments<T>{z, scratch, scratch + channels}, rows, channels);
  for (std::int64_t c = 0; c < channels; ++c) {
    const double sum = scratch[c], square = scratch[channels + c], away = sum / static_cast<double>(rows);
    mean[c] = z.data[c] + away;
    squares[c] = square > sum * away ? square - sum * away : 0.0;
  }
}

template <typename T>
void normalise(Rows<const T> z, std::int64_t rows, std::int64_t channels, const Factors<T>& factors,
               Activation activation, const T* residual, Rows<T> y) {
  if (residual) {
    activated<T, NormaliseAndAdd>(rows, channels, activation, z, factors, y, residual);
  } else {
    activated<T, Normalise>(rows, channels, activation, z, factors, y);
  }
}

template <typename T>
void gradient_sums(Rows<const T> dy, Rows<const T> z, std::int64_t rows, std::int64_t channels,
                   const Factors<T>& factors, Activation activation, T* scratch, double* sum, double* product) {
  for (std::int64_t c = 0; c < 2 * channels; ++c) scratch[c] = T{};
  activated<T, GradientSums>(rows, channels, activation, dy, z, factors, scratch, scratch + channels);
  for (std::int64_t c = 0; c < channels; ++c) sum[c] = scratch[c], product[c] = scratch[channels + c];
}

template <typename T>
void gradient(Rows<const T> dy, Rows<const T> z, std::int64_t rows, std::int64_t channels, const Factors<T>& factors,
              Activation activation, Rows<T> dz) {
  activated<T, Gradient>(rows, channels, activation, dy, z, factors, dz);
}

#define MODNAS_FAST_DEFINE_NORM(T)                                                                                   \
  template void moments<T>(Rows<const T>, std::int64_t, std::int64_t, T*, double*, double*);                           \
  template void normalise<T>(Rows<const T>, std::int64_t, std::int64_t, const Factors<T>&, Activation, const T*,     \
                             Rows<T>);                                                                               \
  template void gradient_sums<T>(Rows<const T>, Rows<const T>, std::int64_t, std::int64_t, const Factors<T>&,        \
                                 Activation, T*, double*, double*);                                                  \
  template void gradient<T>(Rows<const T>, Rows<const T>, std::int64_t, std::int64_t, const Factors<T>&, Activation, \
                            Rows<T>);
MODNAS_FAST_DEFINE_NORM(float)
MODNAS_FAST_DEFINE_NORM(double)

}  // namespace modnas_fast::norm_activation::cpu::MODNAS_FAST_ISA
