//! The copies of streams: their turns, their ends, and what a client asks of them (ResizePty, CloseIO).

use std::os::fd::AsFd;

use prost::Message;

use super::dispatch::Outcome;
use super::poller::Token;
use super::shim::{Running, Shim};
use crate::error::describe;
use crate::shim::process::state::Verb;
use crate::shim::streams::copy::{Copy, Turn};
use crate::shim::streams::open::{Opened, open_input};
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::{CloseIoRequest, ResizePtyRequest};
use crate::sys::tty::{Size, set_size};

impl Shim {
    /// Begins to copy the streams of a process.
    pub(super) fn start_copies(&mut self, id: &str, exec: &str, opened: Opened) {
        let outputs = opened.outputs.into_iter().map(|copy| self.start_copy(id, exec, copy)).collect();
        let Ok(process) = self.container_mut(id).and_then(|container| container.process_mut(exec)) else {
            return;
        };
        process.outputs = outputs;
        process.input_end = opened.input;
    }

    /// Begins to copy the input of a process that has been started. Without its source it reads the end at once.
    pub(super) fn start_input(&mut self, id: &str, exec: &str) {
        let Ok(process) = self.container_mut(id).and_then(|container| container.process_mut(exec)) else {
            return;
        };
        let Some(to) = process.input_end.take() else { return };
        match open_input(&process.stdio, to, process.input_closed) {
            Ok(input) => {
                process.keeper = input.keeper;
                let number = self.start_copy(id, exec, input.copy);
                if let Ok(process) = self.container_mut(id).and_then(|container| container.process_mut(exec))
                {
                    process.input = Some(number);
                }
            }
            Err(failure) => crate::log::plain(format_args!("{}", failure.message)),
        }
    }

    pub(super) fn start_copy(&mut self, id: &str, exec: &str, copy: Copy) -> u32 {
        let number = self.number();
        // A regular file is always ready, and epoll refuses it.
        let _ = self.poller.watch(copy.from(), Token::Copy(number));
        let _ = self.poller.watch(copy.to(), Token::Copy(number));
        self.copies.insert(number, Running { copy, container: id.to_owned(), exec: exec.to_owned() });
        self.eager.push(number);
        number
    }

    /// Lets a copy move what it can.
    pub(super) fn copy_turn(&mut self, number: u32) {
        let Some(running) = self.copies.get_mut(&number) else { return };
        match running.copy.turn() {
            Turn::Waiting => self.copy_waits(number),
            Turn::More => self.eager.push(number),
            Turn::Ended => self.end_copy(number),
        }
    }

    /// An exit that waits for this stream is told as soon as nothing more is in it.
    fn copy_waits(&mut self, number: u32) {
        let Some(running) = self.copies.get(&number) else { return };
        let id = running.container.clone();
        let waits = self.containers.get(&id).is_some_and(|container| {
            container
                .processes()
                .any(|(_, process)| process.told_by.is_some() && process.outputs.contains(&number))
        });
        if waits {
            self.settle(&id);
        }
    }

    pub(super) fn run_eager(&mut self) {
        for number in std::mem::take(&mut self.eager) {
            self.copy_turn(number);
        }
    }

    fn end_copy(&mut self, number: u32) {
        let Some(mut running) = self.copies.remove(&number) else { return };
        self.unwatch(&running.copy);
        let Ok(process) =
            self.container_mut(&running.container).and_then(|found| found.process_mut(&running.exec))
        else {
            return;
        };
        process.outputs.retain(|&other| other != number);
        process.held.extend(running.copy.take_held());
        if process.input == Some(number) {
            process.input = None;
            process.keeper = None;
        }
        drop(running.copy);
        self.settle(&running.container);
    }

    /// A terminal stays open after its copies, and epoll would go on telling of it.
    fn unwatch(&self, copy: &Copy) {
        self.poller.forget(copy.from());
        self.poller.forget(copy.to());
    }

    /// Whether the process's output is out, as far as it has been written.
    pub(super) fn is_drained(&self, outputs: &[u32]) -> bool {
        outputs.iter().filter_map(|number| self.copies.get(number)).all(|running| running.copy.is_drained())
    }

    /// Ends all copies of a process, whatever is still in them.
    pub(super) fn drop_copies(&mut self, id: &str, exec: &str) {
        let mine = |running: &Running| running.container == id && running.exec == exec;
        for running in self.copies.values().filter(|running| mine(running)) {
            self.unwatch(&running.copy);
        }
        self.copies.retain(|_, running| !mine(running));
    }

    pub(super) fn resize(&mut self, payload: &[u8]) -> Outcome {
        let request = ResizePtyRequest::decode(payload)?;
        self.created(&request.id)?;
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        process.state.allows(Verb::Resize)?;
        if let Some(console) = &process.console {
            let size = Size { columns: request.width as u16, rows: request.height as u16 };
            set_size(console.as_fd(), size).map_err(|errno| {
                Failure::new(Code::Unknown, format!("resizing the terminal: {}", describe(errno)))
            })?;
        }
        Ok(Some(Vec::new()))
    }

    /// Lets go of our writer of the input: when the client's is closed as well, the process reads the end.
    pub(super) fn close_io(&mut self, payload: &[u8]) -> Outcome {
        let request = CloseIoRequest::decode(payload)?;
        self.created(&request.id)?;
        let process = self.container_mut(&request.id)?.process_mut(&request.exec_id)?;
        process.keeper = None;
        process.input_closed = true;
        let input = process.input;
        if let Some(number) = input {
            self.copy_turn(number);
        }
        Ok(Some(Vec::new()))
    }
}
