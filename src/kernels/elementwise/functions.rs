//! The functions of the elementwise family.

use super::Map;
use crate::device::cpu::Real;

macro_rules! map_function {
    ($(#[$doc:meta])* $name:ident, $kernel:literal, [$($x:ident),+] => $body:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl Map<{ [$(stringify!($x)),+].len() }> for $name {
            const NAME: &'static str = $kernel;
            #[inline(always)]
            fn eval<A: Real>(&self, [$($x),+]: [A; { [$(stringify!($x)),+].len() }]) -> A {
                $body
            }
        }
    };
}

map_function!(/** a + b */ Add, "add", [a, b] => a + b);
map_function!(/** a - b */ Sub, "sub", [a, b] => a - b);
map_function!(/** a · b */ Mul, "mul", [a, b] => a * b);
map_function!(/** a / b */ Div, "div", [a, b] => a / b);
map_function!(/** -x */ Neg, "neg", [x] => -x);
map_function!(/** max(x, 0), NaN kept */ Relu, "relu", [x] => x.maximum(A::ZERO));
map_function!(/** g where x > 0, else 0 */ ReluBackward, "relu_backward", [x, g] => if x > A::ZERO { g } else { A::ZERO });

/// x · scale + shift
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// The factor.
    pub scale: f64,
    /// The summand.
    pub shift: f64,
}

impl Map<1> for Affine {
    const NAME: &'static str = "affine";
    #[inline(always)]
    fn eval<A: Real>(&self, [x]: [A; 1]) -> A {
        x * A::of(self.scale) + A::of(self.shift)
    }
}
