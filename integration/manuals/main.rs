//! Writes the man pages and the completions of bash, zsh and fish for the programs.
//!
//!     integration/cargo run --example manuals -- DIRECTORY
//!
//! Names, options and defaults come from the command lines themselves (`tare::cli::manual`), the rest of a page from
//! pages.md beside this file. The date of the pages is that of SOURCE_DATE_EPOCH.
#![allow(clippy::print_stderr, clippy::print_stdout)]

mod completions;
mod page;
mod pages;

use std::io::{Error, Result};
use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{env, fs};

use clap::Command;
use pages::Pages;
use tare::cli::manual;

fn main() -> Result<()> {
    let Some(directory) = env::args_os().nth(1) else {
        return Err(Error::other("usage: manuals DIRECTORY"));
    };
    let directory = Path::new(&directory);
    let date = date()?;
    let pages = Pages::parse(include_str!("pages.md"));
    let mut written = Vec::new();
    for program in [manual::tare(), manual::tare_image()] {
        completions::write(&program, &directory.join("completions"))?;
        written.extend(write_pages(&program, &pages, &date, &directory.join("man/man1"))?);
    }
    // Only containerd writes its command line: nothing to complete.
    written.extend(write_pages(&manual::shim(), &pages, &date, &directory.join("man/man1"))?);
    if let Some(name) = pages.names().find(|name| !written.iter().any(|page| page == name)) {
        return Err(Error::other(format!("pages.md: there is no command {name}")));
    }
    Ok(())
}

/// Writes the page of a program and those of its commands. Returns their names, as pages.md has them.
fn write_pages(program: &Command, pages: &Pages, date: &str, directory: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(directory)?;
    let mut written = Vec::new();
    for command in [None].into_iter().chain(commands(program).map(Some)) {
        let (name, page) = page::render(program, command, pages, date)?;
        fs::write(directory.join(format!("{}.1", name.replace(' ', "-"))), page)?;
        written.push(name);
    }
    Ok(written)
}

/// The commands that have pages. `help` is told of on the program's.
fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// As `2026-01-31`: of SOURCE_DATE_EPOCH, so that the same source gives the same pages; else today.
fn date() -> Result<String> {
    let time = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            let seconds = text.parse().map_err(|_| Error::other(format!("SOURCE_DATE_EPOCH: {text:?}")))?;
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        }
        Err(_) => SystemTime::now(),
    };
    let mut date = humantime::format_rfc3339_seconds(time).to_string();
    date.truncate("2026-01-31".len());
    Ok(date)
}
