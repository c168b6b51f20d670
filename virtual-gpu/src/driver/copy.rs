//! Copies and fills as operations: where each side lies is decided when they are made, the bytes move when they run.

use super::abi;
use super::config;
use super::error::{Error, Res};
use super::layouts::Memcpy3d;
use super::memory::{self, Origin};
use super::queue::current_tag;
use super::state::{Device, driver};
use std::sync::Arc;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Address of the first byte.
    pub address: u64,
    /// Bytes from one row to the next.
    pub row: u64,
    /// Bytes from one slice to the next.
    pub slice: u64,
    /// The device whose memory it is; `None` for memory of the host.
    pub device: Option<i32>,
}

/// A copy of `depth` slices of `height` rows of `width` bytes.
#[derive(Clone)]
pub struct Copy {
    pub src: Side,
    pub dst: Side,
    pub width: u64,
    pub height: u64,
    pub depth: u64,
    /// Host bytes taken when the call was made, instead of `src`.
    pub staged: Option<Arc<Vec<u8>>>,
    /// What it was made from, for graph nodes.
    pub params: Memcpy3d,
}

/// How much of `address` may be touched: an error where `bytes` more than the allocation has are wanted.
pub fn check_range(device: &Device, address: u64, bytes: u64, what: &str) -> Res {
    let Some(allocation) = device.memory.lookup(address) else {
        return Err(Error::invalid(format!("{what}: {address:#x} is not in a live allocation of the device")));
    };
    let left = allocation.base + allocation.size - address;
    if bytes > left {
        return Err(Error::invalid(format!(
            "{what}: {bytes} bytes at {address:#x}, but the allocation of {} bytes at {:#x} has only {left} from there on",
            allocation.size, allocation.base
        )));
    }
    Ok(())
}

/// Checks bytes that a copy or fill touches against work of other streams.
fn check_order(device: i32, address: u64, bytes: u64, write: bool) -> Res {
    if config::read(|config| config.checks.races) {
        super::state::device(device)?.memory.copy_in_order(&current_tag(), address, bytes, write)?;
    }
    Ok(())
}

impl Side {
    /// A run of bytes on the host.
    pub fn host(address: u64) -> Side {
        Side { address, row: 0, slice: 0, device: None }
    }

    /// The bytes that the side spans from its first address on.
    fn span(&self, width: u64, height: u64, depth: u64) -> Option<u64> {
        let rows = self.row.checked_mul(height - 1)?;
        self.slice.checked_mul(depth - 1)?.checked_add(rows)?.checked_add(width)
    }

    fn check(&self, width: u64, height: u64, depth: u64, what: &str) -> Res {
        let too_large = || Error::invalid(format!("{what}: the extents overflow"));
        let span = self.span(width, height, depth).ok_or_else(too_large)?;
        self.address.checked_add(span).ok_or_else(too_large)?;
        match self.device {
            Some(ordinal) => check_range(super::state::device(ordinal)?, self.address, span, what),
            None if self.address < 4_096 => Err(Error::invalid(format!("{what}: the host pointer is null"))),
            None => check_host(self.address, span, what),
        }
    }
}

/// Checks bytes of the host as far as the driver knows them: page-locked ones, and those that the devices have reserved.
fn check_host(address: u64, bytes: u64, what: &str) -> Res {
    match memory::allocation_at(address) {
        Some(pinned) if pinned.origin != Origin::Registered && bytes > pinned.address + pinned.bytes - address => {
            Err(Error::invalid(format!(
                "{what}: {bytes} bytes at {address:#x}, but the page-locked allocation at {:#x} has {}",
                pinned.address, pinned.bytes
            )))
        }
        None if driver()?.devices.iter().any(|device| device.memory.reserved(address)) => {
            Err(Error::invalid(format!("{what}: {address:#x} is not in a live allocation")))
        }
        _ => Ok(()),
    }
}

impl Copy {
    /// Checks both sides; a copy of no bytes is fine whatever its addresses.
    pub fn check(&self) -> Res {
        if self.is_empty() {
            return Ok(());
        }
        self.src.check(self.width, self.height, self.depth, "source of a copy")?;
        self.dst.check(self.width, self.height, self.depth, "destination of a copy")
    }

    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0 || self.depth == 0
    }

    /// Whether pageable host memory is read, which the driver does before it returns, by taking the bytes now.
    pub fn stage(&mut self) -> Res {
        if self.is_empty() || self.src.device.is_some() || memory::is_pinned(self.src.address) {
            return Ok(());
        }
        let Some(span) = self.src.span(self.width, self.height, self.depth) else {
            return Err(Error::invalid("the extents of a copy overflow"));
        };
        let bytes = abi::In::<u8>::at_address(self.src.address as usize).bytes(span as usize)?;
        self.staged = Some(Arc::new(bytes));
        Ok(())
    }

    /// Whether the call must not return before the bytes are there: pageable host memory is written.
    pub fn writes_pageable(&self) -> bool {
        !self.is_empty() && self.dst.device.is_none() && !memory::is_pinned(self.dst.address)
    }

    pub fn execute(&self) -> Res {
        if self.is_empty() {
            return Ok(());
        }
        self.check()?;
        // Rows that follow each other without gaps on both sides are one row.
        let (mut width, mut height, mut depth) = (self.width, self.height, self.depth);
        let (src, dst) = (&self.src, &self.dst);
        if height == 1 || src.row == width && dst.row == width {
            width *= height;
            height = 1;
            if depth == 1 || src.slice == width && dst.slice == width {
                width *= depth;
                depth = 1;
            }
        }
        let mut buffer = Vec::new();
        for z in 0..depth {
            for y in 0..height {
                let from = src.slice * z + src.row * y;
                let to = dst.address + dst.slice * z + dst.row * y;
                self.row(from, to, width, &mut buffer)?;
            }
        }
        Ok(())
    }

    /// Copies `width` bytes from `offset` into the source to `to`.
    fn row(&self, offset: u64, to: u64, width: u64, buffer: &mut Vec<u8>) -> Res {
        let from = self.src.address + offset;
        for (side, address, write) in [(&self.src, from, false), (&self.dst, to, true)] {
            if let Some(device) = side.device {
                check_order(device, address, width, write)?;
            }
        }
        let uninitialised = config::read(|config| config.checks.uninitialised);
        match (self.src.device, self.dst.device) {
            (None, Some(dst)) => {
                let memory = &super::state::device(dst)?.memory;
                match &self.staged {
                    Some(staged) => memory.write(to, &staged[offset as usize..(offset + width) as usize])?,
                    None => abi::with_host_bytes(from, width, |bytes| memory.write(to, bytes))?,
                }
            }
            (Some(src), None) => {
                let memory = &super::state::device(src)?.memory;
                abi::with_host_bytes_mut(to, width, |bytes| memory.read(from, bytes, uninitialised))?;
            }
            (Some(src), Some(dst)) if src == dst => super::state::device(src)?.memory.copy(to, from, width)?,
            (Some(src), Some(dst)) => {
                // Between devices the bytes pass through the host, uninitialised ones included.
                buffer.resize(width as usize, 0);
                super::state::device(src)?.memory.read(from, buffer, false)?;
                super::state::device(dst)?.memory.write(to, buffer)?;
            }
            (None, None) => match &self.staged {
                Some(staged) => {
                    let bytes = &staged[offset as usize..(offset + width) as usize];
                    abi::with_host_bytes_mut(to, width, |target| target.copy_from_slice(bytes));
                }
                None => abi::copy_host(to, from, width),
            },
        }
        Ok(())
    }
}

/// A fill of `height` rows of `width` elements of `size` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    pub address: u64,
    /// Bytes from one row to the next; meaningless for one row.
    pub pitch: u64,
    pub value: u32,
    /// 1, 2 or 4.
    pub size: u32,
    pub width: u64,
    pub height: u64,
    pub device: i32,
}

impl Fill {
    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    pub fn check(&self) -> Res {
        if !matches!(self.size, 1 | 2 | 4) {
            return Err(Error::invalid(format!("a fill's elements have 1, 2 or 4 bytes, not {}", self.size)));
        }
        if self.is_empty() {
            return Ok(());
        }
        let size = u64::from(self.size);
        if !self.address.is_multiple_of(size) || self.height > 1 && !self.pitch.is_multiple_of(size) {
            return Err(Error::invalid(format!(
                "a fill of {size}-byte elements at {:#x} with pitch {} is not aligned",
                self.address, self.pitch
            )));
        }
        let row = self.width.checked_mul(size);
        let span = row.and_then(|row| self.pitch.checked_mul(self.height - 1)?.checked_add(row));
        let span = span.ok_or_else(|| Error::invalid("the extents of a fill overflow"))?;
        if self.height > 1 && self.pitch < row.unwrap_or(0) {
            return Err(Error::invalid("a fill's pitch is smaller than its rows"));
        }
        check_range(super::state::device(self.device)?, self.address, span, "a fill")
    }

    pub fn execute(&self) -> Res {
        if self.is_empty() {
            return Ok(());
        }
        self.check()?;
        let memory = &super::state::device(self.device)?.memory;
        for y in 0..self.height {
            check_order(self.device, self.address + y * self.pitch, self.width * u64::from(self.size), true)?;
            memory.fill(self.address + y * self.pitch, self.value, self.size as usize, self.width)?;
        }
        Ok(())
    }
}
