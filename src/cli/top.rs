//! `top`: shows the table on a terminal until a key or a signal ends it, or once where no terminal is.

use std::time::{Duration, Instant};

use super::keyboard::{Event, Keyboard};
use super::print::top::lines;
use super::stdout::{self, Screen};
use crate::error::Result;
use crate::lifecycle::options::{Globals, SortKey, Top};
use crate::lifecycle::verbs::top::Sampler;
use crate::sys::tty::Size;

/// Samples are not taken more often: a person could not read them.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The width of a table for a program.
const WIDE: usize = 1000;
const KEYS: &str = "sort by c cpu, m memory, p pids, i io, n name; q quits";

/// Runs the verb. Returns the exit code.
pub(super) fn top(globals: &Globals, options: &Top) -> Result<i32> {
    let mut sampler = Sampler::new(globals);
    if !stdout::is_terminal() {
        let rows = sampler.sample_with_rates()?;
        let text: String = lines(&rows, options.sort, WIDE).into_iter().map(|line| line + "\n").collect();
        return stdout::write(&text).map(|()| 0);
    }
    // Dropped in the opposite order: the keyboard's mode comes back before the screen does.
    let screen = Screen::enter()?;
    let mut keyboard = Keyboard::open()?;
    restore_on_panic(&screen, &keyboard);
    let mut sort = options.sort;
    loop {
        let rows = sampler.sample()?;
        let next = Instant::now() + options.interval.max(SHORTEST_INTERVAL);
        loop {
            screen.show(&frame(&lines(&rows, sort, stdout::size().columns.into()), sort, stdout::size()));
            match keyboard
                .wait(next.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))?
            {
                Event::Key(b'q' | b'Q' | 0x1b) | Event::Closed => return Ok(0),
                Event::Key(b' ') | Event::Timeout => break,
                Event::Key(key) => sort = key_of(key).unwrap_or(sort),
                Event::Resized => {}
                Event::Ended(signal) => return Ok(128 + signal),
                Event::Stopped => {
                    screen.leave();
                    keyboard.stop()?;
                    screen.again();
                }
            }
        }
    }
}

fn key_of(key: u8) -> Option<SortKey> {
    Some(match key {
        b'c' => SortKey::Cpu,
        b'm' => SortKey::Memory,
        b'p' => SortKey::Pids,
        b'i' => SortKey::Io,
        b'n' => SortKey::Id,
        _ => return None,
    })
}

/// The lines of the screen, no more than it has.
fn frame(table: &[String], sort: SortKey, size: Size) -> Vec<String> {
    let count = table.len() - 1;
    let plural = if count == 1 { "" } else { "s" };
    let head = format!("tare top: {count} container{plural}, by {}; {KEYS}", sort.word());
    let head = head.chars().take(size.columns.into()).collect();
    std::iter::once(head).chain(table.iter().cloned()).take(size.rows.into()).collect()
}

/// A panic ends the process without dropping anything.
fn restore_on_panic(screen: &Screen, keyboard: &Keyboard) {
    let (leave, restore) = (screen.leaver(), keyboard.restorer());
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |why| {
        restore();
        leave();
        usual(why);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_no_more_lines_and_columns_than_the_screen() {
        let table: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        for (rows, columns) in [(0, 0), (1, 5), (24, 80)] {
            let frame = frame(&table, SortKey::Cpu, Size { rows, columns });
            assert!(frame.len() <= rows.into() && frame.iter().all(|line| line.len() <= columns.into()));
        }
        assert!(
            frame(&table, SortKey::Io, Size { rows: 9, columns: 90 })[0]
                .starts_with("tare top: 49 containers, by io;")
        );
    }
}
