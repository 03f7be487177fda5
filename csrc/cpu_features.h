// The widest instruction set of this processor that the core was also compiled for.
#pragma once

namespace modnas_fast {

enum class InstructionSet { baseline, avx2, avx512 };

/// Found once; a set named in the environment variable MODNAS_FAST_ISA ("baseline", "avx2") lowers it.
InstructionSet instruction_set();
/// Its name, for `modnas-fast doctor`.
const char* instruction_set_name();

}  // namespace modnas_fast
