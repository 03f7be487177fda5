// Depth-wise convolution, batch normalisation and activation of images, channels last, in CPU memory; for float and
// double. The same bits for any number of threads.
#pragma once

#include <cstdint>

#include "elastic_depthwise/types.h"
#include "norm_activation/cpu.h"

namespace modnas_fast::elastic_depthwise {

/// z = x * taps and y = f(normalised z). x [images, height, width, channels], taps [channels, kernel, kernel], z and y
/// [images, out_height, out_width, channels]; norm.rows and norm.channels are those of z.
template <typename T>
void forward_cpu(const Shape& shape, std::int64_t images, const norm_activation::Norm<T>& norm, const T* x,
                 const T* taps, int threads, T* z, T* y);

/// The gradients by x (null: not wanted), taps (null: not wanted), scale and shift.
template <typename T>
void backward_cpu(const Shape& shape, std::int64_t images, const norm_activation::Norm<T>& norm, const T* dy,
                  const T* x, const T* taps, const T* z, int threads, T* dx, T* dtaps, T* dscale, T* dshift);

}  // namespace modnas_fast::elastic_depthwise
