//! A tape as text: one line a node.

use std::fmt;

use super::{Tape, shape};
use crate::ops::{Leaf, Op, Primitive};

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, n) in self.nodes.iter().enumerate() {
            write!(f, "%{i}: {}{} = {}", n.dtype, shape::show(&n.shape), n.op.name())?;
            if let Op::Leaf(Leaf::Literal(bits)) = n.op {
                write!(f, " {}", super::value::number_of(bits, n.dtype))?;
            }
            let attributes = n.op.attributes();
            if !attributes.is_empty() {
                write!(f, " [{attributes}]")?;
            }
            for (k, x) in n.inputs.iter().enumerate() {
                write!(f, "{}%{}", if k == 0 { " " } else { ", " }, x.0)?;
            }
            writeln!(f, "{}", if n.value.is_some() { "  (known)" } else { "" })?;
        }
        Ok(())
    }
}
