//! Rows: what is computed a block of whole rows at a time.
//!
//! The reductions of the rows of an array, and what follows from them elementwise and is spread over the rows again, are
//! columns: they have one element a row, and live in the blocks of that array, so that softmax or layer norm read their
//! input once. So do products of a matrix with a vector: `X @ w` is a column of X, and `X.T @ r` joins rows of X that are
//! weighted by a column.

use smallvec::SmallVec;

use super::ir::{DIRECT, Ir, Kind, Node, Opaque, Ref};
use super::view::View;
use crate::code;
use crate::exec::region::group_rows;
use crate::ops::{Binary, Op};
use crate::tape::DType;

/// Rows of up to so many elements are blocks; the values of a longer one would not stay in the second-level cache.
pub const LONGEST: usize = 8192;
/// The most rows that a leading reduction takes for one.
const JOINED: usize = 256;

/// What a node is for an array with rows of so many elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing that has to do with rows.
    None,
    /// The reductions of the rows.
    Fold { row: usize },
    /// The products of the rows with a vector; the array is this one of the inputs.
    Dot { row: usize, matrix: usize },
    /// Elementwise on columns, and spread over the rows in the end.
    Map { row: usize },
    /// The rows, each times its element of a column, joined into one.
    Weighted { row: usize, matrix: usize },
}

impl Role {
    /// The length of the rows, of a value with an element for each of them.
    pub fn column(self) -> Option<usize> {
        match self {
            Role::Fold { row } | Role::Dot { row, .. } | Role::Map { row } => Some(row),
            Role::None | Role::Weighted { .. } => None,
        }
    }
}

pub fn fits(row: usize) -> bool {
    (1..=LONGEST).contains(&row)
}

/// Whether a view is `rows` numbers, each of them `row` times.
pub fn spreads(v: &View, rows: usize, row: usize) -> bool {
    if v.offset != 0 || v.frame.is_some() || v.size() != rows * row {
        return false;
    }
    let v = v.collapsed();
    match (v.dims.as_slice(), v.strides.as_slice()) {
        ([n, m], [1, 0]) => *n == rows && *m == row,
        ([n], [1]) => row == 1 && *n == rows,
        _ => false,
    }
}

/// What a node divides the rows of an array by: a column.
pub fn divisor(ir: &Ir, roles: &[Role], x: u32) -> Option<Ref> {
    let n = &ir.nodes[x as usize];
    let (Some(code::Op::Binary(Binary::Div)), &[_, by]) = (n.op, n.inputs.as_slice()) else { return None };
    let row = roles[by.node as usize].column()?;
    (by.view != DIRECT && spreads(&ir.views[by.view as usize], ir.nodes[by.node as usize].n, row)).then_some(by)
}

/// Whether every row of a view over rows of this length is the same.
pub fn repeats(v: &View, row: usize) -> bool {
    if v.frame.is_some() {
        return false;
    }
    let v = v.collapsed();
    let Some(first) = v.strides.iter().position(|&s| s != 0) else { return true };
    row.is_multiple_of(v.dims[first..].iter().product::<usize>().max(1))
}

/// The roles of all nodes. Arrays of up to `small` elements have no rows; without `fuse` there are reductions alone.
pub fn roles(ir: &Ir, small: usize, fuse: bool) -> Vec<Role> {
    let mut roles = vec![Role::None; ir.nodes.len()];
    for (i, n) in ir.nodes.iter().enumerate() {
        roles[i] = match &n.kind {
            Kind::Fold(f) if !f.leading && f.rows > 1 && fits(f.row) && f.rows * f.row > small => {
                Role::Fold { row: f.row }
            }
            Kind::Opaque(o) if fuse => product(ir, n, o).filter(|p| source(ir, n, *p) > small).unwrap_or(Role::None),
            _ => Role::None,
        };
    }
    if !fuse {
        return roles;
    }
    alone(ir, &mut roles);
    let wanted = wanted(ir, small, &roles);
    for (i, n) in ir.nodes.iter().enumerate() {
        let row = wanted[i];
        if row == 0 || !matches!(n.kind, Kind::Map(_)) {
            continue;
        }
        let follows = |r: &Ref| r.view == DIRECT && roles[r.node as usize].column() == Some(row);
        if n.inputs.iter().any(follows) {
            roles[i] = Role::Map { row };
        }
    }
    // what only goes with columns is computed beside them
    for (i, n) in ir.nodes.iter().enumerate().rev() {
        let Role::Map { row } = roles[i] else { continue };
        for r in &n.inputs {
            let p = r.node as usize;
            let plain = roles[p] == Role::None && matches!(ir.nodes[p].kind, Kind::Map(_));
            if plain && r.view == DIRECT && wanted[p] == row {
                roles[p] = Role::Map { row };
            }
        }
    }
    roles
}

/// Products gain nothing where nobody else reads the matrix row by row, unless it need not be stored.
fn alone(ir: &Ir, roles: &mut [Role]) {
    let mut readers = vec![0u32; ir.nodes.len()];
    let matrix = |i: usize, role: Role| match role {
        Role::Dot { matrix, .. } | Role::Weighted { matrix, .. } => Some(ir.nodes[i].inputs[matrix].node as usize),
        Role::None | Role::Fold { .. } | Role::Map { .. } => None,
    };
    for (i, &role) in roles.iter().enumerate() {
        if let Some(x) = matrix(i, role) {
            readers[x] += 1;
        }
    }
    for (i, role) in roles.iter_mut().enumerate() {
        if let Some(x) = matrix(i, *role)
            && readers[x] < 2
            && !matches!(ir.nodes[x].kind, Kind::Map(_))
        {
            *role = Role::None;
        }
    }
}

/// The elements of the array whose rows a product reads.
fn source(ir: &Ir, n: &Node, role: Role) -> usize {
    match role {
        Role::Dot { matrix, .. } | Role::Weighted { matrix, .. } => ir.nodes[n.inputs[matrix].node as usize].n,
        Role::None | Role::Fold { .. } | Role::Map { .. } => 0,
    }
}

/// A product of a matrix that lies row by row with a vector that lies as it is.
fn product(ir: &Ir, node: &Node, o: &Opaque) -> Option<Role> {
    if !matches!(o.op, Op::MatMul(_)) || !matches!(node.dtype, DType::F32 | DType::F64) {
        return None;
    }
    let rank = o.shape.len();
    let (m, n, k) = (o.shape[rank - 2], o.shape[rank - 1], o.inputs[0].0[rank - 1]);
    if o.shape[..rank - 2].iter().any(|&d| d != 1) || (m == 1) == (n == 1) || k < 2 {
        return None;
    }
    let matrix = usize::from(n != 1);
    let (a, x) = (node.inputs[matrix], node.inputs[1 - matrix]);
    let number = |r: Ref| matches!(ir.nodes[r.node as usize].kind, Kind::Const(_));
    if x.view != DIRECT || number(a) || number(x) || a.node == x.node {
        return None;
    }
    let strides: SmallVec<[isize; 4]> = if a.view == DIRECT {
        View::whole(&o.inputs[matrix].0).strides
    } else {
        let v = &ir.views[a.view as usize];
        if v.offset != 0 || v.frame.is_some() || v.size() != ir.nodes[a.node as usize].n {
            return None;
        }
        v.strides.clone()
    };
    // from one product of a sum to the next, and from one sum to the next
    let (along, across) =
        if matrix == 0 { (strides[rank - 1], strides[rank - 2]) } else { (strides[rank - 2], strides[rank - 1]) };
    let sums = m.max(n);
    if along == 1 && across == k as isize && fits(k) {
        Some(Role::Dot { row: k, matrix })
    } else if across == 1 && along == sums as isize && fits(sums) {
        Some(Role::Weighted { row: sums, matrix })
    } else {
        None
    }
}

/// For each node the length of the rows over which it, or what follows from it elementwise, is spread; else 0.
fn wanted(ir: &Ir, small: usize, roles: &[Role]) -> Vec<usize> {
    let mut wanted = vec![0usize; ir.nodes.len()];
    for (j, n) in ir.nodes.iter().enumerate().rev() {
        if let Role::Weighted { row, matrix } = roles[j] {
            wanted[n.inputs[1 - matrix].node as usize] = row;
        }
        if !matches!(n.kind, Kind::Map(_) | Kind::Copy) {
            continue;
        }
        for r in &n.inputs {
            let p = r.node as usize;
            let rows = ir.nodes[p].n;
            if r.view == DIRECT {
                if rows == n.n && wanted[p] == 0 {
                    wanted[p] = wanted[j];
                }
            } else if n.n > small && rows > 1 && n.n.is_multiple_of(rows) {
                let row = n.n / rows;
                if fits(row) && spreads(&ir.views[r.view as usize], rows, row) {
                    wanted[p] = row;
                }
            }
        }
    }
    wanted
}

/// What a node asks of the region that it joins.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    Nothing,
    /// Blocks of whole rows.
    Row(usize),
    /// Blocks of whole rows, and tasks of whole groups of them.
    Weighted(usize),
    /// Rows of this length, longer than a block.
    Long(usize),
    /// Rows of this length, joined into one.
    Lead(usize),
    /// All of the array is reduced to a number.
    Full,
}

/// How a region is cut.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    n: usize,
    /// The length of its rows, if they matter.
    row: usize,
    long: bool,
    weighted: bool,
    lead: usize,
    full: bool,
}

impl Cut {
    pub fn new(n: usize) -> Cut {
        Cut { n, ..Cut::default() }
    }

    /// Whether a node with this need can join; if so, it has.
    pub fn admits(&mut self, need: Need) -> bool {
        let mut c = *self;
        match need {
            Need::Nothing => return true,
            Need::Row(row) | Need::Weighted(row) | Need::Long(row) => {
                if c.row != 0 && c.row != row {
                    return false;
                }
                c.row = row;
                c.long |= matches!(need, Need::Long(_));
                c.weighted |= matches!(need, Need::Weighted(_));
            }
            Need::Lead(lead) => {
                if c.lead != 0 && c.lead != lead {
                    return false;
                }
                c.lead = lead;
            }
            Need::Full => c.full = true,
        }
        let possible = c.possible();
        if possible {
            *self = c;
        }
        possible
    }

    fn possible(&self) -> bool {
        if self.long {
            return (self.lead == 0 || self.lead == self.row) && !self.full;
        }
        if self.row == 0 {
            return !(self.full && self.lead != 0) || fits(self.lead);
        }
        if self.lead == 0 {
            return true;
        }
        self.lead.is_multiple_of(self.row)
            && self.lead <= JOINED.max(self.row)
            && (!self.weighted || self.group() == group_rows(self.n / self.row, self.row))
    }

    /// Whether blocks are whole rows, with columns or reductions to one number beside them.
    pub fn by_rows(&self) -> bool {
        !self.long && (self.row != 0 || self.full && self.lead != 0)
    }

    /// The length of the rows, n where there are none.
    pub fn row(&self) -> usize {
        match (self.row, self.lead) {
            (0, 0) => self.n,
            (0, lead) => lead,
            (row, _) => row,
        }
    }

    /// The rows that a leading reduction takes for one; blocks have a multiple of them.
    pub fn joined(&self) -> usize {
        if self.lead == 0 { 1 } else { self.lead / self.row() }
    }

    /// The rows that belong to one task; all of them where no result runs over rows.
    pub fn group(&self) -> usize {
        let row = self.row().max(1);
        if let Some(rows) = self.n.checked_div(self.lead) {
            group_rows(rows, self.lead) * self.joined()
        } else if self.weighted {
            group_rows(self.n / row, row)
        } else {
            self.n / row
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_that_spread_and_views_that_repeat() {
        let column = View::whole(&[5, 1]);
        assert!(spreads(&column.broadcast(&[5, 4]), 5, 4));
        assert!(!spreads(&column.broadcast(&[5, 4]), 4, 5));
        assert!(!spreads(&View::whole(&[5]).broadcast(&[4, 5]), 5, 4));
        assert!(spreads(&View::whole(&[2, 3, 1]).broadcast(&[2, 3, 4]), 6, 4));
        assert!(!spreads(&View::whole(&[2, 1, 3]).broadcast(&[2, 4, 3]), 6, 4));
        let row = View::whole(&[4]).broadcast(&[5, 4]);
        assert!(repeats(&row, 4) && repeats(&row, 8) && !repeats(&row, 3) && !repeats(&column.broadcast(&[5, 4]), 4));
        assert!(repeats(&View::whole(&[1]).broadcast(&[5, 4]), 3));
        assert!(repeats(&View::whole(&[4, 1]).broadcast(&[5, 4, 3]), 12));
        assert!(!repeats(&View::whole(&[4, 1]).broadcast(&[5, 4, 3]), 3));
    }

    #[test]
    fn regions_admit_what_can_be_cut_alike() {
        let mut c = Cut::new(4096 * 64);
        assert!(c.admits(Need::Full) && !c.by_rows() && c.row() == 4096 * 64);
        assert!(c.admits(Need::Row(64)) && c.by_rows() && c.row() == 64);
        assert!(!c.admits(Need::Row(32)) && !c.admits(Need::Long(4096)));
        assert!(c.admits(Need::Lead(256)) && !c.admits(Need::Lead(64)));
        assert_eq!((c.joined(), c.group() % 4), (4, 0));
        let mut c = Cut::new(10 * LONGEST * 2);
        assert!(c.admits(Need::Lead(LONGEST * 2)) && !c.admits(Need::Full) && !c.by_rows());
    }
}
