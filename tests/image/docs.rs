//! Runs the commands of docs/tare-image.md.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::registry::Server;
use crate::skip::skip;
use crate::support::*;

#[test]
fn the_commands_of_the_page_work() {
    let Ok(busybox) = fs::read("/bin/busybox") else { return skip("needs /bin/busybox") };
    let scratch = Scratch::new("docs");
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({ "Cmd": ["sh", "-c", "echo hello"] });
    let sh = Item { data: busybox, ..file("bin/busybox", "").mode(0o755) };
    let names = ["sh", "echo"].map(|name| symlink(&format!("bin/{name}"), "busybox"));
    let items = [&[dir("bin"), sh, dir("etc"), dir("tmp").mode(0o1777)], &names[..]].concat();
    fixture.layer(Packing::Gzip, &archive(&items)).finish();
    let Some(server) = Server::start(&scratch, "") else { return };
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tare-image.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script: String = blocks.collect::<Vec<_>>().join("\n");
    assert!(script.lines().count() > 25, "{script}");
    // Containers of other tests may have the same name.
    let state = scratch.join("state");
    let script = script
        .replace("localhost:5000", &format!("localhost:{}", server.port))
        .replace("tare run", &format!("tare --root {} run", state.display()));
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_tare")).parent().unwrap();
    let output = Command::new("sh")
        .args(["-exc", &script])
        .current_dir(scratch.path())
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.lines().filter(|line| *line == "hello").count(), 5, "{said}");
    for line in ["A /etc/motd", "v1"] {
        assert!(said.lines().any(|one| one == line), "{line}: {said}");
    }
}
