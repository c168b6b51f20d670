//! JIT options: the logs that a load fills.

use super::abi::{In, Out};
use super::error::Res;
use std::ffi::c_char;

const INFO_LOG: u32 = 3;
const INFO_LOG_SIZE: u32 = 4;
const ERROR_LOG: u32 = 5;
const ERROR_LOG_SIZE: u32 = 6;
const WALL_TIME: u32 = 2;

/// The options of one load. Values sit in the option array itself, as pointers or numbers.
pub struct Options {
    entries: Vec<(u32, usize)>,
    /// Address of the values, for those that are written back.
    values: usize,
}

impl Options {
    pub fn none() -> Options {
        Options { entries: Vec::new(), values: 0 }
    }

    pub fn read(count: u32, options: In<u32>, values: Out<usize>) -> Res<Options> {
        let mut entries = Vec::new();
        for index in 0..count as usize {
            let value = In::<usize>::at_address(values.address()).at(index)?;
            entries.push((options.at(index)?, value));
        }
        Ok(Options { entries, values: values.address() })
    }

    fn value(&self, option: u32) -> Option<usize> {
        self.entries.iter().find(|entry| entry.0 == option).map(|entry| entry.1)
    }

    /// Writes a value back into the option array.
    fn write_back(&self, option: u32, value: usize) -> Res {
        match self.entries.iter().position(|entry| entry.0 == option) {
            Some(index) => Out::<usize>::at_address(self.values).set_at(index, value),
            None => Ok(()),
        }
    }

    fn log(&self, buffer: u32, size: u32, text: &str) -> Res {
        let room = self.value(size).unwrap_or(0) as u32 as usize;
        let mut written = 0;
        if let Some(address) = self.value(buffer)
            && room > 0
            && address != 0
        {
            Out::<c_char>::at_address(address).set_text(text, room)?;
            written = text.len().min(room - 1);
        }
        self.write_back(size, written)
    }

    /// Fills the caller's logs: the error log with what was wrong, the information log with what was done.
    pub fn report(&self, info: &str, error: &str) -> Res {
        self.log(INFO_LOG, INFO_LOG_SIZE, info)?;
        self.log(ERROR_LOG, ERROR_LOG_SIZE, error)?;
        // Milliseconds, as a float in the slot of a pointer.
        self.write_back(WALL_TIME, 0f32.to_bits() as usize)
    }
}
