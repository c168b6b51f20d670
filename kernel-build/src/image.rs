//! The table of kernels: what a program knows of each kernel it carries.
//!
//! The same types describe kernels embedded at build time (everything borrowed, `const`) and kernels compiled while
//! the program runs (everything owned).

use crate::arch::Arch;
use lzma_rust2::{LzmaOptions, LzmaReader, LzmaWriter};
use std::borrow::Cow;
use std::io::{Read, Write};

/// A number type of a kernel parameter or of what a pointer points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scalar {
    /// Signed 8-bit integer.
    I8 = 1,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
    /// IEEE 754 binary16 (a C++ type named `f16` or `__half`).
    F16,
    /// bfloat16 (a C++ type named `bf16` or `__nv_bfloat16`).
    Bf16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl Scalar {
    pub(crate) const ALL: [Self; 12] = [
        Self::I8,
        Self::U8,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::F16,
        Self::Bf16,
        Self::F32,
        Self::F64,
    ];

    /// Size in bytes.
    pub const fn size(self) -> u32 {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The Rust name of the type: `f32`, `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// What is known of a parameter's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamType {
    /// A device pointer; `to` is `None` for `void` and for types of the kernel's own.
    Pointer {
        /// The pointee, where it is a number type.
        to: Option<Scalar>,
        /// False for a pointer to `const`.
        mutable: bool,
    },
    /// A number.
    Scalar(Scalar),
    /// A tensor map for TMA by value (a C++ type named `CUtensorMap`).
    TensorMap,
    /// A struct by value, or a parameter of an `extern "C"` kernel: known by size and alignment alone.
    Bytes,
}

/// One parameter: its type and where it lies in the parameter block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Param {
    /// The type, from the kernel's mangled name.
    pub ty: ParamType,
    /// Offset in the parameter block, in bytes.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
}

impl Param {
    /// Whether an argument described by `argument` may be passed for this parameter.
    ///
    /// Sizes must be equal. A mutable pointer passes for a `const` one but not the reverse; pointees and numbers must
    /// be equal where both are known. The argument's offset is not looked at.
    pub const fn accepts(&self, argument: &Param) -> bool {
        if self.size != argument.size || argument.align < self.align {
            return false;
        }
        match (self.ty, argument.ty) {
            (ParamType::Pointer { to, mutable }, ParamType::Pointer { to: given, mutable: given_mutable }) => {
                let same = match (to, given) {
                    (Some(to), Some(given)) => to as u8 == given as u8,
                    _ => true,
                };
                same && (given_mutable || !mutable)
            }
            (ParamType::Scalar(want), ParamType::Scalar(given)) => want as u8 == given as u8,
            (ParamType::TensorMap, ParamType::TensorMap) | (ParamType::Bytes, _) => true,
            _ => false,
        }
    }
}

impl std::fmt::Display for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ty {
            ParamType::Pointer { to, mutable } => {
                let to = to.map_or("_", Scalar::name);
                write!(f, "*{} {to}", if mutable { "mut" } else { "const" })
            }
            ParamType::Scalar(scalar) => f.write_str(scalar.name()),
            ParamType::TensorMap => f.write_str("tensor map"),
            ParamType::Bytes => write!(f, "[{} bytes aligned to {}]", self.size, self.align),
        }
    }
}

/// What a kernel takes of a multiprocessor on one architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resources {
    /// The architecture the figures are for.
    pub arch: Arch,
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block, in bytes.
    pub static_shared: u32,
    /// Local memory of a thread, in bytes (arrays that are indexed at run time; never spills).
    pub local: u32,
    /// The most threads a block may have (the first argument of `__launch_bounds__`).
    pub max_threads: u32,
    /// The exact block size, where `__block_size__` demands one; 0 where not.
    pub required_block: [u32; 3],
    /// The exact cluster size, where `__cluster_dims__` demands one; 0 where not.
    pub required_cluster: [u32; 3],
}

impl Resources {
    /// Registers that a block of `threads` takes: per warp, in units of 256, as every chip since 3.0 allocates them
    /// (CUDA occupancy calculator, "Physical Limits": allocation unit 256, granularity warp).
    pub const fn block_registers(&self, threads: u32) -> u32 {
        let warps = threads.div_ceil(32);
        warps * (self.registers * 32).div_ceil(256) * 256
    }
}

/// One `__global__` function: how it is called, and what it needs on each architecture that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelInfo {
    /// The readable name: `saxpy`, `reduce<f32, 256>`.
    pub name: Cow<'static, str>,
    /// The symbol in the image.
    pub entry: Cow<'static, str>,
    /// The parameters in order.
    pub params: Cow<'static, [Param]>,
    /// Resources, one item for each architecture that has the kernel.
    pub resources: Cow<'static, [Resources]>,
}

impl KernelInfo {
    /// The C-like signature for messages: `saxpy(*mut f32, *const f32, f32, u32)`.
    pub fn signature(&self) -> String {
        let params: Vec<String> = self.params.iter().map(ToString::to_string).collect();
        format!("{}({})", self.name, params.join(", "))
    }
}

/// Whether an image is machine code or PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Machine code.
    Cubin,
    /// PTX text, which a driver that knows its version compiles.
    Ptx,
}

/// How an image's bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// DEFLATE (RFC 1951): quick to write, for what a build makes for itself.
    Deflate,
    /// LZMA with its 13-byte header: half the size, for images that a published crate carries.
    Lzma,
}

/// One compressed image of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The architecture it was compiled for.
    pub arch: Arch,
    /// Machine code or PTX.
    pub format: Format,
    /// Size when decompressed, in bytes.
    pub len: u32,
    /// How the bytes are compressed.
    pub compression: Compression,
    /// The bytes, compressed.
    pub bytes: Cow<'static, [u8]>,
}

impl Image {
    /// Whether a device of compute capability `major.minor` runs it.
    pub const fn runs_on(&self, major: u8, minor: u8) -> bool {
        match self.format {
            Format::Cubin => self.arch.machine_code_runs_on(major, minor),
            Format::Ptx => self.arch.ptx_runs_on(major, minor),
        }
    }

    /// The decompressed image.
    pub fn decompress(&self) -> crate::Result<Vec<u8>> {
        match self.compression {
            Compression::Deflate => inflate(&self.bytes, self.len as usize),
            Compression::Lzma => unpack(&self.bytes, self.len as usize),
        }
    }
}

/// What a program carries of one `.cu` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Compiled images and the table of their kernels.
    Compiled {
        /// The NVRTC that compiled them: major, minor.
        nvrtc: (u32, u32),
        /// The kernels, sorted by name.
        kernels: Cow<'static, [KernelInfo]>,
        /// Machine code and PTX.
        images: Cow<'static, [Image]>,
    },
    /// The sources, compressed, for NVRTC at first use: no NVRTC was found when the program was built.
    Source {
        /// Size when decompressed, in bytes.
        len: u32,
        /// The serialised [`Source`](crate::Source), compressed with DEFLATE.
        bytes: Cow<'static, [u8]>,
    },
}

/// One `.cu` file of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The file's name without its extension.
    pub name: Cow<'static, str>,
    /// What the program carries of it.
    pub contents: Contents,
}

impl Module {
    /// The kernel of that readable name, where the module is compiled.
    pub fn kernel(&self, name: &str) -> Option<&KernelInfo> {
        match &self.contents {
            Contents::Compiled { kernels, .. } => kernels.iter().find(|kernel| kernel.name == name),
            Contents::Source { .. } => None,
        }
    }

    /// Whether the module has an image for devices of compute capability `major.minor`; one that carries its source may
    /// be compiled for any.
    pub fn runs_on(&self, major: u8, minor: u8) -> bool {
        match &self.contents {
            Contents::Compiled { images, .. } => images.iter().any(|image| image.runs_on(major, minor)),
            Contents::Source { .. } => true,
        }
    }

    /// The source of a module that carries it.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) where the module is compiled, or its source is damaged.
    pub fn source(&self) -> crate::Result<crate::Source> {
        match &self.contents {
            Contents::Source { len, bytes } => crate::Source::from_bytes(&inflate(bytes, *len as usize)?),
            Contents::Compiled { .. } => {
                Err(crate::Error::Format(format!("module {} carries images, not its source", self.name)))
            }
        }
    }

    /// Whether a kernel of that name takes arguments of these types, checked when the program is compiled.
    ///
    /// A module that carries only its source has no signatures yet, so the answer is `true`: the check is made again
    /// when the kernel is loaded. Embedded tables are borrowed; an owned one is not looked into.
    pub const fn admits(&self, name: &str, arguments: &[Param]) -> bool {
        let Contents::Compiled { kernels: Cow::Borrowed(kernels), .. } = &self.contents else {
            return true;
        };
        let mut index = 0;
        while index < kernels.len() {
            if let (Cow::Borrowed(found), Cow::Borrowed(params)) = (&kernels[index].name, &kernels[index].params)
                && same(found.as_bytes(), name.as_bytes())
            {
                return accepts_all(params, arguments);
            }
            index += 1;
        }
        false
    }
}

/// Whether each parameter accepts its argument and none is left over.
pub const fn accepts_all(params: &[Param], arguments: &[Param]) -> bool {
    if params.len() != arguments.len() {
        return false;
    }
    let mut index = 0;
    while index < params.len() {
        if !params[index].accepts(&arguments[index]) {
            return false;
        }
        index += 1;
    }
    true
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(bytes, 9)
}

pub(crate) fn inflate(bytes: &[u8], len: usize) -> crate::Result<Vec<u8>> {
    let out = miniz_oxide::inflate::decompress_to_vec_with_limit(bytes, len)
        .map_err(|error| crate::Error::Format(format!("an embedded image does not decompress: {error:?}")))?;
    if out.len() != len {
        return Err(crate::Error::Format(format!("an embedded image has {} bytes instead of {len}", out.len())));
    }
    Ok(out)
}

/// The bytes in LZMA.
pub(crate) fn pack(bytes: &[u8]) -> crate::Result<Vec<u8>> {
    let failed = |error: std::io::Error| crate::Error::Format(format!("an image does not compress: {error}"));
    let options = LzmaOptions::with_preset(6);
    let mut writer = LzmaWriter::new_use_header(Vec::new(), &options, Some(bytes.len() as u64)).map_err(failed)?;
    writer.write_all(bytes).map_err(failed)?;
    writer.finish().map_err(failed)
}

fn unpack(bytes: &[u8], len: usize) -> crate::Result<Vec<u8>> {
    let wrong = |what: String| crate::Error::Format(format!("an embedded image does not decompress: {what}"));
    // The dictionary of the writer's preset and some more: a lie in the header cannot take all memory.
    const MEMORY_KIB: u32 = 32 << 10;
    let reader = LzmaReader::new_mem_limit(bytes, MEMORY_KIB, None).map_err(|error| wrong(error.to_string()))?;
    let mut out = Vec::with_capacity(len);
    reader.take(len as u64 + 1).read_to_end(&mut out).map_err(|error| wrong(error.to_string()))?;
    if out.len() != len {
        return Err(wrong(format!("it has {} bytes or more instead of {len}", out.len())));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_images_come_back_and_lies_are_errors() {
        let text = b"mov.u32 %r1, %tid.x;\n".repeat(1000);
        let bytes = pack(&text).unwrap();
        assert!(bytes.len() < text.len() / 10);
        assert_eq!(unpack(&bytes, text.len()).unwrap(), text);
        assert!(unpack(&bytes, text.len() - 1).is_err());
        assert!(unpack(&bytes, text.len() + 1).is_err());
        assert!(unpack(&bytes[..bytes.len() / 2], text.len()).is_err());
        let mut huge = bytes;
        huge[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(unpack(&huge, text.len()).is_err(), "a dictionary of 4 GiB");
    }

    const fn param(ty: ParamType, size: u32) -> Param {
        Param { ty, offset: 0, size, align: size }
    }
    const OUT: Param = param(ParamType::Pointer { to: Some(Scalar::F32), mutable: true }, 8);
    const IN: Param = param(ParamType::Pointer { to: Some(Scalar::F32), mutable: false }, 8);
    const COUNT: Param = param(ParamType::Scalar(Scalar::U32), 4);
    const TABLE: Module = Module {
        name: Cow::Borrowed("m"),
        contents: Contents::Compiled {
            nvrtc: (12, 9),
            kernels: Cow::Borrowed(&[KernelInfo {
                name: Cow::Borrowed("scale"),
                entry: Cow::Borrowed("scale"),
                params: Cow::Borrowed(&[OUT, IN, COUNT]),
                resources: Cow::Borrowed(&[]),
            }]),
            images: Cow::Borrowed(&[]),
        },
    };
    const _: () = assert!(TABLE.admits("scale", &[OUT, IN, COUNT]));

    #[test]
    fn a_call_that_does_not_fit_its_kernel_is_refused() {
        assert!(TABLE.admits("scale", &[OUT, OUT, COUNT]), "a mutable pointer passes for a const one");
        assert!(!TABLE.admits("scale", &[IN, IN, COUNT]), "a const pointer must not pass for a mutable one");
        assert!(!TABLE.admits("scale", &[OUT, IN]), "an argument is missing");
        assert!(!TABLE.admits("scale", &[OUT, IN, param(ParamType::Scalar(Scalar::F32), 4)]), "u32 is not f32");
        let halves = param(ParamType::Pointer { to: Some(Scalar::F16), mutable: true }, 8);
        assert!(!TABLE.admits("scale", &[halves, IN, COUNT]), "f16 is not f32");
        assert!(!TABLE.admits("other", &[OUT, IN, COUNT]), "there is no such kernel");
        let map = param(ParamType::TensorMap, 128);
        assert!(map.accepts(&map) && !map.accepts(&param(ParamType::Bytes, 128)), "any 128 bytes for a tensor map");
        assert!(param(ParamType::Bytes, 8).accepts(&OUT) && !param(ParamType::Bytes, 4).accepts(&OUT));
    }

    #[test]
    fn registers_are_allocated_per_warp_in_units_of_256() {
        let resources = |registers| Resources {
            arch: Arch::new(8, 0, false),
            registers,
            static_shared: 0,
            local: 0,
            max_threads: 1024,
            required_block: [0; 3],
            required_cluster: [0; 3],
        };
        assert_eq!(resources(64).block_registers(1024), 65_536);
        assert_eq!(resources(65).block_registers(1024), 73_728);
        assert_eq!(resources(1).block_registers(33), 512);
    }

    #[test]
    fn images_survive_compression_and_lies_about_their_length_do_not() {
        let text = b"ld.global.f32 ".repeat(100);
        let mut image = Image {
            arch: Arch::new(8, 0, false),
            format: Format::Ptx,
            len: text.len() as u32,
            compression: Compression::Deflate,
            bytes: Cow::Owned(deflate(&text)),
        };
        assert!(image.bytes.len() < text.len() / 10);
        assert_eq!(image.decompress().unwrap(), text);
        image.len -= 1;
        assert!(image.decompress().is_err());
        image.len += 2;
        assert!(image.decompress().is_err());
    }
}
