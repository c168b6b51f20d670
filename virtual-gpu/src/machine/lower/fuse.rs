//! Products that may fuse with the sum behind them.
//!
//! `mul` and `add` without a rounding may be contracted to `fma` (PTX ISA, "mul", "add"). Where a sum follows its
//! product in one block and the factors are still there, the sum is given the factors too.

use super::{MInst, Opnd};
use crate::machine::ops::freedom::{PRODUCT_FIRST, SUBTRACTS, sum};

/// What an instruction may be in a contraction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::machine) enum Contraction {
    /// Nothing.
    #[default]
    None,
    /// An unrounded product of binary32 with these modes, or of binary64.
    Product { double: bool, mode: u32 },
    /// An unrounded sum or difference.
    Sum { double: bool, mode: u32, minus: bool },
}

/// A product that is still whole: its result, its factors, its kind.
struct Product {
    result: Opnd,
    factors: [Opnd; 2],
    double: bool,
    ftz: bool,
}

/// Marks the sums of a function; control comes in at the instructions of `entries`.
pub(super) fn mark(out: &mut [MInst], entries: &[usize]) {
    let mut products: Vec<Product> = Vec::new();
    for (k, i) in out.iter_mut().enumerate() {
        if entries.contains(&k) {
            products.clear();
        }
        if let Contraction::Sum { double, mode, minus } = i.contraction
            && i.guard.is_none()
        {
            let fits = |p: &&Product| p.double == double && p.ftz == (mode & 1 != 0);
            let found = products.iter().filter(fits).find_map(|p| {
                let first = p.result == i.a;
                (first || p.result == i.b).then_some((first, p.factors))
            });
            if let Some((first, [x, y])) = found {
                i.op = sum(double, mode);
                i.c = x;
                i.e = y;
                i.e_source = true;
                i.x = u32::from(first) * PRODUCT_FIRST + u32::from(minus) * SUBTRACTS;
            }
        }
        let defs: Vec<Opnd> = i.defs().filter(|d| matches!(d, Opnd::R(_) | Opnd::F(_))).collect();
        products.retain(|p| !defs.iter().any(|d| *d == p.result || p.factors.contains(d)));
        if let Contraction::Product { double, mode } = i.contraction
            && i.guard.is_none()
            && ![i.a, i.b].contains(&i.d)
        {
            products.push(Product { result: i.d, factors: [i.a, i.b], double, ftz: mode & 1 != 0 });
        }
        if i.exit != super::Exit::Fall {
            products.clear();
        }
    }
}
