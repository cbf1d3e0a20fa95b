//! The instructions of one pass.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};
use mlgrad_math::DType;

use crate::module::Output;
use crate::pass::{At, BASES, Pass, Span, Step, Store};
use crate::registers::{File, NEVER, Uses};
use crate::select::{self, Width};

/// A pass that there is no code for.
#[derive(Debug)]
pub(crate) struct Refused;

impl From<IcedError> for Refused {
    fn from(_: IcedError) -> Refused {
        Refused
    }
}

pub(crate) type Result<T> = std::result::Result<T, Refused>;
/// An instruction, where its operands fit.
pub(crate) type Made = std::result::Result<Instruction, IcedError>;

/// Vector registers for values; the last one of the machine's is for what lasts no longer than an operation, and two count.
const VECTORS: usize = 29;
pub(crate) const SCRATCH: Register = Register::ZMM31;
/// Masks, but for the first, which cannot mask, and the last, which is scratch.
const MASKS: usize = 6;
pub(crate) const SCRATCH_MASK: Register = Register::K7;

/// The registers that hold bases of a table, the last six of them to be given back as they were.
const POINTERS: [Register; BASES] = [
    Register::RCX,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
const SAVED: usize = 6;

/// The places of the elements of the vector at hand, and the place behind the last one that the code is called for.
pub(crate) const INDEX: Register = Register::ZMM30;
pub(crate) const END: Register = Register::ZMM29;

/// Bytes of a spilled vector or mask.
const SLOT: i64 = 64;

/// Where an operand is.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    Register(Register),
    /// Memory, of one element for all lanes or of all.
    Memory(MemoryOperand),
    Constant {
        at: usize,
        everywhere: bool,
    },
}

pub(crate) struct Emitter<'a> {
    out: &'a mut Output,
    encoder: Encoder,
    /// Where the code of the pass begins.
    start: usize,
    written: usize,
    fixes: Vec<(usize, usize, usize)>,
    pass: &'a Pass,
    pub(crate) width: Width,
    vectors: File<VECTORS>,
    masks: File<MASKS>,
    uses: Uses,
    /// For each value: its place on the stack.
    slots: Vec<Option<u32>>,
    spilled: u32,
    bases: Vec<u32>,
    now: u32,
}

/// Writes the code of a pass.
pub(crate) fn pass(out: &mut Output, pass: &Pass) -> Result<()> {
    let start = out.code.len();
    let mut pairs = Vec::with_capacity(2 * pass.steps.len());
    let mut stores = pass.stores.clone();
    stores.sort_by_key(|s| s.value);
    let mut writes = stores.iter().peekable();
    for (k, step) in pass.steps.iter().enumerate() {
        match step {
            Step::Op(op, inputs) => pairs.extend(inputs[..select::arity(*op)].iter().map(|&v| (v, k as u32))),
            Step::Permute(v, _) => pairs.push((*v, k as u32)),
            Step::Place(into, v, _) => pairs.extend([(*into, k as u32), (*v, k as u32)]),
            Step::LoadWhere(_, m) => pairs.push((*m, k as u32)),
            Step::Load(_) | Step::LoadMask(_) | Step::Splat(_) | Step::Number(_) | Step::Inside(..) | Step::Called => {}
        }
        // read where the value is written, which is as soon as it is there
        while let Some(s) = writes.next_if(|s| s.value == k as u32) {
            pairs.extend(s.only.map(|m| (m, k as u32)));
        }
    }
    let mut bases: Vec<u32> = Vec::new();
    let addresses = pass.steps.iter().filter_map(|s| match s {
        Step::Load(at) | Step::LoadMask(at) | Step::Splat(at) | Step::LoadWhere(at, _) => Some(*at),
        Step::Number(_) | Step::Op(..) | Step::Permute(..) | Step::Place(..) | Step::Inside(..) | Step::Called => None,
    });
    for at in addresses.chain(stores.iter().map(|s| s.at)) {
        if let Some(b) = at.base
            && !bases.contains(&b)
        {
            bases.push(b);
        }
    }
    if bases.len() > BASES {
        return Err(Refused);
    }
    let mut e = Emitter {
        out,
        encoder: Encoder::try_with_capacity(64, 10 * pass.steps.len())?,
        start,
        written: 0,
        fixes: Vec::new(),
        pass,
        width: Width::of(pass.dtype),
        vectors: File::new(pass.steps.len()),
        masks: File::new(pass.steps.len()),
        uses: Uses::new(pass.steps.len(), &pairs),
        slots: vec![None; pass.steps.len()],
        spilled: 0,
        bases,
        now: 0,
    };
    let stack = e.enter()?;
    let top = e.written;
    let mut waiting = stores.iter().peekable();
    for (k, step) in pass.steps.iter().enumerate() {
        e.now = k as u32;
        match step {
            Step::Op(op, inputs) => select::op(&mut e, *op, k as u32, inputs)?,
            Step::Permute(v, from) => select::permute(&mut e, k as u32, *v, from)?,
            Step::Place(into, v, from) => select::place(&mut e, k as u32, *into, *v, from)?,
            Step::Inside(from, end) => select::inside(&mut e, k as u32, *from, *end)?,
            Step::Called => select::called(&mut e, k as u32)?,
            Step::LoadWhere(at, m) => e.load_where(k as u32, *at, *m)?,
            // where it is first read
            Step::Load(_) | Step::LoadMask(_) | Step::Splat(_) | Step::Number(_) => {}
        }
        let mut only = None;
        while let Some(s) = waiting.next_if(|s| s.value == k as u32) {
            e.store(s)?;
            only = s.only.or(only);
        }
        e.done(k as u32, only);
    }
    let bytes = e.spilled * SLOT as u32;
    e.leave(bytes, top)?;
    let Emitter { mut encoder, fixes, out, .. } = e;
    out.add(encoder.take_buffer(), &fixes);
    // how much of the stack is used is known only now
    out.patch(start + stack, bytes);
    Ok(())
}

impl Emitter<'_> {
    pub fn write(&mut self, instruction: &Instruction) -> Result<()> {
        let rip = (self.start + self.written) as u64;
        self.written += self.encoder.encode(instruction, rip)?;
        Ok(())
    }

    /// An instruction whose last operand but for immediates is a source.
    pub fn with_source(&mut self, source: Source, build: impl FnOnce(Operand) -> Made) -> Result<()> {
        match source {
            Source::Register(r) => self.write(&build(Operand::Register(r))?),
            Source::Memory(m) => self.write(&build(Operand::Memory(m))?),
            Source::Constant { at, everywhere } => {
                // the distance is filled in when it is known
                let far = (self.start + self.written) as i64 + (1 << 20);
                let m = MemoryOperand::new(Register::RIP, Register::None, 1, far, 8, everywhere, Register::None);
                let before = self.written;
                self.write(&build(Operand::Memory(m))?)?;
                let place = before + self.encoder.get_constant_offsets().displacement_offset();
                self.fixes.push((self.start + place, self.start + self.written, at));
                Ok(())
            }
        }
    }

    /// Where the number of bytes of the stack is to be written.
    fn enter(&mut self) -> Result<usize> {
        for k in 0..self.saved() {
            self.write(&Instruction::with1(Code::Push_r64, POINTERS[BASES - SAVED + k])?)?;
        }
        let before = self.written;
        self.write(&Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, 0)?)?;
        let stack = before + self.encoder.get_constant_offsets().immediate_offset();
        for (k, base) in self.bases.clone().into_iter().enumerate() {
            let from = MemoryOperand::with_base_displ(Register::RSI, 8 * i64::from(base));
            self.write(&Instruction::with2(Code::Mov_r64_rm64, POINTERS[k], from)?)?;
        }
        if self.counts() {
            select::count(self)?;
        }
        if self.pass.span == Span::Loop {
            self.write(&Instruction::with2(Code::Xor_r32_rm32, Register::EAX, Register::EAX)?)?;
        }
        Ok(stack)
    }

    /// Whether it matters which elements are at hand.
    fn counts(&self) -> bool {
        self.pass.steps.iter().any(|s| matches!(s, Step::Inside(..) | Step::Called))
    }

    fn saved(&self) -> usize {
        self.bases.len().saturating_sub(BASES - SAVED)
    }

    fn leave(&mut self, stack: u32, top: usize) -> Result<()> {
        if self.pass.span == Span::Loop {
            let lanes = Pass::lanes(self.pass.dtype) as i32;
            self.write(&Instruction::with2(Code::Add_rm64_imm8, Register::RAX, lanes)?)?;
            if self.counts() {
                let step = self.number(lanes as u64);
                let add = self.width.add_index;
                self.with_source(step, |s| three(add, INDEX, INDEX, s))?;
            }
            self.write(&Instruction::with2(Code::Cmp_r64_rm64, Register::RAX, Register::RDI)?)?;
            self.write(&Instruction::with_branch(Code::Jb_rel32_64, (self.start + top) as u64)?)?;
        }
        self.write(&Instruction::with2(Code::Add_rm64_imm32, Register::RSP, stack as i32)?)?;
        for k in (0..self.saved()).rev() {
            self.write(&Instruction::with1(Code::Pop_r64, POINTERS[BASES - SAVED + k])?)?;
        }
        self.write(&Instruction::with(Code::VEX_Vzeroupper))?;
        self.write(&Instruction::with(Code::Retnq))
    }

    /// Whether a value is a mask.
    pub fn is_mask(&self, v: u32) -> bool {
        match &self.pass.steps[v as usize] {
            Step::LoadMask(_) | Step::Inside(..) | Step::Called => true,
            Step::Op(op, _) => op.makes_mask(),
            Step::Load(_) | Step::LoadWhere(..) | Step::Splat(_) | Step::Number(_) => false,
            Step::Permute(..) | Step::Place(..) => false,
        }
    }

    /// The memory at an address: of elements of `size` bytes, or one of them everywhere.
    fn memory(&self, at: At, size: usize, everywhere: bool) -> Result<MemoryOperand> {
        let base = match at.base {
            None => Register::RSI,
            Some(b) => POINTERS[self.bases.iter().position(|&x| x == b).ok_or(Refused)?],
        };
        let index = if self.pass.span == Span::Loop && !everywhere { Register::RAX } else { Register::None };
        Ok(MemoryOperand::new(base, index, size as u32, i64::from(at.offset), 1, everywhere, Register::None))
    }

    pub fn constant(&mut self, bytes: &[u8], everywhere: bool) -> Source {
        Source::Constant { at: self.out.constant(bytes), everywhere }
    }

    /// A number in all lanes.
    pub fn number(&mut self, bits: u64) -> Source {
        let size = self.pass.dtype.size();
        self.constant(&bits.to_le_bytes()[..size], true)
    }

    /// Where a vector can be read from memory, if it is not (only) in a register.
    fn home(&mut self, v: u32) -> Result<Option<Source>> {
        if let Some(slot) = self.slots[v as usize] {
            return Ok(Some(Source::Memory(slot_at(slot))));
        }
        Ok(match self.pass.steps[v as usize] {
            Step::Load(at) => Some(Source::Memory(self.memory(at, self.pass.dtype.size(), false)?)),
            Step::Splat(at) => Some(Source::Memory(self.memory(at, self.pass.dtype.size(), true)?)),
            Step::Number(bits) => Some(self.number(bits)),
            Step::LoadMask(_) | Step::LoadWhere(..) | Step::Inside(..) | Step::Called => None,
            Step::Op(..) | Step::Permute(..) | Step::Place(..) => None,
        })
    }

    /// A vector in a register; `pinned` are values that must stay where they are.
    pub fn vector(&mut self, v: u32, pinned: &[u32]) -> Result<Register> {
        if let Some(r) = self.vectors.of(v) {
            return Ok(vector(r));
        }
        let from = self.home(v)?;
        let r = self.new_vector(v, pinned)?;
        if let Some(from) = from {
            self.load(r, from)?;
        }
        Ok(r)
    }

    /// Loads a vector.
    pub fn load(&mut self, r: Register, from: Source) -> Result<()> {
        let everywhere = match from {
            Source::Register(_) => false,
            Source::Memory(m) => m.is_broadcast,
            Source::Constant { everywhere, .. } => everywhere,
        };
        if everywhere {
            return self.load_first(r, from);
        }
        let load = self.width.load;
        self.with_source(from, |m| two(load, r, m))
    }

    /// The first element of what lies in memory in all lanes.
    pub fn load_first(&mut self, r: Register, from: Source) -> Result<()> {
        let from = match from {
            Source::Memory(m) => Source::Memory(MemoryOperand { is_broadcast: false, ..m }),
            Source::Constant { at, .. } => Source::Constant { at, everywhere: false },
            Source::Register(_) => from,
        };
        let broadcast = self.width.broadcast;
        self.with_source(from, |m| two(broadcast, r, m))
    }

    /// A vector, in a register if it is there or is read again later.
    pub fn source(&mut self, v: u32, pinned: &[u32]) -> Result<Source> {
        if self.vectors.of(v).is_none()
            && self.next_after(v) == NEVER
            && let Some(from) = self.home(v)?
        {
            return Ok(from);
        }
        Ok(Source::Register(self.vector(v, pinned)?))
    }

    /// The next use of a value after this step.
    fn next_after(&self, v: u32) -> u32 {
        self.uses.after(v, self.now)
    }

    /// Whether a vector is in memory, so that its register can be had.
    fn has_home(&self, v: u32) -> bool {
        let is_read = matches!(self.pass.steps[v as usize], Step::Load(_) | Step::Splat(_) | Step::Number(_));
        is_read || self.slots[v as usize].is_some()
    }

    /// A register for the result of a step.
    pub fn new_vector(&mut self, v: u32, pinned: &[u32]) -> Result<Register> {
        let uses = &self.uses;
        let (r, evicted) = self.vectors.take(v, pinned, |x| uses.next(x));
        if let Some(x) = evicted
            && !self.has_home(x)
            && self.uses.next(x) != NEVER
        {
            let slot = self.slot(x);
            self.write(&Instruction::with2(self.width.store, slot_at(slot), vector(r))?)?;
        }
        Ok(vector(r))
    }

    pub fn mask(&mut self, v: u32, pinned: &[u32]) -> Result<Register> {
        if let Some(r) = self.masks.of(v) {
            return Ok(mask(r));
        }
        let r = self.new_mask(v, pinned)?;
        if let Some(slot) = self.slots[v as usize] {
            self.write(&Instruction::with2(Code::VEX_Kmovw_kr_km16, r, slot_at(slot))?)?;
        } else if let Step::LoadMask(at) = self.pass.steps[v as usize] {
            let from = self.memory(at, 1, false)?;
            let (load, test) = match self.pass.dtype {
                DType::F64 => (Code::EVEX_Vmovq_xmm_xmmm64, Code::EVEX_Vptestmb_kr_k1_xmm_xmmm128),
                _ => (Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, Code::EVEX_Vptestmb_kr_k1_xmm_xmmm128),
            };
            self.write(&Instruction::with2(load, Register::XMM31, from)?)?;
            self.write(&Instruction::with3(test, r, Register::XMM31, Register::XMM31)?)?;
        }
        Ok(r)
    }

    pub fn new_mask(&mut self, v: u32, pinned: &[u32]) -> Result<Register> {
        let uses = &self.uses;
        let (r, evicted) = self.masks.take(v, pinned, |x| uses.next(x));
        if let Some(x) = evicted
            && self.slots[x as usize].is_none()
            && !matches!(self.pass.steps[x as usize], Step::LoadMask(_))
            && self.uses.next(x) != NEVER
        {
            let slot = self.slot(x);
            self.write(&Instruction::with2(Code::VEX_Kmovw_m16_kr, slot_at(slot), mask(r))?)?;
        }
        Ok(mask(r))
    }

    fn slot(&mut self, v: u32) -> u32 {
        let slot = self.spilled;
        self.spilled += 1;
        self.slots[v as usize] = Some(slot);
        slot
    }

    /// Reads what a mask allows.
    fn load_where(&mut self, k: u32, at: At, m: u32) -> Result<()> {
        let m = self.mask(m, &[m])?;
        let from = self.memory(at, self.pass.dtype.size(), false)?;
        let d = self.new_vector(k, &[])?;
        let mut load = Instruction::with2(self.width.load, d, from)?;
        load.set_op_mask(m);
        load.set_zeroing_masking(true);
        self.write(&load)
    }

    fn store(&mut self, s: &Store) -> Result<()> {
        let (v, at) = (s.value, s.at);
        let only = match s.only {
            Some(m) => Some(self.mask(m, &[m, v])?),
            None => None,
        };
        if !self.is_mask(v) {
            let r = self.vector(v, &[])?;
            let to = self.memory(at, self.pass.dtype.size(), false)?;
            let mut store = Instruction::with2(self.width.store, to, r)?;
            if let Some(m) = only {
                store.set_op_mask(m);
            }
            return self.write(&store);
        }
        let m = self.mask(v, &s.only.map_or([v, v], |m| [m, v]))?;
        let to = self.memory(at, 1, false)?;
        let ones = self.constant(&[1; 16], false);
        self.with_source(ones, |from| {
            let mut load = two(Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, Register::XMM31, from)?;
            load.set_op_mask(m);
            load.set_zeroing_masking(true);
            Ok(load)
        })?;
        let store = match (self.pass.dtype, only) {
            (DType::F64, None) => Code::EVEX_Vmovq_xmmm64_xmm,
            _ => Code::EVEX_Vmovdqu8_xmmm128_k1z_xmm,
        };
        let mut store = Instruction::with2(store, to, Register::XMM31)?;
        if let Some(m) = only {
            // a mask of eight lanes has zeros above them
            store.set_op_mask(m);
        }
        self.write(&store)
    }

    /// Frees the registers of what step k, and what was written with it, has read for the last time, and of what nobody reads.
    fn done(&mut self, k: u32, only: Option<u32>) {
        let mut over: [u32; 4] = [k; 4];
        match &self.pass.steps[k as usize] {
            Step::Op(_, inputs) => over[..3].copy_from_slice(inputs),
            Step::Permute(v, _) => over[0] = *v,
            Step::Place(into, v, _) => over[..2].copy_from_slice(&[*into, *v]),
            Step::LoadWhere(_, m) => over[0] = *m,
            Step::Load(_) | Step::LoadMask(_) | Step::Splat(_) | Step::Number(_) | Step::Inside(..) | Step::Called => {}
        }
        for v in over.into_iter().chain(only) {
            self.uses.pass(v, k);
            if self.uses.next(v) == NEVER {
                self.vectors.free(v);
                self.masks.free(v);
            }
        }
    }

    /// Frees the registers of those that are read now for the last time: the result may have them.
    pub fn last_reads(&mut self, values: &[u32]) {
        for &v in values {
            if self.next_after(v) == NEVER {
                self.vectors.free(v);
            }
        }
    }
}

/// The last operand of an instruction but for immediates.
#[derive(Clone, Copy)]
pub(crate) enum Operand {
    Register(Register),
    Memory(MemoryOperand),
}

pub(crate) fn two(code: Code, a: Register, b: Operand) -> Made {
    match b {
        Operand::Register(r) => Instruction::with2(code, a, r),
        Operand::Memory(m) => Instruction::with2(code, a, m),
    }
}

pub(crate) fn three(code: Code, a: Register, b: Register, c: Operand) -> Made {
    match c {
        Operand::Register(r) => Instruction::with3(code, a, b, r),
        Operand::Memory(m) => Instruction::with3(code, a, b, m),
    }
}

fn slot_at(slot: u32) -> MemoryOperand {
    MemoryOperand::with_base_displ(Register::RSP, SLOT * i64::from(slot))
}

fn vector(r: usize) -> Register {
    Register::ZMM0 + r as u32
}

fn mask(r: usize) -> Register {
    Register::K1 + r as u32
}
