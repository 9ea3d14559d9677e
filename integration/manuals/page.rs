//! One man page: what clap_mangen makes of the command line, and around it what pages.md says.

use std::io::Result;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::commands;
use crate::pages::{Block, Pages};

const STATUS: &str = "EXIT STATUS";
const SEE_ALSO: &str = "SEE ALSO";
/// For commands whose page says nothing of it.
const USUAL_STATUS: &str = "0, or 1 if it has failed, with the reason as one sentence on standard error";

/// The name of the page, as pages.md has it, and its text. `command` is one of the program's; None for the program itself.
pub(crate) fn render(
    program: &Command,
    command: Option<&Command>,
    pages: &Pages,
    date: &str,
) -> Result<(String, Vec<u8>)> {
    let name = [Some(program), command].into_iter().flatten().map(Command::get_name).collect::<Vec<_>>();
    let name = name.join(" ");
    let mut subject = command.unwrap_or(program).clone();
    let usage = usage(program, &subject, &name);
    let about = subject.get_about().map(ToString::to_string).unwrap_or_default();
    subject = subject
        .bin_name(&name)
        .display_name(name.replace(' ', "-"))
        .about(lower_first(&about))
        .override_usage(usage)
        // The texts of the options name them.
        .mut_args(|argument| {
            let takes_values = argument.get_action().takes_values();
            argument.hide_possible_values(takes_values)
        });
    // clap fills in the rest only when it parses; nothing is parsed.
    subject.build();
    let man = Man::new(subject)
        .title(name.replace(' ', "-").to_uppercase())
        .section("1")
        .date(date)
        .source(format!("tare {}", env!("CARGO_PKG_VERSION")))
        .manual("tare");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    description(program, command, pages, &name).to_writer(&mut page)?;
    if command.is_none() && program.has_subcommands() {
        command_list(program).to_writer(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    rest(program, command, pages, &name).to_writer(&mut page)?;
    Ok((name, page))
}

fn usage(program: &Command, subject: &Command, name: &str) -> String {
    let is_program = subject.get_name() == program.get_name();
    let own = tare::cli::command_table::find(subject.get_name()).filter(|_| program.get_name() == "tare");
    match own.filter(|_| !is_program) {
        _ if is_program && program.has_subcommands() => {
            format!("{name} [options] command [command options] [arguments...]")
        }
        // Two forms are two lines.
        Some(verb) => {
            verb.usage.split(", or ").map(|form| format!("{name} [options] {form}\n")).collect::<String>()
        }
        None => {
            let mut words = format!("{name} [options]");
            for argument in subject.get_positionals() {
                let value = argument.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
                let value = if argument.is_required_set() { value } else { format!("[{value}]") };
                words.push(' ');
                words.push_str(&value);
            }
            words
        }
    }
}

fn description(program: &Command, command: Option<&Command>, pages: &Pages, name: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    let blocks = pages.section(name, "");
    if blocks.is_empty() {
        // A command that pages.md does not know: what its help says.
        let about = command.unwrap_or(program).get_about().map(ToString::to_string).unwrap_or_default();
        eprintln!("integration/manuals/pages.md says nothing of {name}");
        return add(roff, &[Block::Paragraph(format!("`{name}`: {about}."))]);
    }
    add(roff, blocks)
}

fn command_list(program: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in commands(program) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        roff.control("TP", []);
        roff.text(vec![bold(format!("{}-{}", program.get_name(), command.get_name())), roman("(1)")]);
        roff.text(vec![roman(lower_first(&about))]);
    }
    roff
}

/// What follows the options, in the order of man-pages(7).
fn rest(program: &Command, command: Option<&Command>, pages: &Pages, name: &str) -> Roff {
    let mut roff = Roff::new();
    let has_status = pages.titles(name).any(|title| title == STATUS);
    if !has_status {
        roff.control("SH", [STATUS]);
        roff = add(roff, &[Block::Paragraph(format!("{USUAL_STATUS}."))]);
    }
    for title in pages.titles(name).filter(|title| *title != SEE_ALSO) {
        roff.control("SH", [title]);
        roff = add(roff, pages.section(name, title));
    }
    roff.control("SH", [SEE_ALSO]);
    let mut others: Vec<Block> = Vec::new();
    let own = format!("`{}`(1)", program.get_name());
    for block in pages.section(name, SEE_ALSO) {
        others.push(match block {
            Block::Paragraph(text) if others.is_empty() && command.is_some() => {
                Block::Paragraph(format!("{own}, {text}"))
            }
            Block::Paragraph(text) => Block::Paragraph(text.clone()),
            Block::Example(lines) => Block::Example(lines.clone()),
            Block::Item(term, text) => Block::Item(term.clone(), text.clone()),
        });
    }
    if others.is_empty() {
        others.push(Block::Paragraph(own));
    }
    add(roff, &others)
}

fn add(mut roff: Roff, blocks: &[Block]) -> Roff {
    for (number, block) in blocks.iter().enumerate() {
        match block {
            Block::Paragraph(text) => {
                if number > 0 {
                    roff.control("PP", []);
                }
                roff.text(inlines(text));
            }
            Block::Example(lines) => {
                if number > 0 {
                    roff.control("PP", []);
                }
                roff.control("RS", ["4"]);
                roff.control("nf", []);
                for line in lines {
                    roff.text(vec![roman(*line)]);
                }
                roff.control("fi", []);
                roff.control("RE", []);
            }
            Block::Item(term, text) => {
                roff.control("TP", []);
                roff.text(inlines(term));
                roff.text(inlines(text));
            }
        }
    }
    roff
}

/// As man pages begin their one line: `Open Container…` stays, it is a name.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !text.starts_with("Open Container") => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// Bold between backticks.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(number, part)| if number % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
