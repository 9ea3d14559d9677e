//! What each verb does: `verbs` has one file per verb, the files beside it what several verbs share. Printing is for `cli`.

mod cleanup;
mod creation;
mod criu_request;
mod id_pattern;
pub(crate) mod load;
pub(crate) mod options;
mod pid_file;
pub(crate) mod verbs;
