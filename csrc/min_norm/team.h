// Who works on one problem: a CPU thread alone, or the lanes of a warp together.
//
// A team runs the solver's code with every lane in step: scalars are computed by all lanes alike, arrays are
// shared, and arrays are written only inside each() and once(), which wait for the lanes before and after.
#pragma once

#include <cmath>

#include "host_device.h"
#include "instruction_set.h"

namespace modnas_fast {
inline namespace MODNAS_FAST_ISA {

/// One thread.
struct Solo {
  /// f(i) for begin <= i < end, in any order; the calls must not depend on each other.
  template <typename F>
  MODNAS_FAST_HD void each(int begin, int end, F f) const {
#ifndef __CUDACC__
#pragma omp simd
#endif
    for (int i = begin; i < end; ++i) f(i);
  }

  /// f() by one lane.
  template <typename F>
  MODNAS_FAST_HD void once(F f) const {
    f();
  }

  /// The sum of f(i) for begin <= i < end.
  template <typename F>
  MODNAS_FAST_HD double sum(int begin, int end, F f) const {
    double total = 0.0;
#ifndef __CUDACC__
#pragma omp simd reduction(+ : total)
#endif
    for (int i = begin; i < end; ++i) total += f(i);
    return total;
  }

  /// The lowest index of the largest f(i) above `best`, which then holds that value; -1 where there is none.
  template <typename F>
  MODNAS_FAST_HD int highest(int begin, int end, double& best, F f) const {
    int found = -1;
    for (int i = begin; i < end; ++i) {
      const double value = f(i);
      if (value > best) {
        best = value;
        found = i;
      }
    }
    return found;
  }
};

#ifdef __CUDACC__
/// The 32 lanes of a warp.
struct Warp {
  static constexpr unsigned all = 0xffffffffu;
  int lane;

  template <typename F>
  __device__ void each(int begin, int end, F f) const {
    __syncwarp();
    for (int i = begin + lane; i < end; i += 32) f(i);
    __syncwarp();
  }

  template <typename F>
  __device__ void once(F f) const {
    __syncwarp();
    if (lane == 0) f();
    __syncwarp();
  }

  template <typename F>
  __device__ double sum(int begin, int end, F f) const {
    double total = 0.0;
    for (int i = begin + lane; i < end; i += 32) total += f(i);
    // The butterfly adds the same pairs in every lane, so that all lanes hold the same bits.
    for (int width = 16; width > 0; width /= 2) total += __shfl_xor_sync(all, total, width);
    return total;
  }

  template <typename F>
  __device__ int highest(int begin, int end, double& best, F f) const {
    int found = -1;
    for (int i = begin + lane; i < end; i += 32) {
      const double value = f(i);
      if (value > best) {
        best = value;
        found = i;
      }
    }
    for (int width = 16; width > 0; width /= 2) {
      const double value = __shfl_xor_sync(all, best, width);
      const int index = __shfl_xor_sync(all, found, width);
      if (index >= 0 && (found < 0 || value > best || (value == best && index < found))) {
        best = value;
        found = index;
      }
    }
    return found;
  }
};
#endif

}  // namespace MODNAS_FAST_ISA
}  // namespace modnas_fast
