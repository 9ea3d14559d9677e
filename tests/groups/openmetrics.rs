//! `events --openmetrics`, read by a parser that takes nothing but what OpenMetrics 1.0 allows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{Bundle, machine};

#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    /// Labels as written, and the value.
    samples: BTreeMap<String, f64>,
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// `{name="value",…}`: each name once, values escaped.
fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or_else(|| format!("no value: {rest}"))?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("no closing quote")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next().ok_or("nothing behind a backslash")?.1 {
                    'n' => value.push('\n'),
                    c @ ('"' | '\\') => value.push(c),
                    other => return Err(format!("escaped {other:?}")),
                },
                (_, '\n') => return Err("a newline in a value".into()),
                (_, c) => value.push(c),
            }
        };
        if !is_name(name) || all.insert(name.to_owned(), value).is_some() {
            return Err(format!("label {name:?}"));
        }
        rest = &after[end + 1..];
        rest = match rest.strip_prefix(',') {
            Some("") => return Err("a comma at the end".into()),
            Some(more) => more,
            None if rest.is_empty() => rest,
            None => return Err(format!("no comma: {rest}")),
        };
    }
    Ok(all)
}

fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("does not end with # EOF and a newline")?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        let at = |what: &str| format!("{what}: {line:?}");
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name, value) = (
                words.next().unwrap(),
                words.next().ok_or_else(|| at("no name"))?,
                words.next().ok_or_else(|| at("no value"))?,
            );
            if name != current {
                // A family stands together: its name does not come again.
                if !is_name(name) || families.contains_key(name) {
                    return Err(at("a name that is wrong or comes again"));
                }
                current = name.to_owned();
                families.insert(current.clone(), Family::default());
            }
            let family = families.get_mut(name).unwrap();
            if !family.samples.is_empty() {
                return Err(at("a description behind samples"));
            }
            let slot = match keyword {
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                "HELP" => &mut family.help,
                _ => return Err(at("no keyword")),
            };
            if !slot.is_empty() {
                return Err(at("said twice"));
            }
            value.clone_into(slot);
            continue;
        }
        let (name, rest) = line.split_once('{').ok_or_else(|| at("no labels"))?;
        let (inside, value) = rest.rsplit_once("} ").ok_or_else(|| at("no value"))?;
        let family = families.get_mut(&current).ok_or_else(|| at("no family"))?;
        let suffix = name.strip_prefix(&*current).ok_or_else(|| at("not of this family"))?;
        match (&*family.kind, suffix) {
            ("counter", "_total") | ("gauge" | "unknown", "") => {}
            _ => return Err(at("a suffix that its type has not")),
        }
        if !family.unit.is_empty() && !current.ends_with(&format!("_{}", family.unit)) {
            return Err(at("a name that does not end in its unit"));
        }
        let number: f64 = match value {
            "+Inf" => f64::INFINITY,
            digits => digits.parse().map_err(|_| at("no number"))?,
        };
        if family.kind == "counter" && !(number >= 0.0 && number.is_finite()) {
            return Err(at("no count"));
        }
        if !labels(inside)?.contains_key("id") {
            return Err(at("no id"));
        }
        if family.samples.insert(inside.to_owned(), number).is_some() {
            return Err(at("a series that comes twice"));
        }
    }
    match families
        .iter()
        .find(|(_, family)| family.kind.is_empty() || family.help.is_empty() || family.samples.is_empty())
    {
        Some((name, family)) => Err(format!("{name}: {family:?}")),
        None => Ok(families),
    }
}

#[test]
fn the_parser_is_strict() {
    let good = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds Help.\na_seconds_total{id=\"x\\\"\"} 1.5\n# EOF\n";
    assert_eq!(parse(good).unwrap()["a_seconds"].samples["id=\"x\\\"\""], 1.5);
    for (from, to) in [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF"),
        ("_total", ""),
        ("counter", "gauge"),
        ("seconds seconds", "seconds bytes"),
        ("1.5", "-1"),
        ("1.5", "NaN"),
        ("id=", "ID="),
        ("\\\"", "\\x"),
        ("# HELP a_seconds Help.\n", ""),
        ("# UNIT", "# UNITS"),
        ("x\\\"\"}", "x\\\"\",}"),
        ("# EOF\n", "a_seconds_total{id=\"x\\\"\"} 2\n# EOF\n"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(parse(&bad).is_err(), "{bad}");
    }
}

fn a_sample_is_valid() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let answer = bundle.tare(&["events", "--openmetrics", &bundle.id]).ok();
    let families = parse(&answer.stdout).unwrap_or_else(|error| panic!("{error}\n{}", answer.stdout));
    let names: BTreeSet<&str> = families.keys().map(String::as_str).collect();
    for name in ["tare_cpu_seconds", "tare_cpu_mode_seconds", "tare_pids", "tare_pids_limit"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let own = format!("id=\"{}\"", bundle.id);
    assert!(
        families.values().flat_map(|family| family.samples.keys()).all(|labels| labels.starts_with(&own))
    );
    assert_eq!(families["tare_pids"].samples[&own], 1.0);
    assert_eq!(families["tare_pids_limit"].samples[&own], f64::INFINITY);
    if machine::group_with(&bundle.id, "cpu.pressure").is_some() {
        let series = format!("{own},resource=\"memory\",tasks=\"full\",window=\"300s\"");
        assert!((0.0..=1.0).contains(&families["tare_pressure_ratio"].samples[&series]));
    }
    if machine::has_controller("memory") {
        let memory = format!("{own},kind=\"memory\"");
        assert!(families["tare_memory_usage_bytes"].samples[&memory] > 0.0);
        assert_eq!(families["tare_memory_limit_bytes"].samples[&memory], f64::INFINITY);
        assert_eq!(families["tare_oom_kills"].samples[&own], 0.0);
    }
}

#[test]
fn a_sample_is_openmetrics_text() {
    a_sample_is_valid();
}

#[test]
fn a_sample_is_openmetrics_text_on_cgroup_v2() {
    if machine::cgroup2_alone() {
        a_sample_is_valid();
    }
}

#[test]
fn limits_and_counters_are_those_of_the_group() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !machine::has_controller("memory") {
        return crate::support::skip("needs the memory controller");
    }
    bundle.patch(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 67108864});
        config["linux"]["resources"]["pids"] = json!({"limit": 7});
    });
    bundle.up();
    let answer = bundle.tare(&["events", "--openmetrics", "--interval", "1s", &bundle.id]).ok();
    let families = parse(&answer.stdout).unwrap();
    let own = format!("id=\"{}\"", bundle.id);
    assert_eq!(families["tare_pids_limit"].samples[&own], 7.0);
    assert_eq!(families["tare_memory_limit_bytes"].samples[&format!("{own},kind=\"memory\"")], 67108864.0);
    assert!(families["tare_memory_stat"].samples.len() > 20);
}
