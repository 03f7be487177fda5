"""Triton kernels of modnas_fast, one file per operation; installed as the subpackage modnas_fast.kernels.

Importing a module of this package imports triton. They serve tensors on CUDA, and under TRITON_INTERPRET=1, which must
be set before triton is imported, tensors on the CPU.
"""
