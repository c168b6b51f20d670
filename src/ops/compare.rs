//! Comparisons and logic. They give masks: u8 tensors of 0 and 1, constants for autograd.

use super::autocast;
use super::support::{expanded, scalar};
use crate::device::Buffer;
use crate::kernels::elementwise::{Relation, compare};
use crate::{DType, Error, Result, Tensor};

fn relation(relation: Relation, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if let Some(([a, b], [])) = autocast::cast("compare", [a, b], [])? {
        return self::relation(relation, &a, &b);
    }
    let shape = a.shape().broadcast(b.shape(), relation.name())?;
    if a.dtype() != b.dtype() {
        let expected = "operands of one dtype (convert with to_dtype)";
        return Err(Error::dtype(relation.name(), expected, &[a.dtype(), b.dtype()]));
    }
    let (a, b) = (a.read(), b.read());
    let mut out = Buffer::uninit(&a.view()?.buffer().device(), DType::U8, shape.numel())?;
    compare(relation, expanded(a.view()?, &shape)?, expanded(b.view()?, &shape)?, &mut out)?;
    Tensor::from_buffer(out, shape)
}

impl Tensor {
    /// 1 where a = b, broadcast by NumPy's rule; every dtype. NaN equals nothing.
    pub fn eq(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::Eq, self, other)
    }

    /// 1 where a ≠ b, broadcast by NumPy's rule; every dtype. NaN differs from everything.
    pub fn ne(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::Ne, self, other)
    }

    /// 1 where a < b, broadcast by NumPy's rule; every dtype.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1i64, 2, 3], [3], &Device::Cpu)?;
    /// let two = Tensor::from_slice(&[2i64], (), &Device::Cpu)?;
    /// assert_eq!(x.lt(&two)?.to_vec::<u8>()?, [1, 0, 0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn lt(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::Lt, self, other)
    }

    /// 1 where a ≤ b, broadcast by NumPy's rule; every dtype.
    pub fn le(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::Le, self, other)
    }

    /// 1 where a > b, broadcast by NumPy's rule; every dtype.
    pub fn gt(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::Gt, self, other)
    }

    /// 1 where a ≥ b, broadcast by NumPy's rule; every dtype.
    pub fn ge(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::Ge, self, other)
    }

    /// 1 where both are not 0, broadcast by NumPy's rule; every dtype.
    pub fn logical_and(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::And, self, other)
    }

    /// 1 where any is not 0, broadcast by NumPy's rule; every dtype.
    pub fn logical_or(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::Or, self, other)
    }

    /// 1 where exactly one is not 0, broadcast by NumPy's rule; every dtype.
    pub fn logical_xor(&self, other: &Tensor) -> Result<Tensor> {
        relation(Relation::Xor, self, other)
    }

    /// 1 where the value is 0; every dtype.
    pub fn logical_not(&self) -> Result<Tensor> {
        relation(Relation::Eq, self, &scalar(0.0, self)?)
    }

    /// 1 where the value is NaN; every dtype (never for integers).
    pub fn is_nan(&self) -> Result<Tensor> {
        relation(Relation::Ne, self, self)
    }
}
