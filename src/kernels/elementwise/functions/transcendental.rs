//! Exponentials, logarithms, powers, trigonometric and error functions, and their backwards.

use super::{maps, maps_with};
use crate::device::cpu::Real;
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2};

maps! {
    /// eˣ
    Exp "exp" [x] => x.exp();
    /// 2ˣ
    Exp2 "exp2" [x] => x.exp2();
    /// ln 2 · g y
    Exp2Backward "exp2_backward" [g, y] => A::of(LN_2) * g * y;
    /// eˣ − 1
    Expm1 "expm1" [x] => x.expm1();
    /// g (y + 1)
    Expm1Backward "expm1_backward" [g, y] => g.mul_add(y, g);
    /// ln x
    Log "log" [x] => x.ln();
    /// log₂ x
    Log2 "log2" [x] => x.log2();
    /// g / (x ln 2)
    Log2Backward "log2_backward" [g, x] => g / (x * A::of(LN_2));
    /// ln(1 + x)
    Log1p "log1p" [x] => x.log1p();
    /// g / (1 + x)
    Log1pBackward "log1p_backward" [g, x] => g / (A::ONE + x);
    /// sin x
    Sin "sin" [x] => x.sin();
    /// g cos x
    SinBackward "sin_backward" [g, x] => g * x.cos();
    /// cos x
    Cos "cos" [x] => x.cos();
    /// −g sin x
    CosBackward "cos_backward" [g, x] => -(g * x.sin());
    /// tan x
    Tan "tan" [x] => x.tan();
    /// g (1 + y²)
    TanBackward "tan_backward" [g, y] => g * y.mul_add(y, A::ONE);
    /// erf x
    Erf "erf" [x] => x.erf();
    /// 2/√π · g e^(−x²)
    ErfBackward "erf_backward" [g, x] => A::of(FRAC_2_SQRT_PI) * g * (-(x * x)).exp();
    /// aᵇ
    Pow "pow" [a, b] => a.powf(b);
    /// The gradient of aᵇ for a: g b aᵇ⁻¹, 0 where b is 0
    PowBaseBackward "pow_base_backward" [g, a, b] => if b == A::ZERO { A::ZERO } else { g * b * a.powf(b - A::ONE) };
    /// The gradient of aᵇ for b: g aᵇ ln a, 0 where a is 0 and b is not negative
    PowExponentBackward "pow_exponent_backward" [g, a, b] => if a == A::ZERO && b >= A::ZERO {
        A::ZERO
    } else {
        g * a.powf(b) * a.ln()
    };
}

maps_with! {
    /// xᵖ
    PowScalar {
        /// The exponent.
        exponent
    } "powf" [x] => x.powf(exponent);
    /// g p xᵖ⁻¹
    PowScalarBackward {
        /// The exponent.
        exponent
    } "powf_backward" [g, x] => if exponent == A::ZERO {
        A::ZERO
    } else {
        g * exponent * x.powf(exponent - A::ONE)
    };
}
