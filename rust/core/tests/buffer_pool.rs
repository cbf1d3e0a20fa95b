//! What the buffer pool keeps, counted. The counts are the process's, so these tests have a process of their own, and take turns.
#![allow(unsafe_code)]

use std::sync::Mutex;

use mlgrad_core::exec::buffer::{ALIGN, Buffer, bytes_in_use, bytes_pooled, set_pool_limit, trim};

static TURN: Mutex<()> = Mutex::new(());

#[test]
fn recycled_aligned_and_counted() {
    let _turn = TURN.lock().unwrap();
    set_pool_limit(64 << 20);
    for bytes in [0, 1, 63, 64, 1000, 100_000, 8_000_000] {
        let mut a = Buffer::new(bytes).unwrap();
        assert_eq!(a.as_ptr() as usize % ALIGN, 0);
        assert_eq!(a.len_bytes(), bytes);
        a.as_mut_slice::<u8>().fill(7);
        // SAFETY: 64 bytes of slack are promised.
        unsafe { a.as_mut_ptr().add(bytes).write_bytes(1, ALIGN) };
        let address = a.as_ptr() as usize;
        let (used, pooled) = (bytes_in_use(), bytes_pooled());
        drop(a);
        assert!(bytes_in_use() + bytes + ALIGN <= used);
        assert_eq!(bytes_in_use() + bytes_pooled(), used + pooled);
        let b = Buffer::new(bytes).unwrap();
        assert_eq!(b.as_ptr() as usize, address, "{bytes} bytes are not recycled");
        assert_eq!(b.as_slice::<f64>().len(), bytes / 8);
    }
}

#[test]
fn the_pool_is_bounded_and_prefers_recent_sizes() {
    let _turn = TURN.lock().unwrap();
    set_pool_limit(1 << 20);
    for k in 1..60 {
        drop((0..4).map(|_| Buffer::new(k * 10_000).unwrap()).collect::<Vec<_>>());
        assert!(bytes_pooled() <= 1 << 20);
        let kept = Buffer::new(k * 10_000).unwrap();
        let address = kept.as_ptr() as usize;
        drop(kept);
        assert_eq!(Buffer::new(k * 10_000).unwrap().as_ptr() as usize, address, "the latest size is kept");
    }
    drop(Buffer::new(2 << 20).unwrap());
    assert!(bytes_pooled() <= 1 << 20);
    trim(0);
    assert_eq!(bytes_pooled(), 0);
    set_pool_limit(0);
    drop(Buffer::new(100).unwrap());
    assert_eq!(bytes_pooled(), 0);
}
