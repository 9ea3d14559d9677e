//! Why a filter answers a call as it does: the verdict of `verdicts`, of which the program is made too, with
//! each rule that names the call and what became of it.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator};

use super::action::Action;
use super::arch::{self, Abi};
use super::compile::admitted;
use super::rules::{Entry, Rules};
use super::table::TABLE;
use super::verdicts::{Check, Verdict, applied, newest, spans};
use crate::error::{Kind, Result};
use crate::fail;
use crate::spec::spelling;

/// The call to explain.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// A name or a number.
    pub call: &'a str,
    /// The known arguments, from the first one on.
    pub arguments: &'a [u64],
    /// `None` means the architecture of this binary.
    pub arch: Option<&'a str>,
}

/// The answer.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub call: Named,
    /// The name in `linux.seccomp.architectures`.
    pub arch: &'static str,
    pub decision: Decision,
    /// The rules that name the call, in the profile's order, then what decides if no rule does.
    pub fates: Vec<Fate>,
}

/// The call. Its name or its number may be unknown.
#[derive(Debug)]
pub(crate) struct Named {
    pub name: Option<String>,
    pub number: Option<u32>,
    /// For a call that is reached only through socketcall or ipc, the first argument of that call. `number`
    /// is then also the number of that call.
    pub through: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Action(Action),
    /// The arguments that are not known decide which of these it is.
    OneOf(Vec<Action>),
    /// No program can make this call.
    NoCall,
}

/// What became of one rule.
#[derive(Debug)]
pub(crate) struct Fate {
    /// The JSON pointer of the rule.
    pub pointer: String,
    /// `None` if there is no such action in the program.
    pub action: Option<Action>,
    /// Whether this rule decides.
    pub decides: bool,
    pub why: String,
}

/// Explains what `profile` answers to a call.
///
/// # Errors
/// A profile that `create` would refuse, and an architecture or a number that nobody knows.
pub(crate) fn explain(profile: &LinuxSeccomp, asked: &Asked<'_>) -> Result<Explanation> {
    let abi = abi(asked.arch)?;
    let call = named(asked.call, abi)?;
    let abi = call.number.map_or(abi, |number| arch::of_number(abi, number));
    let Some(machine) = arch::machine_of(abi) else {
        return Err(fail!(Kind::Usage, "no table of system calls for {}", abi.name));
    };
    let rules = Rules::read(profile, &mut Vec::new())?;
    let abis = admitted(profile, machine, &mut Vec::new())?;
    let way: Vec<u64> = call.through.map(u64::from).into_iter().collect();
    // The filter sees only the first argument of socketcall or ipc; the others are in memory.
    let arguments = if way.is_empty() { asked.arguments } else { &way };
    let explained = Explained { profile, rules: &rules, abi, abis: &abis, arguments };
    let (decision, fates) = match call.number {
        None => (Decision::NoCall, explained.no_call(&call)),
        Some(number) => explained.call(number, &call),
    };
    Ok(Explanation { call, arch: abi.name, decision, fates })
}

fn abi(name: Option<&str>) -> Result<&'static Abi> {
    let found = match name {
        Some(name) => arch::by_name(name),
        None => arch::native_abi(),
    };
    found.ok_or_else(|| {
        let known = arch::names().join(", ").replace("SCMP_ARCH_", "").to_lowercase();
        fail!(Kind::Usage, "unknown architecture {}: not one of {known}", name.unwrap_or("of this binary"))
    })
}

/// The call of this name or number. A name without a number is no error: rules may have such.
fn named(call: &str, abi: &'static Abi) -> Result<Named> {
    if !call.starts_with(|first: char| first.is_ascii_digit()) {
        let row = TABLE.binary_search_by_key(&call, |row| row.0).ok().map(|row| &TABLE[row]);
        let own = row.and_then(|row| abi.number(row));
        let way = row.and_then(|row| abi.multiplexed(row)).filter(|_| own.is_none());
        let number = own.or_else(|| way.map(|way| way.number));
        return Ok(Named { name: Some(call.into()), number, through: way.map(|way| way.call) });
    }
    let number = match call.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => call.parse(),
    };
    let number = number.map_err(|_| fail!(Kind::Usage, "not the number of a system call: {call}"))?;
    let abi = arch::of_number(abi, number);
    Ok(Named { name: abi.call(number).map(|row| row.0.into()), number: Some(number), through: None })
}

struct Explained<'a> {
    profile: &'a LinuxSeccomp,
    rules: &'a Rules<'a>,
    abi: &'a Abi,
    abis: &'a [&'static Abi],
    arguments: &'a [u64],
}

impl<'a> Explained<'a> {
    /// A name that has no number.
    fn no_call(&self, call: &Named) -> Vec<Fate> {
        let name = call.name.as_deref().unwrap_or_default();
        let is_known = TABLE.binary_search_by_key(&name, |row| row.0).is_ok();
        let why = match is_known {
            true => format!("skipped: there is no {name} on {}", self.abi.name),
            false => {
                let meant = spelling::nearest(name, super::system_calls());
                format!("skipped: no such system call: {name}{}", spelling::hint(meant))
            }
        };
        let mut fates = self.naming(name).map(|index| fate(index, None, why.clone())).collect::<Vec<_>>();
        if fates.is_empty() {
            fates.push(whole("", None, why.trim_start_matches("skipped: ").to_owned()));
        }
        let main = &self.abi.blocks[0];
        if let Some(newest) = newest(main, self.rules, self.abi).filter(|_| !is_known) {
            let why = match self.rules.default.is_permissive() {
                true => String::from("of a number that no rule names"),
                false => format!("of a number that no rule names, up to {newest}; above, {}", Action::ENOSYS),
            };
            fates.push(whole("/defaultAction", Some(self.rules.default), why));
        }
        fates
    }

    fn call(&self, number: u32, call: &Named) -> (Decision, Vec<Fate>) {
        if self.abis.iter().all(|abi| abi.arch != self.abi.arch) {
            let why = format!("{} is not listed: its calls end the thread", self.abi.name);
            let decides = Fate { decides: true, ..whole("/architectures", Some(Action::BAD_ARCH), why) };
            return (Decision::Action(Action::BAD_ARCH), vec![decides]);
        }
        let same: Vec<_> = self.abis.iter().copied().filter(|abi| abi.audit == self.abi.audit).collect();
        let spans = spans(self.rules, &same);
        let at = spans.partition_point(|span| span.from <= number);
        let applied: Vec<_> = applied(self.rules, self.abi, number)
            .filter(|(_, check)| !self.is_of_another_call(check))
            .collect();
        let mut fates = Vec::new();
        let decision = match &spans[at.saturating_sub(1)].verdict {
            Verdict::Always(action) => {
                let settles = applied.iter().position(|(_, check)| check.always_holds());
                for (position, (entry, check)) in applied.iter().enumerate() {
                    let why = match Some(position) == settles {
                        true => self.decides(check, entry.call.0, call),
                        false => String::from("not reached: a rule without conditions on arguments decides"),
                    };
                    let decides = Some(position) == settles;
                    fates.push(Fate { decides, ..fate(entry.rule.index, Some(check.action), why) });
                }
                if settles.is_none() {
                    fates.push(Fate { decides: true, ..self.by_range(number, *action) });
                }
                Decision::Action(*action)
            }
            Verdict::ByArguments(_) => self.by_arguments(&applied, call, &mut fates),
        };
        self.same_as_default(call, &mut fates);
        // A rule that names several ways to one call is told once.
        fates.dedup_by(|next, one| next.pointer == one.pointer && next.why == one.why);
        (decision, fates)
    }

    /// Whether a rule is for another call behind the same multiplexer.
    fn is_of_another_call(&self, check: &Check<'_>) -> bool {
        let other =
            |argument: &u64| check.multiplexed.is_some_and(|way| *argument as u32 & way.mask != way.call);
        self.arguments.first().is_some_and(other)
    }

    fn decides(&self, check: &Check<'_>, of: &str, call: &Named) -> String {
        let conditions: Vec<_> =
            check.conditions.iter().map(|condition| shown(condition, check.wide)).collect();
        let mut why = match conditions.is_empty() {
            true => String::from("decides"),
            false => format!("decides: {}", conditions.join(" and ")),
        };
        why.push_str(&by_way(of, call));
        why
    }

    /// Returns what decides if no rule does.
    fn by_range(&self, number: u32, action: Action) -> Fate {
        // The number -1 is at the end of the last block.
        let block = self.abi.blocks.iter().rfind(|block| block.start <= number);
        let newest = block.and_then(|block| newest(block, self.rules, self.abi));
        let newest = newest.filter(|newest| number > *newest && !self.rules.default.is_permissive());
        match newest {
            Some(newest) if action == Action::ENOSYS && block == self.abi.blocks.first() => {
                let name = self.abi.call(newest).map_or_else(String::new, |row| format!(", {}", row.0));
                let why =
                    format!("decides: newer than all calls that the profile names (up to {newest}{name})");
                whole("/syscalls", Some(action), why)
            }
            _ if block.is_none() && action == Action::BAD_ARCH => whole(
                "/architectures",
                Some(action),
                String::from("decides: a number of no listed architecture"),
            ),
            _ => whole("/defaultAction", Some(action), String::from("decides: no rule applies")),
        }
    }

    fn by_arguments(
        &self,
        applied: &[(Entry<'a>, Check<'a>)],
        call: &Named,
        fates: &mut Vec<Fate>,
    ) -> Decision {
        let (mut possible, mut settled): (Vec<Action>, bool) = (Vec::new(), false);
        let mut add = |action: Action| {
            if !possible.contains(&action) {
                possible.push(action);
            }
        };
        let mut in_doubt = false;
        for (entry, check) in applied {
            let mut decides = false;
            let why = if settled {
                String::from("not reached: an earlier rule decides")
            } else {
                match self.holds(check) {
                    Ok(()) => {
                        add(check.action);
                        (decides, settled) = (!in_doubt, true);
                        let word = self.decides(check, entry.call.0, call);
                        if in_doubt { format!("{word}, unless an earlier rule does") } else { word }
                    }
                    Err((true, why)) => format!("does not match: {why}"),
                    Err((false, why)) => {
                        add(check.action);
                        in_doubt = true;
                        format!("would decide if {why}{}", by_way(entry.call.0, call))
                    }
                }
            };
            fates.push(Fate { decides, ..fate(entry.rule.index, Some(check.action), why) });
        }
        let default = self.rules.default;
        let (decides, why) = match (settled, in_doubt) {
            (true, _) => (false, "not reached"),
            (false, true) => (false, "otherwise"),
            (false, false) => (true, "decides: no rule matches"),
        };
        if !settled {
            add(default);
        }
        fates.push(Fate { decides, ..whole("/defaultAction", Some(default), why.into()) });
        match possible[..] {
            [only] => Decision::Action(only),
            _ => Decision::OneOf(possible),
        }
    }

    /// Whether all conditions hold. If not, the first that does not, and whether that is certain; where none
    /// is certain, all that are open.
    fn holds(&self, check: &Check<'_>) -> Result<(), (bool, String)> {
        let mut open = Vec::new();
        if let Some(way) = check.multiplexed {
            let text = match way.mask {
                u32::MAX => format!("argument 0 == {:#x}", way.call),
                mask => format!("argument 0 & {mask:#x} == {:#x}", way.call),
            };
            // If it is known, it is this one: see `is_of_another_call`.
            if self.arguments.is_empty() {
                open.push(text);
            }
        }
        for condition in check.conditions {
            let text = shown(condition, check.wide);
            match self.arguments.get(condition.index()) {
                None => open.push(text),
                Some(argument) if !is_true(condition, *argument, check.wide) => {
                    return Err((true, format!("{text} is false of {argument:#x}")));
                }
                Some(_) => {}
            }
        }
        if open.is_empty() { Ok(()) } else { Err((false, open.join(" and "))) }
    }

    /// Rules that name the call but give the default's answer are no part of the program.
    fn same_as_default(&self, call: &Named, fates: &mut Vec<Fate>) {
        let Some(name) = &call.name else { return };
        let told: Vec<_> = fates.iter().map(|fate| fate.pointer.clone()).collect();
        let why = "left out: it is the default's answer, and other rules go before it";
        let dropped = self.naming(name).map(|index| fate(index, Some(self.rules.default), why.into()));
        fates.extend(dropped.filter(|fate| !told.contains(&fate.pointer)));
    }

    /// The places of the rules that name this call.
    fn naming(&self, name: &str) -> impl Iterator<Item = u32> {
        let rules = self.profile.syscalls().as_deref().unwrap_or_default();
        let named = (0..).zip(rules).filter(move |(_, rule)| rule.names().iter().any(|other| other == name));
        named.map(|(index, _)| index).collect::<Vec<_>>().into_iter()
    }
}

/// Says which call a rule is about, where that is not the one that was asked for.
fn by_way(of: &str, call: &Named) -> String {
    match call.name.as_deref() == Some(of) {
        true => String::new(),
        false => format!(" (a rule on {of})"),
    }
}

fn fate(index: u32, action: Option<Action>, why: String) -> Fate {
    whole(&format!("/syscalls/{index}"), action, why)
}

fn whole(field: &str, action: Option<Action>, why: String) -> Fate {
    Fate { pointer: format!("/linux/seccomp{field}"), action, decides: false, why }
}

/// A condition as it is written in C.
fn shown(condition: &LinuxSeccompArg, wide: bool) -> String {
    let cut = |value: u64| if wide { value } else { value & u64::from(u32::MAX) };
    let (index, value) = (condition.index(), cut(condition.value()));
    let sign = match condition.op() {
        Operator::ScmpCmpNe => "!=",
        Operator::ScmpCmpLt => "<",
        Operator::ScmpCmpLe => "<=",
        Operator::ScmpCmpEq => "==",
        Operator::ScmpCmpGe => ">=",
        Operator::ScmpCmpGt => ">",
        Operator::ScmpCmpMaskedEq => {
            let wanted = cut(condition.value_two().unwrap_or_default()) & value;
            return format!("argument {index} & {value:#x} == {wanted:#x}");
        }
    };
    format!("argument {index} {sign} {value:#x}")
}

/// Whether a condition holds. Comparisons are of unsigned numbers.
fn is_true(condition: &LinuxSeccompArg, argument: u64, wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & u64::from(u32::MAX) };
    let (argument, value) = (cut(argument), cut(condition.value()));
    match condition.op() {
        Operator::ScmpCmpNe => argument != value,
        Operator::ScmpCmpLt => argument < value,
        Operator::ScmpCmpLe => argument <= value,
        Operator::ScmpCmpEq => argument == value,
        Operator::ScmpCmpGe => argument >= value,
        Operator::ScmpCmpGt => argument > value,
        Operator::ScmpCmpMaskedEq => {
            argument & value == cut(condition.value_two().unwrap_or_default()) & value
        }
    }
}

#[cfg(test)]
mod tests;
