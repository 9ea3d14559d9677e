//! Rules for `linux.resources.blockIO`.

use oci_spec::runtime::LinuxBlockIo;

use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;

pub(super) fn rules(block_io: &LinuxBlockIo, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    weight(block_io.weight(), &at.key("weight"), diagnostics);
    weight(block_io.leaf_weight(), &at.key("leafWeight"), diagnostics);
    let at_weights = at.key("weightDevice");
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let at = at_weights.item(index);
        number(device.major(), &at.key("major"), diagnostics);
        number(device.minor(), &at.key("minor"), diagnostics);
        weight(device.weight(), &at.key("weight"), diagnostics);
        weight(device.leaf_weight(), &at.key("leafWeight"), diagnostics);
    }
    let throttles = [
        ("throttleReadBpsDevice", block_io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", block_io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", block_io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", block_io.throttle_write_iops_device()),
    ];
    for (name, devices) in throttles {
        let at = at.key(name);
        for (index, device) in devices.iter().flatten().enumerate() {
            let at = at.item(index);
            number(device.major(), &at.key("major"), diagnostics);
            number(device.minor(), &at.key("minor"), diagnostics);
        }
    }
}

/// blkio takes 10 to 1000, bfq 1 to 1000; 0 means "not set".
fn weight(weight: Option<u16>, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if weight.is_some_and(|weight| weight > 1000) {
        diagnostics.error(at, "must not be greater than 1000");
    }
}

fn number(number: i64, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if u32::try_from(number).is_err() {
        diagnostics.error(at, format!("{number} is no device number"));
    }
}
