//! Compiles `linux.seccomp`: profile, machine and kernel flags become one [`Filter`].

use oci_spec::runtime::{Arch, LinuxSeccomp};

use super::arch::{self, Abi};
use super::filter::{Filter, Notify};
use super::rules::Rules;
use super::{flags, program, verdicts};
use crate::error::{Faults, Kind, Result};
use crate::fail;
use crate::kernel::seccomp::{self as kernel, c_ulong, sock_filter};

/// The largest number of instructions that the kernel accepts (BPF_MAXINSNS).
const MOST_INSTRUCTIONS: usize = 4096;

/// Compiles `linux.seccomp` for a machine of this architecture (`arch::native()` except in tests) whose
/// kernel has these `SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// `Kind::Spec` for an invalid object and `Kind::Unsupported` for what this machine does not have, each with
/// the JSON pointer.
pub fn compile(profile: &LinuxSeccomp, machine: Arch, kernel_flags: c_ulong) -> Result<Filter> {
    let mut warnings = Vec::new();
    let filter = compile_with(profile, machine, kernel_flags, &mut warnings);
    filter.map(|filter| Filter { warnings, ..filter })
}

/// Returns the warnings of a profile, even of one that does not compile.
pub(crate) fn warnings(profile: &LinuxSeccomp, kernel_flags: c_ulong) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(machine) = arch::native() {
        let _ = compile_with(profile, machine, kernel_flags, &mut warnings);
    }
    warnings
}

fn compile_with(
    profile: &LinuxSeccomp,
    machine: Arch,
    kernel_flags: c_ulong,
    warnings: &mut Vec<String>,
) -> Result<Filter> {
    let abis = admitted(profile, machine, warnings)?;
    let rules = Rules::read(profile, warnings)?;
    let mut faults = Faults::default();
    let notify = faults.keep(read_listener(profile, rules.notify, kernel_flags)).flatten();
    let flags = faults.keep(flags::requested(profile, rules.notify, kernel_flags)).unwrap_or_default();
    let program = faults.keep(assemble_sections(&rules, &abis)).unwrap_or_default();
    faults.into_result(())?;
    // The loop that releases pages reads the fifo. If the filter answers read(2) with an errno, the loop
    // would spin, so read must be permitted.
    let spares_madvise = rules.never_kills("madvise") && rules.permit("read");
    Ok(Filter {
        program,
        flags,
        notify,
        default_action: rules.default,
        madvise_is_harmless: spares_madvise,
        file_lookups_are_harmless: rules.permit_looks(machine == Arch::ScmpArchX86_64),
        permits_execve: rules.permit("execve"),
        permits_exit: rules.permit("exit_group") || rules.permit("exit"),
        permits_report: ["mmap", "brk", "sendmsg", "exit_group"].into_iter().all(|call| rules.permit(call)),
        warnings: Vec::new(),
    })
}

fn assemble_sections(rules: &Rules<'_>, abis: &[&Abi]) -> Result<Vec<sock_filter>> {
    let sections: Vec<_> = audits(abis)
        .into_iter()
        .map(|audit| {
            let abis: Vec<_> = abis.iter().copied().filter(|abi| abi.audit == audit).collect();
            (audit, verdicts::spans(rules, &abis))
        })
        .collect();
    let program = program::assemble(&sections, rules.default)
        .map_err(|error| fail!(Kind::Spec, "/linux/seccomp: {error}"))?;
    match program.len() {
        length if length > MOST_INSTRUCTIONS => Err(fail!(
            Kind::Spec,
            "/linux/seccomp: the rules take more instructions than the {MOST_INSTRUCTIONS} that the kernel \
             accepts: {length}"
        )),
        _ => Ok(program),
    }
}

/// Returns the conventions that the profile admits on this machine. The machine's own comes first, and is
/// always admitted.
pub(super) fn admitted(
    profile: &LinuxSeccomp,
    machine: Arch,
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static Abi>> {
    let Some(mut abis) = arch::for_machine(machine) else {
        return Err(fail!(Kind::Unsupported, "/linux/seccomp: no table of system calls for {machine}"));
    };
    let listed = profile.architectures().as_deref().unwrap_or_default();
    for (index, arch) in listed.iter().enumerate() {
        if *arch != Arch::ScmpArchNative && abis.iter().all(|abi| abi.arch != *arch) {
            warnings.push(format!(
                "/linux/seccomp/architectures/{index}: this machine runs no programs of that kind: {arch}"
            ));
        }
    }
    abis.retain(|abi| abi.arch == machine || listed.contains(&abi.arch));
    Ok(abis)
}

/// Returns the `AUDIT_ARCH_*` values of `abis`, each once, in the same order.
fn audits(abis: &[&Abi]) -> Vec<u32> {
    let mut audits = Vec::with_capacity(abis.len());
    for abi in abis {
        if !audits.contains(&abi.audit) {
            audits.push(abi.audit);
        }
    }
    audits
}

/// Reads the listener. Without a rule that notifies, a listener's path is ignored, because engines always set
/// it.
fn read_listener(
    profile: &LinuxSeccomp,
    has_notify_rule: bool,
    kernel_flags: c_ulong,
) -> Result<Option<Notify>> {
    if !has_notify_rule {
        return Ok(None);
    }
    if kernel_flags & kernel::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Err(fail!(
            Kind::Unsupported,
            "/linux/seccomp/syscalls: seccomp notify unsupported: this kernel has no \
             SECCOMP_FILTER_FLAG_NEW_LISTENER"
        ));
    }
    match profile.listener_path() {
        Some(path) if !path.as_os_str().is_empty() => Ok(Some(Notify {
            listener_path: path.clone(),
            listener_metadata: profile.listener_metadata().clone().unwrap_or_default(),
        })),
        _ => Err(fail!(
            Kind::Spec,
            "/linux/seccomp/listenerPath: missing, but a rule has SCMP_ACT_NOTIFY and needs a listener"
        )),
    }
}
