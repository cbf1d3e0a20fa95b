//! A run that is asked to stop does; a process of its own, since the check is the process's.

use mlgrad_core::exec::{buffer::Buffer, pool};
use mlgrad_core::ops::Unary;
use mlgrad_core::plan::{Options, Plan, extract_exact};
use mlgrad_core::tape::{DType, Tape, Value};

#[test]
fn long_runs_stop_when_asked() {
    pool::set_interrupt_check(|| true);
    for n in [1usize, 3_000_000] {
        let mut t = Tape::new();
        let value = if n == 1 { Value::Scalar(0) } else { Value::Array(Buffer::new(8 * n).unwrap().into()) };
        let shape = if n == 1 { vec![] } else { vec![n] };
        let mut x = t.param(value.clone(), shape.as_slice().into(), DType::F64).unwrap();
        for _ in 0..(if n == 1 { 100_000 } else { 3 }) {
            x = t.unary(Unary::Sin, x).unwrap();
        }
        let plan = Plan::new(extract_exact(&t, &[x]).unwrap().program, Options::default()).unwrap();
        let values = [value];
        // the check is asked every 20 ms at most, so the first run may get through
        let stopped = (0..50).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(25));
            matches!(plan.run(&plan.params_of(&values)), Err(mlgrad_core::Error::Interrupted))
        });
        assert!(stopped, "{n} elements");
    }
}
