//! Every value of a configuration that has all fields, one after the other extreme or hostile: what is refused by the
//! rules is told by its place; what is not goes through the binary, which does it or refuses it, and leaves nothing.

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::soon;
use crate::support::{Bundle, run::wait_for};

const FULL: &str = include_str!("../fixtures/spec/full.json");

/// Pointers to all values that are no object and no list.
fn leaves(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, below) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(below, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                leaves(below, &format!("{pointer}/{index}"), found);
            }
        }
        _ => found.push(pointer.to_owned()),
    }
}

fn instead(value: &Value) -> Vec<Value> {
    let long = "a".repeat(5000);
    match value {
        Value::String(_) => vec![
            json!(""),
            json!("/"),
            json!(".."),
            json!("../../../../../../etc/passwd"),
            json!("/proc/self/fd/1/../../exe"),
            json!("/dev/../../x\n y"),
            json!("%s%n$(id)`id`"),
            json!("\u{1}\u{7f}\u{202e}ü"),
            json!("a\u{0}b"),
            json!(long),
        ],
        Value::Number(_) => vec![
            json!(-1),
            json!(0),
            json!(1),
            json!(i32::MAX),
            json!(u32::MAX),
            json!(i64::MIN),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e308),
            json!(0.5),
        ],
        Value::Bool(known) => vec![json!(!known)],
        _ => Vec::new(),
    }
}

/// The smallest configuration with this value in it: the bundle's own, with that one member of the full one, or of one
/// of its sections.
fn with(own: &Value, full: &Value, pointer: &str, value: &Value) -> Value {
    let mut config = own.clone();
    let parts: Vec<&str> = pointer.split('/').skip(1).collect();
    // /linux/resources/cpu/quota brings /linux/resources/cpu.
    let deep = match parts[..] {
        ["linux", "resources", ..] => 3,
        ["linux" | "process" | "root" | "hooks", ..] => 2,
        _ => 1,
    };
    let section = format!("/{}", parts[..deep.min(parts.len())].join("/"));
    let mut holder = &mut config;
    for name in &parts[..deep.min(parts.len()) - 1] {
        holder = &mut holder[*name];
    }
    let name = parts[deep.min(parts.len()) - 1];
    holder[name] = full.pointer(&section).unwrap().clone();
    // What makes no sense alone.
    match name {
        "uidMappings" | "gidMappings" => {
            for name in ["uidMappings", "gidMappings"] {
                config["linux"][name] = full["linux"][name].clone();
            }
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        }
        "timeOffsets" => config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"})),
        _ => {}
    }
    *config.pointer_mut(pointer).unwrap() = value.clone();
    config
}

#[test]
fn of_every_field_are_refused_by_their_place_or_done_and_leave_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    // The configuration asks for eth0, and would get the machine's. What this thread starts is away from it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    bundle.args(&["sleep", "0"]);
    let (own, full) = (bundle.config.clone(), serde_json::from_str::<Value>(FULL).unwrap());
    let mut pointers = Vec::new();
    leaves(&full, "", &mut pointers);
    // The groups above the container's own stay, as with other runtimes: see src/cgroup/path.rs for its values.
    pointers.retain(|pointer| pointer != "/linux/cgroupsPath");
    let (mut refused, mut tried, mut wrong) = (0, 0, Vec::new());
    for pointer in &pointers {
        for value in instead(full.pointer(pointer).unwrap()) {
            let config = with(&own, &full, pointer, &value);
            let shown: String = format!("{pointer} = {value}").chars().take(120).collect();
            if let Err(error) = tare::testing::spec::parse(config.to_string().as_bytes()) {
                refused += 1;
                let message = error.to_string();
                // At least the object in a list, or the section.
                let place: Vec<&str> = pointer.splitn(4, '/').take(3).collect();
                if !message.contains(&place.join("/")) || message.len() > 5000 {
                    wrong.push(format!("{shown}: {message}"));
                }
                continue;
            }
            tried += 1;
            wrong.extend(tried_out(&mut bundle, config).map(|fault| format!("{shown}: {fault}")));
        }
    }
    eprintln!("{refused} refused by the rules, {tried} tried out");
    assert!(refused > 500 && tried > 500 && wrong.is_empty(), "{refused} {tried}\n{}", wrong.join("\n"));
}

/// What is wrong with what the binary does about it.
fn tried_out(bundle: &mut Bundle, config: Value) -> Option<String> {
    bundle.patch(|own| *own = config);
    let started = std::time::Instant::now();
    let answer = wait_for(&mut bundle.command(&["create", &bundle.id]));
    if started.elapsed() > soon() {
        return Some(format!("took {:?}", started.elapsed()));
    }
    if answer.code == 0 {
        let deleted = bundle.delete_force();
        if deleted.code != 0 {
            return Some(format!("cannot be deleted: {deleted:?}"));
        }
    } else if answer.code != 1 || answer.stderr.contains("panicked") || answer.message().is_empty() {
        return Some(format!("{answer:?}"));
    }
    let left = std::fs::read_dir(bundle.state_root()).unwrap().flatten().count();
    (left != 0).then(|| format!("leaves a state directory: {answer:?}"))
}
