//! One file per verb. Each tells its story top to bottom and leaves printing to `cli`.

pub mod options;
