//! Aligned byte buffers from a recycling pool.
//!
//! A fresh large allocation costs a page fault every 4 KiB when it is first written, so dropped buffers are kept, large ones
//! too, up to a bound in bytes. Sizes are rounded up to classes, eight to a doubling; each class has a list of free buffers
//! that is linked through the buffers themselves, behind a lock that is only ever tried: whoever does not get it goes to the
//! allocator. So a lock that another thread held at the moment of a fork costs the child one list and never a deadlock, and
//! as there is neither a thread-local nor a destructor, buffers may be dropped at any point of interpreter shutdown.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};

use super::memory_limit;
use crate::{Error, Result};

/// Alignment of a buffer; also the readable and writable bytes past its end.
pub const ALIGN: usize = 64;

/// A request of at least this many bytes is checked against what the machine has left.
const LARGE: usize = 256 << 20;

/// A request of at least this many bytes asks for huge pages, as NumPy does.
const HUGE: usize = 4 << 20;

/// Owned bytes at a 64-byte boundary. The contents are whatever the last user left there. At least 64 bytes past the end may
/// be read and written, so that whole vectors need no tail.
///
/// Or the bytes of somebody else, which are only read, and have nothing behind them.
pub struct Buffer {
    ptr: NonNull<u8>,
    len: usize,
    /// Keeps the bytes of somebody else alive.
    owner: Option<Box<dyn Any + Send + Sync>>,
}

// SAFETY: a buffer owns its memory, and hands out references by the usual rules.
unsafe impl Send for Buffer {}
// SAFETY: as above; `&Buffer` gives shared references and raw pointers only.
unsafe impl Sync for Buffer {}

/// Element types for which any bytes are a value.
///
/// # Safety
/// Every bit pattern is valid, the alignment is at most 64 and there is no padding.
pub unsafe trait Plain: Copy {}
// SAFETY: plain numbers.
unsafe impl Plain for u8 {}
// SAFETY: plain numbers.
unsafe impl Plain for i32 {}
// SAFETY: plain numbers.
unsafe impl Plain for i64 {}
// SAFETY: plain numbers.
unsafe impl Plain for f32 {}
// SAFETY: plain numbers.
unsafe impl Plain for f64 {}

impl Buffer {
    /// A buffer of so many bytes, or [`Error::Memory`].
    pub fn new(bytes: usize) -> Result<Buffer> {
        let class = Class::of(bytes).ok_or_else(|| too_large(bytes))?;
        let ptr = match class.list().pop() {
            Some(ptr) => ptr,
            None => fresh(class, bytes)?,
        };
        let used = IN_USE.fetch_add(class.capacity(), Relaxed) + class.capacity();
        if used > PEAK.load(Relaxed) {
            PEAK.fetch_max(used, Relaxed);
        }
        Ok(Buffer { ptr, len: bytes, owner: None })
    }

    /// The bytes of somebody else, to be read in place.
    ///
    /// # Safety
    /// They stay readable until `owner` is dropped, nobody writes them while the buffer lives, and they are aligned for whatever
    /// elements are read. Nobody writes through [`Buffer::as_mut_ptr`].
    pub unsafe fn lent(ptr: NonNull<u8>, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> Buffer {
        Buffer { ptr, len: bytes, owner: Some(owner) }
    }

    /// Whether the bytes are somebody else's.
    pub fn is_lent(&self) -> bool {
        self.owner.is_some()
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }

    /// For writing through: the caller sees to it that nobody reads or writes the same bytes at the time.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    pub fn len_bytes(&self) -> usize {
        self.len
    }

    /// The contents as elements; bytes that do not fill an element are left out.
    pub fn as_slice<T: Plain>(&self) -> &[T] {
        // SAFETY: aligned to 64 or as whoever lent them says, initialised (fresh memory is zeroed), within len, any bits are a T.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().cast(), self.len / size_of::<T>()) }
    }

    pub fn as_mut_slice<T: Plain>(&mut self) -> &mut [T] {
        assert!(self.owner.is_none(), "lent bytes are only read");
        // SAFETY: as for as_slice, and we are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().cast(), self.len / size_of::<T>()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.owner.is_some() {
            return;
        }
        if let Some(class) = Class::of(self.len) {
            let capacity = class.capacity();
            let used = IN_USE.fetch_sub(capacity, Relaxed) - capacity;
            let limit = LIMIT.load(Relaxed);
            if TOTAL.load(Relaxed).saturating_sub(used) > limit && !make_room(class, limit) {
                // SAFETY: ours, and not used again.
                unsafe { release(class, self.ptr) };
            } else if !class.list().push(self.ptr) {
                // SAFETY: as above.
                unsafe { release(class, self.ptr) };
            }
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

/// Bytes in live buffers, by capacity.
pub fn bytes_in_use() -> usize {
    IN_USE.load(Relaxed)
}

/// Bytes kept for reuse.
pub fn bytes_pooled() -> usize {
    TOTAL.load(Relaxed).saturating_sub(IN_USE.load(Relaxed))
}

/// The largest value of [`bytes_in_use`] since the start or the last [`reset_peak`].
pub fn bytes_peak() -> usize {
    PEAK.load(Relaxed)
}

pub fn reset_peak() {
    PEAK.store(IN_USE.load(Relaxed), Relaxed);
}

/// Bounds the bytes kept for reuse, and gives back what is above the bound.
pub fn set_pool_limit(bytes: usize) {
    LIMIT.store(bytes.min(NOT_SET - 1), Relaxed);
    trim(bytes);
}

/// Gives free buffers back to the allocator, the least recently used sizes first, until at most `keep` bytes are pooled.
pub fn trim(keep: usize) {
    while bytes_pooled() > keep {
        let oldest = Class::all()
            .filter(|c| !c.list().head_is_null())
            .max_by_key(|c| CLOCK.load(Relaxed).wrapping_sub(c.list().used.load(Relaxed)));
        let Some(class) = oldest else { return };
        let Some(ptr) = class.list().pop_untimed() else { return };
        // SAFETY: it came from this class's list, so nobody else has it.
        unsafe { release(class, ptr) };
    }
}

const NOT_SET: usize = usize::MAX;
/// Bytes taken from the allocator and not given back.
static TOTAL: AtomicUsize = AtomicUsize::new(0);
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(NOT_SET);
/// Counts fresh allocations: a coarse time to tell which sizes have not been asked for lately.
static CLOCK: AtomicU32 = AtomicU32::new(0);

/// 256 MiB, or an eighth of a small machine's memory.
fn default_limit() -> usize {
    (256 << 20).min(memory_limit::total() / 8)
}

/// A size class: `mantissa << shift` units of 64 bytes, with the mantissa below 16, and from 8 up where the shift is not 0.
#[derive(Clone, Copy)]
struct Class {
    mantissa: usize,
    shift: u32,
}

const SHIFTS: u32 = usize::BITS - 6 - 4;
const CLASSES: usize = 16 + (SHIFTS as usize) * 8;
static LISTS: [FreeList; CLASSES] = [const { FreeList::new() }; CLASSES];

impl Class {
    /// The smallest class with room for so many bytes and the slack; None if that is not an address range.
    fn of(bytes: usize) -> Option<Class> {
        if bytes > isize::MAX as usize / 2 {
            return None;
        }
        let units = bytes.div_ceil(ALIGN) + 1;
        if units < 16 {
            return Some(Class { mantissa: units, shift: 0 });
        }
        let shift = units.ilog2() - 3;
        let mantissa = (units + (1 << shift) - 1) >> shift;
        Some(if mantissa == 16 { Class { mantissa: 8, shift: shift + 1 } } else { Class { mantissa, shift } })
    }

    fn capacity(self) -> usize {
        (self.mantissa << self.shift) * ALIGN
    }

    fn list(self) -> &'static FreeList {
        &LISTS[self.mantissa + 8 * self.shift as usize]
    }

    fn all() -> impl Iterator<Item = Class> {
        let small = (1..16).map(|mantissa| Class { mantissa, shift: 0 });
        small.chain((1..=SHIFTS).flat_map(|shift| (8..16).map(move |mantissa| Class { mantissa, shift })))
    }

    /// What is asked of the allocator: room to align, and one word in front of the buffer for the address to give back.
    /// A plain alignment, because only then does the allocator know large memory to be zero without writing it.
    fn layout(self) -> Option<Layout> {
        Layout::from_size_align(self.capacity() + ALIGN, align_of::<usize>()).ok()
    }
}

fn too_large(bytes: usize) -> Error {
    Error::Memory(format!("cannot allocate {bytes} bytes: the size of an array must stay below the address range"))
}

/// New memory from the allocator, zeroed.
#[cold]
fn fresh(class: Class, bytes: usize) -> Result<NonNull<u8>> {
    if LIMIT.load(Relaxed) == NOT_SET {
        // a lost race against set_pool_limit must not overwrite its value
        let _ = LIMIT.compare_exchange(NOT_SET, default_limit(), Relaxed, Relaxed);
    }
    CLOCK.fetch_add(1, Relaxed);
    let capacity = class.capacity();
    let refuse = |what: &str, limit: usize| {
        Error::Memory(format!("cannot allocate {bytes} bytes: {what} {limit} bytes; use smaller arrays or checkpoint"))
    };
    let total = memory_limit::total();
    if capacity.saturating_add(TOTAL.load(Relaxed)) > total {
        trim(0);
        let used = TOTAL.load(Relaxed);
        if capacity.saturating_add(used) > total {
            return Err(refuse(&format!("{used} bytes are in use of the machine's"), total));
        }
    }
    if capacity >= LARGE
        && let Some(available) = memory_limit::available()
        && capacity > available
    {
        trim(0);
        let available = memory_limit::available().unwrap_or(usize::MAX);
        if capacity > available {
            return Err(refuse("the machine has left", available));
        }
    }
    let layout = class.layout().ok_or_else(|| too_large(bytes))?;
    // SAFETY: the size is not 0.
    let mut raw = unsafe { alloc_zeroed(layout) };
    if raw.is_null() {
        trim(0);
        // SAFETY: as above.
        raw = unsafe { alloc_zeroed(layout) };
    }
    if raw.is_null() {
        return Err(Error::Memory(format!("cannot allocate {bytes} bytes: the system refused; use smaller arrays")));
    }
    TOTAL.fetch_add(capacity, Relaxed);
    if capacity >= HUGE {
        ask_for_huge_pages(raw, capacity);
    }
    // SAFETY: the offset is between 8 and 64 (raw is aligned to 8), so the word in front and the capacity behind are inside.
    unsafe {
        let ptr = raw.add(ALIGN - raw.addr() % ALIGN);
        ptr.cast::<*mut u8>().sub(1).write(raw);
        Ok(NonNull::new_unchecked(ptr))
    }
}

/// Tells the system that so many bytes would better lie on huge pages: fewer faults when they are first written, and fewer
/// addresses to look up ever after.
fn ask_for_huge_pages(from: *mut u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        use std::ffi::{c_int, c_void};
        unsafe extern "C" {
            fn madvise(from: *mut c_void, bytes: usize, advice: c_int) -> c_int;
        }
        const MADV_HUGEPAGE: c_int = 14;
        const PAGE: usize = 4096;
        let skipped = from.addr().next_multiple_of(PAGE) - from.addr();
        // SAFETY: advice about whole pages that are ours. Where it is refused (no huge pages, larger small ones) nothing changes.
        unsafe {
            madvise(from.wrapping_add(skipped).cast(), (bytes - skipped) / PAGE * PAGE, MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (from, bytes);
}

/// Gives a buffer back to the allocator.
///
/// # Safety
/// The pointer came from [`fresh`] for this class, and is not used again.
#[cold]
unsafe fn release(class: Class, ptr: NonNull<u8>) {
    if let Some(layout) = class.layout() {
        TOTAL.fetch_sub(class.capacity(), Relaxed);
        // SAFETY: the word in front holds the address that the allocator gave for this layout.
        unsafe { dealloc(ptr.as_ptr().cast::<*mut u8>().sub(1).read(), layout) };
    }
}

/// Called when a buffer of the class that is being dropped takes the pool over its limit: whether it should still be kept.
#[cold]
fn make_room(class: Class, limit: usize) -> bool {
    let capacity = class.capacity();
    if capacity > limit {
        return false;
    }
    // the buffer counts as pooled already; a quarter more, so that not every drop comes here
    class.list().used.store(CLOCK.load(Relaxed), Relaxed);
    trim(capacity + (limit - capacity) / 4 * 3);
    bytes_pooled() <= limit
}

/// The free buffers of a class, linked through their first words.
struct FreeList {
    locked: AtomicBool,
    /// [`CLOCK`] when the class was last asked for.
    used: AtomicU32,
    head: UnsafeCell<*mut u8>,
}

// SAFETY: `head` is read and written under `locked` alone.
unsafe impl Sync for FreeList {}

impl FreeList {
    const fn new() -> FreeList {
        FreeList { locked: AtomicBool::new(false), used: AtomicU32::new(0), head: UnsafeCell::new(null_mut()) }
    }

    /// Runs f on the head if the lock can be had soon.
    fn with<R>(&self, f: impl FnOnce(&mut *mut u8) -> R) -> Option<R> {
        for _ in 0..50 {
            if !self.locked.swap(true, Acquire) {
                // SAFETY: we hold the lock; f does not call back here.
                let result = f(unsafe { &mut *self.head.get() });
                self.locked.store(false, Release);
                return Some(result);
            }
            std::hint::spin_loop();
        }
        None
    }

    fn pop(&self) -> Option<NonNull<u8>> {
        self.used.store(CLOCK.load(Relaxed), Relaxed);
        self.pop_untimed()
    }

    fn pop_untimed(&self) -> Option<NonNull<u8>> {
        self.with(|head| {
            let ptr = NonNull::new(*head)?;
            // SAFETY: a buffer in the list holds the next one's address in its first word.
            *head = unsafe { ptr.as_ptr().cast::<*mut u8>().read() };
            Some(ptr)
        })?
    }

    /// False if the lock was not to be had: the buffer is still the caller's.
    fn push(&self, ptr: NonNull<u8>) -> bool {
        self.with(|head| {
            // SAFETY: the buffer is ours, aligned, and at least 128 bytes long.
            unsafe { ptr.as_ptr().cast::<*mut u8>().write(*head) };
            *head = ptr.as_ptr();
        })
        .is_some()
    }

    fn head_is_null(&self) -> bool {
        self.with(|head| head.is_null()).unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_was_asked_with_slack_and_little_waste() {
        let sizes = (0..5000).chain((12..40).flat_map(|s| [(1 << s) - 65, (1 << s) - 64, 1 << s, (1 << s) + 1]));
        for bytes in sizes {
            let class = Class::of(bytes).unwrap();
            assert!(class.capacity() >= bytes + ALIGN, "{bytes}");
            assert!(class.capacity() <= (bytes + 2 * ALIGN) * 9 / 8 + ALIGN, "{bytes} -> {}", class.capacity());
            assert_eq!(class.capacity() % ALIGN, 0);
        }
        let all: Vec<_> = Class::all().map(|c| c.list() as *const _ as usize).collect();
        let mut distinct = all.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(all.len(), distinct.len());
        assert!(Class::of(isize::MAX as usize / 2).is_some_and(|c| c.list().head_is_null()));
    }

    #[test]
    fn what_the_machine_does_not_have_is_refused() {
        for bytes in [usize::MAX, isize::MAX as usize, isize::MAX as usize / 2, 1 << 60] {
            let error = Buffer::new(bytes).unwrap_err();
            assert!(matches!(&error, Error::Memory(m) if m.contains(&bytes.to_string())), "{error}");
        }
        #[cfg(target_os = "linux")]
        {
            assert!(matches!(Buffer::new(memory_limit::total()), Err(Error::Memory(_))));
        }
    }

    #[test]
    fn many_threads_never_share_a_buffer() {
        std::thread::scope(|scope| {
            for id in 0..4_u8 {
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for i in 0..20_000_usize {
                        let mut b = Buffer::new(i % 700).unwrap();
                        b.as_mut_slice::<u8>().fill(id);
                        held.push(b);
                        if held.len() > 20 {
                            let b = held.swap_remove(i % 20);
                            assert!(b.as_slice::<u8>().iter().all(|&x| x == id));
                        }
                    }
                });
            }
        });
    }
}
