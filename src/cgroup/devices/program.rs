//! The v2 interface: an eBPF program that answers 1 (allow) or 0 for one use of one node.
//!
//! The kernel hands in `struct bpf_cgroup_dev_ctx { access_type, major, minor }`; `access_type` holds the kind in
//! its low half and the ways in its high half. The program tries the exceptions one after the other and ends with the
//! default. It calls nothing and jumps only forward, so the verifier needs no more than to walk it.

use super::filter::Filter;
use super::rule::{Access, Kind, Node};
use crate::sys::bpf::Insn;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER_32: u8 = 0xbc;
const AND_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_UNLESS_REGISTERS_EQUAL: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// Registers: the answer, the context (then scratch), and the four facts.
const R0: u8 = 0;
const R1: u8 = 1;
const KIND: u8 = 2;
const WAYS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program for a filter.
pub fn program(filter: &Filter) -> Vec<Insn> {
    let mut code = vec![
        insn(LOAD_WORD, KIND, R1, 0, 0),
        insn(MOVE_REGISTER_32, WAYS, KIND, 0, 0),
        insn(AND_32, KIND, 0, 0, 0xffff),
        insn(SHIFT_RIGHT_32, WAYS, 0, 0, 16),
        insn(LOAD_WORD, MAJOR, R1, 4, 0),
        insn(LOAD_WORD, MINOR, R1, 8, 0),
    ];
    for (node, &access) in &filter.exceptions {
        exception(&mut code, node, access, filter.allow);
    }
    answer(&mut code, filter.allow);
    code
}

/// One exception: each test that fails jumps past the block.
fn exception(code: &mut Vec<Insn>, node: &Node, access: Access, allowed_otherwise: bool) {
    let kind = match node.kind {
        Kind::Block => 1,
        Kind::Char => 2,
    };
    let start = code.len();
    let mut tests = vec![insn(JUMP_UNLESS_EQUAL, KIND, 0, 0, kind)];
    for (register, number) in [(MAJOR, node.major), (MINOR, node.minor)] {
        // Numbers have 20 bits at most: no sign to spread in the comparison.
        tests.extend(number.map(|number| insn(JUMP_UNLESS_EQUAL, register, 0, 0, number as i32)));
    }
    if access != Access::ALL {
        tests.push(insn(MOVE_REGISTER_32, R1, WAYS, 0, 0));
        tests.push(insn(AND_32, R1, 0, 0, i32::from(access.bits())));
        // A denied exception holds as soon as one way is forbidden; an allowed one only if it grants every way.
        tests.push(match allowed_otherwise {
            true => insn(JUMP_IF_EQUAL, R1, 0, 0, 0),
            false => insn(JUMP_UNLESS_REGISTERS_EQUAL, R1, WAYS, 0, 0),
        });
    }
    code.append(&mut tests);
    answer(code, !allowed_otherwise);
    let end = code.len();
    for (at, insn) in code.iter_mut().enumerate().skip(start) {
        if matches!(insn.code, JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL | JUMP_UNLESS_REGISTERS_EQUAL) {
            // Blocks have at most nine instructions.
            insn.offset = (end - at - 1) as i16;
        }
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
    use super::super::filter::tests::filter;
    use super::*;

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
                SHIFT_RIGHT_32 => {
                    registers[d] = u64::from(registers[d] as u32 >> immediate);
                    false
                }
                JUMP_IF_EQUAL => registers[d] == i64::from(immediate) as u64,
                JUMP_UNLESS_EQUAL => registers[d] != i64::from(immediate) as u64,
                JUMP_UNLESS_REGISTERS_EQUAL => registers[d] != registers[s],
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
        ] {
            let filter = filter(rules);
            let program = program(&filter);
            for (kind, number) in [(Kind::Block, 1), (Kind::Char, 2)] {
                for (major, minor) in numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| (a, b))) {
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
        assert_eq!(program(&filter(&["+a *:* rwm"])).len(), 8);
    }
}
