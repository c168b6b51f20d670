//! Which route a convolution takes on the CPU: a pure function of its shape (and of the registers' width).

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

/// The route, and the geometry of the shifted planes where they are its own.
pub(super) fn plan(direction: Direction, desc: &ConvDesc, lanes: usize) -> (Route, (Planes, Vec<Pass>)) {
    let geometry = correlate::geometry(direction, desc, lanes);
    let route = if useful(&geometry.1, lanes) >= USEFUL { Route::Shifted } else { Route::Columns };
    (route, geometry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::window::Window;

    #[test]
    fn large_images_are_shifted_and_tiny_ones_gathered() {
        let window = Window { kernel: 3, stride: 1, padding: 1, dilation: 1 };
        for (side, route) in [(32, Route::Shifted), (8, Route::Shifted), (2, Route::Columns)] {
            let (input, output) = ([side; 2], [side; 2]);
            let desc = ConvDesc { batch: 2, channels: [4, 4], groups: 1, input, output, windows: [window; 2] };
            for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
                assert_eq!(plan(direction, &desc, 16).0, route, "{side} {direction:?}");
            }
        }
    }
}
