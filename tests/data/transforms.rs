//! Augmentation against its definition in plain loops, with the draws made in the documented order.

use super::message;
use proptest::prelude::*;
use warpsmith::data::transform::*;
use warpsmith::random::{Philox, below};
use warpsmith::{DType, Device, Tensor};

struct Case {
    count: usize,
    channels: usize,
    height: usize,
    width: usize,
    crop: Option<([usize; 2], usize)>,
    flip: f64,
    hole: usize,
}

/// The definition: pad, cut, mirror, and clear a square, image by image.
fn reference(case: &Case, values: &[f64], rng: &mut Philox) -> Vec<f64> {
    let Case { count, channels, height, width, .. } = *case;
    let ([rows, columns], padding) = case.crop.unwrap_or(([height, width], 0));
    let mut out = Vec::new();
    for image in 0..count {
        let (mut down, mut right) = (0, 0);
        if case.crop.is_some() {
            down = below(rng, (height + 2 * padding - rows + 1) as u64) as usize;
            right = below(rng, (width + 2 * padding - columns + 1) as u64) as usize;
        }
        let mirrored = case.flip > 0.0 && rand::Rng::next_u32(rng) as f64 / 4294967296.0 < case.flip;
        let hole = (case.hole > 0).then(|| [below(rng, rows as u64) as i64, below(rng, columns as u64) as i64]);
        for channel in 0..channels {
            for y in 0..rows {
                for x in 0..columns {
                    let before_mirror = if mirrored { columns - 1 - x } else { x };
                    let (from_y, from_x) = (y + down, before_mirror + right);
                    let inside =
                        (padding..padding + height).contains(&from_y) && (padding..padding + width).contains(&from_x);
                    // A square of this side: from side / 2 before the middle on.
                    let cut = hole.is_some_and(|[middle_y, middle_x]| {
                        let side = case.hole as i64;
                        let within = |at: usize, middle: i64| {
                            let begin = middle - side / 2;
                            (begin..begin + side).contains(&(at as i64))
                        };
                        within(y, middle_y) && within(x, middle_x)
                    });
                    out.push(if inside && !cut {
                        let (from_y, from_x) = (from_y - padding, from_x - padding);
                        values[((image * channels + channel) * height + from_y) * width + from_x]
                    } else {
                        0.0
                    });
                }
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn crops_mirrors_and_holes_are_their_definition(
        count in 0usize..4, channels in 1usize..4, height in 1usize..9, width in 1usize..9, padding in 0usize..4,
        shrink in (0usize..5, 0usize..5), cropped: bool, flip in prop::sample::select(vec![0.0, 0.5, 1.0]),
        hole in 0usize..7, dtype in prop::sample::select(DType::ALL.to_vec()), seed: u64, strided: bool,
    ) {
        let size = [(height + padding).saturating_sub(shrink.0).max(1), (width + padding).saturating_sub(shrink.1).max(1)];
        let crop = cropped.then_some((size, padding));
        let case = Case { count, channels, height, width, crop, flip, hole };
        let mut augment = Augment::new().flip(flip).cut_out(hole);
        if let Some((size, padding)) = crop {
            augment = augment.crop(size, padding);
        }
        let numel = count * channels * height * width;
        // Small whole numbers, which every dtype has.
        let values: Vec<f64> = (0..numel).map(|i| (i % 200 + 1) as f64).collect();
        let mut x = Tensor::from_slice(&values, [count, channels, height, width], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        if strided {
            x = x.permute(&[3, 0, 2, 1]).unwrap().contiguous().unwrap().permute(&[1, 3, 2, 0]).unwrap();
        }
        let mut rng = Philox::new(seed);
        let found = augment.apply(&x, &mut rng).unwrap();
        let mut other = Philox::new(seed);
        let expected = reference(&case, &values, &mut other);
        let [rows, columns] = crop.map_or([height, width], |(size, _)| size);
        prop_assert_eq!(found.dims(), [count, channels, rows, columns]);
        prop_assert_eq!(found.dtype(), dtype);
        prop_assert_eq!(found.to_f64_vec().unwrap(), expected);
        prop_assert_eq!(rng.state(), other.state());
    }
}

#[test]
fn one_image_or_a_view_of_some() {
    let x = Tensor::arange(0.0, 96.0, 1.0, DType::F32, &Device::Cpu).unwrap().reshape([4, 2, 3, 4]).unwrap();
    let one = random_flip(&x.select(0, 2).unwrap(), 1.0, &mut Philox::new(0)).unwrap();
    assert_eq!(one.to_vec3::<f32>().unwrap()[0][0], [51.0, 50.0, 49.0, 48.0]);
    let two = random_flip(&x.narrow(0, 1, 2).unwrap(), 1.0, &mut Philox::new(0)).unwrap();
    assert_eq!(two.to_vec::<f32>().unwrap()[..4], [27.0, 26.0, 25.0, 24.0]);
    assert_eq!(random_crop(&x, [2, 2], 0, &mut Philox::new(5)).unwrap().dims(), [4, 2, 2, 2]);
    let cut = cut_out(&x.ones_like().unwrap(), 1, &mut Philox::new(5)).unwrap();
    assert_eq!(cut.to_vec::<f32>().unwrap().iter().sum::<f32>(), 96.0 - 8.0);
    assert!(message(random_crop(&x, [4, 2], 0, &mut Philox::new(5))).contains("crop of 4 × 2"));
    assert!(message(random_flip(&x.reshape([96]).unwrap(), 0.5, &mut Philox::new(5))).contains("(C, H, W)"));
}

#[test]
fn places_are_all_as_likely() {
    // A single 1 that moves through nine places, 3,600 times: 400 each, with a standard deviation below 19.
    let mut values = vec![0f32; 3600 * 9];
    values.iter_mut().skip(4).step_by(9).for_each(|v| *v = 1.0);
    let x = Tensor::from_slice(&values, [3600, 1, 3, 3], &Device::Cpu).unwrap();
    let moved = random_crop(&x, [3, 3], 1, &mut Philox::new(8)).unwrap().to_vec::<f32>().unwrap();
    for place in 0..9 {
        let count: f32 = moved.iter().skip(place).step_by(9).sum();
        assert!((count - 400.0).abs() < 6.0 * 19.0, "place {place}: {count} of 3600");
    }
    let rows = Tensor::from_slice(&[1f32, 0.0].repeat(1000), [1000, 1, 1, 2], &Device::Cpu).unwrap();
    let flipped = random_flip(&rows, 0.25, &mut Philox::new(8)).unwrap().to_vec::<f32>().unwrap();
    let count: f32 = flipped.iter().skip(1).step_by(2).sum();
    // 250 with a standard deviation of 13.7.
    assert!((count - 250.0).abs() < 6.0 * 13.7, "{count} of 1000 are mirrored");
}

#[test]
fn normalisation_of_every_dtype() {
    let values = [0f64, 1.0, 2.0, 3.0, 100.0, 120.0, 140.0, 160.0];
    let (mean, deviation) = ([1.0, 130.0], [2.0, 40.0]);
    for dtype in DType::ALL {
        let x = Tensor::from_slice(&values, [2, 2, 2], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        for x in [x.clone(), x.unsqueeze(0).unwrap()] {
            let found = normalise(&x, &mean, &deviation).unwrap();
            assert_eq!((found.dims(), found.dtype()), (x.dims(), DType::F32));
            let expected: Vec<f32> =
                values.iter().enumerate().map(|(i, v)| ((v - mean[i / 4]) / deviation[i / 4]) as f32).collect();
            assert_eq!(found.to_vec::<f32>().unwrap(), expected, "{dtype}");
        }
    }
    let x = Tensor::zeros([2, 1, 1], DType::F32, &Device::Cpu).unwrap();
    for (mean, deviation) in [(&[0.0][..], &[1.0, 1.0][..]), (&[0.0, 0.0], &[1.0, 0.0]), (&[0.0; 3], &[1.0; 3])] {
        assert!(message(normalise(&x, mean, deviation)).contains("2 channels"));
    }
}

#[test]
fn mixing_is_its_definition() {
    let x = Tensor::normal(0.0, 1.0, [6, 5], DType::F64, &Device::Cpu, &mut Philox::new(1)).unwrap();
    let labels = Tensor::from_slice(&[0i64, 1, 2, 0, 1, 2], [6], &Device::Cpu).unwrap();
    for seed in 0..20 {
        let mixed = mix_up(&x, 0.4, &mut Philox::new(seed)).unwrap();
        let (w, rows) = (mixed.weight, x.to_vec2::<f64>().unwrap());
        assert!((0.0..=1.0).contains(&w));
        let mut sorted = mixed.partners.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
        let targets = mixed.targets(&labels, 3).unwrap().to_vec2::<f32>().unwrap();
        for (i, row) in mixed.x.to_vec2::<f64>().unwrap().iter().enumerate() {
            let partner = mixed.partners[i];
            for (found, (a, b)) in row.iter().zip(rows[i].iter().zip(&rows[partner])) {
                let exact = w * a + (1.0 - w) * b;
                assert!((found - exact).abs() <= 4.0 * f64::EPSILON * (a.abs() + b.abs()));
            }
            let mut expected = [0f64; 3];
            expected[i % 3] += w;
            expected[partner % 3] += 1.0 - w;
            let near = targets[i].iter().zip(expected).all(|(f, e)| (f64::from(*f) - e).abs() <= 1e-7);
            assert!(near, "{:?} instead of {expected:?}", targets[i]);
        }
    }
    let mixed = mix_up(&x, 1.0, &mut Philox::new(0)).unwrap();
    assert!(message(mixed.targets(&labels, 2)).contains("label 2"));
    assert!(mixed.targets(&labels.narrow(0, 0, 5).unwrap(), 3).is_err());
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(message(mix_up(&x, alpha, &mut Philox::new(0))).contains("above 0"));
    }
}

/// Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)); of 4,000 draws the mean's standard deviation is that
/// variance's root over 63, and the variance's is below 0.0025 (no draw is further than 1/2 from the middle).
#[test]
fn weights_are_beta_distributed() {
    let x = Tensor::zeros([1, 1], DType::F32, &Device::Cpu).unwrap();
    for alpha in [0.2, 1.0, 4.0, 1e-6] {
        let mut rng = Philox::new(17);
        let draws: Vec<f64> = (0..4000).map(|_| mix_up(&x, alpha, &mut rng).unwrap().weight).collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        let variance = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / 4000.0;
        let exact = 1.0 / (4.0 * (2.0 * alpha + 1.0));
        assert!((mean - 0.5).abs() < 6.0 * exact.sqrt() / 63.0, "alpha {alpha}: mean {mean}");
        assert!((variance - exact).abs() < 6.0 * 0.0025, "alpha {alpha}: variance {variance} instead of {exact}");
    }
}
