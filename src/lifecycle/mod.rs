//! What each verb does: `verbs` has one file per verb, the files beside it what several verbs share. Printing is for `cli`.

mod cleanup;
mod creation;
mod criu_request;
mod id_pattern;
pub mod load;
pub mod options;
mod pid_file;
pub mod verbs;
