//! The user's lines behind the nodes of a tape, where they were asked for: explanations, `Tape(lines=True)`, debug_nans.

use std::collections::HashMap;

use mlgrad_core::tape::NodeId;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::trace::Trace;

/// Which line of the user's code each node comes from. Nodes that one call has recorded share an entry.
#[derive(Default)]
pub struct Lines {
    /// The frame that the user's function is called from, by address: what lies outside of it is not the user's function.
    /// Whoever sets it holds the frame.
    outside: usize,
    files: Vec<String>,
    numbers: HashMap<String, u32>,
    calls: Vec<Call>,
}

struct Call {
    /// The first node after those of this call.
    end: usize,
    /// The file's number, and the line.
    line: Option<(u32, u32)>,
}

impl Lines {
    /// The number of the call that recorded `node`, and its line.
    pub fn of(&self, node: NodeId) -> (usize, Option<(&str, u32)>) {
        let k = self.calls.partition_point(|c| c.end <= node.index());
        let line = self.calls.get(k).and_then(|c| c.line);
        (k, line.map(|(file, line)| (self.files[file as usize].as_str(), line)))
    }

    /// Up to which node calls are known.
    fn end(&self) -> usize {
        self.calls.last().map_or(0, |c| c.end)
    }

    fn add(&mut self, end: usize, line: Option<(String, u32)>) {
        let line = line.map(|(file, line)| {
            let number = *self.numbers.entry(file).or_insert_with_key(|file| {
                self.files.push(file.clone());
                self.files.len() as u32 - 1
            });
            (number, line)
        });
        self.calls.push(Call { end, line });
    }
}

impl Trace {
    /// Sets where the user's function is called from. The caller holds the frame for as long as nodes are recorded.
    pub fn lines_inside(&self, frame: &Bound<'_, PyAny>) {
        if let Some(lines) = &mut self.access().lines {
            lines.outside = frame.as_ptr() as usize;
        }
    }

    /// Gives the nodes that have come since the last call the user's present line. Only for a trace that keeps lines.
    pub fn note_line(&self, py: Python<'_>) -> PyResult<()> {
        let outside = {
            let mut state = self.access();
            let length = state.tape.len();
            match &mut state.lines {
                // a walk whose nodes nobody needs any more has been dropped again
                Some(lines) if lines.end() > length => {
                    lines.calls.retain(|c| c.end <= length);
                    return Ok(());
                }
                Some(lines) if lines.end() < length => lines.outside,
                _ => return Ok(()),
            }
        };
        let line = user_line(py, outside)?;
        let mut state = self.access();
        let length = state.tape.len();
        if let Some(lines) = &mut state.lines {
            lines.add(length, line);
        }
        Ok(())
    }
}

/// The innermost line that is neither ours nor NumPy's, inside the frame at the address `outside`.
fn user_line(py: Python<'_>, outside: usize) -> PyResult<Option<(String, u32)>> {
    static OURS: PyOnceLock<[String; 2]> = PyOnceLock::new();
    let ours = OURS.get_or_try_init(py, || {
        let folder = |module: &str| -> PyResult<String> {
            let file: String = py.import(module)?.getattr("__file__")?.extract()?;
            Ok(file.trim_end_matches("__init__.py").to_string())
        };
        PyResult::Ok([folder("mlgrad")?, folder("numpy")?])
    })?;
    let Ok(mut frame) = py.import("sys")?.call_method1("_getframe", (0,)) else { return Ok(None) };
    while !frame.is_none() && frame.as_ptr() as usize != outside {
        let file: String = frame.getattr(intern!(py, "f_code"))?.getattr(intern!(py, "co_filename"))?.extract()?;
        if !ours.iter().any(|folder| file.starts_with(folder.as_str())) && !file.starts_with("<__array_function__") {
            let line: Option<u32> = frame.getattr(intern!(py, "f_lineno"))?.extract()?;
            return Ok(line.map(|line| (file, line)));
        }
        frame = frame.getattr(intern!(py, "f_back"))?;
    }
    Ok(None)
}
