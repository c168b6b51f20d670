//! `cuLink*`: linking PTX. The device runs PTX, so the "cubin" that linking gives is the PTX itself, in a form that
//! `cuModuleLoadData` takes; several inputs are joined into one text.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::context::current;
use super::error::{Code, Error, Res};
use super::fatbin;
use super::jit::Options;
use super::module;
use super::table::{Table, lock};
use std::ffi::c_char;
use std::sync::Mutex;

static LINKS: Table<Link> = Table::new(10);

/// Input types.
const CUBIN: u32 = 0;
const PTX: u32 = 1;
const FATBINARY: u32 = 2;

struct Link {
    inputs: Mutex<Vec<String>>,
    /// Where the caller wants the logs; they stay valid until the link is complete.
    options: Options,
    /// What `cuLinkComplete` handed out; it has to live as long as the link.
    output: Mutex<Vec<u8>>,
    handle: Handle,
}

fn link(handle: Handle) -> Res<std::sync::Arc<Link>> {
    super::state::driver()?;
    LINKS.get(handle).ok_or_else(|| Code::InvalidHandle.into())
}

#[unsafe(no_mangle)]
extern "C" fn cuLinkCreate_v2(count: u32, options: In<u32>, values: Out<usize>, out: Out<Handle>) -> CuResult {
    call("cuLinkCreate", || {
        out.check()?;
        current()?;
        let options = Options::read(count, options, values)?;
        options.report("", "")?;
        let new = |handle| Link { inputs: Mutex::default(), options, output: Mutex::default(), handle };
        out.set(LINKS.add(new).handle)
    })
}

/// An input that is not PTX is refused when it is added.
fn check(link: &Link, text: &str) -> Res {
    match crate::ptx::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let (line, column) = crate::ptx::LineMap::new(text).locate(error.pos);
            let message = format!("line {line}, column {column}: {}", error.message);
            link.options.report("", &format!("ptxas application ptx input, {message}\n"))?;
            Err(Error::new(Code::InvalidPtx, message))
        }
    }
}

fn add(handle: Handle, kind: u32, bytes: &[u8]) -> Res {
    let link = link(handle)?;
    let context = current()?;
    match kind {
        PTX | FATBINARY => {
            let image = fatbin::from_bytes(bytes, context.device.model)?;
            check(&link, &image.ptx)?;
            lock(&link.inputs).push(image.ptx);
            Ok(())
        }
        CUBIN => Err(Error::new(Code::NoBinaryForGpu, "a cubin cannot be linked here: give its PTX")),
        _ => Err(Error::new(Code::NotSupported, "only PTX and fat binaries can be linked")),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuLinkAddData_v2(
    handle: Handle,
    kind: u32,
    data: In<u8>,
    size: usize,
    _name: In<c_char>,
    _count: u32,
    _options: usize,
    _values: usize,
) -> CuResult {
    call("cuLinkAddData", || add(handle, kind, &data.bytes(size)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuLinkAddFile_v2(
    handle: Handle,
    kind: u32,
    path: In<c_char>,
    _count: u32,
    _options: usize,
    _values: usize,
) -> CuResult {
    call("cuLinkAddFile", || add(handle, kind, &module::read_file(path)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuLinkComplete(handle: Handle, image: Out<In<u8>>, size: Out<usize>) -> CuResult {
    call("cuLinkComplete", || {
        image.check()?;
        let link = link(handle)?;
        let context = current()?;
        let inputs = lock(&link.inputs).clone();
        let ptx = match &inputs[..] {
            [] => return Err(Error::invalid("nothing was added to the link")),
            [one] => one.clone(),
            // Each input was parsed when it was added.
            several => crate::ptx::link(several).map_err(|(unit, error)| {
                Error::new(Code::InvalidPtx, format!("input {unit} of the link: {}", error.message))
            })?,
        };
        let source = fatbin::from_bytes(ptx.as_bytes(), context.device.model)?;
        module::translate(&source, context.device.model, &link.options)?;
        let mut output = lock(&link.output);
        *output = ptx.into_bytes();
        output.push(0);
        image.set(In::from_pointer(output.as_ptr()))?;
        size.set_if_wanted(output.len())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLinkDestroy(handle: Handle) -> CuResult {
    call("cuLinkDestroy", || LINKS.remove(handle).map(|_| ()).ok_or_else(|| Code::InvalidHandle.into()))
}
