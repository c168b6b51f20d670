//! Reshapes that name what changes: squeeze, unsqueeze, flatten, and one inferred extent.

use crate::{Error, Result, Shape, Tensor};

impl Tensor {
    /// Without `axis`, which must have extent 1; a view.
    pub fn squeeze(&self, axis: isize) -> Result<Tensor> {
        let axis = self.shape().axis(axis, "squeeze")?;
        if self.shape()[axis] != 1 {
            return Err(Error::shape("squeeze", format!("extent 1 on axis {axis}"), &[*self.shape()]));
        }
        let mut dims = self.dims().to_vec();
        dims.remove(axis);
        self.reshape(dims)
    }

    /// With a new axis of extent 1, which becomes `axis` of the result (-1: the last); a view.
    pub fn unsqueeze(&self, axis: isize) -> Result<Tensor> {
        let rank = self.rank() as isize + 1;
        let at = if axis < 0 { axis + rank } else { axis };
        if !(0..rank).contains(&at) {
            let bound = rank as usize;
            return Err(Error::OutOfRange { op: "unsqueeze", what: "axis", index: axis as i64, bound });
        }
        let mut dims = self.dims().to_vec();
        dims.insert(at as usize, 1);
        self.reshape(dims)
    }

    /// The axes from `first` to `last`, both included and perhaps counted from the end, as one.
    pub fn flatten(&self, first: isize, last: isize) -> Result<Tensor> {
        if self.rank() == 0 {
            return self.reshape([1]);
        }
        let (first, last) = (self.shape().axis(first, "flatten")?, self.shape().axis(last, "flatten")?);
        if first > last {
            return Err(Error::argument("flatten", format!("axes {first} to {last} are in reverse order")));
        }
        let dims = self.dims();
        let merged = dims[first..=last].iter().product();
        let dims: Vec<usize> = dims[..first].iter().copied().chain([merged]).chain(dims[last + 1..].to_vec()).collect();
        self.reshape(dims)
    }

    /// As [`reshape`](Tensor::reshape), with one extent given as -1 and inferred from the number of elements.
    ///
    /// ```
    /// # use warpsmith::{DType, Device, Tensor};
    /// let x = Tensor::zeros([4, 3, 2], DType::F32, &Device::Cpu)?;
    /// assert_eq!(x.reshape_infer(&[4, -1])?.dims(), [4, 6]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn reshape_infer(&self, dims: &[isize]) -> Result<Tensor> {
        let unknown = dims.iter().filter(|&&d| d == -1).count();
        if unknown > 1 || dims.iter().any(|&d| d < -1) {
            return Err(Error::argument("reshape", format!("{dims:?}: at most one extent may be -1, none less")));
        }
        let known: Vec<usize> = dims.iter().map(|&d| if d == -1 { 1 } else { d as usize }).collect();
        let product = Shape::new(&known)?.numel();
        if unknown == 1 && (product == 0 || !self.numel().is_multiple_of(product)) {
            let expected = format!("a number of elements that {dims:?} divides");
            return Err(Error::shape("reshape", expected, &[*self.shape()]));
        }
        let inferred = self.numel().checked_div(product).unwrap_or(0);
        let dims: Vec<usize> = dims.iter().map(|&d| if d == -1 { inferred } else { d as usize }).collect();
        self.reshape(dims)
    }

    /// Repeated along axes of extent 1 to the shape of another tensor; a view.
    pub fn expand_as(&self, like: &Tensor) -> Result<Tensor> {
        self.expand(like.shape())
    }

    /// Tensors broadcast together by NumPy's rule; views.
    pub fn broadcast_together(tensors: &[impl AsRef<Tensor>]) -> Result<Vec<Tensor>> {
        let mut shape = Shape::scalar();
        for x in tensors {
            shape = shape.broadcast(x.as_ref().shape(), "broadcast_together")?;
        }
        tensors.iter().map(|x| x.as_ref().expand(shape)).collect()
    }
}
