"""Triton kernels of modnas_fast, one file per operation; installed as the subpackage modnas_fast.kernels.

There are none yet: every operation is served by the compiled core or by its PyTorch reference, as
`modnas-fast doctor` shows.
"""
