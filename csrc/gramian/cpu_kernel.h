// The inner loops of gramian and combine, compiled once per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gramian/types.h"

#define MODNAS_FAST_DECLARE_GRAMIAN(ISA)                                                                      \
  namespace modnas_fast::gramian::cpu::ISA {                                                                  \
  std::size_t workspace_doubles(int count);                                                                   \
  std::size_t sum_doubles(int count);                                                                         \
  void accumulate(const void* const* rows, Type type, std::int64_t begin, std::int64_t end, int count,        \
                  double* workspace, double* sums);                                                           \
  void finish(const double* sums, int count, double* gram);                                                   \
  void combine(const void* const* rows, Type type, std::int64_t begin, std::int64_t end, int count,           \
               const double* weights, double* workspace, void* out);                                          \
  }

MODNAS_FAST_DECLARE_GRAMIAN(baseline)
MODNAS_FAST_DECLARE_GRAMIAN(avx2)
MODNAS_FAST_DECLARE_GRAMIAN(avx512)
