// The sizes of a depth-wise convolution with zeros around its input, channels last.
#pragma once

#include <cstdint>

namespace modnas_fast::elastic_depthwise {

struct Shape {
  std::int64_t height, width, channels;  // of one input
  int kernel, stride;                    // 3, 5 or 7; 1 or 2

  // always inlined, as files of several instruction sets call them
  [[gnu::always_inline]] std::int64_t out_height() const { return (height - 1) / stride + 1; }
  [[gnu::always_inline]] std::int64_t out_width() const { return (width - 1) / stride + 1; }
};

/// Channels that are worked on together: a cache line of each pixel.
template <typename T>
constexpr int cell = 64 / static_cast<int>(sizeof(T));

}  // namespace modnas_fast::elastic_depthwise
