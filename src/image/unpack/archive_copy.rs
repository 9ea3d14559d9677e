//! Keeps the bytes of a layer's archive in a file while they are read. Blocks of zeros become holes, as in the
//! files of the layer.

use std::fs::File;
use std::os::fd::AsFd;

use nix::sys::uio::pwrite;
use nix::unistd::ftruncate;

use super::zero_blocks;
use crate::error::{Context, Result};

/// The file, and how many bytes it has.
#[derive(Debug)]
pub(super) struct ArchiveCopy {
    file: File,
    at: u64,
}

impl ArchiveCopy {
    pub(super) fn new(file: File) -> Self {
        Self { file, at: 0 }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (mut count, is_zero) = zero_blocks::leading_run(bytes, self.at);
            if !is_zero {
                count = pwrite(self.file.as_fd(), &bytes[..count], self.at.cast_signed())
                    .context("write the layer's archive")?;
            }
            self.at += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Gives the file its size, if it ends in a hole.
    pub(super) fn finish(self) -> Result<()> {
        ftruncate(&self.file, self.at.cast_signed()).context("write the layer's archive")
    }
}
