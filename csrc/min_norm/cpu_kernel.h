// The solver's loop over problems, compiled once per instruction set.
#pragma once

#include <cstdint>

#include "min_norm/types.h"

#define MODNAS_FAST_DECLARE_MIN_NORM(ISA)                                                                     \
  namespace modnas_fast::min_norm::cpu::ISA {                                                                    \
  void solve_range(const Options& options, const float* gramian, std::int64_t begin, std::int64_t end, int n, \
                   void* memory, const Answers<float>& out);                                                  \
  void solve_range(const Options& options, const double* gramian, std::int64_t begin, std::int64_t end,       \
                   int n, void* memory, const Answers<double>& out);                                          \
  }

MODNAS_FAST_DECLARE_MIN_NORM(baseline)
MODNAS_FAST_DECLARE_MIN_NORM(avx2)
MODNAS_FAST_DECLARE_MIN_NORM(avx512)
