"""Pictures of derivatives with matplotlib (``pip install "mlgrad[plot]"``).

Every function draws on the Axes that it is given, or on a new one, and returns it.
"""

from mlgrad.plot._curve import curve
from mlgrad.plot._flow import gradient_flow
from mlgrad.plot._implicit import implicit_curve
from mlgrad.plot._surface import gradient_field, surface

__all__ = ["curve", "gradient_field", "gradient_flow", "implicit_curve", "surface"]
