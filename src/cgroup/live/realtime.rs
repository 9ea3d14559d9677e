//! v1's share of real-time bandwidth: a group can have no more than its parent, and a new parent has none.

use crate::cgroup::dir::CgroupDir;
use crate::cgroup::plan::Plan;
use crate::error::{Context, Result};

/// The kernel's default, in microseconds.
const PERIOD: u64 = 1_000_000;

/// Gives a new parent as much as the plan wants for the group below it.
pub(super) fn grant_to_parent(parent: &CgroupDir, plan: &Plan) -> Result<()> {
    let wanted = |file: &str| {
        let write = plan.writes.iter().find(|write| write.file == file)?;
        Some((write.value.parse::<i64>().ok()?, write.pointer.clone()))
    };
    let Some((runtime, pointer)) = wanted("cpu.rt_runtime_us").filter(|(runtime, _)| *runtime > 0) else {
        return Ok(());
    };
    let period = wanted("cpu.rt_period_us").map_or(PERIOD.cast_signed(), |(period, _)| period);
    // The kernel checks runtime <= period at each write, so both orders are tried.
    let (period, runtime) = (("cpu.rt_period_us", period), ("cpu.rt_runtime_us", runtime));
    let put = |(file, value): (&str, i64)| parent.write_with_context(file, &value.to_string());
    put(period)
        .and_then(|()| put(runtime))
        .or_else(|_| put(runtime).and_then(|()| put(period)))
        .with_context(|| pointer)
}
