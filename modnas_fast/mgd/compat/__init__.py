"""The interfaces of other packages' multiple gradient descent, served by `min_norm`.

- `modnas_fast.mgd.compat.min_norm_solver`: the classic `MinNormSolver` of Sener and Koltun's code and its copies;
- `modnas_fast.mgd.compat.torchjd`: `MGDAWeighting` and `MGDA` for TorchJD;
- `modnas_fast.mgd.compat.libmtl`: the weighting interface of LibMTL.

Importing this package loads none of them; the last two need the package that they serve.
"""
