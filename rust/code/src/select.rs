//! Which instructions an operation is.

use iced_x86::{Code, Instruction, Register};
use mlgrad_math::DType;
use mlgrad_math::ops::{Binary, Unary};

use crate::emit::{END, Emitter, INDEX, Made, Operand, Refused, Result, SCRATCH, SCRATCH_MASK, Source, three, two};
use crate::pass::Op;

/// The instructions for vectors of one dtype.
pub(crate) struct Width {
    pub load: Code,
    pub store: Code,
    pub broadcast: Code,
    copy: Code,
    add: Code,
    sub: Code,
    mul: Code,
    div: Code,
    max: Code,
    min: Code,
    sqrt: Code,
    round: Code,
    and: Code,
    xor: Code,
    ternary: Code,
    compare: Code,
    blend: Code,
    signs: Code,
    permute: Code,
    spread_index: Code,
    pub add_index: Code,
    compare_index: Code,
    sign: u64,
    one: u64,
    infinity: u64,
    /// Bytes of an element.
    size: usize,
}

impl Width {
    pub fn of(dtype: DType) -> Width {
        match dtype {
            DType::F32 => Width {
                load: Code::EVEX_Vmovups_zmm_k1z_zmmm512,
                store: Code::EVEX_Vmovups_zmmm512_k1z_zmm,
                broadcast: Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
                copy: Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
                add: Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
                sub: Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
                mul: Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
                div: Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
                max: Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
                min: Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae,
                sqrt: Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er,
                round: Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae,
                and: Code::EVEX_Vandps_zmm_k1z_zmm_zmmm512b32,
                xor: Code::EVEX_Vxorps_zmm_k1z_zmm_zmmm512b32,
                ternary: Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8,
                compare: Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae,
                blend: Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32,
                signs: Code::EVEX_Vpmovd2m_kr_zmm,
                permute: Code::EVEX_Vpermps_zmm_k1z_zmm_zmmm512b32,
                spread_index: Code::EVEX_Vpbroadcastd_zmm_k1z_r32,
                add_index: Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
                compare_index: Code::EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8,
                sign: 1 << 31,
                one: u64::from(1f32.to_bits()),
                infinity: u64::from(f32::INFINITY.to_bits()),
                size: 4,
            },
            _ => Width {
                load: Code::EVEX_Vmovupd_zmm_k1z_zmmm512,
                store: Code::EVEX_Vmovupd_zmmm512_k1z_zmm,
                broadcast: Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64,
                copy: Code::EVEX_Vmovapd_zmm_k1z_zmmm512,
                add: Code::EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er,
                sub: Code::EVEX_Vsubpd_zmm_k1z_zmm_zmmm512b64_er,
                mul: Code::EVEX_Vmulpd_zmm_k1z_zmm_zmmm512b64_er,
                div: Code::EVEX_Vdivpd_zmm_k1z_zmm_zmmm512b64_er,
                max: Code::EVEX_Vmaxpd_zmm_k1z_zmm_zmmm512b64_sae,
                min: Code::EVEX_Vminpd_zmm_k1z_zmm_zmmm512b64_sae,
                sqrt: Code::EVEX_Vsqrtpd_zmm_k1z_zmmm512b64_er,
                round: Code::EVEX_Vrndscalepd_zmm_k1z_zmmm512b64_imm8_sae,
                and: Code::EVEX_Vandpd_zmm_k1z_zmm_zmmm512b64,
                xor: Code::EVEX_Vxorpd_zmm_k1z_zmm_zmmm512b64,
                ternary: Code::EVEX_Vpternlogq_zmm_k1z_zmm_zmmm512b64_imm8,
                compare: Code::EVEX_Vcmppd_kr_k1_zmm_zmmm512b64_imm8_sae,
                blend: Code::EVEX_Vblendmpd_zmm_k1z_zmm_zmmm512b64,
                signs: Code::EVEX_Vpmovq2m_kr_zmm,
                permute: Code::EVEX_Vpermpd_zmm_k1z_zmm_zmmm512b64,
                spread_index: Code::EVEX_Vpbroadcastq_zmm_k1z_r64,
                add_index: Code::EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64,
                compare_index: Code::EVEX_Vpcmpuq_kr_k1_zmm_zmmm512b64_imm8,
                sign: 1 << 63,
                one: 1f64.to_bits(),
                infinity: f64::INFINITY.to_bits(),
                size: 8,
            },
        }
    }
}

/// Arguments of an operation.
pub(crate) fn arity(op: Op) -> usize {
    match op {
        Op::Unary(_) | Op::Number => 1,
        Op::Binary(_) => 2,
        Op::Select => 3,
    }
}

// what a comparison is for the machine: quiet, false for nan but for "not equal" and "unordered"
const EQUAL: i32 = 0x00;
const LESS: i32 = 0x11;
const LESS_EQUAL: i32 = 0x12;
const UNORDERED: i32 = 0x03;
const NOT_EQUAL: i32 = 0x04;
const ORDERED: i32 = 0x07;
const GREATER_EQUAL: i32 = 0x1d;
const GREATER: i32 = 0x1e;

/// Result k of an operation.
pub(crate) fn op(e: &mut Emitter<'_>, op: Op, k: u32, inputs: &[u32; 3]) -> Result<()> {
    use Binary::*;
    use Unary::*;
    let [a, b, c] = *inputs;
    match op {
        Op::Unary(Neg) => bits(e, k, a, e.width.xor, e.width.sign),
        Op::Unary(Abs) => bits(e, k, a, e.width.and, e.width.sign - 1),
        Op::Unary(Square) => arithmetic(e, k, a, a, e.width.mul),
        Op::Unary(Reciprocal) => {
            let one = e.number(e.width.one);
            e.load(SCRATCH, one)?;
            let x = e.source(a, &[a])?;
            e.last_reads(&[a]);
            let (code, d) = (e.width.div, e.new_vector(k, &[a])?);
            e.with_source(x, |x| three(code, d, SCRATCH, x))
        }
        Op::Unary(Sqrt) => {
            let x = e.source(a, &[a])?;
            e.last_reads(&[a]);
            let (code, d) = (e.width.sqrt, e.new_vector(k, &[a])?);
            e.with_source(x, |x| two(code, d, x))
        }
        Op::Unary(Floor) => round(e, k, a, 9),
        Op::Unary(Ceil) => round(e, k, a, 10),
        Op::Unary(Trunc) => round(e, k, a, 11),
        Op::Unary(Rint) => round(e, k, a, 8),
        Op::Unary(IsNan) => compare(e, k, a, a, UNORDERED),
        Op::Unary(u @ (IsInf | IsFinite)) => {
            let x = e.vector(a, &[a])?;
            let (and, test) = (e.width.and, e.width.compare);
            let (number, infinity) = (e.number(e.width.sign - 1), e.number(e.width.infinity));
            e.with_source(number, |n| three(and, SCRATCH, x, n))?;
            let d = e.new_mask(k, &[])?;
            e.with_source(infinity, |i| with_immediate(test, d, SCRATCH, i, if u == IsInf { EQUAL } else { LESS }))
        }
        Op::Unary(Signbit) => {
            let x = e.vector(a, &[a])?;
            let d = e.new_mask(k, &[])?;
            e.write(&Instruction::with2(e.width.signs, d, x)?)
        }
        Op::Unary(LogicalNot) if e.is_mask(a) => {
            let x = e.mask(a, &[a])?;
            let d = e.new_mask(k, &[a])?;
            e.write(&Instruction::with2(Code::VEX_Knotw_kr_kr, d, x)?)
        }
        Op::Unary(LogicalNot) => {
            let x = e.vector(a, &[a])?;
            let (zero, test) = (e.number(0), e.width.compare);
            let d = e.new_mask(k, &[])?;
            e.with_source(zero, |z| with_immediate(test, d, x, z, EQUAL))
        }
        Op::Binary(Add) => arithmetic(e, k, a, b, e.width.add),
        Op::Binary(Mul) => arithmetic(e, k, a, b, e.width.mul),
        Op::Binary(Sub) => arithmetic(e, k, a, b, e.width.sub),
        Op::Binary(Div) => arithmetic(e, k, a, b, e.width.div),
        // the machine's gives its second operand where they are equal or either is nan
        Op::Binary(Maximum) => extreme(e, k, b, a, b, e.width.max),
        Op::Binary(Minimum) => extreme(e, k, b, a, b, e.width.min),
        Op::Binary(Fmax) => extreme(e, k, b, a, a, e.width.max),
        Op::Binary(Fmin) => extreme(e, k, b, a, a, e.width.min),
        Op::Binary(Copysign) => {
            let top = e.number(e.width.sign);
            let (x, sign) = (e.vector(a, &[a, b])?, e.vector(b, &[a, b])?);
            e.load(SCRATCH, top)?;
            let (ternary, copy) = (e.width.ternary, e.width.copy);
            e.write(&Instruction::with4(ternary, SCRATCH, sign, x, 0xca)?)?;
            let d = e.new_vector(k, &[])?;
            e.write(&Instruction::with2(copy, d, SCRATCH)?)
        }
        Op::Binary(Less) => compare(e, k, a, b, LESS),
        Op::Binary(LessEqual) => compare(e, k, a, b, LESS_EQUAL),
        Op::Binary(Greater) => compare(e, k, a, b, GREATER),
        Op::Binary(GreaterEqual) => compare(e, k, a, b, GREATER_EQUAL),
        Op::Binary(Equal) => compare(e, k, a, b, EQUAL),
        Op::Binary(NotEqual) => compare(e, k, a, b, NOT_EQUAL),
        Op::Binary(LogicalAnd) => logic(e, k, a, b, Code::VEX_Kandw_kr_kr_kr),
        Op::Binary(LogicalOr) => logic(e, k, a, b, Code::VEX_Korw_kr_kr_kr),
        Op::Binary(LogicalXor) => logic(e, k, a, b, Code::VEX_Kxorw_kr_kr_kr),
        Op::Select => {
            let m = e.mask(a, &[a])?;
            let no = e.vector(c, &[b, c])?;
            let yes = e.source(b, &[b, c])?;
            e.last_reads(&[b, c]);
            let (blend, d) = (e.width.blend, e.new_vector(k, &[b, c])?);
            e.with_source(yes, |yes| {
                let mut i = three(blend, d, no, yes)?;
                i.set_op_mask(m);
                Ok(i)
            })
        }
        Op::Number => {
            let m = e.mask(a, &[a])?;
            let (one, broadcast) = (e.number(e.width.one), e.width.broadcast);
            let one = match one {
                Source::Constant { at, .. } => Source::Constant { at, everywhere: false },
                other => other,
            };
            let d = e.new_vector(k, &[])?;
            e.with_source(one, |one| {
                let mut i = two(broadcast, d, one)?;
                i.set_op_mask(m);
                i.set_zeroing_masking(true);
                Ok(i)
            })
        }
        // is_known has said no
        Op::Unary(_) | Op::Binary(_) => Err(Refused),
    }
}

fn bits(e: &mut Emitter<'_>, k: u32, a: u32, code: Code, number: u64) -> Result<()> {
    let x = e.vector(a, &[a])?;
    e.last_reads(&[a]);
    let number = e.number(number);
    let d = e.new_vector(k, &[a])?;
    e.with_source(number, |n| three(code, d, x, n))
}

fn round(e: &mut Emitter<'_>, k: u32, a: u32, how: i32) -> Result<()> {
    let x = e.source(a, &[a])?;
    e.last_reads(&[a]);
    let (code, d) = (e.width.round, e.new_vector(k, &[a])?);
    e.with_source(x, |x| match x {
        Operand::Register(r) => Instruction::with3(code, d, r, how),
        Operand::Memory(m) => Instruction::with3(code, d, m, how),
    })
}

fn arithmetic(e: &mut Emitter<'_>, k: u32, a: u32, b: u32, code: Code) -> Result<()> {
    let x = e.vector(a, &[a, b])?;
    let y = if a == b { Source::Register(x) } else { e.source(b, &[a, b])? };
    e.last_reads(&[a, b]);
    let d = e.new_vector(k, &[a, b])?;
    e.with_source(y, |y| three(code, d, x, y))
}

/// The machine's maximum or minimum of x and y, but x where `doubtful` alone is nan.
fn extreme(e: &mut Emitter<'_>, k: u32, x: u32, y: u32, doubtful: u32, code: Code) -> Result<()> {
    let (rx, ry) = (e.vector(x, &[x, y])?, e.vector(y, &[x, y])?);
    let (test, copy) = (e.width.compare, e.width.copy);
    let (nan, number) = if doubtful == x { (rx, ry) } else { (ry, rx) };
    e.write(&Instruction::with4(test, SCRATCH_MASK, nan, nan, UNORDERED)?)?;
    let mut i = Instruction::with4(test, SCRATCH_MASK, number, number, ORDERED)?;
    i.set_op_mask(SCRATCH_MASK);
    e.write(&i)?;
    let d = e.new_vector(k, &[x, y])?;
    e.write(&Instruction::with3(code, d, rx, ry)?)?;
    let mut i = Instruction::with2(copy, d, rx)?;
    i.set_op_mask(SCRATCH_MASK);
    e.write(&i)
}

fn with_immediate(code: Code, d: Register, a: Register, b: Operand, how: i32) -> Made {
    match b {
        Operand::Register(r) => Instruction::with4(code, d, a, r, how),
        Operand::Memory(m) => Instruction::with4(code, d, a, m, how),
    }
}

fn compare(e: &mut Emitter<'_>, k: u32, a: u32, b: u32, how: i32) -> Result<()> {
    let x = e.vector(a, &[a, b])?;
    let y = if a == b { Source::Register(x) } else { e.source(b, &[a, b])? };
    let (code, d) = (e.width.compare, e.new_mask(k, &[])?);
    e.with_source(y, |y| with_immediate(code, d, x, y, how))
}

fn logic(e: &mut Emitter<'_>, k: u32, a: u32, b: u32, code: Code) -> Result<()> {
    let (x, y) = (e.mask(a, &[a, b])?, e.mask(b, &[a, b])?);
    let d = e.new_mask(k, &[a, b])?;
    e.write(&Instruction::with3(code, d, x, y)?)
}

/// Which lanes have an element, and from which lane it comes.
struct Places {
    index: [u8; 64],
    present: u16,
}

impl Places {
    fn new(size: usize, from: &[Option<u8>]) -> Places {
        let mut p = Places { index: [0; 64], present: 0 };
        for (lane, place) in from.iter().enumerate().take(64 / size) {
            if let Some(place) = place {
                p.index[lane * size] = *place;
                p.present |= 1 << lane;
            }
        }
        p
    }
}

/// Sets the scratch mask.
fn lanes(e: &mut Emitter<'_>, present: u16) -> Result<()> {
    let lanes = e.constant(&present.to_le_bytes(), false);
    e.with_source(lanes, |m| two(Code::VEX_Kmovw_kr_km16, SCRATCH_MASK, m))
}

/// Vector k: elements of vector a, or zeros.
pub(crate) fn permute(e: &mut Emitter<'_>, k: u32, a: u32, from: &[Option<u8>]) -> Result<()> {
    let p = Places::new(e.width.size, from);
    // lanes behind the last one may be anything
    let whole = from.iter().all(Option::is_some);
    let x = e.source(a, &[a])?;
    if from.iter().all(|p| *p == Some(0)) {
        e.last_reads(&[a]);
        let (broadcast, d) = (e.width.broadcast, e.new_vector(k, &[a])?);
        return match x {
            Source::Register(r) => {
                let low = Register::XMM0 + (r as u32 - Register::ZMM0 as u32);
                e.write(&Instruction::with2(broadcast, d, low)?)
            }
            // already everywhere, or a vector in memory of which the first element is read
            other => e.load_first(d, other),
        };
    }
    let index = e.constant(&p.index, false);
    e.load(SCRATCH, index)?;
    if !whole {
        lanes(e, p.present)?;
    }
    e.last_reads(&[a]);
    let (code, d) = (e.width.permute, e.new_vector(k, &[a])?);
    e.with_source(x, |x| {
        let mut i = three(code, d, SCRATCH, x)?;
        if !whole {
            i.set_op_mask(SCRATCH_MASK);
            i.set_zeroing_masking(true);
        }
        Ok(i)
    })
}

/// Vector k: that of `into`, with elements of a.
pub(crate) fn place(e: &mut Emitter<'_>, k: u32, into: u32, a: u32, from: &[Option<u8>]) -> Result<()> {
    let p = Places::new(e.width.size, from);
    let (old, x) = (e.vector(into, &[into, a])?, e.vector(a, &[into, a])?);
    let index = e.constant(&p.index, false);
    e.load(SCRATCH, index)?;
    lanes(e, p.present)?;
    let d = e.new_vector(k, &[into, a])?;
    let (copy, permute) = (e.width.copy, e.width.permute);
    e.write(&Instruction::with2(copy, d, old)?)?;
    let mut i = Instruction::with3(permute, d, SCRATCH, x)?;
    i.set_op_mask(SCRATCH_MASK);
    e.write(&i)
}

/// Before the first vector: where it begins, and where the last one ends.
pub(crate) fn count(e: &mut Emitter<'_>) -> Result<()> {
    let size = e.width.size;
    let mut lanes = [0u8; 64];
    for (lane, bytes) in lanes.chunks_mut(size).enumerate() {
        bytes[0] = lane as u8;
    }
    let lanes = e.constant(&lanes, false);
    let first = if size == 4 { Register::EDX } else { Register::RDX };
    let (spread, add) = (e.width.spread_index, e.width.add_index);
    e.write(&Instruction::with2(spread, INDEX, first)?)?;
    e.with_source(lanes, |l| three(add, INDEX, INDEX, l))?;
    e.write(&Instruction::with2(Code::Add_r64_rm64, Register::RDX, Register::RDI)?)?;
    e.write(&Instruction::with2(spread, END, first)?)
}

/// Mask k: which elements lie in a range.
pub(crate) fn inside(e: &mut Emitter<'_>, k: u32, from: usize, end: usize) -> Result<()> {
    const BELOW: i32 = 1;
    const NOT_BELOW: i32 = 5;
    let compare = e.width.compare_index;
    let (first, last) = (e.number(from as u64), e.number(end as u64));
    let d = e.new_mask(k, &[])?;
    e.with_source(last, |n| with_immediate(compare, d, INDEX, n, BELOW))?;
    if from == 0 {
        return Ok(());
    }
    e.with_source(first, |n| {
        let mut i = with_immediate(compare, d, INDEX, n, NOT_BELOW)?;
        i.set_op_mask(d);
        Ok(i)
    })
}

/// Mask k: which elements the code is called for.
pub(crate) fn called(e: &mut Emitter<'_>, k: u32) -> Result<()> {
    const BELOW: i32 = 1;
    let d = e.new_mask(k, &[])?;
    e.write(&Instruction::with4(e.width.compare_index, d, INDEX, END, BELOW)?)
}
