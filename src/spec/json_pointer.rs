//! The JSON pointer (RFC 6901) of the value that a rule checks, as a chain of steps on the stack: rules that
//! find no error allocate nothing.

use std::fmt;

use super::tree::escape;

/// The path from the document's root to a value. It is printed as a JSON pointer.
#[derive(Clone, Copy)]
pub(super) struct JsonPointer<'a> {
    parent: Option<&'a JsonPointer<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> JsonPointer<'a> {
    pub(super) const ROOT: JsonPointer<'static> = JsonPointer { parent: None, step: Step::Root };

    pub(super) fn key<'b>(&'b self, name: &'b str) -> JsonPointer<'b>
    where
        'a: 'b,
    {
        JsonPointer { parent: Some(self), step: Step::Key(name) }
    }

    pub(super) fn item<'b>(&'b self, index: usize) -> JsonPointer<'b>
    where
        'a: 'b,
    {
        JsonPointer { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for JsonPointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(name) => write!(f, "/{}", escape(name)),
            Step::Index(index) => write!(f, "/{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_escapes_the_names_it_passes() {
        let linux = JsonPointer::ROOT.key("linux");
        let sysctl = linux.key("sysctl");
        assert_eq!(sysctl.key("net/ipv4~x").to_string(), "/linux/sysctl/net~1ipv4~0x");
        assert_eq!(sysctl.key("a\nb").to_string(), "/linux/sysctl/a\\nb");
        let option = JsonPointer::ROOT.key("mounts").item(3).key("options").item(0).to_string();
        assert_eq!(option, "/mounts/3/options/0");
    }
}
