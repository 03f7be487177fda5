// What normalises and activates numbers [rows, channels].
#pragma once

#include <cstdint>

namespace modnas_fast::norm_activation {

enum class Activation : int { none = 0, relu = 1, hardswish = 2 };

/// Numbers per channel of y = f(factor * z + offset), and of dz = factor * g + constant + slope * (z - mean) with
/// g = dy * f'. The last two are zero where mean and variance are constants.
template <typename T>
struct Factors {
  const T *mean, *factor, *offset, *constant, *slope;

  Factors from(std::int64_t channel) const {
    return {mean + channel, factor + channel, offset + channel, constant + channel, slope + channel};
  }
};

/// A matrix in memory, `pitch` numbers from row to row.
template <typename T>
struct Rows {
  T* data;
  std::int64_t pitch;
};

}  // namespace modnas_fast::norm_activation
