// The inner loops of norm_activation, compiled once per instruction set, for float and double.
#pragma once

#include <cstdint>

#include "norm_activation/types.h"

// moments: of each channel the mean, and the sum of squares about it.
// normalise: y = f(factor * z + offset), plus `residual` where that is not null.
// gradient_sums: of each channel the sums of g and of g * (z - mean).
// gradient: dz.
// Scratch holds 2 * channels numbers.
#define MODNAS_FAST_DECLARE_NORM(ISA)                                                                                 \
  namespace modnas_fast::norm_activation::cpu::ISA {                                                                  \
  template <typename T>                                                                                               \
  void moments(Rows<const T> z, std::int64_t rows, std::int64_t channels, T* scratch, double* mean,                   \
               double* squares);                                                                                      \
  template <typename T>                                                                                               \
  void normalise(Rows<const T> z, std::int64_t rows, std::int64_t channels, const Factors<T>& factors,                \
                 Activation activation, const T* residual, Rows<T> y);                                                \
  template <typename T>                                                                                               \
  void gradient_sums(Rows<const T> dy, Rows<const T> z, std::int64_t rows, std::int64_t channels,                     \
                     const Factors<T>& factors, Activation activation, T* scratch, double* sum,                       \
                     double* product);                                                                                \
  template <typename T>                                                                                               \
  void gradient(Rows<const T> dy, Rows<const T> z, std::int64_t rows, std::int64_t channels,                          \
                const Factors<T>& factors, Activation activation, Rows<T> dz);                                        \
  }

MODNAS_FAST_DECLARE_NORM(baseline)
MODNAS_FAST_DECLARE_NORM(avx2)
MODNAS_FAST_DECLARE_NORM(avx512)
