//! Which modifiers go together (PTX ISA, the syntax of each instruction; compared with ptxas). The decoders take what they
//! understand; what they would understand in a combination that the ISA does not have is refused here.

/// The modifiers of an instruction.
struct Modifiers<'m, 'a>(&'m [&'a str]);

impl<'a> Modifiers<'_, 'a> {
    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    fn any(&self, names: &[&str]) -> bool {
        self.0.iter().any(|m| names.contains(m))
    }

    fn count(&self, names: &[&str]) -> usize {
        self.0.iter().filter(|m| names.contains(*m)).count()
    }

    /// Those of several that are there, in order.
    fn those(&self, names: &[&str]) -> Vec<&'a str> {
        self.0.iter().copied().filter(|m| names.contains(m)).collect()
    }

    /// The last one: the type.
    fn last(&self) -> &'a str {
        self.0.last().copied().unwrap_or("")
    }

    fn starts(&self, prefix: &str) -> bool {
        self.0.iter().any(|m| m.starts_with(prefix))
    }
}

const SCOPES: [&str; 4] = ["cta", "cluster", "gpu", "sys"];
const SPACES: [&str; 10] = [
    "global",
    "shared",
    "shared::cta",
    "shared::cluster",
    "local",
    "const",
    "param",
    "param::entry",
    "param::func",
    "reg",
];
const SHARED: [&str; 3] = ["shared", "shared::cta", "shared::cluster"];
const VECTORS: [&str; 3] = ["v2", "v4", "v8"];
const HALVES: [&str; 4] = ["f16", "bf16", "f16x2", "bf16x2"];
const CACHES: [&str; 7] = ["ca", "cg", "cs", "lu", "cv", "wb", "wt"];

/// Why an instruction with these modifiers and operands does not exist.
pub fn flaw(root: &str, modifiers: &[&str], operands: usize) -> Option<&'static str> {
    let m = Modifiers(modifiers);
    match root {
        "ld" | "st" if m.has("async") => asynchronous(&m),
        "ld" | "st" => access(&m, root == "ld"),
        "ldu" => {
            let space = m.any(&SPACES) && !m.has("global");
            when(space || m.any(&HALVES), "reads numbers of .global")
        }
        "prefetch" | "prefetchu" | "discard" | "applypriority" | "createpolicy" => hint(root, &m, operands),
        "red" if m.has("async") => asynchronous(&m),
        "atom" | "red" => update(&m, root == "atom"),
        "shfl" | "match" | "redux" | "activemask" | "elect" | "movmatrix" => exchange(root, &m),
        "bar" | "barrier" => barrier(root, &m),
        "fence" | "membar" => fence(root, &m, operands),
        "mbarrier" => mbarrier(&m),
        "cp" => copy(&m, operands),
        "multimem" => multimem(&m),
        "ldmatrix" | "stmatrix" => {
            let odd = m.any(&["global", "local", "const", "param", "shared::cluster"]);
            when(odd, "accesses .shared").or(when(!m.has("sync") || !m.has("aligned"), "is .sync.aligned"))
        }
        "wgmma" if m.any(&["fence", "commit_group"]) => when(operands != 0, "takes no operands"),
        "tensormap" => when(m.has("replace") && m.has("shared"), "changes a map in .global or .shared::cta"),
        "cvta" => when(!matches!(m.last(), "u32" | "u64"), "takes .u32 or .u64"),
        "mapa" | "getctarank" => {
            let wrong = !matches!(m.last(), "u32" | "u64") || m.last() == "u32" && !m.has("shared::cluster");
            when(wrong, "takes .u32 or .u64, and generic addresses have 64 bits")
        }
        "nanosleep" => when(m.last() != "u32", "takes .u32"),
        "pmevent" => when(operands != 1, "names one event or a mask of them"),
        _ => None,
    }
}

fn when(wrong: bool, why: &'static str) -> Option<&'static str> {
    wrong.then_some(why)
}

fn access(m: &Modifiers<'_, '_>, load: bool) -> Option<&'static str> {
    let orders = m.those(&["weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "sc", "mmio"]);
    let (order, scoped) = match orders[..] {
        [] | ["weak"] | ["volatile"] => (orders.first().copied(), false),
        ["relaxed"] | ["mmio", "relaxed"] | ["relaxed", "mmio"] => (Some("relaxed"), true),
        ["acquire"] if load => (Some("acquire"), true),
        ["release"] if !load => (Some("release"), true),
        _ => return Some("does not have this order"),
    };
    if m.count(&SCOPES) != usize::from(scoped) {
        return Some("names a scope with .relaxed, .acquire and .release, and nowhere else");
    }
    let generic = !m.any(&SPACES);
    let global = generic || m.has("global");
    let ordered = order.is_some_and(|o| o != "weak");
    if orders.contains(&"mmio") && (!m.has("sys") || !global) {
        return Some(".mmio is .relaxed.sys, in .global");
    }
    if ordered && !global && !m.any(&SHARED) {
        return Some("only accesses to .global and .shared are ordered");
    }
    if m.any(&HALVES) {
        return Some("moves .b16 and .b32, not numbers of 16 bits");
    }
    let cached = m.any(&CACHES);
    let allowed: &[&str] = if load { &["ca", "cg", "cs", "lu", "cv"] } else { &["wb", "cg", "cs", "wt"] };
    if cached && (ordered || m.those(&CACHES).iter().any(|c| !allowed.contains(c))) {
        return Some("this cache operator does not go with it");
    }
    if m.starts("L1::") && (!global || cached || order == Some("volatile")) {
        return Some("an eviction priority goes with .global, and neither with .volatile nor with a cache operator");
    }
    if m.any(&["L2::64B", "L2::128B", "L2::256B"]) && (!load || !global) {
        return Some("a prefetch size goes with loads of .global");
    }
    if m.has("L2::cache_hint") && (!global || order == Some("volatile")) {
        return Some("a cache policy goes with .global");
    }
    when(m.has("nc") && (!m.has("global") || order.is_some()), ".nc goes with .global and without an order")
}

/// `st.async` and `red.async`.
fn asynchronous(m: &Modifiers<'_, '_>) -> Option<&'static str> {
    if !m.has("mbarrier::complete_tx::bytes") {
        return Some("completes at an mbarrier: .mbarrier::complete_tx::bytes");
    }
    if m.any(&SPACES) && !m.has("shared::cluster") {
        return Some("writes to .shared::cluster");
    }
    let reduces = m.any(&["add", "min", "max", "inc", "dec", "and", "or", "xor"]);
    if m.count(&["relaxed", "cluster"]) != if reduces { 2 } else { 0 } {
        return Some("a reduction is .relaxed.cluster, a store names no order but .weak");
    }
    let ty = m.last();
    let width = ty.get(1..).and_then(|bits| bits.parse::<u32>().ok()).unwrap_or(0);
    let count = if m.has("v4") {
        4
    } else if m.has("v2") {
        2
    } else {
        1
    };
    if width * count > 128 {
        return Some("writes at most 16 bytes");
    }
    let reductions = ["add", "min", "max", "inc", "dec", "and", "or", "xor"];
    let legal = match m.those(&reductions)[..] {
        [] => true,
        ["add"] => matches!(ty, "u32" | "s32" | "u64"),
        ["min" | "max"] => matches!(ty, "u32" | "s32"),
        ["inc" | "dec"] => ty == "u32",
        _ => ty == "b32",
    };
    when(!legal, "the operation does not take this type")
}

fn update(m: &Modifiers<'_, '_>, result: bool) -> Option<&'static str> {
    let generic = !m.any(&SPACES);
    let global = generic || m.has("global");
    if !global && !m.any(&SHARED) {
        return Some("updates .global or .shared memory");
    }
    let orders = m.those(&["weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "sc", "mmio"]);
    let legal = match orders[..] {
        [] | ["relaxed" | "release"] => true,
        ["acquire" | "acq_rel"] => result,
        _ => false,
    };
    if !legal || m.count(&SCOPES) > 1 {
        return Some("does not have this order");
    }
    let ty = m.last();
    let small = HALVES.contains(&ty);
    let operation = m.those(&["add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"]);
    let vector = m.any(&VECTORS);
    if m.has("noftz") != small {
        return Some(".noftz goes with numbers of 16 bits, and always");
    }
    if m.has("L2::cache_hint") && !global {
        return Some("a cache policy goes with .global");
    }
    if operation[..] == ["add"] && ty == "s64" {
        return Some("the operation does not take this type");
    }
    if vector {
        let most = match ty {
            "f16" | "bf16" => 8,
            "f32" | "f16x2" | "bf16x2" => 4,
            _ => return Some("vectors are of .f32 and of numbers of 16 bits"),
        };
        let count = if m.has("v8") { 8 } else { 2 };
        if !global || count > most || (ty == "f32" && operation[..] != ["add"]) {
            return Some("this vector does not go with the operation and the space");
        }
    } else if small && operation[..] != ["add"] {
        return Some("numbers of 16 bits are added, or are vectors");
    }
    None
}

fn hint(root: &str, m: &Modifiers<'_, '_>, operands: usize) -> Option<&'static str> {
    let global = m.has("global");
    let spaceless = !m.any(&SPACES);
    let eviction = m.any(&["L2::evict_last", "L2::evict_normal"]);
    match root {
        "prefetch" if m.has("tensormap") => when(m.any(&["shared", "local", "global"]), "prefetches generic addresses"),
        "prefetch" => {
            let odd = !(spaceless || global || m.has("local") && !eviction);
            when(odd || !eviction && !m.any(&["L1", "L2"]), "prefetches .global or .local to .L1 or .L2")
        }
        "prefetchu" => when(!m.has("L1"), "is .L1"),
        "discard" => when(!m.has("L2") || !(spaceless || global) || operands != 2, "is .L2 and names 128 bytes"),
        "applypriority" => {
            let odd = !m.has("L2::evict_normal") || !(spaceless || global) || operands != 2;
            when(odd, "is .L2::evict_normal and names 128 bytes")
        }
        _ => when(!m.has("cvt") && !m.starts("L2::evict"), "names an eviction priority"),
    }
}

fn exchange(root: &str, m: &Modifiers<'_, '_>) -> Option<&'static str> {
    let ty = m.last();
    match root {
        "shfl" => when(ty != "b32", "takes .b32"),
        "match" => when(!matches!(ty, "b32" | "b64"), "takes .b32 or .b64"),
        "redux" => {
            let bits = m.any(&["and", "or", "xor"]);
            when(if bits { ty != "b32" } else { !matches!(ty, "u32" | "s32") }, "the operation does not take this type")
        }
        "activemask" => when(m.0 != ["b32"], "is .b32"),
        "elect" => when(m.0 != ["sync"], "is .sync"),
        _ => {
            let all = ["sync", "aligned", "m8n8", "trans", "b16"];
            when(m.0.len() != 5 || m.count(&all) != 5, "is .sync.aligned.m8n8.trans.b16")
        }
    }
}

fn barrier(root: &str, m: &Modifiers<'_, '_>) -> Option<&'static str> {
    if m.has("warp") {
        return when(root != "bar" || !m.has("sync") || m.0.len() != 2, "is bar.warp.sync");
    }
    if m.has("cluster") {
        let wait = m.has("wait");
        let wrong = if wait { m.any(&["release", "relaxed"]) } else { m.has("acquire") };
        return when(wrong, "arrivals release or are relaxed, waits acquire");
    }
    when(root == "bar" && m.has("aligned"), "bar is aligned without saying so")
}

fn fence(root: &str, m: &Modifiers<'_, '_>, operands: usize) -> Option<&'static str> {
    if m.has("proxy") {
        let unidirectional = m.any(&["tensormap::generic", "async::generic"]);
        if !unidirectional {
            if m.any(&["acquire", "release"]) || m.any(&SCOPES) || operands != 0 {
                return Some("this proxy fence takes neither order nor scope");
            }
            let space = m.any(&["global", "shared::cta", "shared::cluster", "shared"]);
            if m.has("shared") || (space && (!m.has("async") || root == "membar")) {
                return Some("only .async names a space");
            }
            let proxy = m.has("alias") || (m.has("async") && root == "fence");
            return when(!proxy, "names no proxy");
        }
        if m.count(&["acquire", "release"]) != 1 || root != "fence" {
            return Some("acquires or releases");
        }
        if m.has("async::generic") {
            let end = if m.has("acquire") { "sync_restrict::shared::cluster" } else { "sync_restrict::shared::cta" };
            let why = "acquires from .shared::cluster or releases .shared::cta, in scope .cluster";
            return when(!m.has(end) || !m.has("cluster") || operands != 0, why);
        }
        if m.count(&SCOPES) != 1 || m.starts("sync_restrict") {
            return Some("names a scope");
        }
        return when(m.has("acquire") != (operands == 2), "names address and size where it acquires");
    }
    if root == "membar" {
        return when(m.count(&["cta", "gl", "sys"]) != 1 || m.0.len() != 1, "is .cta, .gl or .sys");
    }
    if m.has("mbarrier_init") {
        return when(m.0.len() != 3 || !m.has("release") || !m.has("cluster"), "is .mbarrier_init.release.cluster");
    }
    if m.has("gl") {
        return Some("names no scope");
    }
    None
}

fn mbarrier(m: &Modifiers<'_, '_>) -> Option<&'static str> {
    if m.last() != "b64" {
        return Some("takes .b64");
    }
    if m.has("noComplete") && m.any(&["relaxed", "cluster", "shared::cluster"]) {
        return Some(".noComplete releases, in the own block");
    }
    let counts = m.any(&["expect_tx", "complete_tx"]) && !m.any(&["arrive", "arrive_drop"]);
    when(counts && m.any(&["release", "acquire"]), "counts bytes, which is .relaxed")
}

fn copy(m: &Modifiers<'_, '_>, operands: usize) -> Option<&'static str> {
    if m.has("commit_group") || m.has("wait_group") || m.has("wait_all") {
        return None;
    }
    if m.has("mbarrier") {
        let odd = m.any(&["global", "shared::cluster"]);
        return when(odd || m.last() != "b64", "names an mbarrier of the own block, as .b64");
    }
    let policy = usize::from(m.has("L2::cache_hint"));
    if m.has("tensor") {
        return tensor_copy(m, operands, policy);
    }
    if !m.has("bulk") {
        return when(m.count(&["ca", "cg"]) != 1, "is .ca or .cg");
    }
    if m.has("prefetch") {
        let wrong = !m.has("L2") || !m.has("global") || operands != 2 + policy;
        return when(wrong, "is .L2.global and names address and size");
    }
    let spaces = m.those(&SPACES);
    let legal = match (m.has("reduce"), &spaces[..]) {
        (_, ["global", "shared::cta"]) => m.has("bulk_group"),
        (true, ["shared::cluster", "shared::cta"]) => m.has("mbarrier::complete_tx::bytes") && policy == 0,
        (false, ["shared::cluster", "global" | "shared::cta"] | ["shared::cta", "global"]) => {
            m.has("mbarrier::complete_tx::bytes")
        }
        _ => false,
    };
    if !legal || (policy != 0 && !spaces.contains(&"global")) {
        return Some("does not go between these spaces in this way");
    }
    if m.has("multicast::cluster") && spaces[..] != ["shared::cluster", "global"] {
        return Some("goes from .global to the blocks of a cluster");
    }
    if !m.has("reduce") {
        return None;
    }
    let ty = m.last();
    let shared = spaces[0] == "shared::cluster";
    let operation = m.those(&["add", "min", "max", "inc", "dec", "and", "or", "xor"]);
    let half = matches!(ty, "f16" | "bf16");
    let legal = match operation[..] {
        ["add"] => matches!(ty, "u32" | "s32" | "u64") || !shared && (half || matches!(ty, "f32" | "f64")),
        ["min" | "max"] => matches!(ty, "u32" | "s32") || !shared && (half || matches!(ty, "u64" | "s64")),
        ["inc" | "dec"] => ty == "u32",
        _ => ty == "b32" || !shared && ty == "b64",
    };
    if m.has("noftz") != (half && operation[..] == ["add"]) {
        return Some(".noftz goes with sums of numbers of 16 bits, and always");
    }
    when(!legal, "the operation does not take this type")
}

fn tensor_copy(m: &Modifiers<'_, '_>, operands: usize, policy: usize) -> Option<&'static str> {
    let flat = m.any(&["1d", "2d"]);
    let spaces = m.those(&SPACES);
    if flat && m.any(&["im2col", "im2col_no_offs"]) {
        return Some("columns of pixels have three dimensions and more");
    }
    if m.has("prefetch") {
        if !m.has("L2") || spaces[..] != ["global"] {
            return Some("is .L2.global");
        }
        let want = 1 + usize::from(m.has("im2col")) + policy;
        return when(operands != want || m.has("im2col_no_offs"), "names a tensor, and offsets with .im2col");
    }
    let store = spaces.first() == Some(&"global");
    let legal = match &spaces[..] {
        ["global", "shared::cta"] => !m.has("im2col"),
        ["shared::cluster", "global"] => !m.has("im2col_no_offs"),
        ["shared::cta", "global"] => !m.has("im2col_no_offs") && !m.has("multicast::cluster"),
        _ => false,
    };
    if !legal {
        return Some("does not go between these spaces in this way");
    }
    when(m.has("reduce") && !(store && m.has("bulk_group")), "reduces from .shared::cta to .global, in a bulk group")
}

fn multimem(m: &Modifiers<'_, '_>) -> Option<&'static str> {
    let ty = m.last();
    let half = HALVES.contains(&ty);
    if matches!(ty, "b8" | "u8" | "s8" | "b16" | "u16" | "s16" | "b128") {
        return Some("the operation does not take this type");
    }
    let accumulates = m.starts("acc::");
    if accumulates && (!half || !m.has("add")) {
        return Some(".acc goes with sums of numbers of 16 bits");
    }
    if m.has("add") && ty == "s64" {
        return Some("the operation does not take this type");
    }
    when(m.has("red") && half && !m.has("add") && !m.any(&VECTORS), "numbers of 16 bits are added, or are vectors")
}
