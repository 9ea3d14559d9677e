//! The architectures that a filter can meet: the kernel's names for them, and their columns in the table of
//! calls.

use std::ops::Range;

use oci_spec::runtime::Arch;

use super::multiplex::{self, Multiplexed};
use super::table::{Row, TABLE};

/// One calling convention: a column of the table and the shape of its arguments.
#[derive(Debug)]
pub(super) struct Abi {
    pub arch: Arch,
    pub name: &'static str,
    /// `AUDIT_ARCH_*`, as the kernel puts it into `seccomp_data.arch`. x32 shares that of x86_64.
    pub audit: u32,
    column: usize,
    /// Whether arguments are compared as 64 bits. Otherwise the upper half of the register has no meaning.
    pub wide: bool,
    /// Whether socketcall and ipc lead to calls too (see `multiplex`).
    multiplexes: bool,
    /// The ranges of its numbers. New calls come at the end of the first block; a second one never grows.
    pub blocks: &'static [Range<u32>],
}

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// This bit is set in the number of every x32 call, and of no other.
const X32_BIT: u32 = 0x4000_0000;
/// ARM's private calls (cacheflush, set_tls) start here, far above the others.
const ARM_PRIVATE: u32 = 0x000f_0000;
/// No call has the number -1.
const END: u32 = u32::MAX;

#[allow(clippy::single_range_in_vec_init)] // A list of blocks, for most of one.
static ABIS: [Abi; 6] = [
    abi(Arch::ScmpArchX86_64, "SCMP_ARCH_X86_64", AUDIT_ARCH_X86_64, 0, &[0..X32_BIT]),
    abi(Arch::ScmpArchX86, "SCMP_ARCH_X86", 0x4000_0003, 1, &[0..END]),
    abi(Arch::ScmpArchX32, "SCMP_ARCH_X32", AUDIT_ARCH_X86_64, 2, &[X32_BIT..END]),
    abi(Arch::ScmpArchAarch64, "SCMP_ARCH_AARCH64", 0xc000_00b7, 3, &[0..END]),
    abi(Arch::ScmpArchArm, "SCMP_ARCH_ARM", 0x4000_0028, 4, &[0..ARM_PRIVATE, ARM_PRIVATE..END]),
    abi(Arch::ScmpArchRiscv64, "SCMP_ARCH_RISCV64", 0xc000_00f3, 5, &[0..END]),
];

const fn abi(
    arch: Arch,
    name: &'static str,
    audit: u32,
    column: usize,
    blocks: &'static [Range<u32>],
) -> Abi {
    let wide = matches!(arch, Arch::ScmpArchX86_64 | Arch::ScmpArchAarch64 | Arch::ScmpArchRiscv64);
    let multiplexes = matches!(arch, Arch::ScmpArchX86);
    Abi { arch, name, audit, column, wide, multiplexes, blocks }
}

/// Returns the architecture that this binary was built for, which is also that of its container's processes.
/// `None` if the compiler has no table for it.
pub(crate) const fn native() -> Option<Arch> {
    if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
        Some(Arch::ScmpArchX86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Arch::ScmpArchAarch64)
    } else if cfg!(target_arch = "riscv64") {
        Some(Arch::ScmpArchRiscv64)
    } else {
        None
    }
}

/// Returns every convention that a kernel of this machine can run, its own first; `None` without a table for
/// the machine.
pub(super) fn for_machine(machine: Arch) -> Option<Vec<&'static Abi>> {
    let archs: &[Arch] = match machine {
        Arch::ScmpArchX86_64 => &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        Arch::ScmpArchAarch64 => &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        Arch::ScmpArchRiscv64 => &[Arch::ScmpArchRiscv64],
        _ => return None,
    };
    Some(archs.iter().filter_map(|arch| ABIS.iter().find(|abi| abi.arch == *arch)).collect())
}

/// The names of `linux.seccomp.architectures` for which there is a table, sorted, for `features`.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = ABIS.iter().map(|abi| abi.name).collect();
    names.sort_unstable();
    names
}

/// Returns the architecture of this name: that of `linux.seccomp.architectures`, with or without
/// `SCMP_ARCH_`, or the one that `uname -m` or Go uses.
pub(super) fn by_name(name: &str) -> Option<&'static Abi> {
    let name = name.to_ascii_uppercase();
    let name = match name.strip_prefix("SCMP_ARCH_").unwrap_or(&name) {
        "AMD64" => "X86_64",
        "386" | "I386" | "I686" => "X86",
        "ARM64" => "AARCH64",
        "ARMV7L" => "ARM",
        other => other,
    };
    ABIS.iter().find(|abi| abi.name.strip_prefix("SCMP_ARCH_") == Some(name))
}

/// Returns the machine that runs programs of this convention: this one if it can, else the first that does.
pub(super) fn machine_of(abi: &Abi) -> Option<Arch> {
    let machines = [Arch::ScmpArchX86_64, Arch::ScmpArchAarch64, Arch::ScmpArchRiscv64];
    let runs = |machine: &Arch| {
        for_machine(*machine).is_some_and(|abis| abis.iter().any(|other| other.arch == abi.arch))
    };
    machines.into_iter().find(runs)
}

/// Returns the convention that a number belongs to, of those that the kernel tells apart by the number alone.
/// The number -1, which is no call, counts as the machine's own.
pub(super) fn of_number(abi: &'static Abi, number: u32) -> &'static Abi {
    let same = || ABIS.iter().filter(|other| other.audit == abi.audit);
    let owner = same().find(|other| other.blocks.iter().any(|block| block.contains(&number)));
    owner.or_else(|| same().next()).unwrap_or(abi)
}

/// Returns the convention that this binary's programs use.
pub(super) fn native_abi() -> Option<&'static Abi> {
    native().and_then(|native| ABIS.iter().find(|abi| abi.arch == native))
}

impl Abi {
    /// Returns the call's own number in this convention.
    pub(super) fn number(&self, call: &Row) -> Option<u32> {
        Some(call.1[self.column]).filter(|number| *number != END)
    }

    /// Returns the call of this number.
    pub(super) fn call(&self, number: u32) -> Option<&'static Row> {
        TABLE.iter().find(|row| self.number(row) == Some(number))
    }

    /// Returns the multiplexer through which this convention also reaches the call.
    pub(super) fn multiplexed(&self, call: &Row) -> Option<Multiplexed> {
        if self.multiplexes { multiplex::multiplexed(call.0) } else { None }
    }
}
