// Channels are taken a few vectors at a time, whose numbers stay in registers while the rows pass by.
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

/// work(channel, width of what is taken) for all channels: `number` vectors at a time, then one, then single ones.
template <typename T, int number, typename Work>
inline void over_channels(std::int64_t channels, const Work& work) {
  std::int64_t at = 0;
  for (; at + number * lanes<T> <= channels; at += number * lanes<T>)
    work.template operator()<Vector<T>, number>(at);
  for (; at + lanes<T> <= channels; at += lanes<T>) work.template operator()<Vector<T>, 1>(at);
  for (; at < channels; ++at) work.template operator()<T, 1>(at);
}

template <typename V, typename T>
constexpr int width_of = sizeof(V) / sizeof(T);

/// The lanes of a vector.
template <typename T, typename V>
inline void spread(V value, double* into) {
  T numbers[width_of<V, T>];
  store(numbers, value);
  for (int k = 0; k < width_of<V, T>; ++k) into[k] = static_cast<double>(numbers[k]);
}

template <typename T>
struct Moments {
  Rows<const T> z;
  std::int64_t rows;
  double *mean, *squares;

  /// About the first row, so that little cancels.
  template <typename V, int N>
  void operator()(std::int64_t at) const {
    V pivot[N], sum[N], square[N];
    for (int n = 0; n < N; ++n) {
      pivot[n] = load<V>(z.data + at + n * width_of<V, T>);
      sum[n] = square[n] = V{};
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const T* const from = z.data + r * z.pitch + at;
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const V away = load<V>(from + n * width_of<V, T>) - pivot[n];
        sum[n] += away;
        square[n] += away * away;
      }
    }
    for (int n = 0; n < N; ++n) {
      double sums[width_of<V, T>], products[width_of<V, T>], first[width_of<V, T>];
      spread<T>(sum[n], sums), spread<T>(square[n], products), spread<T>(pivot[n], first);
      for (int k = 0; k < width_of<V, T>; ++k) {
        const double away = sums[k] / static_cast<double>(rows), left = products[k] - sums[k] * away;
        mean[at + n * width_of<V, T> + k] = first[k] + away;
        squares[at + n * width_of<V, T> + k] = left > 0.0 ? left : 0.0;
      }
    }
  }
};

template <typename T, Activation A>
struct Normalise {
  Rows<const T> z;
  std::int64_t rows;
  const Factors<T>& factors;
  const T* residual;
  Rows<T> y;

  template <typename V, int N>
  void operator()(std::int64_t at) const {
    if (residual) {
      run<V, N, true>(at);
    } else {
      run<V, N, false>(at);
    }
  }

  template <typename V, int N, bool added>
  void run(std::int64_t at) const {
    V factor[N], offset[N];
    for (int n = 0; n < N; ++n) {
      factor[n] = load<V>(factors.factor + at + n * width_of<V, T>);
      offset[n] = load<V>(factors.offset + at + n * width_of<V, T>);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const std::int64_t place = at + n * width_of<V, T>;
        V found = activate<T, A>(load<V>(z.data + r * z.pitch + place) * factor[n] + offset[n]);
        if constexpr (added) found += load<V>(residual + r * z.pitch + place);
        store(y.data + r * y.pitch + place, found);
      }
    }
  }
};

template <typename T, Activation A>
struct GradientSums {
  Rows<const T> dy, z;
  std::int64_t rows;
  const Factors<T>& factors;
  double *sum, *product;

  template <typename V, int N>
  void operator()(std::int64_t at) const {
    V mean[N], factor[N], offset[N], sums[N], products[N];
    for (int n = 0; n < N; ++n) {
      const std::int64_t place = at + n * width_of<V, T>;
      mean[n] = load<V>(factors.mean + place);
      factor[n] = load<V>(factors.factor + place);
      offset[n] = load<V>(factors.offset + place);
      sums[n] = products[n] = V{};
    }
    for (std::int64_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const std::int64_t place = at + n * width_of<V, T>;
        const V number = load<V>(z.data + r * z.pitch + place);
        const V g = differentiate<T, A>(number * factor[n] + offset[n], load<V>(dy.data + r * dy.pitch + place));
        sums[n] += g;
        products[n] += g * (number - mean[n]);
      }
    }
    for (int n = 0; n < N; ++n) {
      spread<T>(sums[n], sum + at + n * width_of<V, T>);
      spread<T>(products[n], product + at + n * width_of<V, T>);
    }
  }
};

template <typename T, Activation A>
struct Gradient {
  Rows<const T> dy, z;
  std::int64_t rows;
  const Factors<T>& factors;
  Rows<T> dz;

  template <typename V, int N>
  void operator()(std::int64_t at) const {
    V mean[N], factor[N], offset[N], constant[N], slope[N];
    for (int n = 0; n < N; ++n) {
      const std::int64_t place = at + n * width_of<V, T>;
      mean[n] = load<V>(factors.mean + place);
      factor[n] = load<V>(factors.factor + place);
      offset[n] = load<V>(factors.offset + place);
      constant[n] = load<V>(factors.constant + place);
      slope[n] = load<V>(factors.slope + place);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const std::int64_t place = at + n * width_of<V, T>;
        const V number = load<V>(z.data + r * z.pitch + place);
        const V g = differentiate<T, A>(number * factor[n] + offset[n], load<V>(dy.data + r * dy.pitch + place));
        store(dz.data + r * dz.pitch + place, factor[n] * g + (constant[n] + slope[n] * (number - mean[n])));
      }
    }
  }
};

/// Work<T, activation>{arguments...} on all channels.
template <typename T, template <typename, Activation> class Work, int number, typename... Arguments>
void activated(std::int64_t channels, Activation activation, const Arguments&... arguments) {
  switch (activation) {
    case Activation::relu:
      return over_channels<T, number>(channels, Work<T, Activation::relu>{arguments...});
    case Activation::hardswish:
      return over_channels<T, number>(channels, Work<T, Activation::hardswish>{arguments...});
    case Activation::none:
      return over_channels<T, number>(channels, Work<T, Activation::none>{arguments...});
  }
}

}  // namespace

template <typename T>
void moments(Rows<const T> z, std::int64_t rows, std::int64_t channels, double* mean, double* squares) {
  over_channels<T, 4>(channels, Moments<T>{z, rows, mean, squares});
}

template <typename T>
void normalise(Rows<const T> z, std::int64_t rows, std::int64_t channels, const Factors<T>& factors,
               Activation activation, const T* residual, Rows<T> y) {
  activated<T, Normalise, 2>(channels, activation, z, rows, factors, residual, y);
}

template <typename T>
void gradient_sums(Rows<const T> dy, Rows<const T> z, std::int64_t rows, std::int64_t channels,
                   const Factors<T>& factors, Activation activation, double* sum, double* product) {
  activated<T, GradientSums, 2>(channels, activation, dy, z, rows, factors, sum, product);
}

template <typename T>
void gradient(Rows<const T> dy, Rows<const T> z, std::int64_t rows, std::int64_t channels, const Factors<T>& factors,
              Activation activation, Rows<T> dz) {
  activated<T, Gradient, 2>(channels, activation, dy, z, rows, factors, dz);
}

#define MODNAS_FAST_DEFINE_NORM(T)                                                                                   \
  template void moments<T>(Rows<const T>, std::int64_t, std::int64_t, double*, double*);                             \
  template void normalise<T>(Rows<const T>, std::int64_t, std::int64_t, const Factors<T>&, Activation, const T*,     \
                             Rows<T>);                                                                               \
  template void gradient_sums<T>(Rows<const T>, Rows<const T>, std::int64_t, std::int64_t, const Factors<T>&,        \
                                 Activation, double*, double*);                                                      \
  template void gradient<T>(Rows<const T>, Rows<const T>, std::int64_t, std::int64_t, const Factors<T>&, Activation, \
                            Rows<T>);
MODNAS_FAST_DEFINE_NORM(float)
MODNAS_FAST_DEFINE_NORM(double)

}  // namespace modnas_fast::norm_activation::cpu::MODNAS_FAST_ISA
