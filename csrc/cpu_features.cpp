#include "cpu_features.h"

#include <cstdlib>
#include <cstring>

namespace modnas_fast {
namespace {

InstructionSet find() {
#ifdef MODNAS_FAST_X86
  const char* const wanted = std::getenv("MODNAS_FAST_ISA");
  if (wanted != nullptr && std::strcmp(wanted, "baseline") == 0) return InstructionSet::baseline;
  const bool narrow = wanted != nullptr && std::strcmp(wanted, "avx2") == 0;
  __builtin_cpu_init();
  const bool has_avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  if (has_avx512 && !narrow) return InstructionSet::avx512;
  if (has_avx2) return InstructionSet::avx2;
#endif
  return InstructionSet::baseline;
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet found = find();
  return found;
}

const char* instruction_set_name() {
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return "AVX-512";
    case InstructionSet::avx2:
      return "AVX2";
    default:
      return "baseline";
  }
}

}  // namespace modnas_fast
