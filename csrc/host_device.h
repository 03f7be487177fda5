// The mark of functions that are compiled for the CPU in C++ files and for the GPU in CUDA files.
#pragma once

#ifdef __CUDACC__
#define MODNAS_FAST_HD __device__
// A large function that is compiled once instead of into each of its callers: it does not pay to inline it.
#define MODNAS_FAST_LARGE_HD __device__ __noinline__
#else
#define MODNAS_FAST_HD
#define MODNAS_FAST_LARGE_HD
#endif
