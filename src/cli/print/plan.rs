//! What `plan` prints besides the plan's own text: JSON, and the differences of two plans.

use serde::Serialize;

use super::indented;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::show::{Change, Operation, differences};

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    warnings: Vec<&'a String>,
    phases: Vec<Phase<'a>>,
}

#[derive(Serialize)]
struct Phase<'a> {
    phase: &'static str,
    operations: Vec<Line<'a>>,
}

/// An operation as JSON has it: every member is always there.
#[derive(Serialize)]
struct Line<'a> {
    pointer: &'a Option<String>,
    operation: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
struct Changes<'a> {
    phase: &'static str,
    removed: Vec<Line<'a>>,
    added: Vec<Line<'a>>,
}

pub(crate) fn json(plan: &Plan) -> Result<String> {
    let operations = plan.operations();
    let phases = operations.chunk_by(|one, other| one.phase == other.phase);
    let document = Document {
        id: plan.id.as_str(),
        warnings: plan.all_warnings().collect(),
        phases: phases.map(phase).collect(),
    };
    Ok(indented(&document, "  ")? + "\n")
}

fn phase(same: &[Operation]) -> Phase<'_> {
    Phase { phase: same[0].phase, operations: same.iter().map(line).collect() }
}

fn line(operation: &Operation) -> Line<'_> {
    Line { pointer: &operation.pointer, operation: operation.name, detail: &operation.detail }
}

/// The phases that differ: `-` before what only the first plan has, `+` before what only the second has.
pub(crate) fn difference(first: &Plan, second: &Plan) -> String {
    let (before, after) = (first.operations(), second.operations());
    let mut text = String::new();
    for difference in differences(&before, &after) {
        let blank = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{blank}{}\n", difference.phase.to_uppercase()));
        for change in difference.changes {
            text.push_str(&match change {
                Change::Removed(operation) => format!("- {operation}\n"),
                Change::Added(operation) => format!("+ {operation}\n"),
            });
        }
    }
    text
}

pub(crate) fn difference_json(first: &Plan, second: &Plan) -> Result<String> {
    let (before, after) = (first.operations(), second.operations());
    let mut all = Vec::new();
    for difference in differences(&before, &after) {
        let mut one = Changes { phase: difference.phase, removed: Vec::new(), added: Vec::new() };
        for change in difference.changes {
            match change {
                Change::Removed(operation) => one.removed.push(line(operation)),
                Change::Added(operation) => one.added.push(line(operation)),
            }
        }
        all.push(one);
    }
    Ok(indented(&all, "  ")? + "\n")
}
