//! Arithmetic on two tensors, broadcast together: `add`, `sub`, `mul`, `div`, and the operators.

use super::support::{map, unbroadcast};
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record};
use crate::kernels::elementwise;
use crate::{Result, Shape, Tensor};

struct Add {
    shapes: [Shape; 2],
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![
            ctx.want(0, || unbroadcast(grad.clone(), &self.shapes[0]))?,
            ctx.want(1, || unbroadcast(grad.clone(), &self.shapes[1]))?,
        ])
    }
}

struct Sub {
    shapes: [Shape; 2],
}

impl Op for Sub {
    fn name(&self) -> &'static str {
        "sub"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![
            ctx.want(0, || unbroadcast(grad.clone(), &self.shapes[0]))?,
            ctx.want(1, || unbroadcast(grad.neg()?, &self.shapes[1]))?,
        ])
    }
}

struct Mul {
    a: Saved,
    b: Saved,
}

impl Op for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
        Ok(vec![
            ctx.want(0, || unbroadcast(grad.mul(&b)?, a.shape()))?,
            ctx.want(1, || unbroadcast(grad.mul(&a)?, b.shape()))?,
        ])
    }
}

struct Div {
    a: Saved,
    b: Saved,
}

impl Op for Div {
    fn name(&self) -> &'static str {
        "div"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
        let ga = grad.div(&b)?;
        Ok(vec![
            ctx.want(0, || unbroadcast(ga.clone(), a.shape()))?,
            ctx.want(1, || unbroadcast(ga.mul(&a)?.div(&b)?.neg()?, b.shape()))?,
        ])
    }
}

struct Neg;

impl Op for Neg {
    fn name(&self) -> &'static str {
        "neg"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.neg())?])
    }
}

impl Tensor {
    /// a + b, broadcast by NumPy's rule.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        record(map(elementwise::Add, [self, other])?, &[self, other], || Add {
            shapes: [*self.shape(), *other.shape()],
        })
    }

    /// a − b, broadcast by NumPy's rule.
    pub fn sub(&self, other: &Tensor) -> Result<Tensor> {
        record(map(elementwise::Sub, [self, other])?, &[self, other], || Sub {
            shapes: [*self.shape(), *other.shape()],
        })
    }

    /// a · b elementwise, broadcast by NumPy's rule.
    pub fn mul(&self, other: &Tensor) -> Result<Tensor> {
        record(map(elementwise::Mul, [self, other])?, &[self, other], || Mul {
            a: Saved::input(0, self),
            b: Saved::input(1, other),
        })
    }

    /// a / b elementwise, broadcast by NumPy's rule.
    pub fn div(&self, other: &Tensor) -> Result<Tensor> {
        record(map(elementwise::Div, [self, other])?, &[self, other], || Div {
            a: Saved::input(0, self),
            b: Saved::input(1, other),
        })
    }

    /// −x.
    pub fn neg(&self) -> Result<Tensor> {
        record(map(elementwise::Neg, [self])?, &[self], || Neg)
    }
}

struct Affine {
    scale: f64,
}

impl Op for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.affine(self.scale, 0.0))?])
    }
}

impl Tensor {
    /// x · scale + shift.
    pub fn affine(&self, scale: f64, shift: f64) -> Result<Tensor> {
        record(map(elementwise::Affine { scale, shift }, [self])?, &[self], || Affine { scale })
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, |$x:ident, $s:ident| $scalar:expr) => {
        operator!(@impl $trait, $method, Tensor, Tensor);
        operator!(@impl $trait, $method, Tensor, &Tensor);
        operator!(@impl $trait, $method, &Tensor, Tensor);
        operator!(@impl $trait, $method, &Tensor, &Tensor);
        operator!(@right $trait, $method, Tensor);
        operator!(@right $trait, $method, &Tensor);
        operator!(@left $trait, $method, Tensor);
        operator!(@left $trait, $method, &Tensor);
        operator!(@scalar $trait, $method, Tensor, |$x, $s| $scalar);
        operator!(@scalar $trait, $method, &Tensor, |$x, $s| $scalar);
    };
    (@impl $trait:ident, $method:ident, $a:ty, $b:ty) => {
        impl std::ops::$trait<$b> for $a {
            type Output = Result<Tensor>;
            fn $method(self, other: $b) -> Result<Tensor> {
                Tensor::$method(&self, &other)
            }
        }
    };
    (@right $trait:ident, $method:ident, $a:ty) => {
        impl std::ops::$trait<Result<Tensor>> for $a {
            type Output = Result<Tensor>;
            fn $method(self, other: Result<Tensor>) -> Result<Tensor> {
                Tensor::$method(&self, &other?)
            }
        }
    };
    (@left $trait:ident, $method:ident, $b:ty) => {
        impl std::ops::$trait<$b> for Result<Tensor> {
            type Output = Result<Tensor>;
            fn $method(self, other: $b) -> Result<Tensor> {
                Tensor::$method(&self?, &other)
            }
        }
    };
    (@scalar $trait:ident, $method:ident, $a:ty, |$x:ident, $s:ident| $scalar:expr) => {
        impl std::ops::$trait<f64> for $a {
            type Output = Result<Tensor>;
            fn $method(self, $s: f64) -> Result<Tensor> {
                let $x: &Tensor = &self;
                $scalar
            }
        }
    };
}

operator!(Add, add, |x, s| x.affine(1.0, s));
operator!(Sub, sub, |x, s| x.affine(1.0, -s));
operator!(Mul, mul, |x, s| x.affine(s, 0.0));
operator!(Div, div, |x, s| x.div(&Tensor::full(s, (), x.dtype(), x.device())?));
