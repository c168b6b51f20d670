//! Which route a convolution takes on the CPU: a pure function of its shape (and of the registers' width).

pub mod gpu;

use super::planes::{Pass, Planes, useful};
use super::{ConvDesc, Direction, correlate};

/// How a direction of a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Register tiles over shifted planes.
    Shifted,
    /// Products with a matrix of windows, several images at a time.
    Columns,
}

/// The least share of computed lanes that must be outputs for [`Route::Shifted`]. Below it (images of a few pixels a
/// side) several images together fill the registers of a product with a matrix of windows.
const USEFUL: f64 = 0.45;

/// Registers per element of the weight's gradient and block below which adding up their lanes would cost more than the
/// products: the matrix of windows then has so few rows that it is no burden.
const REGISTERS: usize = 24;

/// The route, and the geometry of the shifted planes where they are its own.
pub(super) fn plan(direction: Direction, desc: &ConvDesc, lanes: usize) -> (Route, (Planes, Vec<Pass>)) {
    // Interleaving costs about a twelfth of the work of a small image: it must win that back.
    let worth = |images: usize, geometry: &(Planes, Vec<Pass>)| {
        let filled = desc.batch as f64 / desc.batch.next_multiple_of(images).max(1) as f64;
        useful(&geometry.1, lanes) * filled * if images > 1 { 0.92 } else { 1.0 }
    };
    let mut best = correlate::geometry(direction, desc, lanes, 1);
    let mut score = worth(1, &best);
    let mut images = 2;
    while images <= lanes && images <= desc.batch && score < 0.85 {
        let geometry = correlate::geometry(direction, desc, lanes, images);
        let found = worth(images, &geometry);
        if found > score {
            (best, score) = (geometry, found);
        }
        images *= 2;
    }
    let sets = desc.batch.div_ceil(best.0.images);
    let short = direction == Direction::Weight && best.1[0].positions.len() * sets < REGISTERS;
    let route = if score >= USEFUL && !short { Route::Shifted } else { Route::Columns };
    (route, best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::window::Window;

    #[test]
    fn large_images_are_shifted_and_tiny_ones_gathered() {
        let window = Window { kernel: 3, stride: 1, padding: 1, dilation: 1 };
        let of = |direction, batch, side: usize| {
            let (input, output) = ([side; 2], [side; 2]);
            let desc = ConvDesc {
                batch,
                channels: [4, 4],
                groups: 1,
                input,
                output,
                windows: [window; 2],
                channels_last: false,
            };
            let (route, (planes, _)) = plan(direction, &desc, 16);
            (route, planes.images)
        };
        for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
            assert_eq!(of(direction, 32, 32), (Route::Shifted, 1));
            assert_eq!(of(direction, 32, 8), (Route::Shifted, 2));
            assert_eq!(of(direction, 32, 4), (Route::Shifted, 4));
            assert_eq!(of(direction, 1, 2), (Route::Columns, 1));
        }
        assert_eq!(of(Direction::Forward, 8, 2), (Route::Shifted, 8));
        assert_eq!(of(Direction::Weight, 8, 2).0, Route::Columns);
    }
}
