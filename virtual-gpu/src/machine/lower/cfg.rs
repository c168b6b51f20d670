//! Block order, liveness, slot assignment and encoding.
//!
//! Blocks are laid out in reverse postorder with loops contiguous: exits of a loop are visited before its body, so
//! that they come behind it. Executing the lowest pc first then reconverges lanes as early as possible (thread
//! frontiers: Diamos et al., MICRO 2011). Slots come from a linear scan over live intervals (Poletto and Sarkar, 1999).

use super::{Exit, Lower, MInst, Opnd, TaintRule, Width};
use crate::machine::exec::Instr;
use crate::machine::program::{Code, Meta};

struct Block {
    first: usize,
    /// One past the last instruction.
    end: usize,
    /// Successors; the fall-through one first where there is one.
    next: Vec<usize>,
    falls: bool,
}

/// A function's place in the code.
pub(in crate::machine) struct Placed {
    pub start: u32,
    /// Bytes of the frame.
    pub frame: u32,
    /// 32-bit registers alive at once, at most.
    pub pressure: u32,
    /// Offsets of registers that may be read before they are written.
    pub maybe_undefined: Vec<u32>,
    /// Slots with their widths.
    pub layout: Vec<(u32, Width)>,
}

/// Lays out a lowered function at the end of `code`, its frame from `frame_base` on.
pub(in crate::machine) fn place(lw: &Lower<'_, '_>, starts: &[u32], code: &mut Code, frame_base: u32) -> Placed {
    let blocks = split(lw, starts);
    let order = order(&blocks);
    let mut position = vec![usize::MAX; blocks.len()];
    for (k, b) in order.iter().enumerate() {
        position[*b] = k;
    }
    let live = liveness(lw, &blocks, &order);
    let allocation = allocate(lw, &blocks, &order, &live, frame_base);
    let target = |label: u32| position_of(&blocks, starts, lw, label);
    // Pcs of the blocks: a jump is appended where the fall-through block does not follow.
    let start = code.instrs.len() as u32;
    let mut pcs = vec![0u32; blocks.len()];
    let mut pc = start;
    for (k, b) in order.iter().enumerate() {
        pcs[*b] = pc;
        let block = &blocks[*b];
        pc += (block.end - block.first) as u32;
        if block.falls && order.get(k + 1) != Some(&block.next[0]) {
            pc += 1;
        }
    }
    for (k, b) in order.iter().enumerate() {
        let block = &blocks[*b];
        for i in &lw.out[block.first..block.end] {
            let mut encoded = encode(i, &allocation.offsets, lw, code);
            match &i.exit {
                Exit::Branch(label) => encoded.x = pcs[target(*label)],
                Exit::Table(labels) => {
                    encoded.list = code.lists.len() as u32;
                    encoded.count = labels.len() as u32;
                    code.lists.extend(labels.iter().map(|l| pcs[target(*l)]));
                }
                Exit::Fall | Exit::Leave => {}
            }
            push(code, lw, i, encoded, &allocation.offsets);
        }
        if block.falls && order.get(k + 1) != Some(&block.next[0]) {
            let mut jump = MInst::new(crate::machine::ops::control::jump());
            jump.source = lw.out[block.end - 1].source;
            let mut encoded = encode(&jump, &allocation.offsets, lw, code);
            encoded.x = pcs[block.next[0]];
            push(code, lw, &jump, encoded, &allocation.offsets);
        }
    }
    let mut layout: Vec<(u32, Width)> =
        allocation.offsets.iter().zip(&lw.widths).filter(|(o, _)| **o != u32::MAX).map(|(o, w)| (*o, *w)).collect();
    layout.sort_by_key(|(o, _)| *o);
    layout.dedup_by_key(|(o, _)| *o);
    Placed {
        layout,
        start,
        frame: allocation.bytes,
        pressure: allocation.pressure,
        maybe_undefined: live
            .entry
            .iter()
            .filter_map(|v| allocation.offsets.get(*v).copied().filter(|o| *o != u32::MAX))
            .collect(),
    }
}

/// Whether halves of a converged warp may execute an instruction one after the other: nothing in it speaks of other lanes.
fn is_divisible(i: &crate::ptx::Instruction<'_>) -> bool {
    const WHOLE: [&str; 14] = [
        "activemask",
        "bar",
        "barrier",
        "bra",
        "brx",
        "call",
        "exit",
        "match",
        "ret",
        "setmaxnreg",
        "shfl",
        "vote",
        "wgmma",
        "elect",
    ];
    !WHOLE.contains(&i.root) && !i.modifiers.iter().any(|m| matches!(*m, "sync" | "aligned" | "async"))
}

fn push(code: &mut Code, lw: &Lower<'_, '_>, i: &MInst, mut encoded: Instr, offsets: &[u32]) {
    let place = |o: Opnd| match o {
        Opnd::R(v) => Some(offsets[v as usize]),
        Opnd::F(at) => Some(at),
        Opnd::No | Opnd::K(_) => None,
    };
    let mut uses: Vec<u32> = i.uses().filter_map(place).collect();
    if i.taint == TaintRule::Address {
        uses = place(i.a).into_iter().collect();
    }
    let source = lw.f.body.get(i.source as usize);
    let product = source.is_some_and(|s| s.root == "wgmma" && s.modifiers.contains(&"mma_async")) && !i.list.is_empty();
    // Slots are shared by registers that are dead; products in flight need the registers themselves.
    let number = |o: Opnd| if let Opnd::R(v) = o { Some((lw.index as u32) << 20 ^ v) } else { None };
    let (mut virtual_defs, mut virtual_uses) = (Vec::new(), Vec::new());
    if code.proxies {
        virtual_defs.extend(i.defs().filter_map(number));
        if product {
            virtual_uses.extend(i.list[i.list_defs..].iter().copied().filter_map(number));
        } else {
            virtual_uses.extend(i.uses().filter_map(number));
        }
    }
    code.meta.push(Meta {
        virtual_defs,
        virtual_uses,
        pos: source.map_or(lw.f.pos, |s| s.pos),
        function: lw.index as u32,
        location: source.and_then(|s| s.location).map(|k| lw.f.locations[k as usize]),
        class: source.map_or(0, |s| crate::machine::counters::class_of(s.root, &s.modifiers)),
        defs: i.defs().filter_map(place).collect(),
        uses,
        taint: i.taint,
        product,
        copy: source.is_some_and(|s| s.root == "mov") && i.list.is_empty() && i.b == Opnd::No,
        approximate: i.approximate.map(|(kind, ftz)| (kind, ftz, encoded.run)),
        divisible: i.exit == Exit::Fall && source.is_some_and(is_divisible),
        watched: None,
    });
    if i.approximate.is_some() {
        encoded.run = crate::machine::ops::freedom::approximate;
    }
    code.instrs.push(encoded);
}

fn encode(i: &MInst, offsets: &[u32], lw: &Lower<'_, '_>, code: &mut Code) -> Instr {
    let place = |o: Opnd| match o {
        Opnd::R(v) => offsets[v as usize],
        Opnd::F(at) => at,
        Opnd::K(k) => k | 1,
        // Reads as zero, from the start of the pool.
        Opnd::No => 1,
    };
    let (guard, guard_flip) = match i.guard {
        None => (lw.cx.true_constant() | 1, 0),
        Some((r, negated)) => (offsets[r as usize], if negated { u32::MAX } else { 0 }),
    };
    let list = code.lists.len() as u32;
    code.lists.extend(i.list.iter().map(|o| place(*o)));
    Instr {
        run: i.op.pick(),
        imm: i.imm,
        guard,
        guard_flip,
        d: place(i.d),
        a: place(i.a),
        b: place(i.b),
        c: place(i.c),
        e: place(i.e),
        list,
        count: i.list.len() as u32,
        x: i.x,
    }
}

fn position_of(blocks: &[Block], starts: &[u32], lw: &Lower<'_, '_>, label: u32) -> usize {
    let at = starts[lw.f.labels[label as usize].2 as usize] as usize;
    blocks.partition_point(|b| b.first <= at) - 1
}

fn split(lw: &Lower<'_, '_>, starts: &[u32]) -> Vec<Block> {
    let out = &lw.out;
    let mut leader = vec![false; out.len() + 1];
    leader[0] = true;
    for (k, i) in out.iter().enumerate() {
        leader[k + 1] |= i.exit != Exit::Fall;
        let mut mark = |label: u32| leader[starts[lw.f.labels[label as usize].2 as usize] as usize] = true;
        match &i.exit {
            Exit::Branch(l) => mark(*l),
            Exit::Table(ls) => ls.iter().for_each(|l| mark(*l)),
            Exit::Fall | Exit::Leave => {}
        }
    }
    let firsts: Vec<usize> = (0..out.len()).filter(|k| leader[*k]).collect();
    let mut blocks: Vec<Block> = firsts
        .iter()
        .enumerate()
        .map(|(k, first)| Block {
            first: *first,
            end: firsts.get(k + 1).copied().unwrap_or(out.len()),
            next: Vec::new(),
            falls: false,
        })
        .collect();
    for k in 0..blocks.len() {
        let last = &out[blocks[k].end - 1];
        let falls = match last.exit {
            Exit::Fall => true,
            _ => last.guard.is_some(),
        } && k + 1 < blocks.len();
        let mut next = if falls { vec![k + 1] } else { Vec::new() };
        let labels: &[u32] = match &last.exit {
            Exit::Branch(l) => std::slice::from_ref(l),
            Exit::Table(ls) => ls,
            Exit::Fall | Exit::Leave => &[],
        };
        for l in labels {
            let b = position_of(&blocks, starts, lw, *l);
            if !next.contains(&b) {
                next.push(b);
            }
        }
        blocks[k].falls = falls;
        blocks[k].next = next;
    }
    blocks
}

/// Reverse postorder with loops contiguous; unreachable blocks are left out.
fn order(blocks: &[Block]) -> Vec<usize> {
    let n = blocks.len();
    // Back edges of a first depth-first search, and the bodies of the loops they close.
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); n];
    let mut state = vec![0u8; n];
    let mut back = Vec::new();
    let mut stack = vec![(0, 0)];
    state[0] = 1;
    while let Some((b, k)) = stack.pop() {
        if let Some(s) = blocks[b].next.get(k) {
            stack.push((b, k + 1));
            before[*s].push(b);
            match state[*s] {
                0 => {
                    state[*s] = 1;
                    stack.push((*s, 0));
                }
                1 => back.push((b, *s)),
                _ => {}
            }
        } else {
            state[b] = 2;
        }
    }
    // Exits of the loops by header.
    let mut exits: Vec<Vec<usize>> = vec![Vec::new(); n];
    back.sort_by_key(|(_, h)| *h);
    for group in back.chunk_by(|a, b| a.1 == b.1) {
        let header = group[0].1;
        let mut inside = vec![false; n];
        inside[header] = true;
        let mut work: Vec<usize> = group.iter().map(|(b, _)| *b).collect();
        while let Some(b) = work.pop() {
            if !std::mem::replace(&mut inside[b], true) {
                work.extend(&before[b]);
            }
        }
        for b in (0..n).filter(|b| inside[*b]) {
            for s in blocks[b].next.iter().filter(|s| !inside[**s]) {
                if !exits[header].contains(s) {
                    exits[header].push(*s);
                }
            }
        }
    }
    let mut seen = vec![false; n];
    let mut post = Vec::with_capacity(n);
    let mut stack = vec![(0, 0)];
    seen[0] = true;
    while let Some((b, k)) = stack.pop() {
        // Exits of the loop first; then the branch target before the fall-through block, which so comes right behind.
        let (first, next) = (&exits[b], &blocks[b].next);
        let s = first.get(k).or_else(|| next.iter().rev().nth(k.wrapping_sub(first.len())));
        match s {
            Some(s) => {
                stack.push((b, k + 1));
                if !std::mem::replace(&mut seen[*s], true) {
                    stack.push((*s, 0));
                }
            }
            None => post.push(b),
        }
    }
    post.reverse();
    post
}

struct Liveness {
    /// Live-out sets by block, as bit sets.
    out: Vec<Vec<u64>>,
    /// Registers live at the entry of the function.
    entry: Vec<usize>,
}

fn has(set: &[u64], v: usize) -> bool {
    set[v / 64] >> (v % 64) & 1 != 0
}

fn insert(set: &mut [u64], v: usize) {
    set[v / 64] |= 1 << (v % 64);
}

fn registers(i: impl Iterator<Item = Opnd>) -> impl Iterator<Item = usize> {
    i.filter_map(|o| if let Opnd::R(v) = o { Some(v as usize) } else { None })
}

fn liveness(lw: &Lower<'_, '_>, blocks: &[Block], order: &[usize]) -> Liveness {
    let words = lw.widths.len().div_ceil(64);
    let n = blocks.len();
    let (mut uses, mut kills) = (vec![vec![0u64; words]; n], vec![vec![0u64; words]; n]);
    for b in order {
        let (u, k) = (&mut uses[*b], &mut kills[*b]);
        for i in &lw.out[blocks[*b].first..blocks[*b].end] {
            let partial = i.guard.is_some() || i.keeps;
            for v in registers(i.uses()).chain(i.guard.map(|(r, _)| r as usize)) {
                if !has(k, v) {
                    insert(u, v);
                }
            }
            for v in registers(i.defs()) {
                if partial && !has(k, v) {
                    insert(u, v);
                }
                insert(k, v);
            }
        }
    }
    let mut live_in = uses.clone();
    let mut out = vec![vec![0u64; words]; n];
    loop {
        let mut changed = false;
        for b in order.iter().rev() {
            for s in &blocks[*b].next {
                for w in 0..words {
                    out[*b][w] |= live_in[*s][w];
                }
            }
            for w in 0..words {
                let v = uses[*b][w] | (out[*b][w] & !kills[*b][w]);
                changed |= v != live_in[*b][w];
                live_in[*b][w] = v;
            }
        }
        if !changed {
            break;
        }
    }
    let entry = (0..lw.widths.len()).filter(|v| has(&live_in[0], *v)).collect();
    Liveness { out, entry }
}

struct Allocation {
    /// Arena offset per register; `u32::MAX` for unused ones.
    offsets: Vec<u32>,
    bytes: u32,
    pressure: u32,
}

fn allocate(lw: &Lower<'_, '_>, blocks: &[Block], order: &[usize], live: &Liveness, frame_base: u32) -> Allocation {
    let n = lw.widths.len();
    // Uses count at even positions, definitions at the odd ones behind them.
    let mut first = vec![u32::MAX; n];
    let mut last = vec![0u32; n];
    let mut at = 0u32;
    for v in &live.entry {
        first[*v] = 0;
    }
    for b in order {
        for i in &lw.out[blocks[*b].first..blocks[*b].end] {
            let partial = i.guard.is_some() || i.keeps;
            for v in registers(i.uses()).chain(i.guard.map(|(r, _)| r as usize)) {
                first[v] = first[v].min(at);
                last[v] = last[v].max(at);
            }
            for v in registers(i.defs()) {
                first[v] = first[v].min(if partial { at } else { at + 1 });
                last[v] = last[v].max(at + 1);
            }
            at += 2;
        }
        // What is live out of the block lives to its end, and what is live into a successor from its start.
        for (w, bits) in live.out[*b].iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let v = w * 64 + bits.trailing_zeros() as usize;
                last[v] = last[v].max(at);
                first[v] = first[v].min(at);
                bits &= bits - 1;
            }
        }
    }
    // A register live into a block that comes before its definition in the order (round a loop) starts there.
    let mut position = 0u32;
    let mut block_start = vec![0u32; blocks.len()];
    for b in order {
        block_start[*b] = position;
        position += 2 * (blocks[*b].end - blocks[*b].first) as u32;
    }
    for b in order {
        for s in &blocks[*b].next {
            if block_start[*s] <= block_start[*b] {
                let end = block_start[*b] + 2 * (blocks[*b].end - blocks[*b].first) as u32;
                for v in 0..n {
                    if has(&live.out[*b], v) && first[v] != u32::MAX {
                        // Live round the back edge: only what is live into the header concerns it, which live.out of
                        // the latch contains; extending the rest costs slots, not correctness.
                        first[v] = first[v].min(block_start[*s]);
                        last[v] = last[v].max(end);
                    }
                }
            }
        }
    }
    let mut intervals: Vec<usize> = (0..n).filter(|v| first[*v] != u32::MAX).collect();
    intervals.sort_by_key(|v| first[*v]);
    let mut offsets = vec![u32::MAX; n];
    let mut free: [Vec<u32>; 4] = Default::default();
    let mut active: std::collections::BinaryHeap<std::cmp::Reverse<(u32, usize)>> = Default::default();
    let mut top = frame_base;
    let (mut alive, mut pressure) = (0u32, 0u32);
    for v in intervals {
        while let Some(std::cmp::Reverse((end, old))) = active.peek().copied() {
            if end >= first[v] {
                break;
            }
            active.pop();
            free[lw.widths[old] as usize].push(offsets[old]);
            alive -= lw.widths[old].bytes() / 128;
        }
        let width = lw.widths[v];
        let class = width as usize;
        let slot = free[class].pop().unwrap_or_else(|| {
            let at = top;
            if width == Width::P {
                // A line of 32 predicates at a time.
                free[class].extend((1..32).rev().map(|k| at + 4 * k));
                top += 128;
            } else {
                top += width.bytes();
            }
            at
        });
        offsets[v] = slot;
        active.push(std::cmp::Reverse((last[v], v)));
        alive += width.bytes() / 128;
        pressure = pressure.max(alive);
    }
    Allocation { offsets, bytes: top - frame_base, pressure }
}
