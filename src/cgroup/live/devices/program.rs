//! The v2 interface: an eBPF program that answers 1 (allow) or 0 for one access to one node.
//!
//! The kernel passes `struct bpf_cgroup_dev_ctx { access_type, major, minor }`; `access_type` has the kind in
//! its low half and the ways of access in its high half. The program tries the exceptions of the kind one
//! after the other and ends with the default. It calls nothing and jumps only forward.
//!
//! The kernel walks every branch before it accepts a program, which costs more than running it ever will. So
//! a node is one number and one comparison (major and minor are 12 and 20 bits, together 32), an exception
//! for all ways is one jump, and all jump to the same end.

use crate::cgroup::plan::devices::filter::Filter;
use crate::cgroup::plan::devices::rule::{Access, DevicePattern, DeviceType};
use crate::sys::bpf::Insn;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER_32: u8 = 0xbc;
const AND_32: u8 = 0x54;
const OR_REGISTER_32: u8 = 0x4c;
const SHIFT_LEFT_32: u8 = 0x64;
const SHIFT_RIGHT_32: u8 = 0x74;
const JUMP: u8 = 0x05;
/// These compare the low halves of registers, KERNEL(5.1).
const JUMP_IF_EQUAL: u8 = 0x16;
const JUMP_UNLESS_EQUAL: u8 = 0x56;
const JUMP_IF_REGISTERS_EQUAL: u8 = 0x1e;
const EXIT: u8 = 0x95;

/// Registers: the answer, the context (then scratch), and the parts of the context.
const R0: u8 = 0;
const R1: u8 = 1;
const KIND: u8 = 2;
const WAYS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const NUMBER: u8 = 6;

const MINOR_BITS: i32 = 20;
const CHAR: i32 = 2;

/// A jump offset has 16 bits, one of them for its sign. Before that is too little, another end is inserted.
const FARTHEST: usize = 30_000;

/// Compiles the program for a filter.
pub(super) fn program(filter: &Filter) -> Vec<Insn> {
    let mut code = vec![
        insn(LOAD_WORD, KIND, R1, 0, 0),
        insn(MOVE_REGISTER_32, WAYS, KIND, 0, 0),
        insn(AND_32, KIND, 0, 0, 0xffff),
        insn(SHIFT_RIGHT_32, WAYS, 0, 0, 16),
        insn(LOAD_WORD, MAJOR, R1, 4, 0),
        insn(LOAD_WORD, MINOR, R1, 8, 0),
        insn(MOVE_REGISTER_32, NUMBER, MAJOR, 0, 0),
        insn(SHIFT_LEFT_32, NUMBER, 0, 0, MINOR_BITS),
        insn(OR_REGISTER_32, NUMBER, MINOR, 0, 0),
    ];
    let part = |kind: DeviceType| {
        let mut list = List { code: Vec::new(), ends: Vec::new(), allow: filter.allow, settled: false };
        for (node, &access) in filter.exceptions.iter().filter(|(node, _)| node.kind == kind) {
            list.exception(node, access);
        }
        list.finish()
    };
    let (block, char) = (part(DeviceType::Block), part(DeviceType::Char));
    // This jump may have to reach any distance: of the two blocks, the shorter one is jumped over.
    let (other, first, second) = if block.len() < char.len() {
        (JUMP_IF_EQUAL, block, char)
    } else {
        (JUMP_UNLESS_EQUAL, char, block)
    };
    match i16::try_from(first.len()) {
        Ok(length) => code.push(insn(other, KIND, 0, length, CHAR)),
        // This never happens: the kernel would not accept a program with so long a list anyway.
        Err(_) => return Vec::new(),
    }
    code.extend(first);
    code.extend(second);
    code
}

/// The code for the exceptions of one kind.
struct List {
    code: Vec<Insn>,
    /// The jumps to the end, which are taken if an exception holds.
    ends: Vec<usize>,
    allow: bool,
    /// Whether an exception holds for all nodes. The kernel refuses code after it as unreachable.
    settled: bool,
}

impl List {
    fn exception(&mut self, node: &DevicePattern, access: Access) {
        if self.settled {
            return;
        }
        // Numbers have at most 20 bits, major ones 12, so they can be compared with the registers' low
        // halves.
        let test = match (node.major, node.minor) {
            (Some(major), Some(minor)) => Some((NUMBER, (major << MINOR_BITS | minor) as i32)),
            (Some(major), None) => Some((MAJOR, major as i32)),
            (None, Some(minor)) => Some((MINOR, minor as i32)),
            (None, None) => None,
        };
        match (test, access == Access::ALL) {
            (Some((register, number)), true) => self.end_if(insn(JUMP_IF_EQUAL, register, 0, 0, number)),
            (None, true) => self.settled = true,
            (Some((register, number)), false) => {
                self.code.push(insn(JUMP_UNLESS_EQUAL, register, 0, 3, number));
                self.ways(access);
            }
            (None, false) => self.ways(access),
        }
        if self.ends.first().is_some_and(|first| self.code.len() - first > FARTHEST) {
            self.code.push(insn(JUMP, 0, 0, 2, 0));
            self.end();
        }
    }

    /// Writes the three instructions for the ways of access. A denied exception holds if one way is
    /// forbidden, an allowed one only if it grants every way.
    fn ways(&mut self, access: Access) {
        self.code.push(insn(MOVE_REGISTER_32, R1, WAYS, 0, 0));
        self.code.push(insn(AND_32, R1, 0, 0, i32::from(access.bits())));
        self.end_if(match self.allow {
            true => insn(JUMP_UNLESS_EQUAL, R1, 0, 0, 0),
            false => insn(JUMP_IF_REGISTERS_EQUAL, R1, WAYS, 0, 0),
        });
    }

    fn end_if(&mut self, jump: Insn) {
        self.ends.push(self.code.len());
        self.code.push(jump);
    }

    /// Lets all jumps so far lead here.
    fn end(&mut self) {
        let here = self.code.len();
        for at in self.ends.drain(..) {
            self.code[at].offset = (here - at - 1) as i16;
        }
        answer(&mut self.code, !self.allow);
    }

    fn finish(mut self) -> Vec<Insn> {
        if !self.settled {
            answer(&mut self.code, self.allow);
        }
        if self.settled || !self.ends.is_empty() {
            self.end();
        }
        self.code
    }
}

fn answer(code: &mut Vec<Insn>, allow: bool) {
    code.push(insn(MOVE, R0, 0, 0, i32::from(allow)));
    code.push(insn(EXIT, 0, 0, 0, 0));
}

fn insn(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: destination | source << 4, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::plan::devices::filter::tests::filter;

    /// Runs a program on the instructions above, as the kernel defines them.
    fn run(program: &[Insn], context: [u32; 3]) -> u64 {
        let mut registers = [0_u64; 11];
        let mut at = 0;
        loop {
            let Insn { code, registers: pair, offset, immediate } = program[at];
            let (d, s) = (usize::from(pair & 15), usize::from(pair >> 4));
            at += 1;
            let jump = match code {
                LOAD_WORD => {
                    assert_eq!((s, registers[1]), (1, 0), "loads only from the context");
                    registers[d] = u64::from(context[offset as usize / 4]);
                    false
                }
                MOVE => {
                    registers[d] = i64::from(immediate) as u64;
                    false
                }
                MOVE_REGISTER_32 => {
                    registers[d] = registers[s] & 0xffff_ffff;
                    false
                }
                AND_32 => {
                    registers[d] = u64::from(registers[d] as u32 & immediate as u32);
                    false
                }
                OR_REGISTER_32 => {
                    registers[d] = u64::from(registers[d] as u32 | registers[s] as u32);
                    false
                }
                SHIFT_LEFT_32 => {
                    registers[d] = u64::from((registers[d] as u32) << immediate);
                    false
                }
                SHIFT_RIGHT_32 => {
                    registers[d] = u64::from(registers[d] as u32 >> immediate);
                    false
                }
                JUMP => true,
                JUMP_IF_EQUAL => registers[d] as u32 == immediate as u32,
                JUMP_UNLESS_EQUAL => registers[d] as u32 != immediate as u32,
                JUMP_IF_REGISTERS_EQUAL => registers[d] as u32 == registers[s] as u32,
                EXIT => return registers[0],
                _ => panic!("unknown instruction {code:#x}"),
            };
            if jump {
                at += usize::try_from(offset).expect("jumps go forward");
            }
        }
    }

    #[test]
    fn the_program_answers_as_the_filter_does() {
        let numbers = [0, 1, 3, 5, 8, 136, 200, 4095, 1_048_575];
        for rules in [
            &[][..],
            &["+a *:* rwm"],
            &["+c 1:3 rwm", "+c *:* m", "+b *:* m", "+c 136:* rw", "+b 8:0 r", "+b *:5 w"],
            &["+a *:* rwm", "-b 8:* w", "-c 1:1 r", "-c *:5 rwm", "-b 4095:1048575 m"],
            &["+b *:* rwm", "+b 8:0 r", "+c 4095:1048575 rwm", "+c 5:* r"],
            &["+a *:* rwm", "-c *:* rwm", "-c 1:3 r", "-b 0:0 rw"],
        ] {
            let filter = filter(rules);
            let program = program(&filter);
            for (kind, number) in [(DeviceType::Block, 1), (DeviceType::Char, 2)] {
                let pairs = numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| (a, b)));
                // The kernel has no major number of more than 12 bits.
                for (major, minor) in pairs.filter(|(major, _)| *major < 4096) {
                    for ways in 1..8_u32 {
                        let access = [Access::MKNOD, Access::READ, Access::WRITE].into_iter();
                        let access = access.filter(|a| u32::from(a.bits()) & ways != 0);
                        let access = access.fold(Access::default(), Access::or);
                        let got = run(&program, [number | ways << 16, major, minor]);
                        let want = u64::from(filter.allows(kind, major, minor, access));
                        assert_eq!(got, want, "{rules:?}: {kind:?} {major}:{minor} {access}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_open_filter_is_as_short_as_can_be() {
        assert_eq!(program(&filter(&["+a *:* rwm"])).len(), 14);
    }

    #[test]
    fn a_list_longer_than_a_jump_answers_as_well() {
        let mut long = filter(&["+c 1:3 rwm"]);
        for minor in 0..31_000 {
            long.exceptions.insert(DevicePattern::char(Some(7), Some(minor)), Access::ALL);
        }
        let program = program(&long);
        for (major, minor, want) in [(1, 3, 1), (7, 0, 1), (7, 30_999, 1), (7, 31_000, 0), (1, 4, 0)] {
            assert_eq!(run(&program, [2 | 2 << 16, major, minor]), want, "{major}:{minor}");
        }
        assert_eq!(run(&program, [1 | 2 << 16, 7, 0]), 0);
    }
}
