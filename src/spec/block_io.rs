//! Rules for `linux.resources.blockIO`.

use oci_spec::runtime::LinuxBlockIo;

use super::fault::{At, Faults};

pub(super) fn rules(wanted: &LinuxBlockIo, at: &At<'_>, faults: &mut Faults) {
    weight(wanted.weight(), &at.key("weight"), faults);
    weight(wanted.leaf_weight(), &at.key("leafWeight"), faults);
    let at_weights = at.key("weightDevice");
    for (index, device) in wanted.weight_device().iter().flatten().enumerate() {
        let at = at_weights.item(index);
        number(device.major(), &at.key("major"), faults);
        number(device.minor(), &at.key("minor"), faults);
        weight(device.weight(), &at.key("weight"), faults);
        weight(device.leaf_weight(), &at.key("leafWeight"), faults);
    }
    let throttles = [
        ("throttleReadBpsDevice", wanted.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", wanted.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", wanted.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", wanted.throttle_write_iops_device()),
    ];
    for (name, devices) in throttles {
        let at = at.key(name);
        for (index, device) in devices.iter().flatten().enumerate() {
            let at = at.item(index);
            number(device.major(), &at.key("major"), faults);
            number(device.minor(), &at.key("minor"), faults);
        }
    }
}

/// blkio takes 10 to 1000, bfq 1 to 1000; 0 is "not set".
fn weight(weight: Option<u16>, at: &At<'_>, faults: &mut Faults) {
    if weight.is_some_and(|weight| weight > 1000) {
        faults.add(at, "must not be greater than 1000");
    }
}

fn number(number: i64, at: &At<'_>, faults: &mut Faults) {
    if u32::try_from(number).is_err() {
        faults.add(at, format!("{number} is no device number"));
    }
}
