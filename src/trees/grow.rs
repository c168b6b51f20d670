//! Leaf-wise growth (Shi 2007; Ke et al. 2017): the leaf with the largest gain is split next.

use super::binning::Binned;
use super::config::TreeConfig;
use super::histogram::{Cell, Rows, Scale, Scratch, add, sub};
use super::partition::partition;
use super::split::{Parent, Split, leaf_value};
use super::tree::{Node, Tree, leaf_link};
use rayon::prelude::*;
use std::ops::Range;

/// Additions to a histogram below which waking another thread costs more than it saves.
const SHARED: usize = 16_384;

/// Grows trees over one set of binned rows; keeps its memory between trees.
pub(super) struct Grower<'a> {
    binned: &'a Binned,
    config: &'a TreeConfig,
    /// Where each group's cells begin in a leaf's histogram, and their total.
    offsets: Vec<usize>,
    scratch: Vec<Scratch>,
    /// Leaves' histograms that are free again.
    free: Vec<Vec<Cell>>,
    index: Vec<u32>,
    buffer: Vec<u32>,
}

/// A tree and the rows of each of its leaves, as stretches of [`Grower::rows`].
pub(super) struct Grown {
    pub tree: Tree,
    pub leaves: Vec<Range<usize>>,
}

struct Leaf {
    rows: Range<usize>,
    total: Cell,
    depth: usize,
    l2: f64,
    best: Option<Split>,
    /// Kept while the leaf may be split.
    cells: Option<Vec<Cell>>,
    /// The node above and whether this is its left child.
    parent: Option<(usize, bool)>,
}

/// What a round grows its tree on.
pub(super) struct Round<'a> {
    pub cells: &'a [Cell],
    pub scale: Scale,
    /// The rows, or all.
    pub bag: Option<&'a [u32]>,
    /// Whether each feature may be used.
    pub active: &'a [bool],
}

impl<'a> Grower<'a> {
    pub fn new(binned: &'a Binned, config: &'a TreeConfig) -> Self {
        let mut offsets = vec![0];
        for group in &binned.groups {
            let cells: usize = (group.first..group.first + group.width).map(|f| binned.features[f].bins + 1).sum();
            offsets.push(offsets[offsets.len() - 1] + cells);
        }
        let scratch = binned.groups.iter().map(Scratch::new).collect();
        Grower { binned, config, offsets, scratch, free: Vec::new(), index: Vec::new(), buffer: Vec::new() }
    }

    /// The rows of the last tree, leaf by leaf.
    pub fn rows(&self) -> &[u32] {
        &self.index
    }

    pub fn grow(&mut self, round: &Round) -> Grown {
        self.index.clear();
        match round.bag {
            Some(bag) => self.index.extend_from_slice(bag),
            None => self.index.extend(0..self.binned.rows as u32),
        }
        self.buffer.resize(self.index.len(), 0);
        let total = match round.bag {
            Some(bag) => bag.iter().fold([0; 2], |sum, &i| add(sum, round.cells[i as usize])),
            None => round.cells.iter().fold([0; 2], |sum, &cell| add(sum, cell)),
        };
        let rows = 0..self.index.len();
        let (l2, parent) = (self.config.l2, None);
        let mut root = Leaf { rows, total, depth: 0, l2, best: None, cells: None, parent };
        if self.may_split(&root, round) {
            self.search(round, &mut root, None);
        }
        let (mut leaves, mut nodes) = (vec![root], Vec::<Node>::new());
        while leaves.len() < self.config.max_leaves {
            let Some((place, split)) = largest_gain(&leaves) else { break };
            let node = Node::new(&split, self.binned);
            if let Some((parent, is_left)) = leaves[place].parent {
                let link = nodes.len() as i32;
                *(if is_left { &mut nodes[parent].left } else { &mut nodes[parent].right }) = link;
            }
            nodes.push(node);
            let count = leaves.len() + 1;
            let (left, right) = self.split(&mut leaves[place], &split, nodes.len() - 1, round, count);
            leaves[place] = left;
            leaves.push(right);
        }
        self.finish(leaves, nodes, round.scale)
    }

    fn may_split(&self, leaf: &Leaf, round: &Round) -> bool {
        leaf.depth < self.config.max_depth && Parent::new(leaf.total, round.scale, self.config).divisible()
    }

    /// Parts a leaf's rows and looks for the children's splits, unless the tree is full with them.
    fn split(&mut self, leaf: &mut Leaf, split: &Split, node: usize, round: &Round, leaves: usize) -> (Leaf, Leaf) {
        let feature = &self.binned.features[split.feature];
        let goes_left = split.goes_left(feature.bins);
        let rows = leaf.rows.clone();
        let (index, buffer) = (&mut self.index[rows.clone()], &mut self.buffer[rows.clone()]);
        let middle = rows.start + partition(index, buffer, &feature.column, &goes_left);
        let child = |rows, total, is_left| Leaf {
            rows,
            total,
            depth: leaf.depth + 1,
            l2: split.l2,
            best: None,
            cells: None,
            parent: Some((node, is_left)),
        };
        let mut left = child(rows.start..middle, split.left, true);
        let mut right = child(middle..rows.end, sub(leaf.total, split.left), false);
        let parents = leaf.cells.take();
        if leaves < self.config.max_leaves && (self.may_split(&left, round) || self.may_split(&right, round)) {
            let left_smaller = left.rows.len() <= right.rows.len();
            let (small, large) = if left_smaller { (&mut left, &mut right) } else { (&mut right, &mut left) };
            large.cells = parents;
            self.search(round, small, Some(large));
        } else {
            self.free.extend(parents);
        }
        (left, right)
    }

    /// Builds the histogram of `small`, makes that of its sibling (which holds the parent's) by subtraction, and finds
    /// the best split of each.
    fn search(&mut self, round: &Round, small: &mut Leaf, large: Option<&mut Leaf>) {
        let (binned, config) = (self.binned, self.config);
        let total = self.offsets[self.offsets.len() - 1];
        let mut small_cells = self.free.pop().unwrap_or_else(|| vec![[0; 2]; total]);
        let mut none = Leaf { cells: Some(Vec::new()), ..Leaf::empty() };
        let has_large = large.is_some();
        let large = large.unwrap_or(&mut none);
        let mut large_cells = large.cells.take().unwrap_or_default();
        let whole = small.rows.len() == binned.rows;
        let rows = if whole { Rows::Stretch(0..binned.rows) } else { Rows::Chosen(&self.index[small.rows.clone()]) };
        let parent = |leaf: &Leaf| self.may_split(leaf, round).then(|| Parent::new(leaf.total, round.scale, config));
        let (small_parent, large_parent) = (parent(small), if has_large { parent(large) } else { None });
        let parts = rayon::current_num_threads().div_ceil(binned.groups.len());
        let offsets = &self.offsets;
        let one = |(g, scratch, small_cells, large_cells): (usize, &mut Scratch, &mut [Cell], &mut [Cell])| {
            let group = &binned.groups[g];
            scratch.build(group, &rows, round.cells, parts);
            let (mut best, mut at) = ([None, None], 0);
            for j in 0..group.width {
                let (number, feature) = (group.first + j, &binned.features[group.first + j]);
                let end = at + feature.bins + 1;
                let small_cells = &mut small_cells[at..end];
                if large_cells.is_empty() {
                    scratch.take(j, feature.bins, small_cells, None);
                } else {
                    scratch.take(j, feature.bins, small_cells, Some(&mut large_cells[at..end]));
                }
                if round.active[number] {
                    let found = small_parent.as_ref().and_then(|p| p.best(number, feature, small_cells));
                    best[0] = better(best[0], found);
                    let found = large_parent.as_ref().and_then(|p| p.best(number, feature, &large_cells[at..end]));
                    best[1] = better(best[1], found);
                }
                at = end;
            }
            best
        };
        let mut tasks = Vec::with_capacity(binned.groups.len());
        let (mut rest_small, mut rest_large) = (&mut small_cells[..], &mut large_cells[..]);
        for (g, scratch) in self.scratch.iter_mut().enumerate() {
            let cells = offsets[g + 1] - offsets[g];
            let (first_small, after_small) = rest_small.split_at_mut(cells);
            let (first_large, after_large) = rest_large.split_at_mut(if has_large { cells } else { 0 });
            (rest_small, rest_large) = (after_small, after_large);
            tasks.push((g, scratch, first_small, first_large));
        }
        let found: Vec<[Option<Split>; 2]> = if small.rows.len() * binned.features.len() < SHARED {
            tasks.into_iter().map(one).collect()
        } else {
            tasks.into_par_iter().map(one).collect()
        };
        (small.best, large.best) =
            found.into_iter().fold((None, None), |best, found| (better(best.0, found[0]), better(best.1, found[1])));
        for (leaf, cells) in [(small, small_cells), (large, large_cells)] {
            match leaf.best {
                Some(_) => leaf.cells = Some(cells),
                None if !cells.is_empty() => self.free.push(cells),
                None => {}
            }
        }
    }

    fn finish(&mut self, leaves: Vec<Leaf>, mut nodes: Vec<Node>, scale: Scale) -> Grown {
        let (mut values, mut ranges) = (Vec::new(), Vec::new());
        for (number, leaf) in leaves.into_iter().enumerate() {
            if let Some((parent, is_left)) = leaf.parent {
                *(if is_left { &mut nodes[parent].left } else { &mut nodes[parent].right }) = leaf_link(number);
            }
            values.push(leaf_value(scale.sums(leaf.total), self.config.l1, leaf.l2));
            ranges.push(leaf.rows);
            self.free.extend(leaf.cells);
        }
        Grown { tree: Tree { nodes, values, outputs: 1 }, leaves: ranges }
    }
}

impl Leaf {
    fn empty() -> Self {
        Leaf { rows: 0..0, total: [0; 2], depth: 0, l2: 0.0, best: None, cells: None, parent: None }
    }
}

/// The split with the larger gain; of equal ones the first.
fn better(first: Option<Split>, second: Option<Split>) -> Option<Split> {
    match (first, second) {
        (Some(a), Some(b)) if b.gain > a.gain => second,
        (None, _) => second,
        _ => first,
    }
}

fn largest_gain(leaves: &[Leaf]) -> Option<(usize, Split)> {
    let mut best: Option<(usize, Split)> = None;
    for (place, leaf) in leaves.iter().enumerate() {
        if let Some(split) = leaf.best.filter(|s| best.is_none_or(|(_, b)| s.gain > b.gain)) {
            best = Some((place, split));
        }
    }
    best
}
