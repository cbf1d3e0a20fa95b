//! The one error type of the core. Messages name the operation, the shapes or dtypes, and the remedy.

/// What went wrong, by the Python exception that it becomes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Wrong shapes, axes or values: `ValueError`.
    #[error("{0}")]
    Value(String),
    /// Wrong dtypes or kinds of argument: `TypeError`.
    #[error("{0}")]
    Type(String),
    /// A Python number that the dtype cannot hold: `OverflowError`.
    #[error("{0}")]
    Overflow(String),
    /// An index out of range: `IndexError`.
    #[error("{0}")]
    Index(String),
    /// An axis out of range: `numpy.exceptions.AxisError`.
    #[error("{0}")]
    Axis(String),
    /// A matrix that has no inverse or no Cholesky factor: `numpy.linalg.LinAlgError`.
    #[error("{0}")]
    LinAlg(String),
    /// An allocation that failed: `MemoryError`.
    #[error("{0}")]
    Memory(String),
    /// A value that is not known yet (inside vmap) was asked for: `TypeError` subclass `ConcretizationError`.
    #[error("{0}")]
    Abstract(String),
    /// The caller asked to stop (Ctrl-C): the pending Python exception.
    #[error("interrupted")]
    Interrupted,
    /// An exception of a host call, which whoever made the call keeps.
    #[error("a host call failed")]
    Foreign,
    /// A broken invariant: `RuntimeError`.
    #[error("internal error in mlgrad, please report it: {0}")]
    Internal(String),
}

impl From<mlgrad_linalg::Error> for Error {
    fn from(e: mlgrad_linalg::Error) -> Error {
        match e {
            mlgrad_linalg::Error::LinAlg(m) => Error::LinAlg(m),
            mlgrad_linalg::Error::Internal(m) => Error::Internal(m),
        }
    }
}

pub type Result<T> = std::result::Result<T, Error>;
