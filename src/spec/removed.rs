//! Items that were removed from arrays so that the others could be read. Errors in the others are reported at
//! their place in the text.

/// The removed items, in the order of their removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Removed(Vec<(String, usize)>);

impl Removed {
    /// Adds an item. `array` and `index` are as they were just before its removal.
    pub(super) fn add(&mut self, array: &str, index: usize) {
        self.0.push((array.to_owned(), index));
    }

    /// Returns where the value at `pointer` of the rest is in the text.
    pub(crate) fn original(&self, pointer: &str) -> String {
        let mut pointer = pointer.to_owned();
        for (array, removed) in self.0.iter().rev() {
            let Some(rest) = pointer.strip_prefix(array).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            let end = rest.find('/').unwrap_or(rest.len());
            if let Some(index) = rest[..end].parse().ok().filter(|index: &usize| index >= removed) {
                pointer = format!("{array}/{}{}", index + 1, &rest[end..]);
            }
        }
        pointer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_where_it_stood() {
        let mut removed = Removed::default();
        removed.add("/mounts", 1);
        // The item that was number 2.
        removed.add("/mounts", 1);
        removed.add("/mounts/1/options", 0);
        for (left, stood) in [
            ("/mounts/0/type", "/mounts/0/type"),
            ("/mounts/1/type", "/mounts/3/type"),
            ("/mounts/1/options/0", "/mounts/3/options/1"),
            ("/mounts", "/mounts"),
            ("/mountsx/1", "/mountsx/1"),
        ] {
            assert_eq!(removed.original(left), stood);
        }
    }
}
