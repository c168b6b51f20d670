//! The operators `+ − × ÷` and unary minus on tensors, variables and numbers, by value or reference. They return
//! `Result` and accept it on either side of a tensor, so that one `?` ends an expression. An operand given by value
//! that nothing else holds is overwritten by the result where nothing is recorded.

use super::arithmetic::affine_owned;
use super::support::map_owned;
use crate::autograd::needs_grad;
use crate::kernels::elementwise::{self as kernel, Map};
use crate::{Result, Tensor, Var};

/// An operand: by value or by reference.
enum Operand<'a> {
    Owned(Tensor),
    Borrowed(&'a Tensor),
}

impl Operand<'_> {
    fn tensor(&self) -> &Tensor {
        match self {
            Operand::Owned(tensor) => tensor,
            Operand::Borrowed(tensor) => tensor,
        }
    }

    #[expect(clippy::result_large_err, reason = "both sides are the operand itself, moved on")]
    /// The tensor if it may be overwritten by a result of the shape of both.
    fn reusable(self, other: &Tensor) -> std::result::Result<Tensor, Self> {
        match self {
            Operand::Owned(t)
                if t.dtype().is_float() && t.dtype() == other.dtype() && t.is_unique() && !needs_grad(&[&t, other]) =>
            {
                Ok(t)
            }
            operand => Err(operand),
        }
    }
}

impl From<Tensor> for Operand<'_> {
    fn from(tensor: Tensor) -> Self {
        Operand::Owned(tensor)
    }
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Operand::Borrowed(tensor)
    }
}

impl From<Var> for Operand<'_> {
    fn from(var: Var) -> Self {
        Operand::Owned(var.as_tensor().clone())
    }
}

impl<'a> From<&'a Var> for Operand<'a> {
    fn from(var: &'a Var) -> Self {
        Operand::Borrowed(var.as_tensor())
    }
}

/// `f` with the first operand overwritten where possible, else the second (where `swapped` gives the same function of
/// exchanged operands), else `general`.
fn binary<F: Map<2>>(
    f: F,
    swapped: Option<F>,
    a: Operand<'_>,
    b: Operand<'_>,
    general: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let a = match a.reusable(b.tensor()) {
        Ok(a) if b.tensor().layout().expand(a.shape()).is_some() => return map_owned(f, a, &[b.tensor()]),
        Ok(a) => Operand::Owned(a),
        Err(a) => a,
    };
    let b = match (swapped, b) {
        (Some(f), b) => match b.reusable(a.tensor()) {
            Ok(b) if a.tensor().layout().expand(b.shape()).is_some() => return map_owned(f, b, &[a.tensor()]),
            Ok(b) => Operand::Owned(b),
            Err(b) => b,
        },
        (None, b) => b,
    };
    general(a.tensor(), b.tensor())
}

fn add(a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    binary(kernel::Add, Some(kernel::Add), a, b, Tensor::add)
}

fn sub(a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    binary(kernel::Sub, None, a, b, Tensor::sub)
}

fn mul(a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    binary(kernel::Mul, Some(kernel::Mul), a, b, Tensor::mul)
}

fn div(a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    binary(kernel::Div, None, a, b, Tensor::div)
}

fn affine(x: Operand<'_>, scale: f64, shift: f64) -> Result<Tensor> {
    match x {
        Operand::Owned(x) => affine_owned(x, scale, shift),
        Operand::Borrowed(x) => x.affine(scale, shift),
    }
}

fn div_scalar(x: Operand<'_>, divisor: f64) -> Result<Tensor> {
    match x {
        Operand::Owned(x) if x.dtype().is_float() && !needs_grad(&[&x]) => {
            map_owned(kernel::DivScalar { divisor }, x, &[])
        }
        x => x.tensor().div_scalar(divisor),
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident |$x:ident, $s:ident| $right:expr, $left:expr;)+) => {$(
        operators!(@pairs $trait $method [Tensor, &Tensor, Var, &Var]);
        operators!(@numbers $trait $method |$x, $s| $right, $left; [Tensor, &Tensor, Var, &Var]);
    )+};
    (@pairs $trait:ident $method:ident [$($a:ty),+]) => {$(
        operators!(@pair $trait $method, $a, Tensor);
        operators!(@pair $trait $method, $a, &Tensor);
        operators!(@pair $trait $method, $a, Var);
        operators!(@pair $trait $method, $a, &Var);
        impl std::ops::$trait<Result<Tensor>> for $a {
            type Output = Result<Tensor>;
            fn $method(self, other: Result<Tensor>) -> Result<Tensor> {
                $method(self.into(), other?.into())
            }
        }
        impl std::ops::$trait<$a> for Result<Tensor> {
            type Output = Result<Tensor>;
            fn $method(self, other: $a) -> Result<Tensor> {
                $method(self?.into(), other.into())
            }
        }
    )+};
    (@pair $trait:ident $method:ident, $a:ty, $b:ty) => {
        impl std::ops::$trait<$b> for $a {
            type Output = Result<Tensor>;
            fn $method(self, other: $b) -> Result<Tensor> {
                $method(self.into(), other.into())
            }
        }
    };
    (@numbers $trait:ident $method:ident |$x:ident, $s:ident| $right:expr, $left:expr; [$($a:ty),+]) => {$(
        impl std::ops::$trait<f64> for $a {
            type Output = Result<Tensor>;
            fn $method(self, $s: f64) -> Result<Tensor> {
                let $x = self.into();
                $right
            }
        }
        impl std::ops::$trait<$a> for f64 {
            type Output = Result<Tensor>;
            fn $method(self, x: $a) -> Result<Tensor> {
                let ($x, $s): (Operand<'_>, f64) = (x.into(), self);
                $left
            }
        }
    )+};
}

operators! {
    Add add |x, s| affine(x, 1.0, s), affine(x, 1.0, s);
    Sub sub |x, s| affine(x, 1.0, -s), affine(x, -1.0, s);
    Mul mul |x, s| affine(x, s, 0.0), affine(x, s, 0.0);
    Div div |x, s| div_scalar(x, s), affine(Operand::Owned(x.tensor().recip()?), s, 0.0);
}

macro_rules! negation {
    ($($a:ty),+) => {$(
        impl std::ops::Neg for $a {
            type Output = Result<Tensor>;
            fn neg(self) -> Result<Tensor> {
                let x: Operand<'_> = self.into();
                x.tensor().neg()
            }
        }
    )+};
}

negation!(Tensor, &Tensor, Var, &Var);
