//! From the pending part of a tape to code that runs again and again.
//!
//! [`plan_of`] cuts a [`Program`] out of a tape and looks its plan up by its structure, or plans it: identities and
//! repetitions go (`simplify`), movement becomes views (`ir`), nodes become regions (`region`), and values get places
//! (`lower`).

mod absorb;
mod cache;
pub mod diagnose;
mod entries;
pub mod frame;
mod ir;
mod kernel;
mod layout;
mod lower;
mod memory;
mod program;
mod recipe;
mod region;
pub mod rows;
mod shift;
mod simplify;
mod together;
pub mod view;

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use cache::{Stats, clear, plan_for, plan_for_body, recall, remember, set_limits, stats};
pub use program::{Extracted, Node, Program, extract, extract_exact, extract_listed, plan_of};
pub use recipe::{Answer, Ran, Recipe};
pub use rows::LONGEST as LONGEST_ROW;

use crate::code;
use crate::exec::node::Call;
use crate::exec::run::{Code, OutputSlot, ParamSlot, Runner, Unit};
pub use crate::exec::run::{Output, Param};
use crate::ops::control::body::without_rules;
use crate::tape::Value;
use crate::{Error, Result};

/// What planning may do. For tests: every choice gives the same results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Drop identities and repetitions.
    pub simplify: bool,
    /// Let nodes share a region.
    pub fuse: bool,
    /// Arrays of up to so many elements (at most 1024) are straight code.
    pub small: usize,
    /// Small parameters keep their places to themselves: a loop copies those once that stay the same from step to step.
    pub body: bool,
    /// Make machine code where there can be some.
    pub generate: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { simplify: true, fuse: true, small: SMALL, body: false, generate: generates() }
    }
}

/// Arrays of so many elements are straight code: blocks read arguments and write results where they are, which pays for more.
const SMALL: usize = 256;

/// Sums of windows over more elements are elementwise where there is machine code: vectors of the widest kind.
const ELEMENTWISE: usize = 16;

/// Whether machine code is made where nobody says otherwise: `MLGRAD_GENERATE=0` says no.
fn generates() -> bool {
    static CHOSEN: OnceLock<bool> = OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("MLGRAD_GENERATE").map_or(true, |v| v.trim() != "0"))
}

static OPTIONS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets what plans made from now on do.
pub fn set_options(o: Options) {
    let flags = u64::from(o.generate) << 2 | u64::from(o.simplify) << 1 | u64::from(o.fuse);
    OPTIONS.store((o.small.min(1024) as u64) << 3 | flags, Relaxed);
}

pub fn options() -> Options {
    match OPTIONS.load(Relaxed) {
        u64::MAX => Options::default(),
        x => Options {
            simplify: x & 2 != 0,
            fuse: x & 1 != 0,
            small: (x >> 3) as usize,
            body: false,
            generate: x & 4 != 0,
        },
    }
}

/// A program made ready to run, from several threads at a time if need be.
pub struct Plan {
    runner: Runner,
    nodes: usize,
    bytes: usize,
    /// The time of last use, for the cache.
    used: AtomicU64,
}

impl Plan {
    pub fn new(mut program: Program, options: Options) -> Result<Plan> {
        without_rules(&mut program);
        if program.nodes.len() >= u32::MAX as usize / 2 {
            return Err(Error::Memory(format!(
                "a program of {} nodes is too long; split the computation with jit or a loop primitive",
                program.nodes.len()
            )));
        }
        let nodes = program.nodes.len();
        let scalars: Vec<bool> = program.outputs.iter().map(|&o| program.nodes[o as usize].shape.is_empty()).collect();
        let program = if options.simplify { simplify::simplify(program) } else { program };
        let small = options.small.min(1024);
        let over = match (options.fuse, options.generate && code::has_code()) {
            (false, _) => usize::MAX,
            (true, false) => small,
            (true, true) => small.min(ELEMENTWISE),
        };
        let ir = ir::build(&program, over)?;
        let schedule = region::partition(&ir, small, options.fuse);
        let mut code = lower::lower(&ir, &schedule, options, &program.carries)?;
        for (slot, scalar) in code.outputs.iter_mut().zip(scalars) {
            slot.scalar = scalar;
        }
        let bytes = size_of::<Plan>() + code.bytes();
        Ok(Plan { runner: Runner::new(code), nodes, bytes, used: AtomicU64::new(0) })
    }

    /// The outputs of the program, in its order, as fresh values (scalars for shape ()).
    pub fn run(&self, params: &[Param<'_>]) -> Result<Vec<Value>> {
        self.runner.run(params)
    }

    /// The same, each as it lies: to be taken before the next run.
    pub fn run_with(&self, params: &[Param<'_>], take: &mut dyn FnMut(Output<'_>) -> Result<()>) -> Result<()> {
        self.runner.run_with(params, take)
    }

    /// Values as parameters, by their place.
    pub fn params_of<'a>(&self, values: &'a [Value]) -> Vec<Param<'a>> {
        values.iter().zip(self.param_bytes()).map(|(v, bytes)| Param::of(v, bytes)).collect()
    }

    /// The length of each parameter in bytes.
    pub fn param_bytes(&self) -> impl Iterator<Item = usize> + '_ {
        self.runner.code.params.iter().map(|slot| slot.bytes)
    }

    /// How many outputs there are.
    pub fn outputs(&self) -> usize {
        self.runner.code.outputs.len()
    }

    /// What it knows about its parameters and its outputs.
    pub(crate) fn slots(&self) -> (&[ParamSlot], &[OutputSlot]) {
        (&self.runner.code.params, &self.runner.code.outputs)
    }

    /// The calls of operations.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.runner.code.units.iter().filter_map(|u| match u {
            Unit::Call(call) => Some(&**call),
            _ => None,
        })
    }

    /// The length of each output in bytes.
    pub(crate) fn output_bytes(&self) -> impl Iterator<Item = usize> + '_ {
        self.runner.code.outputs.iter().map(|slot| slot.bytes)
    }

    /// Whether a run is long enough for the interpreter to be let go.
    pub fn is_long(&self) -> bool {
        self.runner.code.nanoseconds > 20_000
    }

    /// Whether a run is so short that it does not look for signals.
    pub fn is_brief(&self) -> bool {
        self.runner.is_brief()
    }

    /// Estimated time of a run.
    pub fn nanoseconds(&self) -> usize {
        self.runner.code.nanoseconds
    }

    /// The nodes of the program before simplification.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The memory that one run needs besides its outputs.
    pub fn arena_bytes(&self) -> usize {
        self.runner.code.arena
    }

    /// Rough size, with the arena that it keeps.
    pub fn bytes(&self) -> usize {
        self.bytes + self.runner.kept_bytes()
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

    fn code(&self) -> &Code {
        &self.runner.code
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan({} nodes, {} units)", self.nodes, self.code().units.len())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code();
        writeln!(
            f,
            "{} parameters, {} outputs, {} bytes of arena, about {} ns",
            code.params.len(),
            code.outputs.len(),
            code.arena,
            code.nanoseconds
        )?;
        for unit in &code.units {
            match unit {
                Unit::Steps(from, to) => {
                    let generated = code.steps[*from..*to].iter().filter(|s| s.is_generated()).count();
                    writeln!(f, "straight code of {} steps, {generated} of them generated", to - from)?;
                }
                Unit::Region(r) => writeln!(f, "{r}")?,
                Unit::Call(c) => writeln!(f, "{c}")?,
                Unit::Products(p) => writeln!(f, "{p}")?,
                Unit::Entries(e) => writeln!(f, "{e}")?,
            }
        }
        Ok(())
    }
}
