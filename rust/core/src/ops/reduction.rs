//! The reductions by name.

/// What a reduction does to the elements that it combines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    Sum,
    Prod,
    /// The largest; nan if there is one.
    Max,
    /// The smallest; nan if there is one.
    Min,
    /// Over bool: or.
    Any,
    /// Over bool: and.
    All,
}

impl ReduceOp {
    /// NumPy's name.
    pub const fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::Any => "any",
            ReduceOp::All => "all",
        }
    }
}
