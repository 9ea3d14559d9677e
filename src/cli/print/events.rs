//! `events`: one line of JSON for each event, as in runc.

use serde::Serialize;

use crate::cgroup::Stats;
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::lifecycle::verbs::events::{Event, Rdt};

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a ContainerId,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    group: &'a Stats,
    intel_rdt: &'a Rdt,
    /// Always null, as in runc: a network namespace has these, not a control group.
    network_interfaces: Option<()>,
}

pub(crate) fn json(id: &ContainerId, event: &Event) -> Result<String> {
    let line = match event {
        Event::OutOfMemory => Line { kind: "oom", id, data: None },
        Event::Sample(sample) => {
            let data = Data { group: &sample.group, intel_rdt: &sample.rdt, network_interfaces: None };
            Line { kind: "stats", id, data: Some(data) }
        }
    };
    Ok(super::compact(&line)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::verbs::events::Sample;

    #[test]
    fn what_is_zero_is_left_out_where_runc_leaves_it_out() {
        let id = ContainerId::parse("x").unwrap();
        assert_eq!(json(&id, &Event::OutOfMemory).unwrap(), "{\"type\":\"oom\",\"id\":\"x\"}\n");
        let sample = Sample { group: Stats::default(), rdt: Rdt::default(), oom_kills: None };
        let line = json(&id, &Event::Sample(Box::new(sample))).unwrap();
        // The expected text follows runc's types for this document, with empty values.
        let want = concat!(
            r#"{"type":"stats","id":"x","data":{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"#,
            r#""cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"#,
            r#""memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"#,
            r#""sched_relax_domain_level":0},"memory":{"usage":{"limit":0,"failcnt":0},"#,
            r#""swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"#,
            r#""kernelTCP":{"limit":0,"failcnt":0}},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"#,
            r#""network_interfaces":null}}"#,
            "\n"
        );
        assert_eq!(line, want);
    }
}
