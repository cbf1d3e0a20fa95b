//! Conversions between dtypes.
