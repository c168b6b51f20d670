//! A generator of its own (splitmix64, Steele et al. 2014), so that tests share nothing with the library.

use std::sync::OnceLock;

/// The seed of every fresh generator, for a program that has chosen one; it prints it itself.
pub static SEED: OnceLock<u64> = OnceLock::new();

pub struct Random(u64);

impl Random {
    /// Seeded by `WARPSMITH_TEST_SEED`, else by the clock; the seed is printed (and shown when a test fails).
    pub fn fresh(what: &str) -> Self {
        if let Some(&seed) = SEED.get() {
            return Random(seed);
        }
        let seed = match std::env::var("WARPSMITH_TEST_SEED") {
            Ok(text) => text.parse().expect("WARPSMITH_TEST_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_nanos() as u64,
        };
        println!("{what}: WARPSMITH_TEST_SEED={seed}");
        Random(seed)
    }

    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number that is the same for the same seed and state, which is left as it is.
    pub fn seed(&self) -> u64 {
        self.0
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}
