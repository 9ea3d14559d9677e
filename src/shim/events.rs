//! The events that containerd wants to hear of, with their topics.

use prost::Message;

use super::wire::events::{
    Envelope, TaskCheckpointed, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOom,
    TaskPaused, TaskResumed, TaskStart,
};
use super::wire::types::{Any, Timestamp};

/// An event's message, its type's name and its topic.
pub(crate) trait Event: Message + Sized {
    const NAME: &'static str;
    const TOPIC: &'static str;

    /// The container that it is of.
    fn container(&self) -> &str;

    /// Wraps the event as it is published.
    fn envelope(&self, namespace: &str) -> Envelope {
        Envelope {
            timestamp: Some(Timestamp::now()),
            namespace: namespace.to_owned(),
            topic: Self::TOPIC.to_owned(),
            event: Some(Any::wrap(Self::NAME, self)),
        }
    }
}

macro_rules! events {
    ($($message:ty, $name:literal, $topic:literal;)+) => {
        $(impl Event for $message {
            const NAME: &'static str = concat!("containerd.events.", $name);
            const TOPIC: &'static str = concat!("/tasks/", $topic);

            fn container(&self) -> &str {
                &self.container_id
            }
        })+
    };
}

events! {
    TaskCreate, "TaskCreate", "create";
    TaskStart, "TaskStart", "start";
    TaskExit, "TaskExit", "exit";
    TaskDelete, "TaskDelete", "delete";
    TaskOom, "TaskOOM", "oom";
    TaskExecAdded, "TaskExecAdded", "exec-added";
    TaskExecStarted, "TaskExecStarted", "exec-started";
    TaskPaused, "TaskPaused", "paused";
    TaskResumed, "TaskResumed", "resumed";
    TaskCheckpointed, "TaskCheckpointed", "checkpointed";
}
