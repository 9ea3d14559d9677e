//! Two commands at once on one container: each ends as if one had come after the other.

use std::process::Command;

use crate::support::Bundle;
use crate::support::run::Running;

const RACERS: usize = 6;
const ROUNDS: usize = 8;

fn together(commands: impl Iterator<Item = Command>) -> Vec<crate::support::Answer> {
    let running: Vec<Running> = commands.map(|mut command| Running::start(&mut command)).collect();
    running.into_iter().map(Running::wait).collect()
}

#[test]
fn of_several_creations_of_one_id_exactly_one_wins() {
    let Some(bundle) = Bundle::new() else { return };
    for _ in 0..ROUNDS {
        let answers = together((0..RACERS).map(|_| bundle.command(&["create", &bundle.id])));
        let won = answers.iter().filter(|answer| answer.code == 0).count();
        assert_eq!(won, 1, "{answers:?}");
        for lost in answers.into_iter().filter(|answer| answer.code != 0) {
            lost.fails(1, "container with given ID already exists");
        }
        // The losers have not touched the winner's.
        bundle.start().ok();
        bundle.wait_until_stopped();
        bundle.delete().ok();
        bundle.leaves_nothing();
    }
}

#[test]
fn of_several_starts_exactly_one_wins() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    for _ in 0..ROUNDS {
        bundle.create().ok();
        let answers = together((0..RACERS).map(|_| bundle.command(&["start", &bundle.id])));
        assert_eq!(answers.iter().filter(|answer| answer.code == 0).count(), 1, "{answers:?}");
        assert_eq!(bundle.status(), "running");
        bundle.delete_force().ok();
    }
    bundle.leaves_nothing();
}

#[test]
fn force_against_any_other_verb_leaves_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    for verb in [&["start"][..], &["kill"], &["exec"], &["delete"], &["state"], &["list"], &["pause"]] {
        for _ in 0..3 {
            bundle.create().ok();
            let words = match verb[0] {
                "exec" => vec!["exec", &*bundle.id, "true"],
                "list" => vec!["list"],
                other => vec![other, &*bundle.id],
            };
            let force = ["delete", "--force", &*bundle.id];
            let answers = together([&words[..], &force[..]].into_iter().map(|words| bundle.command(words)));
            assert_eq!(answers[1].code, 0, "{verb:?}: {answers:?}");
            bundle.leaves_nothing();
        }
    }
}

#[test]
fn creation_against_force_ends_with_a_container_or_without_one() {
    let Some(bundle) = Bundle::new() else { return };
    for _ in 0..ROUNDS {
        let words: [&[&str]; 2] = [&["create", &bundle.id], &["delete", "--force", &bundle.id]];
        let answers = together(words.into_iter().map(|words| bundle.command(words)));
        assert_eq!(answers[1].code, 0, "{answers:?}");
        if answers[0].code == 0 && bundle.tare(&["state", &bundle.id]).code == 0 {
            assert_eq!(bundle.status(), "created");
            bundle.delete().ok();
        }
        bundle.leaves_nothing();
    }
}
