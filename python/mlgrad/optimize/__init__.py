"""SciPy's optimisers with every derivative filled in, for arrays and trees of parameters.

`minimize`, `least_squares` and `root` take what the functions of `scipy.optimize` take, without the derivatives. They
need SciPy, which ``pip install 'mlgrad[optimize]'`` brings.

>>> import numpy as np
>>> from mlgrad import optimize
>>> rosenbrock = lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
>>> result = optimize.minimize(rosenbrock, np.zeros(5), method="Newton-CG", tol=1e-10)
>>> result.success, np.allclose(result.x, 1)
(True, True)
"""

from __future__ import annotations

from mlgrad.optimize._least_squares import least_squares
from mlgrad.optimize._minimize import minimize
from mlgrad.optimize._root import root

__all__ = ["least_squares", "minimize", "root"]
