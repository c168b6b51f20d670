//! What is in machine code: entries, parameters, registers, and whether the tensor cores' instructions are there.
//!
//! From compute capability 7.0 on an instruction has 128 bits, of which the lowest twelve are the operation (Jia et al.,
//! "Dissecting the NVIDIA Volta GPU Architecture via Microbenchmarking", 2018, section 2.1). The two operations here are
//! what `nvdisasm -hex` prints for compute capabilities 8.0, 9.0 and 12.0.

use crate::cubin::{self, CubinEntry};
use crate::image::{Format, Image};
use crate::{Error, Result};

/// One entry of machine code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineCode {
    /// The symbol.
    pub entry: String,
    /// Offset and size of each parameter in the machine's own parameter block.
    pub params: Vec<(u32, u32)>,
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block, in bytes.
    pub static_shared: u32,
    /// Instructions, with the padding at the end.
    pub instructions: usize,
    /// Of them, warp-level matrix products (`HMMA`: `mma.sync` on f16, bf16 and TF32).
    pub warp_products: usize,
    /// Of them, warpgroup-level matrix products (`HGMMA`: `wgmma`).
    pub warpgroup_products: usize,
}

const HMMA: u16 = 0x23c;
const HGMMA: u16 = 0x9f0;

impl MachineCode {
    fn new(entry: String, known: CubinEntry, code: &[u8]) -> Self {
        let operations = code.chunks_exact(16).map(|one| u16::from_le_bytes([one[0], one[1]]) & 0xfff);
        let count = |operation| operations.clone().filter(|&found| found == operation).count();
        MachineCode {
            entry,
            params: known.params,
            registers: known.registers,
            static_shared: known.static_shared,
            instructions: operations.clone().count(),
            warp_products: count(HMMA),
            warpgroup_products: count(HGMMA),
        }
    }
}

impl Image {
    /// What is in an image of machine code, by entry.
    ///
    /// # Errors
    /// [`Error::Format`] where the image is PTX, or damaged.
    pub fn machine_code(&self) -> Result<Vec<MachineCode>> {
        if self.format != Format::Cubin {
            return Err(Error::Format("PTX is no machine code".to_owned()));
        }
        let cubin = self.decompress()?;
        let mut code = cubin::code(&cubin)?;
        let of = |(entry, known): (String, CubinEntry)| {
            let text = code.remove(&entry);
            let text = text.ok_or_else(|| Error::Format(format!("{entry} has no machine code")))?;
            Ok(MachineCode::new(entry, known, text))
        };
        cubin::entries(&cubin, self.arch.major)?.into_iter().map(of).collect()
    }

    /// The entries of an image of PTX, each with the sizes of its parameters.
    ///
    /// # Errors
    /// [`Error::Format`] where the image is machine code, or damaged.
    pub fn ptx_entries(&self) -> Result<Vec<(String, Vec<u32>)>> {
        if self.format != Format::Ptx {
            return Err(Error::Format("machine code is no PTX".to_owned()));
        }
        let bytes = self.decompress()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Error::Format("PTX that is no text".to_owned()))?;
        let entries = crate::ptx::entries(text)?;
        let sizes = |params: &[crate::ptx::PtxParam]| params.iter().map(|param| param.size).collect();
        Ok(entries.into_iter().map(|entry| (entry.name, sizes(&entry.params))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_the_lowest_twelve_bits_of_each_instruction() {
        let mut code = Vec::new();
        // HMMA.1688.F32.TF32, HGMMA.64x128x16.F32.BF16, and the first bits of neither in the second half.
        for low in [0x0000_002e_483c_723cu64, 0x21e0_0000_1018_79f0, 0x23d, 0x0, 0x1_023c] {
            code.extend(low.to_le_bytes());
            code.extend(0x23cu64.to_le_bytes());
        }
        let found = MachineCode::new("k".to_owned(), CubinEntry::default(), &code);
        assert_eq!((found.instructions, found.warp_products, found.warpgroup_products), (5, 2, 1));
    }
}
