"""What is measured: each function is written once, for any library with NumPy's names, and beside it its gradient."""
