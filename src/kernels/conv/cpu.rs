//! Chooses the route of each call.

use super::plan::{Route, plan};
use super::{ConvDesc, Direction, correlate, im2col, weight};
use crate::device::cpu::{Float, Vector, copy_strided};
use crate::device::{Buffer, View};
use crate::kernels::gemm::micro::TileShape;
use crate::{Device, Result};

/// The elements of a view in row-major order: in place, or copied if they are strided.
pub(super) enum Packed<'a, T> {
    InPlace(&'a [T]),
    Copy(Buffer),
}

impl<T: Float> Packed<'_, T> {
    pub(super) fn slice(&self) -> Result<&[T]> {
        match self {
            Packed::InPlace(slice) => Ok(slice),
            Packed::Copy(buffer) => buffer.as_slice(),
        }
    }
}

pub(super) fn packed<T: Float>(view: View<'_>) -> Result<Packed<'_, T>> {
    if let Some(slice) = view.contiguous::<T>()? {
        return Ok(Packed::InPlace(slice));
    }
    let mut copy = Buffer::uninit(&Device::Cpu, T::DTYPE, view.layout().numel())?;
    copy_strided(view.buffer().as_slice::<T>()?, view.layout(), copy.as_mut_slice::<T>()?);
    Ok(Packed::Copy(copy))
}

pub(super) fn run<T: Float<Acc: Vector>>(
    direction: Direction,
    desc: &ConvDesc,
    a: &[T],
    b: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let (route, geometry) = plan(direction, desc, TileShape::of::<T::Acc>().lanes);
    match (route, direction) {
        (Route::Columns, _) => im2col::run(direction, desc, a, b, bias, out),
        (Route::Shifted, Direction::Weight) => weight::run(desc, &geometry.0, &geometry.1[0], a, b, out),
        (Route::Shifted, _) => correlate::run(direction, desc, &geometry, a, b, bias, out),
    }
}
