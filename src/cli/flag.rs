//! One row of the command table: a verb, its flags, and the number of its arguments.

/// One command. Everything that the parser and the help texts know about it is in one row of
/// [`super::command_table`].
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    pub name: &'static str,
    /// Other names of the command.
    pub aliases: &'static [&'static str],
    /// One line, for `NAME:` and the list of commands.
    pub about: &'static str,
    /// The arguments as the usage line shows them.
    pub usage: &'static str,
    pub arity: Arity,
    /// Whether flag parsing ends at the first argument, because the others belong to another program (a
    /// process, `ps`).
    pub stops_at_first_argument: bool,
    pub flags: &'static [Flag],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arity {
    pub min: usize,
    pub max: Option<usize>,
}

impl Arity {
    pub const NONE: Self = Self::exactly(0);
    pub const ONE: Self = Self::exactly(1);

    pub const fn exactly(n: usize) -> Self {
        Self { min: n, max: Some(n) }
    }

    pub const fn between(min: usize, max: usize) -> Self {
        Self { min, max: Some(max) }
    }

    pub const fn at_least(min: usize) -> Self {
        Self { min, max: None }
    }

    /// Returns what is required if `count` arguments are too few or too many, in the words of runc's
    /// messages.
    pub fn unmet_by(self, count: usize) -> Option<String> {
        match self.max {
            Some(max) if max == self.min && count != max => Some(format!("exactly {max} argument(s)")),
            _ if count < self.min => Some(format!("a minimum of {} argument(s)", self.min)),
            Some(max) if count > max => Some(format!("a maximum of {max} argument(s)")),
            _ => None,
        }
    }
}

/// The type of the value that a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// Nothing, or `=true` / `=false`.
    Switch,
    Text,
    Path,
    Number,
    /// A time in Go's notation: `5s`, `1m30s`, `100ms`.
    Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    /// A second letter, which is crun's.
    pub crun_short: Option<char>,
    pub takes: ValueType,
    /// Whether the flag may be given several times with each value counting. Otherwise the last one wins.
    pub repeatable: bool,
    pub hidden: bool,
    pub default: Option<&'static str>,
    pub help: &'static str,
}

impl Flag {
    const fn new(long: &'static str, takes: ValueType, help: &'static str) -> Self {
        Self {
            long,
            short: None,
            crun_short: None,
            takes,
            repeatable: false,
            hidden: false,
            default: None,
            help,
        }
    }

    pub const fn switch(long: &'static str, help: &'static str) -> Self {
        Self::new(long, ValueType::Switch, help)
    }

    pub const fn text(long: &'static str, help: &'static str) -> Self {
        Self::new(long, ValueType::Text, help)
    }

    pub const fn path(long: &'static str, help: &'static str) -> Self {
        Self::new(long, ValueType::Path, help)
    }

    pub const fn number(long: &'static str, help: &'static str) -> Self {
        Self::new(long, ValueType::Number, help)
    }

    pub const fn duration(long: &'static str, help: &'static str) -> Self {
        Self::new(long, ValueType::Duration, help)
    }

    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    pub const fn crun_short(mut self, letter: char) -> Self {
        self.crun_short = Some(letter);
        self
    }

    pub const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// Whether `name`, given after one dash or two, means this flag.
    pub fn is_named(&self, name: &str) -> bool {
        let is = |letter: Option<char>| letter.is_some_and(|letter| name.strip_prefix(letter) == Some(""));
        self.long == name || is(self.short) || is(self.crun_short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_of_arguments_is_told_as_runc_tells_it() {
        let cases = [
            (Arity::ONE, 0, Some("exactly 1 argument(s)")),
            (Arity::ONE, 1, None),
            (Arity::ONE, 2, Some("exactly 1 argument(s)")),
            (Arity::NONE, 1, Some("exactly 0 argument(s)")),
            (Arity::between(1, 2), 0, Some("a minimum of 1 argument(s)")),
            (Arity::between(1, 2), 2, None),
            (Arity::between(1, 2), 3, Some("a maximum of 2 argument(s)")),
            (Arity::at_least(1), 0, Some("a minimum of 1 argument(s)")),
            (Arity::at_least(1), 99, None),
        ];
        for (arity, count, expected) in cases {
            assert_eq!(arity.unmet_by(count).as_deref(), expected, "{arity:?} with {count}");
        }
    }
}
