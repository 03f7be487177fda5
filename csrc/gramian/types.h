// The number formats that gradients come in.
#pragma once

#include <cstdint>

namespace modnas_fast::gramian {

enum class Type : std::int32_t { float64, float32, float16, bfloat16 };

}  // namespace modnas_fast::gramian
