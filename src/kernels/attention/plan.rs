//! Tiles of the CUDA kernels: a pure function of the head dimensions.

use std::fmt;

/// A tile of queries against a tile of keys, in blocks of 256 threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionTile {
    /// Columns that are held, at least the head dimensions.
    pub columns: usize,
    /// Queries.
    pub queries: usize,
    /// Keys.
    pub keys: usize,
}

/// Tiles of the forward: as large as two blocks' shared memory on a multiprocessor of 8.6 or 8.9 (100 KB) nearly
/// allows, so that each element that is loaded serves many products.
const FORWARD: [AttentionTile; 4] = [
    AttentionTile { columns: 32, queries: 64, keys: 64 },
    AttentionTile { columns: 64, queries: 64, keys: 64 },
    AttentionTile { columns: 128, queries: 64, keys: 32 },
    AttentionTile { columns: 256, queries: 32, keys: 32 },
];

/// Tiles of the backward, which holds four operands: all within 99 KB.
const BACKWARD: [AttentionTile; 4] = [
    AttentionTile { columns: 32, queries: 32, keys: 64 },
    AttentionTile { columns: 64, queries: 32, keys: 64 },
    AttentionTile { columns: 128, queries: 32, keys: 32 },
    AttentionTile { columns: 256, queries: 16, keys: 16 },
];

impl AttentionTile {
    /// The forward's tile for head dimensions up to `dim`; `None` beyond 256.
    pub fn forward(dim: usize) -> Option<Self> {
        FORWARD.into_iter().find(|tile| tile.columns >= dim)
    }

    /// The backward's.
    pub fn backward(dim: usize) -> Option<Self> {
        BACKWARD.into_iter().find(|tile| tile.columns >= dim)
    }

    /// Bytes of shared memory for `queries` and `keys` rows of operands and `scores` matrices of scores; rows are four
    /// floats longer than their columns.
    fn bytes(&self, queries: usize, keys: usize, scores: usize) -> u32 {
        let operands = (queries * self.queries + keys * self.keys) * (self.columns + 4);
        (4 * (operands + scores * self.queries * (self.keys + 4))) as u32
    }

    /// Bytes of shared memory of a forward block: queries, keys or values, scores.
    pub fn forward_bytes(&self) -> u32 {
        self.bytes(1, 1, 1)
    }

    /// Of a backward block that has a tile of keys: all operands, probabilities and gradients.
    pub fn keys_bytes(&self) -> u32 {
        self.bytes(2, 2, 2)
    }

    /// Of a backward block that has a tile of queries: all operands and the gradients of scores.
    pub fn queries_bytes(&self) -> u32 {
        self.bytes(2, 2, 1)
    }
}

impl fmt::Display for AttentionTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queries × {} keys of {} columns", self.queries, self.keys, self.columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_fits_the_shared_memory_of_every_chip() {
        for tile in FORWARD {
            assert!(tile.forward_bytes() <= 99 << 10, "{tile}");
        }
        for tile in BACKWARD {
            assert!(tile.keys_bytes() <= 99 << 10 && tile.queries_bytes() < tile.keys_bytes(), "{tile}");
        }
    }

    #[test]
    fn head_dimensions_get_the_narrowest_tile_that_holds_them() {
        for (dim, columns) in [(1, 32), (32, 32), (33, 64), (64, 64), (65, 128), (128, 128), (129, 256), (256, 256)] {
            assert_eq!(AttentionTile::forward(dim).unwrap().columns, columns);
            assert_eq!(AttentionTile::backward(dim).unwrap().columns, columns);
        }
        assert!(AttentionTile::forward(257).is_none() && AttentionTile::backward(257).is_none());
    }
}
