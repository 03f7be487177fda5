#include "norm_activation/cpu.h"

#include <algorithm>
#include <cmath>

#include "cpu_features.h"
#include "norm_activation/cpu_kernel.h"
#include "threads.h"

namespace modnas_fast::norm_activation {
namespace {

template <typename T>
struct Kernels {
  decltype(&cpu::baseline::moments<T>) moments;
  decltype(&cpu::baseline::normalise<T>) normalise;
  decltype(&cpu::baseline::gradient_sums<T>) gradient_sums;
  decltype(&cpu::baseline::gradient<T>) gradient;
};

template <typename T>
Kernels<T> kernels() {
#define MODNAS_FAST_KERNELS(ISA) \
  Kernels<T> { &cpu::ISA::moments<T>, &cpu::ISA::normalise<T>, &cpu::ISA::gradient_sums<T>, &cpu::ISA::gradient<T> }
#ifdef MODNAS_FAST_X86
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return MODNAS_FAST_KERNELS(avx512);
    case InstructionSet::avx2:
      return MODNAS_FAST_KERNELS(avx2);
    default:
      break;
  }
#endif
  return MODNAS_FAST_KERNELS(baseline);
}

/// The rows in parts that stay in a core's own cache.
struct Parts {
  std::int64_t rows, each, count;

  Parts(std::int64_t rows, std::int64_t channels)
      : rows(rows), each(std::max<std::int64_t>(1, 16384 / channels)), count((rows + each - 1) / each) {}
  std::int64_t begin(std::int64_t part) const { return part * each; }
  std::int64_t size(std::int64_t part) const { return std::min(each, rows - begin(part)); }
};

}  // namespace

int threads_for(int threads, double numbers) {
  constexpr double numbers_per_thread = 1e5;
  return static_cast<int>(std::max(1.0, std::min<double>(threads, numbers / numbers_per_thread)));
}

template <typename T>
void put_together(const Moments& moments, const std::vector<std::int64_t>& rows, const Norm<T>& norm) {
  std::vector<double> mean(norm.channels), squares(norm.channels);
  double seen = 0.0;
  for (std::size_t part = 0; part < rows.size(); ++part) {
    const double count = static_cast<double>(rows[part]), share = count / (seen + count), spread = seen * share;
    const std::size_t place = part * norm.channels;
    for (std::int64_t c = 0; c < norm.channels; ++c) {
      const double away = moments.mean[place + c] - mean[c];
      mean[c] += away * share;
      squares[c] += moments.squares[place + c] + away * away * spread;
    }
    seen += count;
  }
  for (std::int64_t c = 0; c < norm.channels; ++c) {
    norm.mean[c] = static_cast<T>(mean[c]);
    norm.variance[c] = static_cast<T>(squares[c] / seen);
  }
}

template <typename T>
Channels<T>::Channels(const Norm<T>& norm)
    : channels_(norm.channels), inverse_(norm.channels), numbers_(5 * norm.channels) {
  for (std::int64_t c = 0; c < channels_; ++c) {
    inverse_[c] = 1.0 / std::sqrt(static_cast<double>(norm.variance[c]) + norm.eps);
    const double factor = static_cast<double>(norm.scale[c]) * inverse_[c];
    numbers_[c] = norm.mean[c];
    numbers_[channels_ + c] = static_cast<T>(factor);
    numbers_[2 * channels_ + c] = static_cast<T>(norm.shift[c] - factor * norm.mean[c]);
  }
}

template <typename T>
Factors<T> Channels<T>::factors() const {
  const T* const first = numbers_.data();
  return {first, first + channels_, first + 2 * channels_, first + 3 * channels_, first + 4 * channels_};
}

template <typename T>
void Channels<T>::differentiate(const Norm<T>& norm, const T* dy, const T* z, int threads, T* dscale, T* dshift) {
  const Parts parts(norm.rows, channels_);
  std::vector<double> sums(parts.count * channels_), products(parts.count * channels_);
  const Kernels<T> use = kernels<T>();
  const int workers = threads_for(threads, static_cast<double>(norm.rows) * channels_);
  std::vector<T> scratch(2 * channels_ * workers);
  share(parts.count, workers, [&](int worker, std::int64_t part) {
    const std::int64_t place = parts.begin(part) * channels_;
    use.gradient_sums({dy + place, channels_}, {z + place, channels_}, parts.size(part), channels_, factors(),
                      norm.activation, scratch.data() + 2 * channels_ * worker, sums.data() + part * channels_, products.data() + part * channels_);
  });
  for (std::int64_t part = 1; part < parts.count; ++part) {
    for (std::int64_t c = 0; c < channels_; ++c) {
      sums[c] += sums[part * channels_ + c];
      products[c] += products[part * channels_ + c];
    }
  }
  for (std::int64_t c = 0; c < channels_; ++c) {
    const double sum = sums[c], product = products[c];
    dshift[c] = static_cast<T>(sum);
    dscale[c] = static_cast<T>(product * inverse_[c]);
    if (norm.given) continue;
    const double share = static_cast<double>(norm.scale[c]) * inverse_[c] / static_cast<double>(norm.rows);
    numbers_[3 * channels_ + c] = static_cast<T>(-share * sum);
    numbers_[4 * channels_ + c] = static_cast<T>(-share * inverse_[c] * inverse_[c] * product);
  }
}

template <typename T>
void normalise_cpu(const Norm<T>& norm, const T* z, const T* residual, int threads, T* y) {
  const Channels<T> channels(norm);
  const Parts parts(norm.rows, norm.channels);
  const Kernels<T> use = kernels<T>();
  share(parts.count, threads_for(threads, static_cast<double>(norm.rows) * norm.channels), [&](int, std::int64_t part) {
    const std::int64_t place = parts.begin(part) * norm.channels;
    use.normalise({z + place, norm.channels}, parts.size(part), norm.channels, channels.factors(), norm.activation,
                  residual ? residual + place : nullptr, {y + place, norm.channels});
  });
}

template <typename T>
void forward_cpu(const Norm<T>& norm, const T* z, const T* residual, int threads, T* y) {
  if (!norm.given) {
    const Parts parts(norm.rows, norm.channels);
    Moments moments(parts.count, norm.channels);
    std::vector<std::int64_t> sizes(parts.count);
    const Kernels<T> use = kernels<T>();
    const int workers = threads_for(threads, static_cast<double>(norm.rows) * norm.channels);
    std::vector<T> scratch(2 * norm.channels * workers);
    share(parts.count, workers, [&](int worker, std::int64_t part) {
      const std::int64_t place = part * norm.channels;
      sizes[part] = parts.size(part);
      use.moments({z + parts.begin(part) * norm.channels, norm.channels}, sizes[part], norm.channels,
                  scratch.data() + 2 * norm.channels * worker, moments.mean.data() + place,
                  moments.squares.data() + place);
    });
    put_together(moments, sizes, norm);
  }
  normalise_cpu(norm, z, residual, threads, y);
}

template <typename T>
void backward_cpu(const Norm<T>& norm, const T* dy, const T* z, int threads, T* dz, T* dscale, T* dshift) {
  Channels<T> channels(norm);
  channels.differentiate(norm, dy, z, threads, dscale, dshift);
  if (dz == nullptr) return;
  const Parts parts(norm.rows, norm.channels);
  const Kernels<T> use = kernels<T>();
  share(parts.count, threads_for(threads, static_cast<double>(norm.rows) * norm.channels), [&](int, std::int64_t part) {
    const std::int64_t place = parts.begin(part) * norm.channels;
    use.gradient({dy + place, norm.channels}, {z + place, norm.channels}, parts.size(part), norm.channels,
                 channels.factors(), norm.activation, {dz + place, norm.channels});
  });
}

#define MODNAS_FAST_DEFINE(T)                                                                        \
  template void put_together<T>(const Moments&, const std::vector<std::int64_t>&, const Norm<T>&);   \
  template class Channels<T>;                                                                        \
  template void forward_cpu<T>(const Norm<T>&, const T*, const T*, int, T*);                         \
  template void normalise_cpu<T>(const Norm<T>&, const T*, const T*, int, T*);                       \
  template void backward_cpu<T>(const Norm<T>&, const T*, const T*, int, T*, T*, T*);
MODNAS_FAST_DEFINE(float)
MODNAS_FAST_DEFINE(double)

}  // namespace modnas_fast::norm_activation
