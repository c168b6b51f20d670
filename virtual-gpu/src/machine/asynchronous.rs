//! Asynchronous copies of a warp's lanes.

/// Copies that a warp's lanes have issued.
#[derive(Default)]
pub struct WarpCopies {}
