//! Running a plan: memory for one run, units one after the other.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::buffer::Buffer;
use super::control::{Left, Setup, Shared};
use super::entries::Entries;
use super::gemv::Products;
use super::indexed;
use super::node::Call;
use super::pool;
use super::region::{Bases, Place, Region};
use super::small_product::SmallProduct;
use super::straight::{self, Step};
use super::strided::Strided;
use crate::code::Module;
use crate::tape::Value;
use crate::{Error, Result};

/// The bytes of an argument: C-contiguous, aligned for the dtype, not padded.
#[derive(Clone, Copy, Debug)]
pub struct Param<'a> {
    ptr: *const u8,
    len: usize,
    of: PhantomData<&'a [u8]>,
}

// SAFETY: a shared slice of bytes.
unsafe impl Send for Param<'_> {}
// SAFETY: as above.
unsafe impl Sync for Param<'_> {}

impl<'a> Param<'a> {
    pub fn new(bytes: &'a [u8]) -> Param<'a> {
        Param { ptr: bytes.as_ptr(), len: bytes.len(), of: PhantomData }
    }

    /// The `bytes` bytes of a value.
    pub fn of(value: &'a Value, bytes: usize) -> Param<'a> {
        match value {
            Value::Scalar(bits) => Param::of_number(bits, bytes),
            Value::Array(b) => Param::new(&b.as_slice::<u8>()[..bytes.min(b.len_bytes())]),
        }
    }

    /// The first bytes of a number, which come first in memory on every machine that this is built for.
    pub fn of_number(bits: &'a u64, len: usize) -> Param<'a> {
        Param { ptr: std::ptr::from_ref(bits).cast(), len: len.min(8), of: PhantomData }
    }

    /// # Safety
    /// `len` bytes can be read as long as the parameter lives, and are aligned for their dtype.
    pub unsafe fn from_raw(ptr: *const u8, len: usize) -> Param<'a> {
        Param { ptr, len, of: PhantomData }
    }
}

#[derive(Debug)]
pub enum Unit {
    /// A range of the straight code.
    Steps(usize, usize),
    Region(Box<Region>),
    Call(Box<Call>),
    Products(Box<Products>),
    Entries(Box<Entries>),
}

#[derive(Debug)]
pub struct ParamSlot {
    pub bytes: usize,
    /// Where in the arena a small one is copied to.
    pub copied: Option<usize>,
}

#[derive(Debug)]
pub struct OutputSlot {
    pub bytes: usize,
    /// Where in the arena a small one is found afterwards; the others are written in place.
    pub copied: Option<usize>,
    pub scalar: bool,
    /// Written where the parameter is that it is the next of.
    pub in_place: bool,
}

/// One output of a run.
pub enum Output<'a> {
    /// In memory of the run, which others need afterwards: a number, or a small array.
    Inside(&'a [u8]),
    Fresh(Buffer),
}

/// One element, zero-extended.
fn number(bytes: &[u8]) -> Value {
    let mut word = [0; 8];
    let len = bytes.len().min(8);
    word[..len].copy_from_slice(&bytes[..len]);
    Value::Scalar(u64::from_le_bytes(word))
}

/// What a plan comes to for the machine. Bases of places: small arrays, large arrays, the parameters, the outputs.
#[derive(Debug, Default)]
pub struct Code {
    pub steps: Vec<Step>,
    pub units: Vec<Unit>,
    pub arena: usize,
    /// The part of it for small arrays; the large ones come after.
    pub small: usize,
    /// Bytes that the arena holds from the start, and that no run changes.
    pub constants: Vec<(usize, Box<[u8]>)>,
    /// Cells of the arena to be filled with addresses of places.
    pub addresses: Vec<(usize, Place)>,
    pub params: Vec<ParamSlot>,
    pub outputs: Vec<OutputSlot>,
    /// What constants hold the addresses of.
    pub views: Vec<Box<Strided>>,
    pub folds: Vec<Box<straight::SmallFold>>,
    pub runs: Vec<Box<straight::Runs>>,
    pub outside: Vec<Box<straight::Outside>>,
    pub products: Vec<Box<SmallProduct>>,
    pub indexed: Vec<Box<indexed::Indexed>>,
    /// The code of passes.
    pub module: Option<Module>,
    /// Where straight code writes down an index that is out of range: see `indexed::Missed`.
    pub missed: Option<usize>,
    /// How many loops leave something to later ones.
    pub kept: usize,
    pub nanoseconds: usize,
}

impl Code {
    /// Rough size, without the arena.
    pub fn bytes(&self) -> usize {
        let instr = size_of::<super::region::Instr>();
        let regions: usize = self.regions().map(|r| r.body.len() * instr).sum();
        let constants: usize = self.constants.iter().map(|c| c.1.len() + 32).sum();
        self.steps.len() * size_of::<Step>()
            + self.units.len() * 200
            + regions
            + constants
            + self.module.as_ref().map_or(0, Module::bytes)
    }
}

impl Code {
    fn regions(&self) -> impl Iterator<Item = &Region> {
        self.units.iter().flat_map(|u| {
            let (alone, members) = match u {
                Unit::Region(r) => (Some(&**r), None),
                Unit::Entries(e) => (None, Some(e.regions())),
                Unit::Steps(..) | Unit::Call(_) | Unit::Products(_) => (None, None),
            };
            alone.into_iter().chain(members.into_iter().flatten())
        })
    }

    pub fn regions_mut(&mut self) -> impl Iterator<Item = &mut Region> {
        self.units.iter_mut().flat_map(|u| {
            let (alone, members) = match u {
                Unit::Region(r) => (Some(&mut **r), None),
                Unit::Entries(e) => (None, Some(e.regions_mut())),
                Unit::Steps(..) | Unit::Call(_) | Unit::Products(_) => (None, None),
            };
            alone.into_iter().chain(members.into_iter().flatten())
        })
    }
}

/// The memory of one run, kept for the next.
pub struct Frame {
    arena: Buffer,
    bases: Vec<*mut u8>,
    /// What loops have left to later ones of the same run.
    kept: RefCell<Vec<Option<Left>>>,
    /// Of a loop's body: where the carries are.
    setup: Option<Setup>,
}

impl Frame {
    pub(super) fn arena(&self) -> *mut u8 {
        self.arena.as_mut_ptr()
    }

    /// The base of a parameter.
    pub(super) fn param(k: usize) -> usize {
        FIRST + k
    }

    /// The base of an output, behind so many parameters.
    pub(super) fn output(params: usize, k: usize) -> usize {
        FIRST + params + k
    }

    pub(super) fn take_setup(&mut self) -> Option<Setup> {
        self.setup.take()
    }

    pub(super) fn keep_setup(&mut self, setup: Setup) {
        self.setup = Some(setup);
    }

    /// Takes what is in a place for loops, and puts something else there.
    pub(super) fn exchange(&self, k: usize, new: Option<Left>) -> Option<Left> {
        self.kept.borrow_mut().get_mut(k).and_then(|place| std::mem::replace(place, new))
    }

    pub(super) fn base(&self, k: usize) -> *mut u8 {
        self.bases[k]
    }

    pub(super) fn set_base(&mut self, k: usize, at: *mut u8) {
        self.bases[k] = at;
    }
}

/// Code, and the frames that are free.
pub struct Runner {
    pub code: Code,
    /// One frame where it can be had without a lock; more of them behind one.
    ready: AtomicPtr<Frame>,
    #[expect(clippy::vec_box, reason = "frames travel between the two in their boxes")]
    more: Mutex<Vec<Box<Frame>>>,
}

// SAFETY: frames are owned by one thread at a time; their pointers are stale between runs.
unsafe impl Send for Runner {}
// SAFETY: as above.
unsafe impl Sync for Runner {}

impl Drop for Runner {
    fn drop(&mut self) {
        let frame = *self.ready.get_mut();
        if !frame.is_null() {
            // SAFETY: it came from Box::into_raw, and we are the last to see it.
            drop(unsafe { Box::from_raw(frame) });
        }
    }
}

/// Interruption is looked for after so many steps of straight code.
const STRETCH: usize = 4096;
/// Up to so many nanoseconds a run is brief.
const BRIEF: usize = 20_000;
/// Larger arenas go back to the pool of buffers after each run, so that idle plans do not hold on to them.
const KEPT: usize = 32 << 20;
/// Frames beyond this many are not kept.
const FRAMES: usize = 4;

impl Runner {
    pub fn new(code: Code) -> Runner {
        Runner { code, ready: AtomicPtr::new(null_mut()), more: Mutex::new(Vec::new()) }
    }

    /// Bytes that stay with the plan between runs.
    pub fn kept_bytes(&self) -> usize {
        if self.code.arena > KEPT { 0 } else { self.code.arena }
    }

    /// Whether a run never looks for interruption, and calls nothing but kernels.
    pub fn is_brief(&self) -> bool {
        self.code.nanoseconds <= BRIEF && self.code.steps.len() <= STRETCH
    }

    /// Memory for a run, to be given back.
    pub(super) fn frame(&self) -> Result<Box<Frame>> {
        let frame = self.ready.swap(null_mut(), Acquire);
        if !frame.is_null() {
            // SAFETY: it came from Box::into_raw, and the swap made it ours.
            return Ok(unsafe { Box::from_raw(frame) });
        }
        if let Some(frame) = self.more.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(frame);
        }
        let arena = Buffer::new(self.code.arena)?;
        // pad lanes hold 1.0, which no kernel is slow at
        let words = self.code.small / 8;
        for i in 0..words {
            // SAFETY: inside the arena, which is ours.
            unsafe { arena.as_mut_ptr().cast::<f64>().add(i).write(1.0) };
        }
        for (at, bytes) in &self.code.constants {
            // SAFETY: constants were laid out inside the arena.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), arena.as_mut_ptr().add(*at), bytes.len()) };
        }
        let kept = RefCell::new((0..self.code.kept).map(|_| None).collect());
        Ok(Box::new(Frame { arena, bases: Vec::new(), kept, setup: None }))
    }

    pub(super) fn give_back(&self, frame: Box<Frame>) {
        if self.code.kept > 0 {
            frame.kept.borrow_mut().fill_with(|| None);
        }
        if self.code.arena > KEPT {
            return;
        }
        let new = Box::into_raw(frame);
        if self.ready.compare_exchange(null_mut(), new, Release, Relaxed).is_err() {
            // SAFETY: the exchange failed, so it is still ours.
            let frame = unsafe { Box::from_raw(new) };
            let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
            if more.len() < FRAMES {
                more.push(frame);
            }
        }
    }

    /// The outputs as values of their own.
    pub fn run(&self, params: &[Param<'_>]) -> Result<Vec<Value>> {
        let mut out = Vec::with_capacity(self.code.outputs.len());
        self.run_with(params, &mut |output| {
            let is_number = self.code.outputs.get(out.len()).is_some_and(|o| o.scalar);
            out.push(match output {
                Output::Inside(bytes) if is_number => number(bytes),
                Output::Inside(bytes) => {
                    let mut buffer = Buffer::new(bytes.len())?;
                    buffer.as_mut_slice::<u8>().copy_from_slice(bytes);
                    Value::Array(Arc::new(buffer))
                }
                Output::Fresh(buffer) if is_number => number(buffer.as_slice()),
                Output::Fresh(buffer) => Value::Array(Arc::new(buffer)),
            });
            Ok(())
        })?;
        Ok(out)
    }

    /// The outputs one after the other to `take`, once all are computed.
    pub fn run_with(&self, params: &[Param<'_>], take: &mut dyn FnMut(Output<'_>) -> Result<()>) -> Result<()> {
        let code = &self.code;
        if params.len() != code.params.len() {
            return Err(Error::Internal(format!("{} parameters for a plan of {}", params.len(), code.params.len())));
        }
        for (p, slot) in params.iter().zip(&code.params) {
            if p.len != slot.bytes {
                return Err(Error::Internal(format!("a parameter of {} bytes for one of {}", p.len, slot.bytes)));
            }
        }
        let mut frame = self.frame()?;
        match catch_unwind(AssertUnwindSafe(|| self.run_in(&mut frame, params, take))) {
            Ok(result) => {
                self.give_back(frame);
                result
            }
            Err(payload) => {
                let what = payload
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| payload.downcast_ref::<&str>().copied())
                    .unwrap_or("a panic");
                Err(Error::Internal(format!("while running a plan: {what}")))
            }
        }
    }

    fn run_in(
        &self,
        frame: &mut Frame,
        params: &[Param<'_>],
        take: &mut dyn FnMut(Output<'_>) -> Result<()>,
    ) -> Result<()> {
        let code = &self.code;
        let arena = frame.arena.as_mut_ptr();
        frame.bases.clear();
        frame.bases.push(arena);
        frame.bases.push(arena.wrapping_add(code.small));
        for (p, slot) in params.iter().zip(&code.params) {
            if let Some(at) = slot.copied {
                // SAFETY: the slot was laid out for so many bytes.
                unsafe { copy(p.ptr, arena.add(at), p.len) };
            }
            frame.bases.push(p.ptr.cast_mut());
        }
        let mut buffers: SmallVec<[Buffer; 4]> = SmallVec::new();
        for o in &code.outputs {
            let mut base = null_mut();
            if o.copied.is_none() {
                let buffer = Buffer::new(o.bytes)?;
                base = buffer.as_mut_ptr();
                buffers.push(buffer);
            }
            frame.bases.push(base);
        }
        self.units(frame)?;
        let mut buffers = buffers.into_iter();
        for o in &code.outputs {
            take(match o.copied {
                // SAFETY: the slot holds as many bytes as the output has, all written; nothing runs in the arena meanwhile.
                Some(at) => Output::Inside(unsafe { std::slice::from_raw_parts(arena.add(at), o.bytes) }),
                None => {
                    let buffer = buffers.next();
                    Output::Fresh(buffer.ok_or_else(|| Error::Internal("an output without a place".into()))?)
                }
            })?;
        }
        Ok(())
    }

    /// Whether straight code has found all indices in range.
    #[inline(always)]
    fn check(&self, arena: *mut u8) -> Result<()> {
        match self.code.missed {
            // SAFETY: the plan laid it out in the arena.
            Some(at) => unsafe { indexed::check(arena.add(at)) },
            None => Ok(()),
        }
    }

    /// All units, once the bases are set.
    fn units(&self, frame: &Frame) -> Result<()> {
        let code = &self.code;
        let arena = frame.arena.as_mut_ptr();
        let bases = Bases(&frame.bases);
        for (at, place) in &code.addresses {
            // SAFETY: cells were laid out inside the arena, aligned.
            unsafe { arena.add(*at).cast::<*mut u8>().write(bases.at(*place)) };
        }
        for unit in &code.units {
            match unit {
                Unit::Steps(from, to) => {
                    let steps = &code.steps[*from..*to];
                    if steps.len() <= STRETCH {
                        // SAFETY: the plan laid out the arena for its steps.
                        unsafe { straight::run(steps, arena) };
                    } else {
                        for stretch in steps.chunks(STRETCH) {
                            if pool::interrupted() {
                                return Err(Error::Interrupted);
                            }
                            // SAFETY: as above.
                            unsafe { straight::run(stretch, arena) };
                        }
                    }
                    self.check(arena)?;
                }
                Unit::Region(region) => {
                    if code.nanoseconds > 1_000_000 && pool::interrupted() {
                        return Err(Error::Interrupted);
                    }
                    // SAFETY: the plan laid out memory for its regions.
                    unsafe { region.run(bases)? };
                }
                Unit::Call(call) => {
                    if code.nanoseconds > 1_000_000 && pool::interrupted() {
                        return Err(Error::Interrupted);
                    }
                    // SAFETY: the plan laid out memory for its calls.
                    unsafe {
                        match call.shared {
                            Shared::No => call.run(bases)?,
                            _ => call.sharing(bases, &mut frame.kept.borrow_mut())?,
                        }
                    }
                }
                Unit::Products(products) => {
                    if code.nanoseconds > 1_000_000 && pool::interrupted() {
                        return Err(Error::Interrupted);
                    }
                    // SAFETY: the plan laid out memory for its products.
                    unsafe { products.run(bases)? };
                }
                Unit::Entries(entries) => {
                    // SAFETY: the plan laid out memory for its members.
                    unsafe { entries.run(bases)? };
                }
            }
        }
        Ok(())
    }

    /// Begins a number of steps in which the first parameters stay the same.
    ///
    /// # Safety
    /// The parameters can be read, aligned for their dtypes, for the lengths in the code; those that are not copied until the
    /// last step.
    pub(super) unsafe fn begin(&self, frame: &mut Frame, fixed: &[*const u8]) {
        let arena = frame.arena.as_mut_ptr();
        frame.bases.clear();
        frame.bases.push(arena);
        frame.bases.push(arena.wrapping_add(self.code.small));
        // SAFETY: the caller's.
        unsafe { self.bring(frame, fixed, 0) };
        frame.bases.resize(FIRST + self.code.params.len() + self.code.outputs.len(), null_mut());
    }

    /// One more run, where the caller has put what changed: small parameters and outputs are where the slots say, the bases
    /// of the others are set.
    #[inline(always)]
    pub(super) fn again(&self, frame: &Frame) -> Result<()> {
        if let (true, [Unit::Steps(0, to)]) = (self.code.addresses.is_empty(), self.code.units.as_slice())
            && *to <= STRETCH
        {
            // SAFETY: the plan laid out the arena for its steps.
            unsafe { straight::run(&self.code.steps[..*to], frame.arena.as_mut_ptr()) };
            return self.check(frame.arena.as_mut_ptr());
        }
        self.units(frame)
    }

    /// # Safety
    /// As for `begin`.
    #[inline(always)]
    unsafe fn bring(&self, frame: &mut Frame, params: &[*const u8], first: usize) {
        let arena = frame.arena.as_mut_ptr();
        for (&p, slot) in params.iter().zip(&self.code.params[first..]) {
            if let Some(at) = slot.copied {
                // SAFETY: the slot was laid out for so many bytes, and the caller's.
                unsafe { copy(p, arena.add(at), slot.bytes) };
            }
            frame.bases.push(p.cast_mut());
        }
    }

    /// One step in memory that the caller brings: an address for each of the other parameters, and for each output.
    ///
    /// # Safety
    /// As for `begin`, which came before with `fixed` parameters; and the outputs can be written for the lengths in the code,
    /// those that are not copied out of the arena in whole vectors.
    pub(super) unsafe fn step(
        &self,
        frame: &mut Frame,
        fixed: usize,
        params: &[*const u8],
        outputs: &[*mut u8],
    ) -> Result<()> {
        let code = &self.code;
        if fixed + params.len() != code.params.len()
            || frame.bases.len() < FIRST + fixed
            || outputs.len() != code.outputs.len()
        {
            return Err(Error::Internal("a body with other parameters or outputs than its loop".into()));
        }
        frame.bases.truncate(FIRST + fixed);
        // SAFETY: the caller's.
        unsafe { self.bring(frame, params, fixed) };
        frame.bases.extend_from_slice(outputs);
        self.units(frame)?;
        let arena = frame.arena.as_mut_ptr();
        for (o, &to) in code.outputs.iter().zip(outputs) {
            if let Some(at) = o.copied {
                // SAFETY: as above.
                unsafe { copy(arena.add(at), to, o.bytes) };
            }
        }
        Ok(())
    }
}

/// The bases before those of the parameters: small arrays, large ones.
const FIRST: usize = 2;

/// # Safety
/// As for `copy_nonoverlapping`.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the caller's.
    unsafe {
        // lengths that the compiler knows need no call
        match bytes {
            8 => to.cast::<[u8; 8]>().write(from.cast::<[u8; 8]>().read()),
            16 => to.cast::<[u8; 16]>().write(from.cast::<[u8; 16]>().read()),
            24 => to.cast::<[u8; 24]>().write(from.cast::<[u8; 24]>().read()),
            32 => to.cast::<[u8; 32]>().write(from.cast::<[u8; 32]>().read()),
            1 => to.write(from.read()),
            _ => std::ptr::copy_nonoverlapping(from, to, bytes),
        }
    }
}
