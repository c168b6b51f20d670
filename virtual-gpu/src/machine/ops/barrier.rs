//! Barriers and fences.

use super::warp::warp_barrier;
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule};
use crate::machine::{races, sync};
use crate::ptx::{Operand, Ty};

/// `x`: bit 0 a proxy fence, bit 1 of the asynchronous proxy, bit 2 acquires the tensor map at
/// `a`, bit 3 releases maps; scope in bits 4 and 5.
unsafe fn fence(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    match i.x & 7 {
        0 => races::fence(cx, i.x >> 4 & 3 == 0),
        3 => races::proxy_fence(cx, m),
        _ if i.x & 8 != 0 => races::fence(cx, false),
        x if x & 4 != 0 => {
            for l in (0..32).filter(|l| m >> l & 1 != 0) {
                let at = cx.lane::<u64>(i.a, l);
                races::tensor_map_acquired(cx, at);
            }
            races::fence(cx, false);
        }
        _ => {}
    }
    Flow::Next
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    match f.ins.root {
        "fence" | "membar" => {
            let proxy = f.flag("proxy");
            let mut x = u32::from(proxy);
            if proxy {
                let kind = f.find(|m| {
                    matches!(
                        m,
                        "async" | "async.global" | "alias" | "async::generic" | "tensormap" | "tensormap::generic"
                    )
                    .then(|| m.starts_with("async"))
                });
                match kind {
                    Some(asynchronous) => x |= u32::from(asynchronous) << 1,
                    None => return lw.refuse("names no proxy"),
                }
                f.one_of(&["global", "shared::cta", "shared::cluster"]);
                f.flag("sync_restrict::shared::cta.cluster");
                f.one_of(&["acquire", "release"]);
                f.one_of(&["sync_restrict::shared::cta", "sync_restrict::shared::cluster"]);
                if f.one_of(&["cta", "cluster", "gpu", "sys", "gl"]).is_some() && ops.len() == 2 {
                    // The acquire form names the tensor map and its size.
                    if ops[1] != Operand::Int(128) {
                        return lw.refuse("names the 128 bytes of a tensor map");
                    }
                    let a = super::copy::full_address(lw, &ops[0])?;
                    lw.emit(MInst::new(OpPair::same(fence)).a(a).x(x | 4).taint(TaintRule::Decide));
                    return Ok(());
                }
                if kind == Some(false) {
                    x |= 8;
                }
            } else {
                f.flag("mbarrier_init");
                f.one_of(&["sc", "acq_rel", "acquire", "release"]);
                f.one_of(&["sync_restrict::shared::cta", "sync_restrict::shared::cluster"]);
                let scope = f.one_of(&["cta", "cluster", "gpu", "sys", "gl"]);
                x |= match scope {
                    Some("cta") => 0,
                    Some("cluster") => 1 << 4,
                    Some(_) => 2 << 4,
                    None => return lw.refuse("names no scope"),
                };
            }
            lw.emit(MInst::new(OpPair::same(fence)).x(x));
            Ok(())
        }
        root => {
            if f.flag("warp") {
                f.flag("sync");
                f.arity(lw, 1..=1)?;
                let a = lw.src(&ops[0], Ty::B32)?;
                lw.emit(MInst::new(OpPair::same(warp_barrier)).a(a).taint(TaintRule::Decide));
                return Ok(());
            }
            if f.flag("cluster") {
                return cluster(lw, f);
            }
            f.flag("cta");
            let mut x = if f.flag("aligned") || root == "bar" { sync::ALIGNED } else { 0 };
            if f.flag("red") {
                return reduction(lw, f, x);
            }
            let arrive = f.flag("arrive");
            if !arrive && !f.flag("sync") {
                return lw.refuse("names neither .sync, .arrive nor .red");
            }
            f.arity(lw, if arrive { 2..=2 } else { 1..=2 })?;
            if arrive {
                x |= sync::ARRIVE;
            }
            let a = lw.src(&ops[0], Ty::U32)?;
            let b = match ops.get(1) {
                Some(o) => lw.src(o, Ty::U32)?,
                None => {
                    x |= sync::EVERYONE;
                    Opnd::No
                }
            };
            lw.emit(MInst::new(OpPair::same(sync::barrier)).a(a).b(b).x(x).taint(TaintRule::Decide));
            Ok(())
        }
    }
}

fn reduction<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, mut x: u32) -> Decoded {
    let ops = f.operands();
    let kind = f.one_of(&["popc", "and", "or"]);
    let ty = f.ty(lw)?;
    x |= match (kind, ty) {
        (Some("popc"), Ty::U32) => sync::RED_POPC,
        (Some("and"), Ty::Pred) => sync::RED_AND,
        (Some("or"), Ty::Pred) => sync::RED_OR,
        _ => return lw.refuse("this reduction does not exist"),
    };
    f.arity(lw, 3..=4)?;
    let a = lw.src(&ops[1], Ty::U32)?;
    let b = if ops.len() == 4 {
        lw.src(&ops[2], Ty::U32)?
    } else {
        x |= sync::EVERYONE;
        Opnd::No
    };
    let c = match &ops[ops.len() - 1] {
        Operand::Not(r) => {
            x |= sync::NEGATED;
            Opnd::R(*r)
        }
        o => lw.src(o, Ty::Pred)?,
    };
    let d = lw.dst(&ops[0], ty)?;
    lw.emit(MInst::new(OpPair::same(sync::barrier)).d(d).a(a).b(b).c(c).x(x).keeps().taint(TaintRule::Decide));
    Ok(())
}

fn cluster<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    f.arity(lw, 0..=0)?;
    let mut x = if f.flag("aligned") { sync::CLUSTER_ALIGNED } else { 0 };
    x |= match f.one_of(&["arrive", "wait"]) {
        Some("arrive") => sync::CLUSTER_ARRIVE,
        Some(_) => sync::CLUSTER_WAIT,
        None => return lw.refuse("names neither .arrive nor .wait"),
    };
    if f.one_of(&["release", "relaxed", "acquire"]) == Some("relaxed") {
        x |= sync::CLUSTER_RELAXED;
    }
    lw.emit(MInst::new(OpPair::same(sync::cluster_barrier)).x(x));
    Ok(())
}
