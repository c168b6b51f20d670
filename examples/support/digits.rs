//! The 1,797 handwritten digits of `examples/data/digits.bin`: records of 64 pixels (0 to 16) and a label.

use warpsmith::{Device, Error, Result, Tensor};

const FILE: &[u8] = include_bytes!("../data/digits.bin");
const SIDE: usize = 8;

/// Images of one channel with their labels.
#[derive(Clone, Default)]
pub struct Images {
    pub side: usize,
    /// side² numbers per image.
    pub pixels: Vec<f32>,
    pub labels: Vec<i64>,
}

impl Images {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The images at these places, each moved by its offset (down, right), zeros coming in; and their labels.
    pub fn batch(&self, places: &[usize], offsets: &[[i32; 2]], device: &Device) -> Result<(Tensor, Tensor)> {
        let (n, side) = (places.len(), self.side);
        let mut pixels = vec![0f32; n * side * side];
        for ((out, &place), [down, right]) in pixels.chunks_exact_mut(side * side).zip(places).zip(offsets) {
            let image = &self.pixels[place * side * side..(place + 1) * side * side];
            for (y, row) in out.chunks_exact_mut(side).enumerate() {
                for (x, pixel) in row.iter_mut().enumerate() {
                    let from = (y as i32 - down, x as i32 - right);
                    let range = 0..side as i32;
                    if range.contains(&from.0) && range.contains(&from.1) {
                        *pixel = image[from.0 as usize * side + from.1 as usize];
                    }
                }
            }
        }
        let labels: Vec<i64> = places.iter().map(|&p| self.labels[p]).collect();
        Ok((Tensor::from_slice(&pixels, [n, 1, side, side], device)?, Tensor::from_slice(&labels, [n], device)?))
    }

    /// Each pixel repeated `times` in both directions.
    pub fn enlarged(&self, times: usize) -> Images {
        let side = self.side * times;
        let mut pixels = Vec::with_capacity(self.pixels.len() * times * times);
        for image in self.pixels.chunks_exact(self.side * self.side) {
            for at in 0..side * side {
                pixels.push(image[at / side / times * self.side + at % side / times]);
            }
        }
        Images { side, pixels, labels: self.labels.clone() }
    }
}

/// Training and test images: every fifth image, beginning with the first, is for the test (360), the others are for
/// training (1,437). Pixels are 0 to 1.
pub fn load() -> Result<(Images, Images)> {
    let (mut train, mut test) =
        (Images { side: SIDE, ..Default::default() }, Images { side: SIDE, ..Default::default() });
    for (i, record) in FILE.chunks(SIDE * SIDE + 1).enumerate() {
        let Some((&label, pixels)) = record.split_last().filter(|(_, pixels)| pixels.len() == SIDE * SIDE) else {
            return Err(Error::Format { what: "digits.bin".into(), message: format!("record {i} is cut off") });
        };
        let to = if i % 5 == 0 { &mut test } else { &mut train };
        to.pixels.extend(pixels.iter().map(|&p| p as f32 / 16.0));
        to.labels.push(label as i64);
    }
    Ok((train, test))
}
