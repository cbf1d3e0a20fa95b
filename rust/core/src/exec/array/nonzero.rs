//! Integers made from masks and positions.

use super::{Dims, elements_mut, expect, inside};
use crate::{Error, Result};
use std::ops::Range;

/// The number of true elements of a bool array.
pub fn count(mask: &[u8]) -> usize {
    // Sums of bytes in bytes, before they can overflow.
    mask.chunks(255).map(|part| part.iter().map(|b| (*b != 0) as u8).sum::<u8>() as usize).sum()
}

/// The positions (int64) of the true elements, of which there are as many as `dst` has room for.
pub fn positions(mask: &[u8], dst: &mut [u8]) -> Result<()> {
    let dst = elements_mut::<i64>(dst)?;
    let found = count(mask);
    if found != dst.len() {
        return Err(Error::Internal(format!("nonzero: {found} true elements where {} were counted before", dst.len())));
    }
    let mut filled = 0;
    for (i, b) in mask.iter().enumerate() {
        // Without a branch: a false element's position is overwritten by the next one's.
        if filled == dst.len() {
            break;
        }
        dst[filled] = i as i64;
        filled += (*b != 0) as usize;
    }
    Ok(())
}

/// Each element's index (int64) along the middle axis, for the outer `rows`; `dst` holds just those.
pub fn iota(dims: Dims, dst: &mut [u8], rows: Range<usize>) -> Result<()> {
    let dst = elements_mut::<i64>(dst)?;
    inside("iota", &rows, dims.outer)?;
    expect("iota", dst.len(), rows.len() * dims.n * dims.inner)?;
    if dst.is_empty() {
        return Ok(());
    }
    for block in dst.chunks_exact_mut(dims.n * dims.inner) {
        if dims.inner == 1 {
            for (i, out) in block.iter_mut().enumerate() {
                *out = i as i64;
            }
        } else {
            for (i, row) in block.chunks_exact_mut(dims.inner).enumerate() {
                row.fill(i as i64);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::bytes_mut;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_and_positions(mask in proptest::collection::vec(0u8..3, 0..1200)) {
            let want: Vec<i64> = (0..mask.len()).filter(|&i| mask[i] != 0).map(|i| i as i64).collect();
            prop_assert_eq!(count(&mask), want.len());
            let mut got = vec![-1i64; want.len()];
            positions(&mask, bytes_mut(&mut got)).unwrap();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn a_full_mask_does_not_overflow() {
        assert_eq!(count(&vec![255u8; 100_000]), 100_000);
        assert!(matches!(positions(&[1, 1], bytes_mut(&mut [0i64; 1])), Err(Error::Internal(_))));
    }

    #[test]
    fn indices_along_an_axis() {
        let mut got = [0i64; 12];
        iota(Dims { outer: 2, n: 3, inner: 2 }, bytes_mut(&mut got), 0..2).unwrap();
        assert_eq!(got, [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
        let mut got = [0i64; 3];
        iota(Dims { outer: 4, n: 3, inner: 1 }, bytes_mut(&mut got), 3..4).unwrap();
        assert_eq!(got, [0, 1, 2]);
        iota(Dims { outer: 1, n: 0, inner: 4 }, &mut [], 0..1).unwrap();
    }
}
