// The inline namespace of code that is compiled once per instruction set: the linker must never merge two
// versions of one function. CMakeLists.txt names the set; without a name it is the platform's own baseline.
#pragma once

#ifndef MODNAS_FAST_ISA
#define MODNAS_FAST_ISA baseline
#endif
