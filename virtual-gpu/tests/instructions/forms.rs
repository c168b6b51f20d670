//! Every way to write the instructions that are no plain arithmetic: patterns whose choices are multiplied out.
//!
//! `<a|b>` stands for a choice, `TYPE` and its like for lists of them. `$d`, `$a`, `$b` and `$c` are registers, or
//! vectors of them, as the last type and the vector size of the opcode ask for; `$m` is an address.

use super::machine::kernel;

const TYPES: &str = "<b8|u8|s8|b16|u16|s16|b32|u32|s32|b64|u64|s64|f16|bf16|f16x2|bf16x2|f32|f64|b128>";
const ORDERS: &str = "<|.weak|.volatile|.relaxed|.acquire|.release|.acq_rel|.sc|.mmio|.mmio.relaxed>";
const SCOPES: &str = "<|.cta|.cluster|.gpu|.sys>";
const SPACES: &str = "<|.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param>";
const HALVES: &str = "<f16|bf16|f16x2|bf16x2|f32|f64|u32|b32|s64>";
const TENSOR: &str = "<.1d|.2d|.3d|.4d|.5d>";

/// A family: its name, and patterns of its forms.
pub struct Family {
    pub name: &'static str,
    patterns: &'static [&'static str],
}

/// The families.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "accesses",
        patterns: &[
            "ldORDERSSCOPESSPACES.<u8|b32|f64> $d, $m",
            "ldSPACES<|.v2|.v4|.v8>.TYPE $d, $m",
            "ld<|.global|.shared><|.ca|.cg|.cs|.lu|.cv|.nc><|.v2>.<u8|u32|b64> $d, $m",
            "ld<|.relaxed.gpu|.volatile><|.global><|.nc><|.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|\
             .L1::evict_last|.L1::no_allocate><|.L2::64B|.L2::128B|.L2::256B><|.v4>.u32 $d, $m",
            "ld<|.global|.shared><|.nc><|.relaxed.gpu>.L2::cache_hint<|.L2::128B>.u32 $d, $m, %rd9",
            "ldu<|.global|.shared|.const><|.v2|.v4>.TYPE $d, $m",
            "stORDERSSCOPESSPACES.<u8|b32|f64> $m, $a",
            "stSPACES<|.v2|.v4|.v8>.TYPE $m, $a",
            "st<|.global|.shared><|.wb|.cg|.cs|.wt><|.v2>.<u8|u32|b64> $m, $a",
            "st<|.relaxed.gpu|.volatile><|.global><|.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|\
             .L1::no_allocate><|.L2::128B><|.v4>.u32 $m, $a",
            "st<|.global|.shared><|.relaxed.gpu>.L2::cache_hint.u32 $m, $a, %rd9",
        ],
    },
    Family {
        name: "hints",
        patterns: &[
            "prefetch<|.global|.local|.shared|.const|.param><|.L1|.L2|.L2::evict_last|.L2::evict_normal|.tensormap> [%rd1]",
            "prefetchu<|.L1|.L2> [%rd1]",
            "<discard|applypriority><|.global|.shared><|.L2|.L2::evict_normal> [%rd1]<|, 128|, 64>",
            "createpolicy.fractional<|.L2::evict_last|.L2::evict_normal|.L2::evict_first|.L2::evict_unchanged>\
             <|.L2::evict_first|.L2::evict_unchanged>.b64 %rd9<|, 0.5|, 1.0>",
            "createpolicy.range<|.global><|.L2::evict_last|.L2::evict_first><|.L2::evict_first|.L2::evict_unchanged>.b64 \
             %rd9, [%rd1], 0x1000, 0x2000",
            "createpolicy.cvt.L2.b64 %rd9, 3",
        ],
    },
    Family {
        name: "atomics",
        patterns: &[
            "atomORDERSSCOPESSPACES.<add.u32|cas.b64> $d, $m, $b",
            "atomORDERSSCOPESSPACES.<cas.b64|cas.b128> $d, $m, $b, $c",
            "redORDERSSCOPESSPACES.<add.u32|max.s64> $m, $b",
            "atom<.global||.shared>.<add|min|max|and|or|xor|inc|dec|exch|cas><|.noftz><|.v2|.v4|.v8>.TYPE $d, $m, $b<|, $c>",
            "red<.global||.shared>.<add|min|max|and|or|xor|inc|dec|exch|cas><|.noftz><|.v2|.v4|.v8>.TYPE $m, $b<|, $c>",
            "atom<.global||.shared><.add|.exch>.L2::cache_hint<|.v2>.<u32|f32|b32> $d, $m, $b, %rd9",
            "red<.global||.shared>.add.L2::cache_hint<|.v2>.<u32|f32> $m, $b, %rd9",
        ],
    },
    Family {
        name: "exchanges",
        patterns: &[
            "shfl<|.sync><|.up|.down|.bfly|.idx>.<b32|u32|f32|b64> <$d|$d|%p1>, $a, 1, 31<|, -1>",
            "vote<|.sync><|.all|.any|.uni|.ballot>.<pred|b32> $d, <|!>%p2<|, -1>",
            "match<|.any|.all>.sync<|.aligned>.<b32|u32|b64|b16> <%r10|%r10|%p1>, $a, -1",
            "redux.sync<|.add|.min|.max|.and|.or|.xor><|.abs><|.NaN>.<u32|s32|b32|f32|u64> $d, $a, -1",
            "activemask<|.sync>.<b32|u32|b64> $d",
            "elect.sync<|.aligned><|.b32> %r10|%p1, -1",
            "movmatrix.sync.aligned.<m8n8|m16n8><|.trans>.<b16|b8> %r10, %r11",
        ],
    },
    Family {
        name: "barriers",
        patterns: &[
            "<bar|barrier><|.cta><.sync|.arrive|.red|.red.popc|.red.and|.red.or|.warp.sync|.warp><|.aligned> <1|%r1><|, 64|, %r2>",
            "<bar|barrier><|.cta>.red<.popc.u32|.and.pred|.or.pred|.popc.s32|.and.u32><|.aligned> $d, <1|%r1><|, 64>, <|!>%p2",
            "barrier.cluster<.arrive|.wait><|.release|.relaxed|.acquire><|.aligned> ",
            "bar.warp<|.sync> <-1|%r1>",
            "fence<|.sc|.acq_rel|.acquire|.release|.mbarrier_init|.mbarrier_init.release><|.cta|.cluster|.gpu|.sys> ",
            "membar<|.cta|.gl|.sys|.gpu|.cluster> ",
            "fence.proxy<|.alias|.async|.tensormap><|.global|.shared::cta|.shared::cluster|.shared> ",
            "membar.proxy<|.alias|.async|.tensormap><|.global|.shared::cta> ",
            "fence.proxy<.tensormap::generic|.async::generic|.tensormap><|.acquire|.release><|.cta|.cluster|.gpu|.sys>\
             <|.sync_restrict::shared::cta.cluster> < |[%rd1], 128|[%rd1], 64>",
        ],
    },
    Family {
        name: "mbarriers",
        patterns: &[
            "mbarrier.<init|inval|arrive|expect_tx|test_wait>SPACES.<b64|b32> <%rd10, |>$m<|, 1>",
            "mbarrier.init<|.shared|.shared::cta|.shared::cluster>.b64 $m<|, 1|, %r1>",
            "mbarrier.inval<|.shared|.shared::cta|.shared::cluster>.b64 $m<|, 1>",
            "mbarrier.<arrive|arrive_drop><|.expect_tx|.noComplete>ARRIVALS<|.shared|.shared::cta|.shared::cluster>.b64 \
             <%rd10, |_, |>$m<|, 1|, %r1|, 1, 1>",
            "mbarrier.<expect_tx|complete_tx>ARRIVALS<|.shared|.shared::cta|.shared::cluster>.b64 $m<|, 1|, %r1>",
            "mbarrier.<test_wait|try_wait>WAITS<|.shared|.shared::cta|.shared::cluster>.b64 %p1, $m, %rd5<|, %r1>",
            "mbarrier.<test_wait|try_wait>.parityWAITS<|.shared|.shared::cta|.shared::cluster>.b64 %p1, $m, %r2<|, %r1>",
            "mbarrier.pending_count<|.shared>.b64 <%r1|%rd1>, %rd2",
        ],
    },
    Family {
        name: "copies",
        patterns: &[
            "cp.async<|.ca|.cg><.shared|.shared::cta|.shared::cluster|><.global|><|.L2::64B|.L2::128B|.L2::256B> \
             [%r1], [%rd1], <4|8|16|12><|, %r2|, 4|, %p1|, %r2, %p1>",
            "cp.async<.ca|.cg>.shared.global.L2::cache_hint<|.L2::128B> [%r1], [%rd1], <4|16><|, %r2|, %p1>, %rd9",
            "cp.async.<commit_group|wait_all|bulk.commit_group> ",
            "cp.async.<wait_group|bulk.wait_group|bulk.wait_group.read> <0|3|%r1>",
            "cp.async.mbarrier.arrive<|.noinc><|.shared|.shared::cta|.shared::cluster|.global>.<b64|b32> [%rd1]",
        ],
    },
    Family {
        name: "bulk copies",
        patterns: &[
            "cp.async.bulk<.global|.shared::cta|.shared::cluster|.shared><.global|.shared::cta|.shared::cluster|.shared>\
             <|.bulk_group|.mbarrier::complete_tx::bytes><|.multicast::cluster><|.L2::cache_hint> [%rd1], [%rd2], \
             %r1<|, [%rd3]><|, %h1><|, %rd9>",
            "cp.async.bulk.prefetch<|.L2><|.global><|.L2::cache_hint> [%rd1], %r1<|, %rd9>",
            "cp.reduce.async.bulk<.global|.shared::cta|.shared::cluster><.global|.shared::cta|.shared::cluster>\
             <|.bulk_group|.mbarrier::complete_tx::bytes>.<add|and|or|xor|inc|dec|min|max><|.noftz>.\
             <u32|s32|u64|s64|f16|bf16|b32|b64|f32|f64> [%rd1], [%rd2], %r1<|, [%rd3]>",
            "cp.reduce.async.bulk.global.shared::cta.bulk_group.L2::cache_hint.<add|min>.<u32|f16> [%rd1], [%rd2], %r1, %rd9",
            "st.async<|.weak|.relaxed|.relaxed.cluster><|.shared::cluster|.shared::cta|.global><|.mbarrier::complete_tx::bytes>\
             <|.v2|.v4>.<b32|u32|s32|f32|b64|u64|s64|f64|b16> $m, $a, [%rd3]",
            "red.async<|.relaxed><|.cluster><|.shared::cluster|.shared::cta><|.mbarrier::complete_tx::bytes>\
             .<add|and|or|xor|inc|dec|min|max>.<b32|u32|s32|b64|u64|s64|f32> $m, $a, [%rd3]",
        ],
    },
    Family {
        name: "tensor copies",
        patterns: &[
            "cp.async.bulk.tensorTENSOR<.shared::cluster|.shared::cta><.global><|.tile|.im2col>\
             <.bulk_group|.mbarrier::complete_tx::bytes><|.multicast::cluster><|.L2::cache_hint> [%rd1], $t, [%rd3]$o\
             <|, %h1><|, %rd9>",
            "cp.async.bulk.tensorTENSOR<.global.shared::cta|.global.shared::cluster><|.tile|.im2col_no_offs|.im2col>\
             <.bulk_group|.mbarrier::complete_tx::bytes><|.L2::cache_hint> $t, [%rd1]<|, %rd9>",
            "cp.reduce.async.bulk.tensorTENSOR.global.shared::cta.<add|min|max|inc|dec|and|or|xor><|.tile|.im2col_no_offs>\
             <|.bulk_group><|.L2::cache_hint> $t, [%rd1]<|, %rd9>",
            "cp.async.bulk.prefetch.tensorTENSOR<|.L2><|.global><|.tile|.im2col><|.L2::cache_hint> $t$o<|, %rd9>",
        ],
    },
    Family {
        name: "tensor maps",
        patterns: &[
            "tensormap.replace<|.tile>.<global_address|rank|elemtype|interleave_layout|swizzle_mode|fill_mode|swizzle_atomicity>\
             <|.global|.shared::cta|.shared::cluster><|.b1024>.<b32|b64> [%rd1], <1|$a>",
            "tensormap.replace<|.tile>.<box_dim|global_dim|global_stride|element_stride><|.global|.shared::cta|.shared>\
             <|.b1024>.<b32|b64> [%rd1], <0|4|5|%r1>, <1|$a>",
            "tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic<|.release|.acquire>SCOPES.sync<|.aligned> \
             [%rd1], [%rd2], <128|64>",
        ],
    },
    Family {
        name: "addresses",
        patterns: &[
            "cvta<|.to><|.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param|.param::entry>.<u32|u64|b64> $d, $a",
            "isspacep<|.global|.shared|.shared::cta|.shared::cluster|.local|.const|.param|.param::entry> %p1, %rd1",
            "mapa<|.shared::cluster|.shared::cta|.shared>.<u32|u64|b32> $d, $a, <%r1|1>",
            "getctarank<|.shared::cluster|.shared::cta>.<u32|u64> %r10, <%r1|%rd1>",
            "alloca.<u32|u64|b32> $d, <64|%r1|%rd1><|, 16>",
            "<stacksave|stackrestore>.<u32|u64|b32> $d",
        ],
    },
    Family {
        name: "control",
        patterns: &[
            "<exit|trap|brkpt|ret|ret.uni> ",
            "nanosleep.<u32|b32|u64> <32|$a>",
            "pmevent<|.mask> <3|0xff|%r1>",
            "griddepcontrol<|.wait|.launch_dependents> ",
            "setmaxnreg<.inc|.dec><|.sync><|.aligned>.<u32|b32> <24|32|20|256|264>",
        ],
    },
    Family {
        name: "multimem",
        patterns: &[
            "multimem.ld_reduce<|.weak|.relaxed.gpu|.acquire.sys|.relaxed><|.global|.shared>.<add|min|max|and|or|xor><|.acc::f32>\
             <|.v2|.v4|.v8>.TYPE $d, $m",
            "multimem.st<|.weak|.relaxed.gpu|.release.sys><|.global>.<add|u32|f32|f64|b32|b64|f16|f16x2|bf16x2> $m, $a",
            "multimem.st.relaxed.gpu<|.global><|.v2|.v4|.v8>.TYPE $m, $a",
            "multimem.red<|.weak|.relaxed.gpu|.release.sys><|.global>.<add|min|max|and|or|xor><|.v2|.v4|.v8>.TYPE $m, $a",
        ],
    },
    Family {
        name: "fragments",
        patterns: &[
            "ldmatrix<|.sync><|.aligned>.<m8n8|m8n16|m16n16><|.x1|.x2|.x4><|.trans><|.shared|.shared::cta|.global>.<b16|b8> \
             <%r10|{%r10}|{%r10,%r11}|{%r10,%r11,%r12,%r13}>, [%rd1]",
            "stmatrix.sync.aligned.<m8n8|m16n8><|.x1|.x2|.x4><|.trans><|.shared|.shared::cta|.global>.<b16|b8> \
             [%rd1], <%r10|{%r10}|{%r10,%r11}|{%r10,%r11,%r12,%r13}>",
            "wgmma.<fence|commit_group|wait_group>.sync<|.aligned> <|0|8>",
        ],
    },
];

/// What a pattern stands for.
pub fn expand(pattern: &str) -> Vec<String> {
    let arrivals = "<|.release.cta|.release.cluster|.relaxed.cta|.relaxed.cluster|.release|.release.gpu|.acquire.cta>";
    let waits = "<|.acquire.cta|.acquire.cluster|.relaxed.cta|.relaxed.cluster|.acquire|.release.cta>";
    let lists = [
        ("TYPE", TYPES),
        ("ORDERS", ORDERS),
        ("SCOPES", SCOPES),
        ("SPACES", SPACES),
        ("HALVES", HALVES),
        ("TENSOR", TENSOR),
        ("ARRIVALS", arrivals),
        ("WAITS", waits),
    ];
    let mut text = pattern.to_string();
    for (name, list) in lists {
        text = text.replace(name, list);
    }
    let mut out = vec![String::new()];
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('<') {
        let (choices, tail) = after.split_once('>').expect("a choice ends");
        out = out.iter().flat_map(|o| choices.split('|').map(move |c| format!("{o}{before}{c}"))).collect();
        rest = tail;
    }
    out.iter().map(|o| fill(&format!("{o}{rest}"))).collect()
}

/// Registers of a type: class and bits.
fn class(ty: &str) -> Option<&'static str> {
    Some(match ty {
        "pred" => "%p",
        "b8" | "u8" | "s8" | "b16" | "u16" | "s16" | "f16" | "bf16" => "%h",
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => "%r",
        "b64" | "u64" | "s64" | "f64" => "%rd",
        "b128" => "%q",
        _ => return None,
    })
}

fn fill(text: &str) -> String {
    let (opcode, operands) = text.split_once(' ').expect("operands follow the opcode");
    let modifiers: Vec<&str> = opcode.split('.').collect();
    let class = modifiers.iter().rev().find_map(|m| class(m)).unwrap_or("%r");
    let count = match () {
        _ if modifiers.contains(&"v2") => 2,
        _ if modifiers.contains(&"v4") => 4,
        _ if modifiers.contains(&"v8") => 8,
        _ => 1,
    };
    let registers = |first: usize| -> String {
        let list: Vec<String> = (0..count).map(|k| format!("{class}{}", first + k)).collect();
        if count == 1 { list[0].clone() } else { format!("{{{}}}", list.join(",")) }
    };
    let step = if class == "%q" { 1 } else { 10 };
    let rank = modifiers.iter().find_map(|m| m.strip_suffix('d')?.parse::<usize>().ok()).unwrap_or(1);
    let coordinates: Vec<String> = (0..rank).map(|k| format!("%r{}", 20 + k)).collect();
    let offsets: Vec<String> = (2..rank).map(|k| format!("%h{}", 8 + k)).collect();
    let offsets =
        if modifiers.contains(&"im2col") && rank > 2 { format!(", {{{}}}", offsets.join(",")) } else { String::new() };
    let place = if modifiers.contains(&"param") { "[p1]" } else { "[%rd1]" };
    let operands = operands
        .replace("$d", &registers(step))
        .replace("$a", &registers(2 * step))
        .replace("$b", &registers(3 * step))
        .replace("$c", &registers(4 * step))
        .replace("$t", &format!("[%rd2, {{{}}}]", coordinates.join(",")))
        .replace("$o", &offsets)
        .replace("$m", place);
    format!("{opcode} {operands}").trim_end().to_string()
}

impl Family {
    /// Its candidates, each once.
    pub fn candidates(&self) -> Vec<String> {
        let mut all: Vec<String> = self.patterns.iter().flat_map(|p| expand(p)).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// A module of one candidate.
pub fn module(candidate: &str) -> String {
    kernel("sm_90a", 3, "", &format!("{candidate};"))
}

/// Opcodes and operands of `wmma` and `mma.sp`, more than there are.
pub fn fragments() -> Vec<(String, String)> {
    let mut out = Vec::new();
    let list = |class: &str, first: usize, count: usize| {
        let names: Vec<String> = (first..first + count).map(|k| format!("{class}{k}")).collect();
        format!("{{{}}}", names.join(","))
    };
    let sums = ["f16", "f32", "s32", "f64"];
    let kind = |ty: &str| match ty {
        "f64" => "%d",
        "f32" => "%f",
        _ => "%r",
    };
    let shapes = [(16, 16, 16), (8, 32, 16), (32, 8, 16), (16, 16, 8), (8, 8, 4), (8, 8, 32), (8, 8, 128)];
    let types = ["f16", "bf16", "tf32", "f64", "s8", "u8", "s4", "u4", "b1"];
    let registers = |role: char, ty: &str, shape: (usize, usize, usize), first: usize| {
        let (count, class) = super::wmma::registers(role, ty, shape);
        list(class, first, count.max(1))
    };
    for shape in shapes {
        let name = format!("m{}n{}k{}", shape.0, shape.1, shape.2);
        for layout in ["row", "col"] {
            for space in ["", ".global", ".shared", ".shared::cta", ".local"] {
                for ty in types.iter().chain(&sums) {
                    for role in ['a', 'b', 'c'] {
                        let opcode = format!("wmma.load.{role}.sync.aligned.{layout}.{name}{space}.{ty}");
                        out.push((opcode, format!("{}, [%rd1]", registers(role, ty, shape, 0))));
                    }
                    let opcode = format!("wmma.store.d.sync.aligned.{layout}.{name}{space}.{ty}");
                    out.push((opcode, format!("[%rd1], {}", registers('d', ty, shape, 0))));
                }
            }
            for other in ["row", "col"] {
                for (d, c) in sums.iter().flat_map(|d| sums.map(|c| (*d, c))) {
                    for a in types {
                        let names = if a == "f16" { format!("{d}.{c}") } else { format!("{d}.{a}.{a}.{c}") };
                        for (operation, rounding, ending) in [
                            ("", "", ""),
                            ("", "", ".satfinite"),
                            (".xor.popc", "", ""),
                            (".and.popc", "", ""),
                            ("", ".rn", ""),
                            ("", ".rz", ""),
                            ("", ".rm", ""),
                            ("", ".rp", ""),
                        ] {
                            let opcode = format!(
                                "wmma.mma{operation}.sync.aligned.{layout}.{other}.{name}{rounding}.{names}{ending}"
                            );
                            let operands = format!(
                                "{}, {}, {}, {}",
                                registers('d', d, shape, 30),
                                registers('a', a, shape, 0),
                                registers('b', a, shape, 10),
                                registers('c', c, shape, 20),
                            );
                            out.push((opcode, operands));
                        }
                    }
                }
            }
        }
    }
    let types = ["f16", "bf16", "tf32", "e4m3", "e5m2", "s8", "u8", "s4", "u4", "b1", "f64"];
    for variant in [".sp", ".sp::ordered_metadata"] {
        for depth in [4, 8, 16, 32, 64, 128, 256] {
            for (a, b) in types.iter().flat_map(|a| types.map(|b| (*a, b))) {
                for (d, c) in [("f16", "f16"), ("f32", "f32"), ("s32", "s32"), ("f32", "f16"), ("f64", "f64")] {
                    for ending in ["", ".satfinite"] {
                        for count in [2, 4] {
                            let opcode =
                                format!("mma{variant}.sync.aligned.m16n8k{depth}.row.col{ending}.{d}.{a}.{b}.{c}");
                            let n = |ty: &str| if ty == "f16" { 2 } else { 4 };
                            let operands = format!(
                                "{}, {}, {}, {}, %r80, 0",
                                list(kind(d), 100, n(d)),
                                list("%r", 0, count),
                                list("%r", 20, count),
                                list(kind(c), 40, n(c)),
                            );
                            out.push((opcode, operands));
                        }
                    }
                }
            }
        }
    }
    out
}
