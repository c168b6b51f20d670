//! Instruction families. `lower` says how one is added.

pub(super) mod address;
pub(super) mod atom;
pub(super) mod barrier;
pub(super) mod bits;
pub(super) mod call;
pub(super) mod control;
pub(super) mod copy;
pub(super) mod cvt;
pub(super) mod float;
pub(super) mod fragment;
pub(super) mod freedom;
pub(super) mod grid;
pub(super) mod half;
pub(super) mod int;
pub(super) mod ldmatrix;
pub(super) mod legal;
pub(super) mod logic;
pub(super) mod mbarrier;
pub(super) mod mem;
pub(super) mod mma;
pub(super) mod mma_sparse;
pub(super) mod mov;
pub(super) mod multimem;
pub(super) mod softfloat;
pub(super) mod sparse;
pub(super) mod special;
pub(super) mod stack;
pub(super) mod target;
pub(super) mod tensormap;
pub(super) mod tma;
pub(super) mod video;
pub(super) mod warp;
pub(super) mod wgmma;
pub(super) mod wgmma_sparse;
pub(super) mod wmma;

pub(super) use fragment::Scratch;
pub(super) use mem::Patterns;

use super::lower::{Decoded, Form, Lower};

type Decoder = for<'p, 'a, 'i> fn(&mut Lower<'p, 'a>, &mut Form<'i, 'a>) -> Decoded;

/// Which decoder takes which opcode roots.
const FAMILIES: &[(&[&str], Decoder)] = &[
    (&["bra", "brx", "exit", "ret", "trap", "brkpt", "nanosleep", "pmevent"], control::decode),
    (&["call"], call::decode),
    (&["mov", "prmt", "isspacep", "cvta", "mapa", "getctarank"], mov::decode),
    (&["alloca", "stacksave", "stackrestore"], stack::decode),
    (&["multimem"], multimem::decode),
    (
        &[
            "add", "sub", "mul", "mad", "fma", "div", "rem", "abs", "neg", "min", "max", "mul24", "mad24", "sad",
            "addc", "subc", "madc", "copysign", "testp", "dp4a", "dp2a", "rcp", "sqrt", "rsqrt", "sin", "cos", "lg2",
            "ex2", "tanh",
        ],
        int::decode,
    ),
    (
        &[
            "and", "or", "xor", "not", "cnot", "lop3", "shl", "shr", "shf", "popc", "clz", "bfind", "fns", "brev",
            "bfe", "bfi", "bmsk", "szext",
        ],
        bits::decode,
    ),
    (&["setp", "set", "selp", "slct"], logic::decode),
    (&["cvt"], cvt::decode),
    (&["ld", "ldu", "st", "prefetch", "prefetchu", "discard", "applypriority", "createpolicy"], mem::decode),
    (&["atom", "red"], atom::decode),
    (&["shfl", "vote", "match", "redux", "activemask", "elect"], warp::decode),
    (&["bar", "barrier", "membar", "fence"], barrier::decode),
    (&["mbarrier"], mbarrier::decode),
    (&["cp"], copy::decode),
    (&["griddepcontrol", "setmaxnreg"], grid::decode),
    (&["wgmma"], wgmma::decode),
    (&["wmma"], wmma::decode),
    (&["tensormap"], tensormap::decode),
    (
        &[
            "vadd",
            "vsub",
            "vabsdiff",
            "vmin",
            "vmax",
            "vshl",
            "vshr",
            "vmad",
            "vset",
            "vadd2",
            "vsub2",
            "vavrg2",
            "vabsdiff2",
            "vmin2",
            "vmax2",
            "vset2",
            "vadd4",
            "vsub4",
            "vavrg4",
            "vabsdiff4",
            "vmin4",
            "vmax4",
            "vset4",
        ],
        video::decode,
    ),
    (&["mma"], mma::decode),
    (&["ldmatrix", "stmatrix", "movmatrix"], ldmatrix::decode),
];

/// Decodes one instruction.
pub(super) fn decode<'a>(lw: &mut Lower<'_, 'a>, form: &mut Form<'_, 'a>) -> Decoded {
    let root = form.ins.root;
    if let Some(need) = target::least(form.ins)
        && !target::satisfied(&lw.cx.ast.target, need)
    {
        return lw.refuse(format!("needs .target {need}, the module's is {}", lw.cx.ast.target.join(", ")));
    }
    if let Some(why) = legal::flaw(root, &form.ins.modifiers, form.ins.operands.len()) {
        return lw.refuse(why);
    }
    match FAMILIES.iter().find(|(roots, _)| roots.contains(&root)) {
        Some((_, decoder)) => decoder(lw, form),
        None => lw.refuse("this instruction is not implemented"),
    }
}
