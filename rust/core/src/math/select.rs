//! where: selection by a mask.
