// Scratch memory on cache-line borders.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace modnas_fast {

struct AlignedDelete {
  void operator()(double* memory) const { ::operator delete[](memory, std::align_val_t{64}); }
};
using AlignedDoubles = std::unique_ptr<double[], AlignedDelete>;

/// `count` doubles, not initialised; throws std::bad_alloc.
inline AlignedDoubles aligned_doubles(std::size_t count) {
  return AlignedDoubles(static_cast<double*>(::operator new[](count * sizeof(double), std::align_val_t{64})));
}

}  // namespace modnas_fast
