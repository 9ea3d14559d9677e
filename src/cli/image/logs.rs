//! `tare-image logs CONTAINER`: what a container in the background has written.

use std::collections::VecDeque;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::arguments::{self, flag, option, text};
use crate::error::{Context, Kind, Result};
use crate::image::run::log_file::{self, Line};
use crate::image::run::log_reader::LogReader;
use crate::{fail, log};

pub(super) fn command() -> Command {
    Command::new("logs")
        .about("Print what a container in the background has written")
        .arg(flag("follow", "go on as long as the container runs").short('f'))
        .arg(flag("timestamps", "begin each line with its time").short('t'))
        .arg(
            option("tail", "NUMBER", "print only so many lines of the end")
                .short('n')
                .value_parser(value_parser!(usize)),
        )
        .arg(arguments::store())
        .arg(Arg::new("container").value_name("CONTAINER").required(true))
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let name = text(matches, "container").unwrap_or_default();
    let missing = || fail!(Kind::NotFound, "there is no container {name}");
    let store = arguments::named_store_of(matches)?.ok_or_else(missing)?;
    let mut reader = LogReader::open(&store, name)?;
    let print = |line: &[u8]| print(line, matches.get_flag("timestamps"));
    match matches.get_one::<usize>("tail") {
        None => {
            while let Some(line) = reader.next_line()? {
                print(&line)?;
            }
        }
        Some(&most) => {
            let mut last = VecDeque::new();
            while let Some(line) = reader.next_line()? {
                last.push_back(line);
                if last.len() > most {
                    last.pop_front();
                }
            }
            last.iter().try_for_each(|line| print(line))?;
        }
    }
    if matches.get_flag("follow") {
        while let Some(line) = reader.wait_for_line()? {
            print(&line)?;
        }
    }
    Ok(())
}

/// Prints a line to the stream that the container wrote it to, byte for byte.
fn print(line: &[u8], with_time: bool) -> Result<()> {
    let Some(Line { time, is_error, is_whole, text }) = log_file::parse(line) else { return Ok(()) };
    let mut bytes = Vec::with_capacity(text.len() + 40);
    if with_time {
        bytes.extend_from_slice(time.as_bytes());
        bytes.push(b' ');
    }
    bytes.extend_from_slice(text);
    if is_whole {
        bytes.push(b'\n');
    }
    match is_error {
        true => log::passed_on(&bytes).context("write to standard error"),
        false => crate::cli::stdout::bytes(&bytes),
    }
}
