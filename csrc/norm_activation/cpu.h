// Batch normalisation with an activation behind it, and its gradients, of numbers [rows, channels] in CPU memory; for
// float and double. Sums are made in parts that depend on the sizes alone: the same bits for any number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "norm_activation/types.h"

namespace modnas_fast::norm_activation {

template <typename T>
struct Norm {
  std::int64_t rows, channels;
  Activation activation;
  double eps;
  bool given;               // mean and variance are constants; otherwise those of the rows, which are found
  const T *scale, *shift;   // [channels]
  T *mean, *variance;       // [channels]
};

/// Mean and sum of squares about it, of parts of the rows.
struct Moments {
  std::int64_t channels;
  std::vector<double> mean, squares;  // [parts, channels]

  Moments(std::int64_t parts, std::int64_t channels)
      : channels(channels), mean(parts * channels), squares(parts * channels) {}
};

/// Mean and variance of the rows from those of parts with `rows[part]` each, in order.
template <typename T>
void put_together(const Moments& moments, const std::vector<std::int64_t>& rows, const Norm<T>& norm);

/// What the loops over rows need, per channel.
template <typename T>
class Channels {
 public:
  explicit Channels(const Norm<T>& norm);
  /// For the gradient; writes those by scale and shift [channels].
  void differentiate(const Norm<T>& norm, const T* dy, const T* z, int threads, T* dscale, T* dshift);
  Factors<T> factors() const;

 private:
  std::int64_t channels_;
  std::vector<double> inverse_;  // 1 / standard deviation
  std::vector<T> numbers_;       // [5, channels]
};

/// y = f(normalised z) + residual (null: none); z, residual and y [rows, channels].
template <typename T>
void forward_cpu(const Norm<T>& norm, const T* z, const T* residual, int threads, T* y);

/// The same where mean and variance are known already.
template <typename T>
void normalise_cpu(const Norm<T>& norm, const T* z, const T* residual, int threads, T* y);

/// The gradients by z (null: not wanted), scale and shift.
template <typename T>
void backward_cpu(const Norm<T>& norm, const T* dy, const T* z, int threads, T* dz, T* dscale, T* dshift);

/// Fewer threads where so many numbers would not repay starting them.
int threads_for(int threads, double numbers);

}  // namespace modnas_fast::norm_activation
