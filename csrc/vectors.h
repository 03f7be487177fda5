// Vectors of the instruction set that a file is compiled for. Formulas that take a vector type take plain numbers, too,
// for the channels that are left over.
#pragma once

#include <cstring>

#include "instruction_set.h"

namespace modnas_fast::vectors::MODNAS_FAST_ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(vector_bytes)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(vector_bytes)));
};
template <typename T>
using Vector = typename VectorOf<T>::type;

template <typename T>
constexpr int lanes = vector_bytes / static_cast<int>(sizeof(T));

template <typename V, typename T>
inline V load(const T* from) {
  V value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename V, typename T>
inline void store(T* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

}  // namespace modnas_fast::vectors::MODNAS_FAST_ISA
