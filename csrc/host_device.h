// The mark of functions that run on the CPU and on CUDA devices alike.
#pragma once

#ifdef __CUDACC__
#define MODNAS_FAST_HD __host__ __device__
#else
#define MODNAS_FAST_HD
#endif
