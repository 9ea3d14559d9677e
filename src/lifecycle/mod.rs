//! What each verb does: `verbs` has one file per verb, and the files beside it have what several verbs share.
//! `cli` prints.

mod cleanup;
mod creation;
mod criu_directories;
mod criu_request;
mod examination;
pub(crate) mod host_facts;
mod id_pattern;
pub(crate) mod load;
mod new_file;
pub(crate) mod options;
pub(crate) mod out_of_memory;
mod pid_file;
pub(crate) mod verbs;
