//! Prints the result of `inspect`: as JSON, or as text in sections.

use std::fmt::Write;

use super::columns;
use crate::error::Result;
use crate::error::printable::counted;
use crate::lifecycle::verbs::inspect::Inspection;

pub(crate) fn json(seen: &Inspection) -> Result<String> {
    Ok(super::indented(seen, "  ")? + "\n")
}

/// Returns the text: sections with headings, without the empty ones.
pub(crate) fn text(seen: &Inspection) -> String {
    let mut text = format!("{}  {}", seen.state.id, seen.state.status);
    if seen.state.pid != 0 {
        let _ = write!(text, "  pid {}", seen.state.pid);
    }
    let _ = writeln!(
        text,
        "\n  bundle   {}\n  rootfs   {}\n  created  {}",
        seen.state.bundle.display(),
        seen.state.rootfs.display(),
        seen.state.created
    );
    section(
        &mut text,
        "WAITING",
        &seen.waiting.iter().map(|sentence| [sentence.clone()]).collect::<Vec<_>>(),
    );
    let reasons = seen.ended.iter().flat_map(|ended| &ended.reasons);
    section(&mut text, "ENDED", &reasons.map(|sentence| [sentence.clone()]).collect::<Vec<_>>());
    section(&mut text, "PROCESS", &process(seen));
    let namespaces = seen.namespaces.iter().map(|one| {
        let owner = if one.shared_with_host { "the host's" } else { "its own" };
        [one.kind.to_owned(), one.inode.to_string(), owner.to_owned()]
    });
    section(&mut text, "NAMESPACES", &namespaces.collect::<Vec<_>>());
    section(&mut text, "CGROUP", &seen.cgroup.iter().map(|path| [path.clone()]).collect::<Vec<_>>());
    section(&mut text, "USE", &usage(seen));
    let sessions = seen.exec_sessions.iter().map(|session| {
        [session.pid.to_string(), format!("child of {}", session.parent), session.args.join(" ")]
    });
    section(&mut text, "EXEC SESSIONS", &sessions.collect::<Vec<_>>());
    section(&mut text, "MOUNTS", &mounts(seen));
    section(
        &mut text,
        "UNKNOWN",
        &seen.unknown.iter().map(|sentence| [sentence.clone()]).collect::<Vec<_>>(),
    );
    text
}

fn section<const N: usize>(text: &mut String, heading: &str, rows: &[[String; N]]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}");
    for line in columns::align(rows).lines() {
        let _ = writeln!(text, "  {}", line.trim_end());
    }
}

fn process(seen: &Inspection) -> Vec<[String; 2]> {
    let Some(process) = &seen.process else { return Vec::new() };
    let groups: Vec<String> = process.additional_gids.iter().map(u32::to_string).collect();
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![
        row("args", process.args.join(" ")),
        row("cwd", process.cwd.clone()),
        row("user", format!("{}:{}, groups {}", process.uid, process.gid, or_none(&groups.join(" ")))),
    ];
    let sets = process.capabilities.iter();
    rows.extend(sets.map(|(set, names)| row(&format!("{set} set"), or_none(&names.join(" ")).to_owned())));
    let label = process.label.as_deref().unwrap_or_default();
    rows.extend([
        row("no new privs", String::from(if process.no_new_privileges { "yes" } else { "no" })),
        row("seccomp", process.seccomp.to_owned()),
        row("label", or_none(label).to_owned()),
        row("oom score adj", process.oom_score_adj.to_string()),
    ]);
    rows
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn usage(seen: &Inspection) -> Vec<[String; 3]> {
    let number = |amount: u64, unit: &str| match unit {
        "bytes" => bytes(amount),
        "nanoseconds" => format!("{}.{:03} s", amount / 1_000_000_000, amount / 1_000_000 % 1000),
        _ => amount.to_string(),
    };
    let row = |usage: &crate::lifecycle::verbs::inspect::usage::Usage| {
        let limit = usage.limit.map_or_else(String::new, |limit| format!("of {}", number(limit, usage.unit)));
        let hit = usage.hit.filter(|hit| *hit != 0);
        let hit = hit.map_or_else(String::new, |hit| format!("at its limit {}", counted(hit, "time")));
        let words = [limit, hit].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
        [usage.resource.to_owned(), number(usage.used, usage.unit), words.join(", ")]
    };
    seen.usage.iter().map(row).collect()
}

fn bytes(amount: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (amount.max(1).ilog2() / 10).min(4);
    let tenths = ((u128::from(amount) * 10) >> (10 * unit)) as u64;
    match unit {
        0 => format!("{amount} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, units[unit as usize]),
    }
}

fn mounts(seen: &Inspection) -> Vec<[String; 4]> {
    let row = |mount: &crate::lifecycle::verbs::inspect::mounts::MountSeen| {
        let origin = mount.pointer.clone().unwrap_or_else(|| String::from("-"));
        let differences = mount.differences.iter().map(|difference| format!("  ! {difference}"));
        let origin = std::iter::once(origin).chain(differences).collect::<String>();
        [mount.destination.clone(), mount.kind.clone(), mount.options.join(","), origin]
    };
    seen.mounts.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_digit_behind_the_point() {
        let shown = [0, 1023, 1024, 1536, 64 << 20, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "64.0 MiB", "16777215.9 TiB"]);
    }
}
