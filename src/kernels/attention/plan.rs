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

/// A tile of the tensor cores, in blocks of four warps: 64 rows of queries (or, for the gradients of keys and values, of
/// keys) against `against` of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorTile {
    /// Columns that are held, at least the head dimensions.
    pub columns: usize,
    /// Keys (or queries) at a time.
    pub against: usize,
}

/// Tiles of the forward: two blocks to a multiprocessor of 8.0 and 9.0 at 128 columns; at 256 the result alone takes
/// half of a thread's registers.
const TENSOR_FORWARD: [TensorTile; 3] = [
    TensorTile { columns: 64, against: 64 },
    TensorTile { columns: 128, against: 64 },
    TensorTile { columns: 256, against: 32 },
];

/// Tiles of the backward: two results, scores and their gradients in registers, which end at 128 columns.
const TENSOR_BACKWARD: [TensorTile; 2] =
    [TensorTile { columns: 64, against: 64 }, TensorTile { columns: 128, against: 32 }];

impl TensorTile {
    /// Rows of a block.
    pub const ROWS: usize = 64;

    fn bytes(&self, rows: usize, against: usize) -> u32 {
        (2 * self.columns * (rows * Self::ROWS + against * self.against)) as u32
    }
}

/// How an attention is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionPlan {
    /// On the ordinary cores, in f32.
    Ordinary(AttentionTile),
    /// On the tensor cores.
    Tensor(TensorTile),
}

impl AttentionPlan {
    /// The forward's plan for head dimensions up to `dim`, on tensor cores where type and alignment allow; `None` beyond
    /// 256.
    pub fn forward(dim: usize, tensor: bool) -> Option<Self> {
        let tile = TENSOR_FORWARD.into_iter().find(|tile| tensor && tile.columns >= dim).map(AttentionPlan::Tensor);
        tile.or_else(|| AttentionTile::forward(dim).map(AttentionPlan::Ordinary))
    }

    /// The backward's.
    pub fn backward(dim: usize, tensor: bool) -> Option<Self> {
        let tile = TENSOR_BACKWARD.into_iter().find(|tile| tensor && tile.columns >= dim).map(AttentionPlan::Tensor);
        tile.or_else(|| AttentionTile::backward(dim).map(AttentionPlan::Ordinary))
    }

    /// Queries of a block that has a tile of queries.
    pub fn queries(&self) -> usize {
        match self {
            AttentionPlan::Ordinary(tile) => tile.queries,
            AttentionPlan::Tensor(_) => TensorTile::ROWS,
        }
    }

    /// Keys of a block that has a tile of keys.
    pub fn keys(&self) -> usize {
        match self {
            AttentionPlan::Ordinary(tile) => tile.keys,
            AttentionPlan::Tensor(_) => TensorTile::ROWS,
        }
    }

    /// Columns that are held.
    pub fn columns(&self) -> usize {
        match self {
            AttentionPlan::Ordinary(tile) => tile.columns,
            AttentionPlan::Tensor(tile) => tile.columns,
        }
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        match self {
            AttentionPlan::Ordinary(_) => 256,
            AttentionPlan::Tensor(_) => 128,
        }
    }

    /// Bytes of shared memory of a forward block.
    pub fn forward_bytes(&self) -> u32 {
        match self {
            AttentionPlan::Ordinary(tile) => tile.forward_bytes(),
            AttentionPlan::Tensor(tile) => tile.bytes(1, 2),
        }
    }

    /// Of a backward block that has a tile of keys.
    pub fn keys_bytes(&self) -> u32 {
        match self {
            AttentionPlan::Ordinary(tile) => tile.keys_bytes(),
            AttentionPlan::Tensor(tile) => tile.bytes(2, 2),
        }
    }

    /// Of a backward block that has a tile of queries.
    pub fn queries_bytes(&self) -> u32 {
        match self {
            AttentionPlan::Ordinary(tile) => tile.queries_bytes(),
            AttentionPlan::Tensor(tile) => tile.bytes(2, 2),
        }
    }
}

impl fmt::Display for AttentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttentionPlan::Ordinary(AttentionTile { columns, queries, keys }) => {
                write!(f, "{queries} queries × {keys} keys of {columns} columns, ordinary cores")
            }
            AttentionPlan::Tensor(TensorTile { columns, against }) => {
                write!(f, "{} rows × {against} of {columns} columns, tensor cores", TensorTile::ROWS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_fits_the_shared_memory_of_every_chip() {
        for dim in 1..=256 {
            for tensor in [false, true] {
                let (forward, backward) =
                    (AttentionPlan::forward(dim, tensor).unwrap(), AttentionPlan::backward(dim, tensor).unwrap());
                let bytes = [forward.forward_bytes(), backward.keys_bytes(), backward.queries_bytes()];
                assert!(bytes.into_iter().all(|bytes| bytes <= 99 << 10), "{dim}: {forward}; {backward}");
            }
        }
    }

    #[test]
    fn head_dimensions_get_the_narrowest_tile_that_holds_them() {
        for (dim, columns) in [(1, 32), (32, 32), (33, 64), (64, 64), (65, 128), (128, 128), (129, 256), (256, 256)] {
            assert_eq!(AttentionTile::forward(dim).unwrap().columns, columns);
            assert_eq!(AttentionTile::backward(dim).unwrap().columns, columns);
        }
        for tensor in [false, true] {
            assert!(AttentionPlan::forward(257, tensor).is_none() && AttentionPlan::backward(257, tensor).is_none());
        }
        let tensor = |dim| matches!(AttentionPlan::backward(dim, true), Some(AttentionPlan::Tensor(_)));
        assert!(tensor(128) && !tensor(136));
    }
}
