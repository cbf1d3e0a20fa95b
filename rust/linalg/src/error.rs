//! What a factorisation can fail with.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A matrix that has no inverse or no Cholesky factor, or an iteration that did not converge.
    #[error("{0}")]
    LinAlg(String),
    /// A broken invariant.
    #[error("{0}")]
    Internal(String),
}

pub type Result<T> = std::result::Result<T, Error>;
