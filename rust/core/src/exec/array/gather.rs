//! Rows by index: read, added to, replaced.

use super::{elements, elements_mut, expect, inside};
use crate::math::isa;
use crate::math::reduce::{AccumulateKernel, accumulate};
use crate::ops::ReduceOp;
use crate::tape::DType;
use crate::{Error, Result};
use std::ops::Range;

pub fn out_of_range(index: i64, size: usize) -> Error {
    Error::Index(format!("index {index} is out of bounds for axis 0 with size {size}"))
}

/// Indices into an axis of length `size`: negative ones count from its end; the first one outside raises.
pub fn check_index(index: &[u8], size: usize, dst: &mut [u8]) -> Result<()> {
    let (index, dst) = (elements::<i64>(index)?, elements_mut::<i64>(dst)?);
    expect("check_index", dst.len(), index.len())?;
    let n = size as i64;
    for (out, &i) in dst.iter_mut().zip(index) {
        let wrapped = if i < 0 { i + n } else { i };
        if wrapped < 0 || wrapped >= n {
            return Err(out_of_range(i, size));
        }
        *out = wrapped;
    }
    Ok(())
}

/// `dst[k] = x[index[k]]` for rows of `row` bytes. `x` has `count` rows; `index` and `dst` may be any part of the whole.
pub fn gather(x: &[u8], count: usize, row: usize, index: &[u8], dst: &mut [u8]) -> Result<()> {
    let index = elements::<i64>(index)?;
    expect("gather", x.len(), count * row)?;
    expect("gather", dst.len(), index.len() * row)?;
    // One pass over the indices, so that the copies need no test.
    if let Some(&i) = index.iter().find(|i| **i as u64 >= count as u64) {
        return Err(out_of_range(i, count));
    }
    if row == 0 {
        return Ok(());
    }
    // SAFETY: the indices are below `count`, which rows of x there are, and dst has a row for each.
    unsafe {
        match row {
            1 => gather_elements::<u8>(x, index, dst),
            4 => gather_elements::<u32>(x, index, dst),
            8 => gather_elements::<u64>(x, index, dst),
            16 => gather_elements::<[u64; 2]>(x, index, dst),
            _ => {
                for (k, &i) in index.iter().enumerate() {
                    let from = x.as_ptr().add(i as usize * row);
                    std::ptr::copy_nonoverlapping(from, dst.as_mut_ptr().add(k * row), row);
                }
            }
        }
    }
    Ok(())
}

/// # Safety
/// Every index is a row of x, whose rows are T; dst has as many rows as there are indices.
unsafe fn gather_elements<T: Copy>(x: &[u8], index: &[i64], dst: &mut [u8]) {
    let (x, dst) = (x.as_ptr().cast::<T>(), dst.as_mut_ptr().cast::<T>());
    for (k, &i) in index.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { dst.add(k).write_unaligned(x.add(i as usize).read_unaligned()) };
    }
}

/// `dst[index[k]] += v[k]` in the order of k, for rows of `inner` elements (bool takes `or`). Of a destination of `count`
/// rows, `dst` holds those in `rows`: indices elsewhere are skipped, so that several threads can each do a part.
pub fn scatter_add(
    dtype: DType,
    index: &[u8],
    v: &[u8],
    inner: usize,
    count: usize,
    dst: &mut [u8],
    rows: Range<usize>,
) -> Result<()> {
    let row = inner * dtype.size();
    let index = check_scatter("scatter_add", index, v, row, count, dst, &rows)?;
    if row == 0 {
        return Ok(());
    }
    if inner == 1 {
        // SAFETY: checked above; rows outside of `rows` are skipped.
        unsafe {
            match dtype {
                DType::I64 => add_elements::<i64>(index, v, dst, &rows, i64::wrapping_add),
                DType::I32 => add_elements::<i32>(index, v, dst, &rows, i32::wrapping_add),
                DType::F32 => add_elements::<f32>(index, v, dst, &rows, |a, b| a + b),
                DType::F64 => add_elements::<f64>(index, v, dst, &rows, |a, b| a + b),
                DType::U8 => add_elements::<u8>(index, v, dst, &rows, u8::wrapping_add),
                DType::Bool => add_elements::<u8>(index, v, dst, &rows, |a, b| (a | b != 0) as u8),
                DType::C64 | DType::C128 => return Err(unsupported(dtype)),
            }
        }
        return Ok(());
    }
    let op = if dtype == DType::Bool { ReduceOp::Any } else { ReduceOp::Sum };
    let add: AccumulateKernel = accumulate(isa(), op, dtype).ok_or_else(|| unsupported(dtype))?;
    for (&i, from) in index.iter().zip(v.chunks_exact(row)) {
        let i = i as usize;
        if rows.contains(&i) {
            let to = &mut dst[(i - rows.start) * row..][..row];
            // SAFETY: both are rows of `inner` elements, in different buffers.
            unsafe { add(inner, to.as_mut_ptr(), from.as_ptr()) };
        }
    }
    Ok(())
}

fn unsupported(dtype: DType) -> Error {
    Error::Type(format!("scatter_add is not defined for {dtype}"))
}

/// # Safety
/// v has an element for each index, dst one for each of `rows`.
#[inline(always)]
unsafe fn add_elements<T: Copy>(index: &[i64], v: &[u8], dst: &mut [u8], rows: &Range<usize>, add: impl Fn(T, T) -> T) {
    let (v, dst) = (v.as_ptr().cast::<T>(), dst.as_mut_ptr().cast::<T>());
    for (k, &i) in index.iter().enumerate() {
        let place = (i as usize).wrapping_sub(rows.start);
        if place < rows.len() {
            // SAFETY: the caller's promise.
            unsafe {
                let at = dst.add(place);
                at.write_unaligned(add(at.read_unaligned(), v.add(k).read_unaligned()));
            }
        }
    }
}

/// `dst[index[k]] = v[k]` in the order of k, so that the last of several stays, for rows of `row` bytes; otherwise as
/// [`scatter_add`].
pub fn scatter_set(index: &[u8], v: &[u8], row: usize, count: usize, dst: &mut [u8], rows: Range<usize>) -> Result<()> {
    let index = check_scatter("scatter", index, v, row, count, dst, &rows)?;
    if row == 0 {
        return Ok(());
    }
    for (&i, from) in index.iter().zip(v.chunks_exact(row)) {
        let i = i as usize;
        if rows.contains(&i) {
            dst[(i - rows.start) * row..][..row].copy_from_slice(from);
        }
    }
    Ok(())
}

fn check_scatter<'a>(
    what: &str,
    index: &'a [u8],
    v: &[u8],
    row: usize,
    count: usize,
    dst: &[u8],
    rows: &Range<usize>,
) -> Result<&'a [i64]> {
    let index = elements::<i64>(index)?;
    inside(what, rows, count)?;
    expect(what, v.len(), index.len() * row)?;
    expect(what, dst.len(), rows.len() * row)?;
    match index.iter().find(|i| **i as u64 >= count as u64) {
        Some(&i) => Err(out_of_range(i, count)),
        None => Ok(index),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes, bytes_mut, noise};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_of_any_length(
            count in 1usize..9, inner in 0usize..7, index in proptest::collection::vec(0i64..1000, 0..30), cut in 0usize..9,
        ) {
            let index: Vec<i64> = index.iter().map(|i| i % count as i64).collect();
            let (x, v) = (noise(count * inner), noise((count + index.len()) * inner)[count * inner..].to_vec());
            let row = |a: &[f64], i: usize| a[i * inner..(i + 1) * inner].to_vec();

            let mut got = vec![0.0; index.len() * inner];
            gather(bytes(&x), count, inner * 8, bytes(&index), bytes_mut(&mut got)).unwrap();
            let want: Vec<f64> = index.iter().flat_map(|&i| row(&x, i as usize)).collect();
            prop_assert_eq!(got, want);

            let (mut added, mut set) = (x.clone(), x.clone());
            for (k, &i) in index.iter().enumerate() {
                for j in 0..inner {
                    added[i as usize * inner + j] += v[k * inner + j];
                    set[i as usize * inner + j] = v[k * inner + j];
                }
            }
            let cut = cut % (count + 1);
            let (mut a, mut s) = (x.clone(), x.clone());
            for rows in [0..cut, cut..count] {
                let part = rows.start * inner..rows.end * inner;
                let (ib, vb) = (bytes(&index), bytes(&v));
                scatter_add(DType::F64, ib, vb, inner, count, bytes_mut(&mut a[part.clone()]), rows.clone()).unwrap();
                scatter_set(ib, vb, inner * 8, count, bytes_mut(&mut s[part]), rows).unwrap();
            }
            prop_assert_eq!(a, added);
            prop_assert_eq!(s, set);
        }
    }

    #[test]
    fn small_elements_and_bools() {
        let index = [2i64, 0, 2];
        let mut got = [0u8; 3];
        gather(&[5, 6, 7], 3, 1, bytes(&index), &mut got).unwrap();
        assert_eq!(got, [7, 5, 7]);
        let mut got = [0f32; 3];
        gather(bytes(&[5f32, 6.0, 7.0]), 3, 4, bytes(&index), bytes_mut(&mut got)).unwrap();
        assert_eq!(got, [7.0, 5.0, 7.0]);
        let mut dst = [0u8; 3];
        scatter_add(DType::Bool, bytes(&index), &[1, 0, 1], 1, 3, &mut dst, 0..3).unwrap();
        assert_eq!(dst, [0, 0, 1]);
        let mut dst = [0i32; 3];
        scatter_add(DType::I32, bytes(&index), bytes(&[i32::MAX, 4, 1]), 1, 3, bytes_mut(&mut dst), 0..3).unwrap();
        assert_eq!(dst, [4, 0, i32::MIN]);
        let mut dst = [0u8; 6];
        scatter_add(DType::Bool, bytes(&index), &[1, 0, 0, 1, 0, 0], 2, 3, &mut dst, 0..3).unwrap();
        assert_eq!(dst, [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn indices_outside_raise_with_their_number() {
        let mut dst = [0i64; 3];
        check_index(bytes(&[-1i64, 0, 3]), 4, bytes_mut(&mut dst)).unwrap();
        assert_eq!(dst, [3, 0, 3]);
        for bad in [4i64, -5, i64::MIN, i64::MAX] {
            let e = check_index(bytes(&[0, bad]), 4, bytes_mut(&mut dst[..2])).unwrap_err();
            assert_eq!(e, Error::Index(format!("index {bad} is out of bounds for axis 0 with size 4")));
        }
        let mut out = [0.0f64; 1];
        for bad in [-1i64, 2] {
            let raised = gather(bytes(&[1.0, 2.0]), 2, 8, bytes(&[bad]), bytes_mut(&mut out));
            assert!(matches!(raised, Err(Error::Index(_))));
            let raised = scatter_set(bytes(&[bad]), bytes(&[1.0]), 8, 1, bytes_mut(&mut out), 0..1);
            assert!(matches!(raised, Err(Error::Index(_))));
        }
        assert!(gather(bytes(&[1.0]), 2, 8, bytes(&[0i64]), bytes_mut(&mut out)).is_err());
    }
}
