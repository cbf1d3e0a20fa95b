"""NumPy's names over PyTorch, as far as the functions that are measured use them."""

import torch


def _numbers(f):
    """Let `f` of two tensors take a Python number as its first argument."""
    return lambda a, b: f(torch.as_tensor(a, dtype=b.dtype) if isinstance(a, float | int) else a, b)


sin, cos, exp, log, tanh, sqrt = torch.sin, torch.cos, torch.exp, torch.log, torch.tanh, torch.sqrt
maximum, logaddexp = _numbers(torch.maximum), _numbers(torch.logaddexp)
sum, mean, max, squeeze = torch.sum, torch.mean, torch.amax, torch.squeeze
swapaxes, asarray = torch.swapaxes, torch.as_tensor


def zeros(shape):
    return torch.zeros(shape, dtype=torch.float64)
