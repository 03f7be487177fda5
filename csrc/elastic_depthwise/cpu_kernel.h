// The inner loops of elastic_depthwise, compiled once per instruction set, for float and double: one image, `channels`
// of its channels, at most a cell. Pixels of x, z, dz and dx are shape.channels numbers apart, taps are cells
// [kernel * kernel]. A workspace of workspace_cells() cells lies on cache-line borders, began as zeros and is used for
// one shape alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "elastic_depthwise/types.h"
#include "norm_activation/types.h"

// convolve: z.
// flip: taps as convolve_gradients wants them for dx, in an order that depends on the stride.
// convolve_gradients: dx where that is not null; adds to dtaps, cells [kernel * kernel] of double, where that is not.
#define MODNAS_FAST_DECLARE_DEPTHWISE(ISA)                                                                            \
  namespace modnas_fast::elastic_depthwise::cpu::ISA {                                                                \
  std::size_t workspace_cells(const Shape& shape);                                                                    \
  template <typename T>                                                                                               \
  void convolve(const Shape& shape, const T* x, const T* taps, int channels, T* workspace, T* z);                     \
  template <typename T>                                                                                               \
  void flip(const Shape& shape, const T* taps, T* flipped);                                                           \
  template <typename T>                                                                                               \
  void convolve_gradients(const Shape& shape, const T* x, const T* flipped, const T* dy, const T* z,                  \
                          const norm_activation::Factors<T>& factors, norm_activation::Activation activation,         \
                          int channels, T* workspace, T* dx, double* dtaps);                                          \
  }

MODNAS_FAST_DECLARE_DEPTHWISE(baseline)
MODNAS_FAST_DECLARE_DEPTHWISE(avx2)
MODNAS_FAST_DECLARE_DEPTHWISE(avx512)
