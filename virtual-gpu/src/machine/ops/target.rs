//! Which architecture an instruction asks of the module's `.target` (PTX ISA, "Target ISA Notes"; compared with ptxas).

use crate::ptx::{Instruction, Operand, Ty};

/// The architecture that an instruction needs, where that is above what every device here has.
pub fn least(ins: &Instruction<'_>) -> Option<&'static str> {
    let has = |m: &str| ins.modifiers.contains(&m);
    let any = |list: &[&str]| list.iter().any(|m| has(m));
    let types = || ins.modifiers.iter().filter_map(|m| Ty::from_name(m));
    let brain = types().any(|t| matches!(t, Ty::BF16 | Ty::BF16X2));
    let vector = any(&["v2", "v4", "v8"]);
    match ins.root {
        "wgmma" | "setmaxnreg" | "tensormap" => return Some("sm_90a"),
        "mapa" | "getctarank" | "elect" | "stmatrix" | "multimem" | "griddepcontrol" => return Some("sm_90"),
        "cp" if has("bulk") => return Some("sm_90"),
        "mbarrier" if any(&["try_wait", "expect_tx", "complete_tx", "relaxed"]) => return Some("sm_90"),
        "barrier" if has("cluster") => return Some("sm_90"),
        "fence" if has("mbarrier_init") => return Some("sm_90"),
        "fence" | "membar" if ins.modifiers.iter().any(|m| m.starts_with("async") || m.starts_with("tensormap")) => {
            return Some("sm_90");
        }
        "st" | "red" if has("async") => return Some("sm_90"),
        "atom" | "red" if vector || brain || has("b128") => return Some("sm_90"),
        "add" | "sub" | "mul" | "set" | "setp" | "tanh" | "ex2" if brain => return Some("sm_90"),
        "add" | "min" | "max" if types().any(|t| matches!(t, Ty::U16X2 | Ty::S16X2)) || (has("relu") && has("s32")) => {
            return Some("sm_90");
        }
        "fma" if has("oob") => return Some("sm_90"),
        "prefetch" if has("tensormap") => return Some("sm_90"),
        _ => {}
    }
    let scoped = matches!(ins.root, "ld" | "st" | "atom" | "red" | "fence" | "mbarrier");
    if has("shared::cluster") || (scoped && has("cluster")) {
        return Some("sm_90");
    }
    let cluster_register = |o: &Operand<'_>| matches!(o, Operand::Special(name) if name.contains("cluster"));
    if ins.operands.iter().any(cluster_register) {
        return Some("sm_90");
    }
    let small = types().any(|t| matches!(t, Ty::E4M3 | Ty::E5M2 | Ty::E4M3X2 | Ty::E5M2X2));
    (small && matches!(ins.root, "cvt" | "mma")).then_some("sm_89")
}

/// Whether a module's targets satisfy a need.
pub fn satisfied(targets: &[&str], need: &str) -> bool {
    let split = |t: &str| -> Option<(u32, bool)> {
        let digits = t.strip_prefix("sm_")?;
        let number = digits.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        Some((number.parse().ok()?, number.len() < digits.len()))
    };
    let Some((number, special)) = split(need) else { return true };
    targets
        .iter()
        .filter_map(|t| split(t))
        .any(|(have, suffix)| if special { have == number && suffix } else { have >= number })
}
