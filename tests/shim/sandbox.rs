//! The sandbox service: a pod that the shim makes itself, without an image and without events of its own.

use std::fs;

use prost::Message;

use super::client::{Any, CreateSandbox, EXISTS, NOT_FOUND, Named, Number, PodConfig, SandboxStatus};
use super::support::Bundle;
use super::{Shim, wait_gone};

/// A shim in a bundle without a configuration, as containerd starts one for a pod; its options are in the bundle.
fn shim() -> Option<Shim> {
    let bundle = Bundle::new()?;
    fs::remove_file(bundle.dir.join("config.json")).unwrap();
    let shim = Shim::in_bundle(bundle, true);
    let options = serde_json::json!({
        "binary_name": shim.runtime, "root": shim.bundle.dir.join("state").to_string_lossy(),
    });
    fs::write(shim.bundle.dir.join("options.json"), options.to_string()).unwrap();
    Some(shim)
}

fn create(shim: &Shim) -> CreateSandbox {
    let config = PodConfig { hostname: "made-here".to_owned() }.encode_to_vec();
    CreateSandbox {
        id: shim.bundle.id.clone(),
        bundle: shim.bundle.dir.to_string_lossy().into_owned(),
        options: Some(Any { type_url: "runtime.v1.PodSandboxConfig".to_owned(), value: config }),
    }
}

fn status(shim: &mut Shim) -> SandboxStatus {
    let named = shim.named();
    SandboxStatus::decode(shim.client.sandbox("SandboxStatus", &named).unwrap().as_slice()).unwrap()
}

#[test]
fn a_pod_from_create_to_shutdown_with_a_container_in_it() {
    let Some(mut shim) = shim() else { return };
    let named = shim.named();
    for method in ["StartSandbox", "StopSandbox", "WaitSandbox", "SandboxStatus", "PingSandbox", "Platform"] {
        assert_eq!(
            shim.client.sandbox(method, &named).unwrap_err().code,
            NOT_FOUND,
            "{method} before it is made"
        );
    }
    shim.client.sandbox("CreateSandbox", &create(&shim)).unwrap();
    assert_eq!(shim.client.sandbox("CreateSandbox", &create(&shim)).unwrap_err().code, EXISTS);
    let started = shim.client.sandbox("StartSandbox", &named).unwrap();
    let pid = Number::decode(started.as_slice()).unwrap().number;
    assert_eq!((status(&mut shim).pid, status(&mut shim).state.as_str()), (pid, "SANDBOX_READY"));
    shim.client.sandbox("PingSandbox", &named).unwrap();
    shim.client.sandbox("Platform", &named).unwrap();

    let mut member = Bundle::new().unwrap();
    member.args(&["sh", "-c", "[ \"$(hostname)\" = made-here ]"]);
    member.patch(|config| {
        config["process"]["terminal"] = false.into();
        config.as_object_mut().unwrap().remove("hostname");
        for (kind, file) in [("uts", "uts"), ("ipc", "ipc")] {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            let mut one = namespaces.iter_mut().find(|one| one["type"] == kind);
            one.as_mut().unwrap()["path"] = format!("/proc/{pid}/ns/{file}").into();
        }
    });
    let bundle = member.dir.to_string_lossy().into_owned();
    let request = super::client::Create { id: member.id.clone(), bundle, ..shim.create() };
    let in_it = Named { id: member.id.clone(), ..Named::default() };
    shim.client.call("Create", &request).unwrap();
    shim.client.call("Start", &in_it).unwrap();
    let exit = Number::decode(shim.client.call("Wait", &in_it).unwrap().as_slice()).unwrap();
    assert_eq!(exit.number, 0, "it has the pod's name");
    shim.client.call("Delete", &in_it).unwrap();

    let waits = shim.client.send_sandbox("WaitSandbox", &named);
    let stops = shim.client.send_sandbox("StopSandbox", &named);
    assert_eq!(Number::decode(shim.client.answer(waits).unwrap().as_slice()).unwrap().number, 137);
    shim.client.answer(stops).unwrap();
    wait_gone(pid);
    assert_eq!(status(&mut shim).state, "SANDBOX_NOTREADY");
    shim.client.sandbox("StopSandbox", &named).unwrap();
    shim.client.sandbox("ShutdownSandbox", &named).unwrap();
    wait_gone(shim.pid);
    assert_eq!(
        shim.events.seen(),
        ["create", "start", "exit", "delete"],
        "those of the container in it alone"
    );
}

#[test]
fn shutdown_ends_a_pod_in_every_state() {
    for until in ["nothing", "CreateSandbox", "StartSandbox"] {
        let Some(mut shim) = shim() else { return };
        let named = shim.named();
        if until != "nothing" {
            shim.client.sandbox("CreateSandbox", &create(&shim)).unwrap();
        }
        if until == "StartSandbox" {
            shim.client.sandbox("StartSandbox", &named).unwrap();
        }
        shim.client.sandbox("ShutdownSandbox", &named).unwrap();
        wait_gone(shim.pid);
        let state = shim.bundle.dir.join("state").join(super::NAMESPACE);
        assert_eq!(fs::read_dir(state).map_or(0, Iterator::count), 0, "{until}: nothing is left");
    }
}
