//! Reads pages.md: the prose of the man pages, by page and section.

/// A paragraph of a section.
pub(crate) enum Block<'a> {
    Paragraph(String),
    /// Shown as it stands.
    Example(Vec<&'a str>),
    /// A row of a list: what it is about, and what is said of it.
    Item(String, String),
}

struct Section<'a> {
    page: &'a str,
    /// Empty for what stands before the first.
    title: &'a str,
    blocks: Vec<Block<'a>>,
}

pub(crate) struct Pages<'a> {
    sections: Vec<Section<'a>>,
}

impl<'a> Pages<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        let mut open = false;
        for line in text.lines().skip_while(|line| !line.starts_with("# ")) {
            if let Some(page) = line.strip_prefix("# ") {
                sections.push(Section { page, title: "", blocks: Vec::new() });
            } else if let Some(title) = line.strip_prefix("## ") {
                let page = sections.last().map_or("", |section| section.page);
                sections.push(Section { page, title, blocks: Vec::new() });
            } else if let Some(section) = sections.last_mut() {
                section.add(line, open);
            }
            open = !line.is_empty() && !line.starts_with('#');
        }
        Self { sections }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.sections.iter().filter(|section| section.title.is_empty()).map(|section| section.page)
    }

    /// The titles of a page's sections, in order.
    pub(crate) fn titles(&self, page: &str) -> impl Iterator<Item = &'a str> {
        self.sections
            .iter()
            .filter(move |section| section.page == page && !section.title.is_empty())
            .map(|section| section.title)
    }

    pub(crate) fn section(&self, page: &str, title: &str) -> &[Block<'a>] {
        let found = self.sections.iter().find(|section| section.page == page && section.title == title);
        found.map_or(&[], |section| &section.blocks)
    }
}

impl<'a> Section<'a> {
    /// Adds a line: to the block before it if that is `open`, which an empty line ends.
    fn add(&mut self, line: &'a str, open: bool) {
        if line.is_empty() {
            return;
        }
        if let Some(example) = line.strip_prefix("    ") {
            return match self.blocks.last_mut().filter(|_| open) {
                Some(Block::Example(lines)) => lines.push(example),
                _ => self.blocks.push(Block::Example(vec![example])),
            };
        }
        if let Some((term, text)) = line.strip_prefix("- ").and_then(|item| item.split_once(": ")) {
            return self.blocks.push(Block::Item(term.to_owned(), text.to_owned()));
        }
        match self.blocks.last_mut().filter(|_| open) {
            Some(Block::Paragraph(text) | Block::Item(_, text)) => {
                text.push(' ');
                text.push_str(line);
            }
            _ => self.blocks.push(Block::Paragraph(line.to_owned())),
        }
    }
}
